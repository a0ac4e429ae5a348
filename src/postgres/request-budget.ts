/** How long one request may wait for the database, whatever number of statements it runs. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { inContext } from './bind-stream.ts';

interface Budget {
  /** What is left, up to the last moment at which nothing was running. */
  leftMs: number;
  running: number;
  /** When the first of the statements that run now began. */
  sinceMs: number;
}

export interface RequestBudgets {
  /** Runs a request, whose statements share one time limit. */
  run<T>(work: () => T): T;
  /** Runs work without an end of its own, such as a stream: each statement has the whole limit. */
  runUnbounded<T>(work: () => T): T;
  /** Returns the same pieces, for which each statement has the whole limit. */
  bindStream<T>(pieces: AsyncGenerator<T>): AsyncGenerator<T>;
  /** Begins to wait. @returns how long that may take, and what ends it. */
  begin(): { allowedMs: number; end(): void };
}

export function createRequestBudgets(limitMs: number): RequestBudgets {
  const requests = new AsyncLocalStorage<Budget | undefined>();
  const unbounded = { allowedMs: limitMs, end: () => undefined };

  const runUnbounded = <T>(work: () => T) => requests.run(undefined, work);
  return {
    run: (work) => requests.run({ leftMs: limitMs, running: 0, sinceMs: 0 }, work),
    runUnbounded,
    bindStream: (pieces) => runUnbounded(() => inContext(pieces)),
    begin() {
      const budget = requests.getStore();
      if (budget === undefined) return unbounded;
      const nowMs = performance.now();
      if (budget.running === 0) budget.sinceMs = nowMs;
      budget.running += 1;
      return {
        allowedMs: Math.max(0, budget.leftMs - (nowMs - budget.sinceMs)),
        end() {
          budget.running -= 1;
          if (budget.running === 0) budget.leftMs -= performance.now() - budget.sinceMs;
        },
      };
    },
  };
}
