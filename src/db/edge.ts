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
import type { Settings } from '../settings.ts';
import type { Database } from './database.ts';

/** The type's number in `pg_type`. */
const TEXT_ARRAY = 1009;

const CONNECT_TIMEOUT_SECONDS = 5;
const CLOSE_TIMEOUT_SECONDS = 5;
/** What the network may add to a statement that the server itself cancels at its timeout. */
const DEADLINE_MARGIN_SECONDS = 2;

/** Cloudflare's pool of connections. */
export interface Hyperdrive {
  /** To be read in a request: a part of it is random, and nothing is while an isolate starts. */
  readonly connectionString: string;
}

export interface EdgeDatabase {
  /** Asks over the connection of the request that asks. */
  readonly database: Database;
  /** Answers a request, and has the runtime wait until its connection is closed. */
  answer<T>(work: () => Promise<T>, waitUntil: (rest: Promise<unknown>) => void): Promise<T>;
  /** The same pieces, made with the connection of this request, which stays open until the last. */
  streamed<T>(pieces: AsyncGenerator<T>): AsyncGenerator<T>;
}

type EdgeSettings = Pick<Settings, 'database_prepare' | 'database_statement_timeout_seconds'>;

interface Connection {
  client: Sql | undefined;
  readonly streams: Promise<void>[];
}

/** Nothing is opened before a request asks. */
export function edgeDatabase(hyperdrive: Hyperdrive, settings: EdgeSettings): EdgeDatabase {
  const deadline_ms =
    (settings.database_statement_timeout_seconds + DEADLINE_MARGIN_SECONDS) * 1000;
  const connections = new AsyncLocalStorage<Connection>();

  /** Drizzle tells a client once how to read and write times and JSON; ours are made later. */
  const types: Pick<Sql['options'], 'parsers' | 'serializers'> = { parsers: {}, serializers: {} };

  function open(): Sql {
    const client = connect(hyperdrive.connectionString, settings);
    // Drizzle would lose backslashes.
    Object.assign(client.options.parsers, types.parsers, { [TEXT_ARRAY]: parseArray });
    Object.assign(client.options.serializers, types.serializers);
    return client;
  }

  /** Runs one piece of work over the request's connection, with a deadline. */
  async function run<T>(work: (client: Sql) => Promise<T>): Promise<T> {
    const connection = connections.getStore();
    if (!connection) throw new Error('the database was asked outside of a request');
    connection.client ??= open();
    const { client } = connection;
    const deadline = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      connection.client = undefined;
      client.end({ timeout: 0 }).catch(() => undefined);
      deadline.reject(deadlineMissed());
    }, deadline_ms);
    try {
      return await Promise.race([work(client), deadline.promise]);
    } catch (error) {
      throw withCode(error);
    } finally {
      clearTimeout(timer);
    }
  }

  /** What Drizzle asks of a client: a statement, for rows as objects or by `values()` as arrays; a transaction. */
  const guarded = {
    options: types,
    unsafe: (text: string, parameters: unknown[]) => ({
      // biome-ignore lint/suspicious/noThenProperty: Drizzle awaits it, as it can await postgres.js's own query.
      then: (...handlers: Parameters<Promise<unknown>['then']>) =>
        run((client) => inOneTrip(client).unsafe(text, parameters)).then(...handlers),
      values: () => run((client) => inOneTrip(client).unsafe(text, parameters).values()),
    }),
    begin: (work: (tx: Statements) => Promise<unknown>) =>
      run((client) => client.begin((tx) => work(inOneTrip(tx)))),
  };

  return {
    database: drizzle({ client: guarded as unknown as Sql }),
    answer(work, waitUntil) {
      const connection: Connection = { client: undefined, streams: [] };
      const answered = connections.run(connection, work);
      // Also if the client has gone: another request may wait for what this one looks up for both.
      waitUntil(closeAfter(answered, connection));
      return answered;
    },
    streamed(pieces) {
      const ended = Promise.withResolvers<void>();
      connections.getStore()?.streams.push(ended.promise);
      return inRequest(AsyncLocalStorage.snapshot(), pieces, ended.resolve);
    },
  };
}

function connect(url: string, settings: EdgeSettings): Sql {
  return postgres(url, {
    max: 1,
    // It would ask for types before the first statement; those of ours are known.
    fetch_types: false,
    connect_timeout: CONNECT_TIMEOUT_SECONDS,
    // No timer has to outlive the request.
    idle_timeout: undefined,
    max_lifetime: null,
    onnotice: () => undefined,
    prepare: settings.database_prepare,
    // No timeout among them: poolers refuse what they do not know. It is the database's or the role's to set.
    connection: { application_name: 'mantou' },
  });
}

/** Whoever reads a stream asks for its pieces outside of the request. */
async function* inRequest<T>(
  resume: <R>(work: () => R) => R,
  pieces: AsyncGenerator<T>,
  onEnd: () => void,
): AsyncGenerator<T> {
  try {
    for (;;) {
      const { value, done } = await resume(() => pieces.next());
      if (done) return;
      yield value;
    }
  } finally {
    await resume(() => pieces.return(undefined));
    onEnd();
  }
}

interface Statements {
  unsafe(text: string, parameters: unknown[]): PendingQuery<(Row & Iterable<Row>)[]>;
}

/** Not for many statements in one text, which the types of postgres.js take for granted. */
const AS_PREPARED = { prepare: true, simple: false } as UnsafeQueryOptions;

/**
 * Each statement in one round trip, under a name, by which Hyperdrive knows it. postgres.js would ask what the types of
 * the parameters are, and wait for the answer, if it were given any; what it is given as a query's own it only sends.
 */
const inOneTrip = (client: Sql | TransactionSql): Statements => ({
  unsafe: (text, parameters) =>
    Object.assign(client.unsafe(text, [], AS_PREPARED), { parameters: parameters.map(scalar) }),
});

/** Drizzle has written arrays, objects and times as text, of which PostgreSQL finds the type. */
function scalar(value: unknown): unknown {
  if (value === null || ['string', 'number', 'boolean'].includes(typeof value)) return value;
  throw new TypeError(`a ${typeof value} is no parameter`);
}

async function closeAfter(answered: Promise<unknown>, connection: Connection): Promise<void> {
  await Promise.allSettled([answered]);
  await Promise.all(connection.streams);
  await connection.client?.end({ timeout: CLOSE_TIMEOUT_SECONDS });
}

/** Reads like any other lost connection: `findFailure` knows the code. */
const deadlineMissed = () =>
  Object.assign(new Error('the database has not answered in time'), { code: 'ETIMEDOUT' });

/** Workers tell of a lost connection in words alone, which differ from place to place. */
function withCode(error: unknown): unknown {
  const is_bare = error instanceof Error && error.constructor === Error && !('code' in error);
  return is_bare ? Object.assign(error, { code: 'ECONNRESET' }) : error;
}
