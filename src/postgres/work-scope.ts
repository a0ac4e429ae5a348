/**
 * The scope of the work that runs: for whom it is, how long it may wait for the database, and whether its statement is short.
 * One context holds all of it, because every context costs each request.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { inContext } from './bind-stream.ts';

interface Scope {
  /** Returns the client that waits for the work; undefined for the process itself. */
  client(): string | undefined;
  /** Undefined where each statement has the whole time limit. */
  readonly budget: Budget | undefined;
  readonly isShort: boolean;
}

/** How long one request may wait for the database, whatever number of statements it runs. */
interface Budget {
  /** What is left, up to the last moment at which nothing was running. */
  leftMs: number;
  running: number;
  /** When the first of the statements that run now began. */
  sinceMs: number;
}

export interface WorkScopes {
  /** Runs a request, whose statements share one time limit. */
  runRequest<T>(client: () => string | undefined, work: () => T): T;
  /** Runs work without an end of its own, such as a stream: each statement has the whole limit. */
  runUnbounded<T>(work: () => T): T;
  /** Returns the same pieces, for which each statement has the whole limit. */
  bindStream<T>(pieces: AsyncGenerator<T>): AsyncGenerator<T>;
  /** Runs work whose statement is a short read. */
  runShort<T>(work: () => T): T;
  /** Runs one statement for a client, or for the process, in place of the request in which it runs. */
  runFor<T>(client: string | undefined, isShort: boolean, work: () => T): T;
  currentClient(): string | undefined;
  isShort(): boolean;
  /** Begins to wait. @returns how long that may take, and what ends it. */
  begin(): { allowedMs: number; end(): void };
}

const scopes = new AsyncLocalStorage<Scope>();

/** The scope of what runs outside of all requests. */
const processScope: Scope = { client: () => undefined, budget: undefined, isShort: false };
const currentScope = () => scopes.getStore() ?? processScope;

/** @param limitMs how long a request may wait, and each statement that belongs to none. */
export function createWorkScopes(limitMs: number): WorkScopes {
  const unbounded = { allowedMs: limitMs, end: () => undefined };
  const runUnbounded = <T>(work: () => T) =>
    scopes.run({ ...currentScope(), budget: undefined }, work);

  return {
    runRequest: (client, work) =>
      scopes.run(
        { client, budget: { leftMs: limitMs, running: 0, sinceMs: 0 }, isShort: false },
        work,
      ),
    runUnbounded,
    bindStream: (pieces) => runUnbounded(() => inContext(pieces)),
    runShort: (work) => scopes.run({ ...currentScope(), isShort: true }, work),
    runFor: (client, isShort, work) =>
      scopes.run({ client: () => client, budget: undefined, isShort }, work),
    currentClient: () => currentScope().client(),
    isShort: () => currentScope().isShort,
    begin() {
      const { budget } = currentScope();
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
