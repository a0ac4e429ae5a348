/**
 * Reads the errors of both database drivers, and says what an operator does about them. Bun.sql keeps the SQLSTATE in
 * `errno` and the constraint in `constraint`, postgres.js in `code` and `constraint_name`; Drizzle wraps either error in
 * `cause`.
 */
export interface DatabaseError {
  /** Five characters (PostgreSQL, appendix A), where the server sent an error. */
  sqlstate: string | undefined;
  /** The driver's or the system's name of the error, where no server sent one: `ERR_POSTGRES_CONNECTION_REFUSED`. */
  code: string | undefined;
  constraint: string | undefined;
  /** The ids of the rows that violate the constraint are in it. It may hold submitted values. */
  detail: string | undefined;
  /** The server cannot be reached, refuses the connection, is starting or stopping, or cut the connection. */
  unavailable: boolean;
  /** The text of the server or the driver. It may hold submitted values, so only the operator may see it. */
  message: string;
}

/** Connection errors by the names of Bun.sql, postgres.js, the system and TLS. */
const UNAVAILABLE_CODES =
  /^(ERR_POSTGRES_(CONNECTION|IDLE_TIMEOUT|LIFETIME_TIMEOUT|TLS|AUTHENTICATION|SASL|UN(KNOWN|SUPPORTED)_AUTHENTICATION|CHANNEL_BINDING|INVALID_(MESSAGE|SERVER|BACKEND)|EXPECTED|UNEXPECTED)|CONNECT|ECONN|ENOTFOUND|EAI_|EHOST|ENET|ETIMEDOUT|EPIPE|FailedToOpenSocket|ERR_(TLS|SSL|OSSL)_|CERT_|CRL_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|HOSTNAME_MISMATCH|INVALID_CA|NO_PRIMARY$)/;

/**
 * States that pass, and in which nothing was written: connection exceptions, operator intervention (57014 is a query
 * cancelled by its timeout), a server without room (on its disk, in its memory, for a connection), a server that only
 * reads or that a pooler cannot reach (58000), a transaction that lost against another one, and a server that refuses
 * the account or lacks the database.
 */
const UNAVAILABLE_STATES = /^(08...|57P..|57014|53...|58000|25006|40001|40P01|28...|3D000)$/;

/** Reads a driver's error, wrapped or not; undefined for any other error. */
export function parseDatabaseError(error: unknown): DatabaseError | undefined {
  for (
    let cause = error, depth = 0;
    cause instanceof Error && depth < 5;
    cause = cause.cause, depth += 1
  ) {
    const { code, errno, constraint, constraint_name, detail } = cause as Error &
      Record<string, unknown>;
    const sqlstate = [errno, code].find(
      (one): one is string => typeof one === 'string' && /^[0-9A-Z]{5}$/.test(one),
    );
    const name = constraint ?? constraint_name;
    const unreachable = typeof code === 'string' && UNAVAILABLE_CODES.test(code);
    if (sqlstate === undefined && !unreachable) continue;
    return {
      sqlstate,
      code: sqlstate === undefined ? (code as string) : undefined,
      constraint: typeof name === 'string' ? name : undefined,
      detail: typeof detail === 'string' ? detail : undefined,
      unavailable: unreachable || UNAVAILABLE_STATES.test(sqlstate ?? ''),
      message: cause.message,
    };
  }
  return undefined;
}

// --- Remedies ----------------------------------------------------------------------------------------------------

/** What an operator needs: `the database ${cause}: ${cure}`. Neither part holds a value that was sent. */
export interface Remedy {
  readonly cause: string;
  readonly cure: string;
}

const CERTIFICATE: Remedy = {
  cause: 'shows a certificate that is not trusted',
  cure: 'add sslrootcert=/path/to/ca.pem to DATABASE_URL, or renew the certificate of the server',
};
const POOLER: Remedy = {
  cause:
    'is behind a pooler in transaction mode, where prepared statements meet those of other clients',
  cure: 'set DATABASE_PREPARE=false, and DATABASE_SESSION_URL to the server itself',
};
const REFUSED: Remedy = {
  cause: 'cannot be reached',
  cure: 'start PostgreSQL, or correct DATABASE_URL',
};
const SILENT: Remedy = {
  cause: 'does not answer',
  cure: 'look at the network and the load of the server, and whether PostgreSQL listens at this port',
};
const CUT: Remedy = {
  cause: 'has cut the connection',
  cure: "look into the server's log, and what is between here and there",
};

