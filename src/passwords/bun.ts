/** Password hashing on Bun: its own argon2id, which runs off the event loop. */
import { boundedConcurrency } from '../bounded-concurrency.ts';
import type { Passwords } from '../platform.ts';
import { inspectHash, MEMORY_KIB, NOBODYS_HASH, PASSES } from './argon2id.ts';
import { lowerPoolPriority } from './background-threads.ts';
import { commonPasswords } from './common.ts';

/** Bun's argon2 has one lane always. */
const parameters = { algorithm: 'argon2id', memoryCost: MEMORY_KIB, timeCost: PASSES } as const;

/**
 * A hash keeps a core busy and holds 19 MiB, so more at once than there are cores give no more log-ins, only more
 * memory. The line is what the cores work off in about a second, because a log-in that waits for seconds is worse than
 * an honest 503. `bun run bench:logins` measures both.
 */
const HASHES_IN_FLIGHT_MAX = navigator.hardwareConcurrency;
const HASHES_WAITING_PER_CORE_MAX = 32;
/** A log-in is at the database before and after its hash: enough for the cores, and few beside the pool's connections. */
const LOG_INS_PER_CORE_MAX = 3;

/** @param processes that share the cores; each may use one at least. */
export function bunPasswords(processes = 1): Passwords {
  const cores = Math.max(1, Math.floor(HASHES_IN_FLIGHT_MAX / processes));
  const bound = boundedConcurrency('passwords', cores, cores * HASHES_WAITING_PER_CORE_MAX);
  const log_ins = boundedConcurrency(
    'passwords',
    cores * LOG_INS_PER_CORE_MAX,
    cores * HASHES_WAITING_PER_CORE_MAX,
  );
  let lowered = 0;
  /** A hash is begun. While there are fewer threads than cores, it may have started one. */
  function inBackground<T>(computing: Promise<T>): Promise<T> {
    if (lowered < HASHES_IN_FLIGHT_MAX) lowered = lowerPoolPriority();
    return computing;
  }
  return {
    hash: (password) => bound.run(() => inBackground(Bun.password.hash(password, parameters))),
    verify: (password, hash) => bound.run(() => inBackground(verify(password, hash))),
    inTurn: log_ins.run,
    inspect: inspectHash,
    common: commonPasswords,
    get in_flight() {
      return bound.in_flight;
    },
    get waiting() {
      return bound.waiting + log_ins.waiting;
    },
  };
}

async function verify(password: string, hash: string | undefined): Promise<boolean> {
  if (hash === undefined || inspectHash(hash) === 'unreadable') return refuse(password);
  try {
    return await Bun.password.verify(password, hash);
  } catch (error) {
    // A hash that looks like one and cannot be: `PASSWORD_INVALID_ENCODING`, `PASSWORD_WEAK_PARAMETERS`, …
    if (String((error as NodeJS.ErrnoException).code).startsWith('PASSWORD_'))
      return refuse(password);
    throw error;
  }
}

/** Says no, after the same work as a yes. */
async function refuse(password: string): Promise<false> {
  await Bun.password.verify(password, NOBODYS_HASH);
  return false;
}
