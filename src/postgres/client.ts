/** Opens Bun's client. Only the URL says where it connects and as which role. */
import { userInfo } from 'node:os';
import { SQL } from 'bun';
import { StartupError } from '../errors/startup-error.ts';
import { CONNECT_TIMEOUT_SECONDS } from './deadlines.ts';

const DEFAULT_PORT = 5432;

export interface ClientOptions {
  /** What the server's list of connections shows after `mantou`. */
  purpose?: string;
  prepare?: boolean;
  idleTimeoutSeconds?: number;
  /** Settings of the session, as startup parameters. */
  parameters?: Record<string, string | number>;
  connectTimeoutSeconds?: number;
  onclose?: (error: unknown) => void;
}

/**
 * Returns a client with one connection, which is opened for the first statement.
 * @throws {StartupError} for a URL that is not valid.
 */
export function openClient(url: string, options: ClientOptions = {}): SQL {
  const { purpose, parameters, connectTimeoutSeconds = CONNECT_TIMEOUT_SECONDS } = options;
  // Bun would send these options to the server: a search_path among them leads to other tables.
  delete process.env.PGOPTIONS;
  try {
    // A URL in the first argument keeps Bun from reading TLS_DATABASE_URL and the like.
    return new SQL(url, {
      ...targetOf(url),
      max: 1,
      prepare: options.prepare ?? true,
      channelBinding: new URL(url).searchParams.get('channel_binding') ?? 'disable',
      connectionTimeout: connectTimeoutSeconds,
      ...(options.idleTimeoutSeconds && { idleTimeout: options.idleTimeoutSeconds }),
      ...(options.onclose && { onclose: options.onclose }),
      connection: {
        application_name: purpose === undefined ? 'mantou' : `mantou ${purpose}`,
        // Without prepared statements values come as text, whose form is the role's otherwise.
        DateStyle: 'ISO',
        TimeZone: 'UTC',
        ...parameters,
      },
    } as Bun.SQL.Options);
  } catch (error) {
    throw new StartupError(`DATABASE_URL cannot be used: ${(error as Error).message}`);
  }
}

/**
 * Returns everything for which Bun's client prefers, or falls back to, the variables PGHOST, PGPORT, PGUSER, PGPASSWORD and
 * PGDATABASE.
 */
export function targetOf(url: string) {
  const { hostname, port, username, password, pathname, searchParams } = new URL(url);
  const named = (name: string) => searchParams.get(name) || undefined;
  const role =
    named('user') ?? (username === '' ? userInfo().username : decodeURIComponent(username));
  const secret = named('password') ?? decodeURIComponent(password);
  return {
    hostname: named('host') ?? (hostname === '' ? 'localhost' : decodeURIComponent(hostname)),
    port: Number(named('port') ?? (port || DEFAULT_PORT)),
    username: role,
    // An empty text would fall back to PGPASSWORD, a function does not.
    password: secret === '' ? () => '' : secret,
    database: decodeURIComponent(pathname.slice(1)) || (named('dbname') ?? role),
  };
}