/** By SQLSTATE, or by the code of the driver. */
const remedies: ReadonlyMap<string, Remedy> = new Map([
  ['28P01', { cause: 'refuses the user name or password in DATABASE_URL', cure: 'correct them' }],
  [
    '28000',
    {
      cause: 'refuses the user, the database or the address of this machine',
      cure: 'correct DATABASE_URL, or add a line to pg_hba.conf of the server',
    },
  ],
  [
    'no encryption',
    { cause: 'takes only connections with TLS', cure: 'add ?sslmode=require to DATABASE_URL' },
  ],
  ['3D000', { cause: 'does not exist', cure: 'create it, or correct DATABASE_URL' }],
  ['42P01', { cause: 'lacks the tables of this version', cure: 'run "bun run migrate"' }],
  [
    '42501',
    {
      cause: 'does not let the user of DATABASE_URL create tables',
      cure: 'grant it CREATE on the database and on its schema public',
    },
  ],
  ['25006', { cause: 'is read-only', cure: 'name the primary server in DATABASE_URL' }],
  [
    'NO_PRIMARY',
    { cause: 'is read-only (a standby)', cure: 'name the primary server in DATABASE_URL' },
  ],
  ['53100', { cause: 'has no room on its disk', cure: 'free some, or extend the disk' }],
  ['53200', { cause: 'has no memory left', cure: 'give the server more, or fewer connections' }],
  [
    '53300',
    { cause: 'has no connection left', cure: 'raise its max_connections, or end other clients' },
  ],
  ['57P01', { cause: 'is stopping', cure: 'wait for its restart, or start PostgreSQL' }],
  ['57P02', { cause: 'has crashed', cure: "wait for its restart, and look into the server's log" }],
  ['57P03', { cause: 'is starting or stopping', cure: 'wait, or start PostgreSQL' }],
  ['58000', { cause: 'cannot be reached by the pooler', cure: 'start PostgreSQL' }],
  ['08P01', POOLER],
  ['42P05', POOLER],
  ['26000', POOLER],
  [
    'SYNC_WAIT',
    {
      cause: 'waits for a synchronous standby that does not answer',
      cure: 'start the standby, or take it out of synchronous_standby_names',
    },
  ],
  ['ERR_POSTGRES_CONNECTION_REFUSED', REFUSED],
  ['ECONNREFUSED', REFUSED],
  ['ERR_POSTGRES_CONNECTION_FAILED', CUT],
  ['ERR_POSTGRES_CONNECTION_CLOSED', CUT],
  ['ECONNRESET', CUT],
  ['ERR_POSTGRES_CONNECTION_TIMEOUT', SILENT],
  ['ETIMEDOUT', SILENT],
  [
    'ERR_POSTGRES_TLS_NOT_AVAILABLE',
    {
      cause: 'has no TLS, which sslmode in DATABASE_URL asks for',
      cure: 'turn on ssl on the server, or correct sslmode',
    },
  ],
]);

const CERTIFICATE_CODES =
  /^(CERT_|CRL_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|HOSTNAME_MISMATCH|INVALID_CA|ERR_TLS_CERT)/;

/** Returns the cause and the cure of an error; undefined where the error says nothing about the database as a whole. */
export function remedyOf({ sqlstate, code, message }: DatabaseError): Remedy | undefined {
  if (sqlstate === '28000' && message.includes('no encryption'))
    return remedies.get('no encryption');
  const name = sqlstate ?? code ?? '';
  if (CERTIFICATE_CODES.test(name)) return CERTIFICATE;
  return remedies.get(name) ?? (/^08/.test(name) ? CUT : undefined);
}
