/**
 * The pool on Bun: one client of Bun's for each connection, under Drizzle. Bun's client waits without a bound, for a
 * connection and for an answer behind a stalled network. So every statement here has a bounded queue, a bounded wait and
 * a deadline.
 *
 * At its deadline a read is cancelled; a write is not: PostgreSQL would end the wait for a synchronous standby with the
 * row committed on the primary alone, and a failover would lose it. Its connection is detached: no caller waits for it, it
 * counts as one of the pool's, and it comes back when its statement ends. What a dead network has left on the server is
 * ended there.
 */
// Decision: docs/decisions/04-one-statement-per-connection.md
// Decision: docs/decisions/26-retry-reads-only.md
import type { SQL } from 'bun';
import { drizzle } from 'drizzle-orm/bun-sql';
import { allowBatching } from '../db/batching.ts';
import type { Database } from '../db/database.ts';
import { countTexts } from '../db/prepared.ts';
import { limitConcurrency } from '../lib/concurrency-limit.ts';
import { parseDatabaseError } from '../lib/database-error.ts';
import { createDeadlineWatch } from '../lib/deadline-watch.ts';
import { limitFairly } from '../lib/fair-concurrency-limit.ts';
import type { Log } from '../lib/log.ts';
import { sharedTimeout } from '../lib/timeout.ts';
import type { Settings } from '../settings.ts';
import { type Connection, identifyBackend, sessionMark } from './backend.ts';
import { openClient } from './client.ts';
import { clientAdapter, type Guard } from './client-adapter.ts';
import { DeadlineMissed, deadlineMs } from './deadlines.ts';
import { createDetachedConnections } from './detached-connections.ts';
import { type Listener, openListener } from './listener.ts';
import { createOutageLog } from './outage-log.ts';
import { isRead, retryRead } from './retry.ts';
import { createWorkScopes, type WorkScopes } from './work-scope.ts';

const IDLE_TIMEOUT_SECONDS = 60;
/** The server closes the pool after its requests have ended, and their queries with them. */
const CLOSE_TIMEOUT_SECONDS = 1;
/** Statements that wait for each connection; more of them would wait too long. */
const WAITING_PER_CONNECTION_MAX = 20;
const WAIT_TIMEOUT_MS = 5000;
/** With smaller batches a slow disk would be slower, so a statement for several calls is waited for longer. */
const HOLD_TIMES_MS = { alone: 100, together: 500 };
/** The share of the connections that one client can hold, where there are enough to share; the others are for everybody else. */
const CLIENT_SHARE_MAX = 0.6;
const SHARED_FROM_CONNECTIONS = 4;
/** The share of the connections that is kept for short reads: they wait for no long read, and for no write that waits. */
const SHORT_READS_SHARE = 0.2;
/** A read that was cancelled ends within this time, or its connection is dead. */
const CANCEL_TIMEOUT_MS = 1000;
/** An idle connection answers within this time, or it is dead. */
const PING_TIMEOUT_MS = 2000;
/** The checks of the readiness have a connection of their own, and are shared, so few of them wait. */
const PROBES_WAITING_MAX = 4;
const PROBE_TIMEOUT_MS = 3000;

export interface Pool {
  readonly database: Database;
  /** Runs a statement as `database` does, without Drizzle. */
  readonly query: Guard<SQL>['query'];
  /** Has a connection of its own, so that checks work while all others are taken, and take none of them. */
  readonly probe: Database;
  /** How many connections have ended that were not closed here. What was found out before the latest may be wrong. */
  countLosses(): number;
  /** Statements and transactions that have a connection, and those that wait for one. */
  readonly inFlight: number;
  readonly waiting: number;
  /** Connections that are not waited for any more, and still exist on the server. */
  readonly detached: number;
  readonly scopes: Pick<WorkScopes, 'runRequest' | 'runUnbounded' | 'bindStream'>;
  /** Prepared statements that each connection may keep. */
  readonly preparedTexts: number;
  /**
   * Listens on a channel, on a connection beside the others, until the function that it returns is called.
   * @param onNotify is called for each notification, and after each break, in which some may have been missed.
   */
  listen(channel: string, onNotify: () => void): () => void;
  /** Ends idle connections at once and waits a moment for queries in flight. */
  close(): Promise<void>;
}

