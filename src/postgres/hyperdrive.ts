/**
 * PostgreSQL at the edge: postgres.js under Drizzle, through Hyperdrive, which keeps the pool. A worker may use a
 * connection only in the request that opened it, so each request has one of its own: opened at its first statement,
 * closed after its answer. The app is made once an isolate; it finds the connection of the request by AsyncLocalStorage.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { drizzle } from 'drizzle-orm/postgres-js';
import postgres, {
  type PendingQuery,
  type Row,
  type Sql,
  type TransactionSql,
  type UnsafeQueryOptions,
} from 'postgres';
import { parse as parseArray } from 'postgres-array';
import type { Database } from '../db/database.ts';
import { timeout } from '../lib/timeout.ts';
import type { Settings } from '../settings.ts';
import { inContext } from './bind-stream.ts';
import { clientAdapter } from './client-adapter.ts';
import { CONNECT_TIMEOUT_SECONDS, DeadlineMissed, deadlineMs } from './deadlines.ts';

/** The type's number in `pg_type`. */
const TEXT_ARRAY = 1009;

const CLOSE_TIMEOUT_SECONDS = 5;
/** Connections that one statement may open. */
const CONNECTS_MAX = 3;

/** Cloudflare's pool of connections. */
export interface Hyperdrive {
  /** Read it in a request: a part of it is random, and an isolate has no randomness while it starts. */
  readonly connectionString: string;
}

export interface EdgeDatabase {
  /** Runs statements on the connection of the current request. */
  readonly database: Database;
  /** Runs a request, and makes the runtime wait until its connection is closed. */
  runInRequest<T>(work: () => Promise<T>, waitUntil: (rest: Promise<unknown>) => void): Promise<T>;
  /** Returns the same pieces, made with the connection of this request, which stays open until the last one. */
  bindStream<T>(pieces: AsyncGenerator<T>): AsyncGenerator<T>;
}

type EdgeSettings = Pick<Settings, 'databasePrepare' | 'databaseStatementTimeoutSeconds'>;

interface Connection {
  client: Sql | undefined;
  /** How often the client has connected for the latest statement. */
  connects: number;
  readonly streams: Promise<void>[];
}

/** Opens no connection before the first statement of a request. */
export function createEdgeDatabase(hyperdrive: Hyperdrive, settings: EdgeSettings): EdgeDatabase {
  const withinDeadline = timeout(deadlineMs(settings));
  const connections = new AsyncLocalStorage<Connection>();

  /** Drizzle sets once how a client reads and writes times and JSON; the clients here are made later. */
  const types: Pick<Sql['options'], 'parsers' | 'serializers'> = { parsers: {}, serializers: {} };

  function open(connection: Connection): Sql {
    const client = connect(hyperdrive.connectionString, settings);
    // Drizzle's own reader of arrays loses backslashes.
    Object.assign(client.options.parsers, types.parsers, { [TEXT_ARRAY]: parseArray });
    Object.assign(client.options.serializers, types.serializers);
    limitConnects(client, connection);
    return client;
  }

  /** Runs one piece of work over the request's connection, with a deadline. */
  async function run<T>(work: (client: Sql) => Promise<T>): Promise<T> {
    const connection = connections.getStore();
    if (!connection) throw new Error('the database was asked outside of a request');
    connection.client ??= open(connection);
    connection.connects = 0;
    const { client } = connection;
    try {
      return await withinDeadline(work(client), () => {
        connection.client = undefined;
        client.end({ timeout: 0 }).catch(() => undefined);
        return new DeadlineMissed();
      });
    } catch (error) {
      throw withCode(error);
    }
  }

  const adapter = {
    options: types,
    ...clientAdapter<Statements>({
      query: (text, parameters, shape) =>
        run(async (client) => shape(inOneTrip(client).unsafe(text, parameters))),
      begin: (work) => run((client) => client.begin((tx) => work(inOneTrip(tx)))),
    }),
  };

  return {
    database: drizzle({ client: adapter as unknown as Sql }),
    runInRequest(work, waitUntil) {
      const connection: Connection = { client: undefined, connects: 0, streams: [] };
      const answered = connections.run(connection, work);
      // Even if the HTTP client has gone: another request may wait for what this one loads for both.
      waitUntil(closeAfter(answered, connection));
      return answered;
    },
    bindStream(pieces) {
      const ended = Promise.withResolvers<void>();
      connections.getStore()?.streams.push(ended.promise);
      return inContext(pieces, ended.resolve);
    },
  };
}

function connect(url: string, settings: EdgeSettings): Sql {
  return postgres(url, {
    max: 1,
    // Otherwise postgres.js asks for types before the first statement; the types here are known.
    fetch_types: false,
    connect_timeout: CONNECT_TIMEOUT_SECONDS,
    // A timer must not outlive the request.
    idle_timeout: undefined,
    max_lifetime: null,
    onnotice: () => undefined,
    prepare: settings.databasePrepare,
    // No statement timeout: poolers refuse parameters that they do not know. Set it on the database or the role.
    connection: { application_name: 'mantou' },
  });
}

/**
 * Fails a statement that would connect again and again. Where a server closes a connection before the log-in is complete,
 * postgres.js connects again at once and without end; it reads this parameter for each connection.
 */
function limitConnects(client: Sql, connection: Connection): void {
  const name = client.options.connection.application_name;
  Object.defineProperty(client.options.connection, 'application_name', {
    enumerable: true,
    get() {
      connection.connects += 1;
      if (connection.connects > CONNECTS_MAX)
        throw new Error('the server closes connections before the log-in is complete');
      return name;
    },
  });
}

interface Statements {
  unsafe(text: string, parameters: unknown[]): PendingQuery<(Row & Iterable<Row>)[]>;
}

/** One statement in a text, though the types of postgres.js expect several. */
const AS_PREPARED = { prepare: true, simple: false } as UnsafeQueryOptions;

/**
 * Sends each statement in one round trip, under a name by which Hyperdrive caches it. Given parameters, postgres.js asks
 * for their types and waits for the answer; parameters that are set on the query itself it only sends.
 */
const inOneTrip = (client: Sql | TransactionSql): Statements => ({
  unsafe: (text, parameters) =>
    Object.assign(client.unsafe(text, [], AS_PREPARED), { parameters: parameters.map(scalar) }),
});

/** Drizzle writes arrays, objects and times as text, and PostgreSQL infers their types. */
function scalar(value: unknown): unknown {
  if (value === null || ['string', 'number', 'boolean'].includes(typeof value)) return value;
  throw new TypeError(`a ${typeof value} is no parameter`);
}

async function closeAfter(answered: Promise<unknown>, connection: Connection): Promise<void> {
  await Promise.allSettled([answered]);
  await Promise.all(connection.streams);
  await connection.client?.end({ timeout: CLOSE_TIMEOUT_SECONDS });
}

/** On Workers the error of a lost connection has no code, only a text that differs from place to place. */
function withCode(error: unknown): unknown {
  const isBare = error instanceof Error && error.constructor === Error && !('code' in error);
  return isBare ? Object.assign(error, { code: 'ECONNRESET' }) : error;
}
