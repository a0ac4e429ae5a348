/**
 * The pool on Bun: the built-in PostgreSQL client under Drizzle. By itself it waits for ever, for a slot behind others
 * and for an answer behind a stalled network, and its pool stays wedged when the network is back. So everything that
 * goes through here has a bounded queue, a bounded wait and a deadline, and a missed deadline gets a fresh pool.
 */
import { SQL } from 'bun';
import { drizzle } from 'drizzle-orm/bun-sql';
import { boundedConcurrency } from '../bounded-concurrency.ts';
import type { Settings } from '../settings.ts';
import { sharedTimeout } from '../timeouts.ts';
import type { Database } from './database.ts';
import { findFailure } from './failure.ts';

const CONNECT_TIMEOUT_SECONDS = 5;
const IDLE_TIMEOUT_SECONDS = 60;
/** Whoever closes has waited for the requests, and with them for their queries. */
const CLOSE_TIMEOUT_SECONDS = 1;
/** What the network may add to a statement that the server itself cancels at its timeout. */
const DEADLINE_MARGIN_SECONDS = 2;
/** Statements that wait for each connection; more would wait for longer than anybody wants to. */
const WAITING_PER_CONNECTION_MAX = 20;
const WAIT_TIMEOUT_MS = 5000;
const LISTEN_RETRY_MS = 1000;
/** Each dead connection fails one statement, and the next that is tried may be as dead. */
const READ_ATTEMPTS_MAX = 3;
/** A connection that was dead before shows at once; one that is closed after a silence is no reason to wait again. */
const READ_AGAIN_WITHIN_MS = 1000;

export interface Pool {
  readonly database: Database;
  /** Statements and transactions that have a connection, and those that wait for one. */
  readonly in_flight: number;
  readonly waiting: number;
  /**
   * Listens on a channel, on a connection beside the others, until the function that it returns is called.
   * @param onNotify is called for each notification, and after each break, in which some may have been missed.
   */
  listen(channel: string, onNotify: () => void): () => void;
  /** Ends idle connections at once and waits a moment for queries in flight. */
  close(): Promise<void>;
}

type PoolSettings = Pick<
  Settings,
  'database_pool_size' | 'database_prepare' | 'database_statement_timeout_seconds'
>;

type Query = Bun.SQL.Query<unknown>;

/**
 * Opens a pool. Connections are made when they are first needed, so this never fails.
 * @param locate finds the server where it is by now, once connections to it fail.
 */
export function openPool(
  url: string,
  settings: PoolSettings,
  locate: () => Promise<string> = async () => url,
): Pool {
  const size = settings.database_pool_size;
  const deadline_ms =
    (settings.database_statement_timeout_seconds + DEADLINE_MARGIN_SECONDS) * 1000;
  const withinDeadline = sharedTimeout(deadline_ms);
  const slots = boundedConcurrency(
    'database',
    size,
    size * WAITING_PER_CONNECTION_MAX,
    sharedTimeout(WAIT_TIMEOUT_MS),
  );
  let current_url = url;
  let client = connect(url, settings);
  let locating = false;
  const listeners = new Set<Listener>();

  /** What is in flight on the old pool fails. */
  function replace(used: SQL) {
    if (client !== used) return;
    client = connect(current_url, settings);
    used.close({ timeout: 0 }).catch(() => undefined);
  }

  /** Beside the statement that failed, which does not wait for it. */
  function relocate(used: SQL) {
    if (locating) return;
    locating = true;
    locate()
      .then((found) => {
        if (found === current_url) return;
        current_url = found;
        replace(used);
        for (const listener of listeners) listener.move(found);
      })
      // The next statement that fails asks again.
      .catch(() => undefined)
      .finally(() => {
        locating = false;
      });
  }

  /** Runs one piece of work in a slot, with a deadline. */
  const run = <T>(work: (client: SQL) => Promise<T>, cancel?: () => void): Promise<T> =>
    slots.run(async () => {
      const used = client;
      try {
        return await withinDeadline(work(used), () => {
          cancel?.();
          // Its other connections may be as dead as this one: let nobody else wait for them.
          replace(used);
          return new DeadlineMissed();
        });
      } catch (error) {
        if (isElsewhere(error)) relocate(used);
        throw error;
      }
    });

  /** Runs a statement, again if it only reads and its connection turned out to be dead. */
  async function query(
    text: string,
    parameters: unknown[],
    shape: (query: Query) => Promise<unknown>,
  ): Promise<unknown> {
    let latest: Query | undefined;
    const attempt = () =>
      run(
        (current) => {
          latest = current.unsafe(text, parameters);
          return shape(latest);
        },
        () => latest?.cancel(),
      );
    const begun_ms = performance.now();
    for (let attempts = 1; ; attempts += 1) {
      try {
        return await attempt();
      } catch (error) {
        // A write may have happened, so only its client can know whether to try again.
        const again =
          isRead(text) &&
          isDeadConnection(error) &&
          attempts < READ_ATTEMPTS_MAX &&
          performance.now() - begun_ms < READ_AGAIN_WITHIN_MS;
        if (!again) throw error;
      }
    }
  }

  /** What Drizzle asks of a client: a statement, for rows as objects or by `values()` as arrays; a transaction. */
  const guarded = {
    unsafe: (text: string, parameters: unknown[]) => ({
      // biome-ignore lint/suspicious/noThenProperty: Drizzle awaits it, as it can await Bun's own query.
      then: (...handlers: Parameters<Promise<unknown>['then']>) =>
        query(text, parameters, (one) => Promise.resolve(one)).then(...handlers),
      values: () => query(text, parameters, (one) => one.values()),
    }),
    begin: (work: (tx: SQL) => Promise<unknown>) => run((current) => current.begin(work)),
  };
  return {
    database: drizzle({ client: guarded as unknown as SQL }),
    get in_flight() {
      return slots.in_flight;
    },
    get waiting() {
      return slots.waiting;
    },
    listen(channel, onNotify) {
      const listener = openListener(current_url, channel, onNotify);
      listeners.add(listener);
      return () => {
        listeners.delete(listener);
        listener.close();
      };
    },
    async close() {
      for (const listener of listeners) listener.close();
      await client.close({ timeout: CLOSE_TIMEOUT_SECONDS });
    },
  };
}

