/** Watches many deadlines with one timer. A timer for each takes longer to set and clear than everything else in a short wait. */
export interface DeadlineWatch {
  /** Calls `onMiss` after this time. @returns a function that ends the watch. */
  add(afterMs: number, onMiss: () => void): () => void;
}

export function createDeadlineWatch(): DeadlineWatch {
  const pending = new Set<{ dueMs: number; onMiss: () => void }>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let timerDueMs = Number.POSITIVE_INFINITY;

  function schedule(dueMs: number) {
    if (dueMs >= timerDueMs) return;
    clearTimeout(timer);
    timerDueMs = dueMs;
    timer = setTimeout(look, Math.max(0, dueMs - performance.now()));
    // The connection that is waited for keeps the process alive.
    timer.unref();
  }

  function look() {
    timerDueMs = Number.POSITIVE_INFINITY;
    const nowMs = performance.now();
    let nextMs = Number.POSITIVE_INFINITY;
    for (const one of pending)
      if (one.dueMs > nowMs) nextMs = Math.min(nextMs, one.dueMs);
      else {
        pending.delete(one);
        one.onMiss();
      }
    if (nextMs < Number.POSITIVE_INFINITY) schedule(nextMs);
  }

  return {
    add(afterMs, onMiss) {
      const one = { dueMs: performance.now() + afterMs, onMiss };
      pending.add(one);
      schedule(one.dueMs);
      return () => pending.delete(one);
    },
  };
}
