import { Problem } from '../errors/problem.ts';
import type { Timeout } from './timeout.ts';

export interface ConcurrencyLimit {
  /** @throws {Problem} `overloaded`, at once when the queue is full, or after the longest wait; any error of `work`. */
  run<T>(work: () => Promise<T>): Promise<T>;
  readonly inFlight: number;
  readonly waiting: number;
}

/**
 * Returns a limit that runs up to `inFlightMax` works at once, lets `waitingMax` more wait in order, and refuses others.
 * @param name of the limit, for the count of refusals.
 * @param timeout bounds how long a work waits; without it, the wait has no bound.
 */
export function limitConcurrency(
  name: string,
  inFlightMax: number,
  waitingMax: number,
  timeout?: Timeout,
): ConcurrencyLimit {
  const overloaded = () => new Problem('overloaded', { limit: name });
  const queue: (() => void)[] = [];
  let inFlight = 0;

  /** Resolves with the slot that other work gives up. */
  function slotInQueue(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    queue.push(resolve);
    if (timeout === undefined) return promise;
    return timeout(promise, () => {
      queue.splice(queue.indexOf(resolve), 1);
      return overloaded();
    });
  }

  return {
    async run(work) {
      if (inFlight < inFlightMax) inFlight += 1;
      else if (queue.length < waitingMax) await slotInQueue();
      else throw overloaded();
      try {
        return await work();
      } finally {
        // Hands the slot to the longest waiter; without one, `inFlight` falls.
        const next = queue.shift();
        if (next) next();
        else inFlight -= 1;
      }
    },
    get inFlight() {
      return inFlight;
    },
    get waiting() {
      return queue.length;
    },
  };
}
