import { Problem } from './problem.ts';

export interface BoundedConcurrency {
  /** @throws {Problem} `overloaded`, at once when the queue is full, or after the longest wait; and whatever `work` throws. */
  run<T>(work: () => Promise<T>): Promise<T>;
  readonly in_flight: number;
  readonly waiting: number;
}

/**
 * Runs at most `in_flight_max` at once and lets `waiting_max` more wait in order, for `wait_max_ms` at the most; refuses
 * what goes beyond.
 * @param name of the limit, for those who count refusals.
 */
export function boundedConcurrency(
  name: string,
  in_flight_max: number,
  waiting_max: number,
  wait_max_ms = Number.POSITIVE_INFINITY,
): BoundedConcurrency {
  const overloaded = () => new Problem('overloaded', { limit: name });
  const queue: (() => void)[] = [];
  let in_flight = 0;

  /** Resolves with the slot that somebody else gives up. */
  function slotInQueue(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = Number.isFinite(wait_max_ms) ? setTimeout(giveUp, wait_max_ms) : undefined;
    // By whoever waits, not by whoever gives the slot: Workers know a timer only in the request that has set it.
    const stopTimer = () => clearTimeout(timer);
    promise.then(stopTimer, stopTimer);
    queue.push(resolve);
    return promise;

    function giveUp() {
      const place = queue.indexOf(resolve);
      if (place === -1) return;
      queue.splice(place, 1);
      reject(overloaded());
    }
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
