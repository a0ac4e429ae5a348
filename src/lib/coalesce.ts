import { sleep } from './sleep.ts';

/**
 * Returns a function that runs `work` at once, and once more afterwards if it was called meanwhile. The work runs in the
 * asynchronous context of this call, not in that of a caller, so it does not count as a statement of the caller's user.
 * @param intervalMs the shortest time between the end of one run and the start of the next.
 * @param onFailure gets the error of a run that failed; the next call runs `work` again.
 */
export function coalesce(
  intervalMs: number,
  work: () => Promise<void>,
  onFailure: (error: Error) => void,
): () => void {
  let requested = Promise.withResolvers<void>();
  // The asynchronous context is that of the function that awaits, not of the one that resolves the promise.
  async function run() {
    for (;;) {
      await requested.promise;
      requested = Promise.withResolvers<void>();
      await work().catch(onFailure);
      if (intervalMs > 0) await sleep(intervalMs);
    }
  }
  void run();
  return () => requested.resolve();
}
