/** Waits for an answer until its time is over, and then rejects with what `onMiss` gives. */
export type Timeout = <T>(answer: Promise<T>, onMiss: () => Error) => Promise<T>;

/** With a timer of its own for each, which Workers need: there a timer belongs to the request that has set it. */
export const timeout =
  (after_ms: number): Timeout =>
  (answer, onMiss) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(onMiss()), after_ms);
      answer.then(resolve, reject).finally(() => clearTimeout(timer));
    });

/**
 * With one timer for all. All have the same time, so whoever began first is due first. For what every request waits for:
 * a timer of its own takes longer to set and clear than all else here.
 */
export function sharedTimeout(after_ms: number): Timeout {
  const waiting = new Set<{ due_ms: number; miss(): void }>();
  let timer: ReturnType<typeof setTimeout> | undefined;

  function watch(for_ms: number) {
    timer = setTimeout(look, for_ms);
    // What is waited for keeps the process alive, if it has to.
    timer.unref();
  }

  function look() {
    timer = undefined;
    const now_ms = performance.now();
    for (const one of waiting) {
      if (one.due_ms > now_ms) return watch(one.due_ms - now_ms);
      waiting.delete(one);
      one.miss();
    }
  }

  return (answer, onMiss) =>
    new Promise((resolve, reject) => {
      const one = { due_ms: performance.now() + after_ms, miss: () => reject(onMiss()) };
      waiting.add(one);
      if (timer === undefined) watch(after_ms);
      answer.then(resolve, reject).finally(() => waiting.delete(one));
    });
}