export type PoolSettings = Pick<
  Settings,
  'databasePoolSize' | 'databasePrepare' | 'databaseStatementTimeoutSeconds'
>;

export interface PoolOptions {
  /** Finds the server where it is by now, once connections to it fail. It may wait until there is one. */
  resolveUrl?: () => Promise<{ url: string; sessionUrl?: string | undefined }>;
  /** Leads past a pooler, for LISTEN. */
  sessionUrl?: string | undefined;
  /** How long a statement waits for a connection. */
  waitTimeoutMs?: number;
  /** Whether a standby is used as well as a primary: for reads alone. */
  acceptsStandby?: boolean;
  log?: Log;
}

interface Work<T> {
  readonly isWrite: () => boolean;
  start(client: SQL): PromiseLike<T>;
  /** Ends a read on the server. */
  cancel(): void;
}

/** Opens a pool. Connections are made when they are first needed, so this never fails. */
export function createPool(
  url: string,
  settings: PoolSettings,
  {
    sessionUrl,
    resolveUrl = async () => ({ url, sessionUrl }),
    waitTimeoutMs = WAIT_TIMEOUT_MS,
    acceptsStandby = false,
    log = () => undefined,
  }: PoolOptions = {},
): Pool {
  const size = settings.databasePoolSize;
  const limitMs = deadlineMs(settings);
  const scopes = createWorkScopes(limitMs);
  const deadlines = createDeadlineWatch();
  const slots = limitFairly(
    'database',
    {
      inFlightMax: size,
      inFlightPerClientMax:
        size < SHARED_FROM_CONNECTIONS ? size : Math.ceil(size * CLIENT_SHARE_MAX),
      keptForShort: Math.floor(size * SHORT_READS_SHARE),
      waitingMax: size * WAITING_PER_CONNECTION_MAX,
    },
    sharedTimeout(waitTimeoutMs),
  );
  const probeSlot = limitConcurrency(
    'database probe',
    1,
    PROBES_WAITING_MAX,
    sharedTimeout(PROBE_TIMEOUT_MS),
  );
  const connections = new Set<Connection>();
  const running = new Set<Work<unknown>>();
  const listeners = new Set<Listener>();
  let idle: Connection[] = [];
  let probing: Connection | undefined;
  let currentUrl = url;
  /** Of the server itself. */
  let listenUrl = sessionUrl ?? url;
  let losses = 0;
  let isLocating = false;
  let isClosing = false;

  const outages = createOutageLog(log, () => runProbe((client) => client.unsafe('select 1')));
  const detached = createDetachedConnections({
    max: size,
    discard,
    ask: (work) => runProbe(work),
    onSyncWait: outages.syncWait,
  });

  // --- Connections -----------------------------------------------------------------------------------------------

  function prepareConnection(): Connection {
    const connection: Connection = {
      client: openClient(currentUrl, {
        prepare: settings.databasePrepare,
        idleTimeoutSeconds: IDLE_TIMEOUT_SECONDS,
        onclose: () => onClose(connection),
        parameters: {
          statement_timeout: settings.databaseStatementTimeoutSeconds * 1000,
          // Compiling a plan takes longer than any statement here runs.
          jit: 'off',
          // A transaction whose client has gone silent must not keep its locks.
          idle_in_transaction_session_timeout: sessionMark(limitMs),
        },
      }),
      backend: undefined,
      isClosed: false,
      isStale: false,
    };
    connections.add(connection);
    return connection;
  }

  function onClose(connection: Connection) {
    if (!connection.isClosed) losses += 1;
    discard(connection);
  }

  async function identify(connection: Connection): Promise<void> {
    try {
      connection.backend = await identifyBackend(connection.client, limitMs, acceptsStandby);
    } catch (error) {
      discard(connection);
      throw error;
    }
  }

  /** Closes a connection. Bun's client would open another one for the next statement, which no check has seen. */
  function discard(connection: Connection) {
    if (connection.isClosed) return;
    connection.isClosed = true;
    connections.delete(connection);
    idle = idle.filter((one) => one !== connection);
    if (probing === connection) probing = undefined;
    detached.forget(connection);
    connection.client.close({ timeout: 0 }).catch(() => undefined);
  }

  function release(connection: Connection) {
    if (connection.isClosed) return;
    if (connection.isStale || isClosing || idle.length >= size) discard(connection);
    // The one that was used last is used next, so the others can end.
    else idle.push(connection);
  }

  /** Takes back a connection whose statement has ended, however late. */
  function settle(connection: Connection) {
    detached.forget(connection);
    release(connection);
  }

  /** Lets no statement use a connection that is there now. What is in flight ends by itself. */
  function replaceConnections() {
    for (const connection of connections) connection.isStale = true;
    for (const connection of idle) discard(connection);
    if (probing) discard(probing);
  }

  /** Nothing that is under way on a former primary counts any more, and it may never answer. */
  function leaveServer() {
    losses += 1;
    for (const connection of [...connections]) discard(connection);
  }

  /** A network that lost one connection may have lost them all, and each would cost a statement its deadline. */
  function pingIdle() {
    for (const connection of idle.splice(0)) {
      const cancelWatch = deadlines.add(PING_TIMEOUT_MS, () => {
        if (!detached.add(connection)) discard(connection);
      });
      Promise.resolve(connection.client.unsafe('select 1'))
        .then(() => settle(connection))
        .catch(() => discard(connection))
        .finally(cancelWatch);
    }
  }

  /** Looks for the server in the background; the statement that failed does not wait for it. */
  function failOver() {
    if (isLocating || isClosing) return;
    isLocating = true;
    resolveUrl()
      .then((found) => {
        if (found.url !== currentUrl) {
          currentUrl = found.url;
          leaveServer();
        }
        const foundListenUrl = found.sessionUrl ?? found.url;
        if (foundListenUrl === listenUrl) return;
        listenUrl = foundListenUrl;
        for (const listener of listeners) listener.move(listenUrl);
      })
      // The next statement that fails looks again.
      .catch(() => undefined)
      .finally(() => {
        isLocating = false;
      });
  }

  function noteFailure(error: unknown) {
    const failure = parseDatabaseError(error);
    if (!failure?.unavailable) return;
    outages.failed(failure);
    // Connections to a server that has become a standby only read, and would do so for ever.
    if (failure.sqlstate === '25006') replaceConnections();
    if (isElsewhere(failure)) failOver();
  }

  // --- Statements ------------------------------------------------------------------------------------------------

  /** Runs one piece of work on a connection, with a deadline. */
  function run<T>(work: Work<T>): Promise<T> {
    const answer = Promise.withResolvers<T>();
    const budget = scopes.begin();
    const state: { connection?: Connection; isOver: boolean; onMiss?: () => void } = {
      isOver: false,
    };
    const endWatch = deadlines.add(budget.allowedMs, () => {
      state.isOver = true;
      const missed = new DeadlineMissed();
      answer.reject(missed);
      state.onMiss?.();
      noteFailure(missed);
    });
    slots
      .run(scopes.currentClient(), () => occupy(work, state, answer), scopes.isShort())
      .catch(answer.reject);
    return answer.promise.finally(() => {
      endWatch();
      budget.end();
    });
  }

  /** Holds a slot until the work has ended, or its connection is detached. */
  async function occupy<T>(
    work: Work<T>,
    state: { isOver: boolean; onMiss?: () => void },
    answer: PromiseWithResolvers<T>,
  ): Promise<void> {
    if (state.isOver) return;
    const freed = Promise.withResolvers<void>();
    running.add(work);
    try {
      // Each could be one more that the server cannot end. Where none is detached, the slots bound them.
      if (detached.size > 0 && work.isWrite() && detached.size + writesInFlight() > size)
        throw new DeadlineMissed();
      const connection = idle.pop() ?? (await connect(state));
      const done = Promise.resolve(work.start(connection.client));
      state.onMiss = () => {
        if (work.isWrite()) {
          if (detached.add(connection)) freed.resolve();
        } else {
          work.cancel();
          deadlines.add(CANCEL_TIMEOUT_MS, () => {
            if (running.has(work) && detached.add(connection)) freed.resolve();
          });
        }
        pingIdle();
      };
      done
        .then(
          (result) => {
            answer.resolve(result);
            outages.succeeded(work.isWrite);
          },
          (error) => {
            if (!state.isOver) noteFailure(error);
            answer.reject(error);
          },
        )
        .finally(() => {
          settle(connection);
          freed.resolve();
        });
      await freed.promise;
    } catch (error) {
      if (!state.isOver) noteFailure(error);
      throw error;
    } finally {
      running.delete(work);
    }
  }

  async function connect(state: { isOver: boolean; onMiss?: () => void }): Promise<Connection> {
    const connection = prepareConnection();
    state.onMiss = () => discard(connection);
    await identify(connection);
    if (state.isOver) {
      release(connection);
      throw new DeadlineMissed();
    }
    return connection;
  }

  const writesInFlight = () => [...running].filter((work) => work.isWrite()).length;

  /** Runs work on the connection of the probe. */
  async function runProbe<T>(start: (client: SQL) => PromiseLike<T>): Promise<T> {
    return probeSlot.run(async () => {
      const answer = Promise.withResolvers<T>();
      const connection = probing ?? prepareConnection();
      const endWatch = deadlines.add(PROBE_TIMEOUT_MS, () => {
        discard(connection);
        answer.reject(new DeadlineMissed());
      });
      const work = async () => {
        if (probing !== connection) await identify(connection);
        if (!connection.isClosed) probing = connection;
        return start(connection.client);
      };
      work().then(answer.resolve, answer.reject);
      try {
        return await answer.promise;
      } catch (error) {
        const failure = parseDatabaseError(error);
        if (failure && isElsewhere(failure)) failOver();
        throw error;
      } finally {
        endWatch();
      }
    });
  }

  /** Runs a statement, again if it only reads and its connection turned out to be dead. */
  const query: Pool['query'] = (text, parameters, shape) =>
    retryRead(text, () => {
      let latest: Bun.SQL.Query<unknown> | undefined;
      return run({
        isWrite: () => !isRead(text),
        start(client) {
          latest = client.unsafe(text, parameters);
          return shape(latest);
        },
        cancel: () => latest?.cancel(),
      });
    });

  const database = clientAdapter<SQL>({
    query,
    begin: (work) =>
      run({
        isWrite: () => true,
        start: (client) => client.begin(work),
        cancel: () => undefined,
      }),
  });
  const probe = clientAdapter<SQL>({
    query: (text, parameters, shape) =>
      runProbe((client) => shape(client.unsafe(text, parameters))),
    begin: (work) => runProbe((client) => client.begin(work)),
  });

  const shared: Database = drizzle({ client: database as unknown as SQL });
  allowBatching(shared, {
    holdTimesMs: HOLD_TIMES_MS,
    waitTimeoutMs,
    currentClient: scopes.currentClient,
    isHeldBack: (isShort) => slots.isHeldBack(scopes.currentClient(), isShort),
    runShort: scopes.runShort,
    runFor: scopes.runFor,
    begin: scopes.begin,
    deadlineMissed: () => new DeadlineMissed(),
  });
  return {
    database: shared,
    query,
    probe: drizzle({ client: probe as unknown as SQL }),
    countLosses: () => losses,
    get inFlight() {
      return slots.inFlight;
    },
    get preparedTexts() {
      return countTexts();
    },
    get waiting() {
      return slots.waiting;
    },
    get detached() {
      return detached.size;
    },
    scopes,
    listen(channel, onNotify) {
      const listener = openListener(listenUrl, channel, onNotify, { log, onLost: failOver });
      listeners.add(listener);
      return () => {
        listeners.delete(listener);
        listener.close();
      };
    },
    async close() {
      isClosing = true;
      outages.close();
      detached.close();
      for (const listener of listeners) listener.close();
      await Promise.all(
        [...connections].map(({ client }) => client.close({ timeout: CLOSE_TIMEOUT_SECONDS })),
      );
    },
  };
}

/**
 * Whether the server is gone, or another one has its address: that one only reads, refuses the password or lacks the database.
 * A pooler says that its server is gone.
 */
const isElsewhere = ({ sqlstate }: { sqlstate: string | undefined }): boolean =>
  sqlstate === undefined || /^(08...|57P0[123]|25006|28...|3D000|58000)$/.test(sqlstate);
