/**
 * Which calls share a statement. A lane is where the calls of one shape at one database wait for each other; it knows no
 * SQL. Clients take turns in a batch, and what waits for a lock or a lost connection does not hold up the others.
 */
// Decision: docs/decisions/33-natural-batching.md
import { Problem } from '../errors/problem.ts';
import { parseDatabaseError } from '../lib/database-error.ts';
import { createDeadlineWatch } from '../lib/deadline-watch.ts';

/** Calls that share one statement. With more, the first call would wait for the rows of the last. */
const BATCH_ROWS_MAX = 64;
/** Statements that calls wait for. A second one costs PostgreSQL more than it saves the callers. */
const HOLDING_MAX = 1;
/** Statements for several calls in flight, with those that are not waited for. The pool bounds those for one call. */
const BATCHES_IN_FLIGHT_MAX = 4;
/** Calls that wait; beyond it, the client with the most calls loses its latest. */
const BATCH_WAITING_MAX = 1000;

/** How long calls wait for a statement that is in flight, in ms, before the next goes beside it. */
export interface HoldTimes {
  /** A statement for one call may wait for a lock. */
  readonly alone: number;
  /** One for several calls gives locks up, so only a slow disk or a lost connection makes it take long. */
  readonly together: number;
}

/** The requests that call, and their clients. */
export interface Callers {
  readonly holdTimesMs: HoldTimes;
  /** How long a call may wait for a statement. */
  readonly waitTimeoutMs: number;
  /** Returns the client of the request that calls; undefined for the process itself. */
  currentClient(): string | undefined;
  /** Returns whether a statement of that client would wait because the client holds all connections that it may hold. */
  isHeldBack(isShort: boolean): boolean;
  /** Runs work whose statement is a short read: it takes little time, whatever its values are, and waits for no lock. */
  runShort<T>(work: () => T): T;
  /** Runs work on behalf of a client, or of the process, without the time limit of the request in which it runs. */
  runFor<T>(client: string | undefined, isShort: boolean, work: () => T): T;
  /** Begins to wait on behalf of the request that calls. @returns how long that may take, and what ends it. */
  begin(): { allowedMs: number; end(): void };
  /** Returns the error of a call whose request has waited as long as it may. */
  deadlineMissed(): Error;
}

/** The statements of a lane. */
export interface LaneStatements {
  /** Whether they are short reads. */
  readonly isShort: boolean;
  alone(scalars: unknown[]): Promise<unknown[]>;
  /** Returns the rows of each call, in the order of the calls. */
  together(calls: readonly unknown[][]): Promise<unknown[][]>;
}

export interface Call {
  /** In the order of the placeholders. */
  readonly scalars: unknown[];
  /** Names the row that it writes; undefined where it reads. Two calls that write one row never overlap. */
  readonly row?: unknown;
  /** Two calls with one key never share a statement. */
  readonly key?: unknown;
}

interface WaitingCall extends Call {
  readonly client: string | undefined;
  resolve(rows: unknown[]): void;
  reject(error: unknown): void;
}

export interface Lane {
  /** Returns the rows of the call. @throws {Problem} `overloaded`. */
  run(call: Call): Promise<unknown[]>;
}

const deadlines = createDeadlineWatch();
const overloaded = () => new Problem('overloaded', { limit: 'batches' });

