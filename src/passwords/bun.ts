/** Password hashing on Bun: its own argon2id, which runs off the event loop. */
import { limitConcurrency } from '../lib/concurrency-limit.ts';
import type { Passwords } from '../platform.ts';
import { DUMMY_HASH, hashStatus, MEMORY_KIB, PASSES } from './argon2id.ts';
import { commonPasswords } from './common-passwords.ts';
import { lowerPoolPriority } from './thread-priority.ts';

/** Bun's argon2 always has one lane. */
const parameters = { algorithm: 'argon2id', memoryCost: MEMORY_KIB, timeCost: PASSES } as const;

/**
 * A hash keeps a core busy and holds 19 MiB, so more hashes in flight than cores cost memory and save no time. The queue
 * holds about one second of work; beyond that, 503 is better than a long wait. `bun run bench:logins` measures both.
 */
const HASHES_IN_FLIGHT_MAX = navigator.hardwareConcurrency;
const HASHES_WAITING_PER_CORE_MAX = 32;
/** A log-in queries the database before and after its hash: enough for the cores, and few beside the pool's connections. */
const LOG_INS_PER_CORE_MAX = 3;

/** @param processes how many share the cores; each uses at least one. */
export function bunPasswords(processes = 1): Passwords {
  const cores = Math.max(1, Math.floor(HASHES_IN_FLIGHT_MAX / processes));
  const bound = limitConcurrency('passwords', cores, cores * HASHES_WAITING_PER_CORE_MAX);
  const logIns = limitConcurrency(
    'passwords',
    cores * LOG_INS_PER_CORE_MAX,
    cores * HASHES_WAITING_PER_CORE_MAX,
  );
  let lowered = 0;
  /** Starts a hash. Until there are as many threads as cores, it may also start a thread. */
  function inBackground<T>(computing: Promise<T>): Promise<T> {
    if (lowered < HASHES_IN_FLIGHT_MAX) lowered = lowerPoolPriority();
    return computing;
  }
  return {
    hash: (password) => bound.run(() => inBackground(Bun.password.hash(password, parameters))),
    verify: (password, hash) => bound.run(() => inBackground(verify(password, hash))),
    limitLogins: logIns.run,
    inspect: hashStatus,
    common: commonPasswords,
    get inFlight() {
      return bound.inFlight;
    },
    get waiting() {
      return bound.waiting + logIns.waiting;
    },
  };
}

async function verify(password: string, hash: string | undefined): Promise<boolean> {
  if (hash === undefined || hashStatus(hash) === 'unreadable') return refuse(password);
  try {
    return await Bun.password.verify(password, hash);
  } catch (error) {
    // The text has the form of a hash and impossible values: `PASSWORD_INVALID_ENCODING`, `PASSWORD_WEAK_PARAMETERS`, …
    if (String((error as NodeJS.ErrnoException).code).startsWith('PASSWORD_'))
      return refuse(password);
    throw error;
  }
}

/** Returns false after the same work as a match. */
async function refuse(password: string): Promise<false> {
  await Bun.password.verify(password, DUMMY_HASH);
  return false;
}
