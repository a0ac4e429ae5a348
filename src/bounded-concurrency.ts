import { Problem } from './problem.ts';
import type { Timeout } from './timeouts.ts';

export interface BoundedConcurrency {
  /** @throws {Problem} `overloaded`, at once when the queue is full, or after the longest wait; and whatever `work` throws. */
  run<T>(work: () => Promise<T>): Promise<T>;
  readonly in_flight: number;
  readonly waiting: number;
}

/**
 * Runs at most `in_flight_max` at once and lets `waiting_max` more wait in order; refuses what goes beyond.
 * @param name of the limit, for those who count refusals.
 * @param timeout bounds how long one waits; without it, one waits as long as it takes.
 */
export function boundedConcurrency(
  name: string,
  in_flight_max: number,
  waiting_max: number,
  timeout?: Timeout,
): BoundedConcurrency {
  const overloaded = () => new Problem('overloaded', { limit: name });
  const queue: (() => void)[] = [];
  let in_flight = 0;

  /** Resolves with the slot that somebody else gives up. */
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
      if (in_flight < in_flight_max) in_flight += 1;
      else if (queue.length < waiting_max) await slotInQueue();
      else throw overloaded();
      try {
        return await work();
      } finally {
        // The slot passes to whoever waits longest, so `in_flight` changes only where nobody does.
        const next = queue.shift();
        if (next) next();
        else in_flight -= 1;
      }
    },
    get in_flight() {
      return in_flight;
    },
    get waiting() {
      return queue.length;
    },
  };
}