export function createLane(callers: Callers, { isShort, alone, together }: LaneStatements): Lane {
  /** The calls of each client that waits, in the order of their turns. */
  const queues = new Map<string | undefined, Set<WaitingCall>>();
  /** The rows that statements in flight write. */
  const rows = new Set<unknown>();
  let waiting = 0;
  let holding = 0;
  let batches = 0;

  function remove(call: WaitingCall): boolean {
    const queue = queues.get(call.client);
    if (!queue?.delete(call)) return false;
    waiting -= 1;
    if (queue.size === 0) queues.delete(call.client);
    return true;
  }

  /** Takes the calls that waited longest, one of each client in turn. */
  function takeBatch(): WaitingCall[] {
    const batch: WaitingCall[] = [];
    const keys = new Set<unknown>();
    for (const [client, queue] of queues) {
      if (batch.length === BATCH_ROWS_MAX) break;
      const next = findFree(queue, keys);
      if (next === undefined) continue;
      remove(next);
      // Its next turn, in this loop or a later batch, comes after those of the others.
      if (queues.delete(client)) queues.set(client, queue);
      occupy(next);
      if (next.key !== undefined) keys.add(next.key);
      batch.push(next);
    }
    return batch;
  }

  function findFree(queue: Set<WaitingCall>, keys: Set<unknown>): WaitingCall | undefined {
    for (const one of queue) if (!rows.has(one.row) && !keys.has(one.key)) return one;
    return undefined;
  }

  function occupy({ row }: Call) {
    if (row !== undefined) rows.add(row);
  }

  /** Lets the next call that writes the row go. */
  function free({ row }: Call) {
    if (row === undefined) return;
    rows.delete(row);
    sendWaiting();
  }

  /** Lets calls wait for a statement until it has ended or takes too long. */
  function hold(statement: Promise<unknown>, timeoutMs = callers.holdTimesMs.alone) {
    holding += 1;
    let holds = true;
    const letGo = () => {
      if (holds) {
        holds = false;
        holding -= 1;
        endWatch();
      }
      // Its end may also have made room for another batch.
      sendWaiting();
    };
    const endWatch = deadlines.add(timeoutMs, letGo);
    statement.then(letGo, letGo);
  }

  function sendWaiting() {
    while (waiting > 0 && holding < HOLDING_MAX && batches < BATCHES_IN_FLIGHT_MAX) {
      const batch = takeBatch();
      // The rows of all that wait are being written.
      if (batch.length === 0) return;
      const [first] = batch;
      if (first && batch.length === 1) hold(sendAlone(first));
      else hold(sendTogether(batch), callers.holdTimesMs.together);
    }
  }

  function sendAlone(call: WaitingCall): Promise<void> {
    return callers
      .runFor(call.client, isShort, () => alone(call.scalars))
      .then(call.resolve, call.reject)
      .then(() => free(call));
  }

  async function sendTogether(batch: readonly WaitingCall[]): Promise<void> {
    batches += 1;
    const scalars = batch.map((call) => call.scalars);
    const [answers, error] = await callers
      .runFor(undefined, isShort, () => together(scalars))
      .then(
        (found) => [found] as const,
        (failure) => [undefined, failure] as const,
      );
    batches -= 1;
    if (answers === undefined && isUndone(error)) {
      hold(Promise.all(batch.map(sendAlone)));
      return;
    }
    for (const [n, call] of batch.entries()) {
      if (answers) call.resolve(answers[n] ?? []);
      else call.reject(error);
      free(call);
    }
  }

  /** Adds a call to those that wait. */
  function wait(call: Call): Promise<unknown[]> {
    const client = callers.currentClient();
    const hasRoom = waiting < BATCH_WAITING_MAX || makeRoom(queues.get(client)?.size ?? 0);
    if (!hasRoom) return Promise.reject(overloaded());
    const answer = Promise.withResolvers<unknown[]>();
    const budget = callers.begin();
    let isOver = false;
    // A call that is refused can still get the answer of its statement.
    const end = () => {
      if (isOver) return;
      isOver = true;
      for (const endWatch of watches) endWatch();
      budget.end();
    };
    const one: WaitingCall = {
      ...call,
      client,
      resolve(rows) {
        end();
        answer.resolve(rows);
      },
      reject(error) {
        end();
        answer.reject(error);
      },
    };
    const watches = [
      // Once it is in a statement, the deadline is that of the request: it may have written.
      deadlines.add(callers.waitTimeoutMs, () => remove(one) && one.reject(overloaded())),
      deadlines.add(budget.allowedMs, () => {
        remove(one);
        one.reject(callers.deadlineMissed());
      }),
    ];
    const queue = queues.get(client);
    if (queue) queue.add(one);
    else queues.set(client, new Set([one]));
    waiting += 1;
    return answer.promise;
  }

  /** Refuses the latest call of the longest queue. @returns false if none is longer than this. */
  function makeRoom(mine: number): boolean {
    let longest: Set<WaitingCall> | undefined;
    for (const queue of queues.values()) if (queue.size > (longest?.size ?? mine)) longest = queue;
    const latest = longest && [...longest].at(-1);
    if (!latest) return false;
    remove(latest);
    latest.reject(overloaded());
    return true;
  }

  return {
    run(call) {
      const isHeldBack = callers.isHeldBack(isShort);
      if (rows.has(call.row) || (holding >= HOLDING_MAX && !isHeldBack)) return wait(call);
      occupy(call);
      const send = () => alone(call.scalars);
      const answer = isShort ? callers.runShort(send) : send();
      if (call.row !== undefined) {
        const end = () => free(call);
        answer.then(end, end);
      }
      // A client that is held back waits in the pool, and the others would wait with it.
      if (!isHeldBack) hold(answer);
      return answer;
    },
  };
}

/**
 * Returns whether PostgreSQL refused a statement and undid it, so that each call can go again alone. Otherwise the
 * database is unavailable, which is the same for all, or what it did is unknown.
 */
function isUndone(error: unknown): boolean {
  const sqlstate = parseDatabaseError(error)?.sqlstate;
  return sqlstate !== undefined && !/^(08|25006|53|57P|58)/.test(sqlstate);
}
