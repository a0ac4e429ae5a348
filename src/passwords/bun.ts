/** Password hashing on Bun: its own argon2id, which runs off the event loop. */
import type { Passwords } from '../platform.ts';
import { Problem } from '../problem.ts';

/** OWASP's first choice for argon2id; p is 1. The same on every runtime, so that accounts move freely. */
const parameters = { algorithm: 'argon2id', memoryCost: 19_456, timeCost: 2 } as const;

/**
 * Hashes beyond those in flight wait in line; the line is short, because a log-in that waits for seconds is
 * worse than an honest 503. Each hash in flight holds 19 MiB.
 */
const HASHES_IN_FLIGHT_MAX = 4;
const HASHES_WAITING_MAX = 64;

export function bunPasswords(): Passwords {
  const bounded = boundedConcurrency(HASHES_IN_FLIGHT_MAX, HASHES_WAITING_MAX);
  return {
    hash: (password) => bounded(() => Bun.password.hash(password, parameters)),
    verify: (password, hash) => bounded(() => Bun.password.verify(password, hash)),
  };
}

/** Runs at most `running_max` at once and lets `waiting_max` more wait in order; refuses what goes beyond. */
function boundedConcurrency(running_max: number, waiting_max: number) {
  const waiting: (() => void)[] = [];
  let running = 0;

  return async <T>(work: () => Promise<T>): Promise<T> => {
    if (running < running_max) running += 1;
    else if (waiting.length < waiting_max) await new Promise<void>((turn) => waiting.push(turn));
    else throw new Problem('overloaded');
    try {
      return await work();
    } finally {
      // The slot passes to whoever waits longest, so `running` changes only where nobody does.
      const next = waiting.shift();
      if (next) next();
      else running -= 1;
    }
  };
}