interface Listener {
  /** Listens there from now on. */
  move(url: string): void;
  close(): void;
}

/** Bun's client listens again by itself once a connection has broken, but not where the server has gone elsewhere. */
function openListener(url: string, channel: string, onNotify: () => void): Listener {
  let client: SQL | undefined;
  async function open(at: string) {
    client?.close({ timeout: 0 }).catch(() => undefined);
    const opened = new SQL({
      url: at,
      max: 1,
      connectionTimeout: CONNECT_TIMEOUT_SECONDS,
      connection: { application_name: 'mantou listen' },
    });
    client = opened;
    while (client === opened) {
      const listening = await opened.listen(channel, onNotify, onNotify).catch(() => undefined);
      if (listening) return;
      await Bun.sleep(LISTEN_RETRY_MS);
    }
  }
  void open(url);
  return {
    move: (found) => void open(found),
    close() {
      client?.close({ timeout: 0 }).catch(() => undefined);
      client = undefined;
    },
  };
}

function connect(url: string, settings: PoolSettings): SQL {
  return new SQL({
    url,
    max: settings.database_pool_size,
    prepare: settings.database_prepare,
    connectionTimeout: CONNECT_TIMEOUT_SECONDS,
    idleTimeout: IDLE_TIMEOUT_SECONDS,
    connection: {
      application_name: 'mantou',
      statement_timeout: settings.database_statement_timeout_seconds * 1000,
      // To compile a plan takes longer than any statement here runs.
      jit: 'off',
      // A transaction whose client has gone silent must not keep its locks.
      idle_in_transaction_session_timeout:
        (settings.database_statement_timeout_seconds + DEADLINE_MARGIN_SECONDS) * 1000,
    },
  });
}

/** Reads like any other lost connection: `findFailure` knows the code. */
class DeadlineMissed extends Error {
  readonly code = 'ETIMEDOUT';

  constructor() {
    super('the database has not answered in time');
  }
}

const isRead = (text: string) =>
  /^\s*(select|with)\b/i.test(text) && !/\b(insert|update|delete|truncate)\b/i.test(text);

/** A connection that was closed, or whose server process was told to end; not one that cannot be made at all. */
function isDeadConnection(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return code === 'ERR_POSTGRES_CONNECTION_CLOSED' || findFailure(error)?.sqlstate === '57P01';
}

/** The server is gone, or somebody else's listens where it was: it refuses our password, or has not our database. */
function isElsewhere(error: unknown): boolean {
  const failure = findFailure(error);
  if (failure === undefined) return false;
  return failure.sqlstate === undefined || /^(57P0[123]|28...|3D000)$/.test(failure.sqlstate);
}
