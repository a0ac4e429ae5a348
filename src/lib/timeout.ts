/** Waits for an answer; after the time it rejects with the error of `onMiss`. */
export type Timeout = <T>(answer: Promise<T>, onMiss: () => Error) => Promise<T>;

/** Returns a timeout with a timer for each wait. Workers need that: there a timer belongs to the request that has set it. */
export const timeout =
  (afterMs: number): Timeout =>
  (answer, onMiss) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(onMiss()), afterMs);
      answer.then(resolve, reject).finally(() => clearTimeout(timer));
    });

/**
 * Returns a timeout with one timer for all waits. All have the same length, so they expire in the order in which they began. It is
 * for waits of every request: a timer for each takes longer to set and clear than everything else here.
 */
export function sharedTimeout(afterMs: number): Timeout {
  const waiting = new Set<{ dueMs: number; miss(): void }>();
  let timer: ReturnType<typeof setTimeout> | undefined;

  function watch(forMs: number) {
    timer = setTimeout(look, forMs);
    // The connection that is waited for keeps the process alive.
    timer.unref();
  }

  function look() {
    timer = undefined;
    const nowMs = performance.now();
    for (const one of waiting) {
      if (one.dueMs > nowMs) return watch(one.dueMs - nowMs);
      waiting.delete(one);
      one.miss();
    }
  }

  return (answer, onMiss) =>
    new Promise((resolve, reject) => {
      const one = { dueMs: performance.now() + afterMs, miss: () => reject(onMiss()) };
      waiting.add(one);
      if (timer === undefined) watch(afterMs);
      answer.then(resolve, reject).finally(() => waiting.delete(one));
    });
}
