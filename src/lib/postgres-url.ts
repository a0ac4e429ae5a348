/**
 * Reads a connection string of PostgreSQL as Bun's client takes it, and says what to write in the place of forms that
 * libpq, Prisma and others know and the client does not. No message repeats a part of it: a password that is not escaped
 * can end up in any part.
 */

const FORM = 'a URL such as postgres://user:password@host:5432/database';
const SOCKET_FORM = 'postgres://user:password@localhost/database?host=/folder/of/the/socket';
const ESCAPES = 'in a password, / ? # @ : and % are written %2F %3F %23 %40 %3A and %25';
const SEVERAL_FORM = 'postgres://user:password@host1:5432,host2:5432/database';
const SSL_MODES = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'];

/** Parameters that other programs know, and what to do instead. */
const foreignParameters = new Map([
  ['pgbouncer', 'set DATABASE_PREPARE=false'],
  ['connection_limit', 'set DATABASE_POOL_SIZE'],
  ['pool_timeout', 'set DATABASE_POOL_SIZE'],
  ['sslaccept', 'write sslmode=require or sslmode=verify-full'],
  ['sslidentity', 'write sslcert and sslkey'],
  ['prepareThreshold', 'set DATABASE_PREPARE=false'],
  ['targetServerType', 'write target_session_attrs=read-write'],
  ['load_balance_hosts', 'write the hosts alone, which are asked side by side,'],
]);

/** Which servers a connection string may lead to. Of several hosts a primary is looked for, or a standby. */
export type ServerRole = 'primary' | 'standby';

/** Values of libpq's `target_session_attrs` by the role that they ask for. */
const sessionAttributes: Record<ServerRole, string[]> = {
  primary: ['read-write', 'primary'],
  standby: ['any', 'read-only', 'standby', 'prefer-standby'],
};

/** A fault that completes the sentence `DATABASE_URL must be …`. */
export class PostgresUrlFault {
  constructor(readonly expected: string) {}
}

/**
 * Returns the connection string in a form that is a URL and that the client takes. One that names several hosts is not a
 * URL (WHATWG): `hostUrls` makes one of each host.
 * @param environment supplies PGSSLMODE and PGSSLROOTCERT, as in libpq, for what the string leaves out.
 * @param role is what `target_session_attrs` may ask for, which this takes away.
 */
export function readPostgresUrl(
  text: string,
  environment: Record<string, string | undefined>,
  role: ServerRole = 'primary',
): string | PostgresUrlFault {
  if (/^(unix|socket|file):|^\//i.test(text))
    return new PostgresUrlFault(`${FORM}; for a Unix socket write ${SOCKET_FORM}`);
  if (/^(host|dbname|user|port)\s*=/.test(text))
    return new PostgresUrlFault(`${FORM}, not keywords and values`);
  const [, scheme = '', authority = '', rest = ''] = STRING_PARTS.exec(text) ?? [];
  if (scheme === '') return new PostgresUrlFault(FORM);
  // The first / ? or # ends the authority. If an @ follows, that was the end of a password.
  if (/[@#]/.test(rest)) return new PostgresUrlFault(`${FORM}; ${ESCAPES}`);
  const [credentials, host] = splitAuthority(authority);
  const several = listHosts(host, rest);
  if (several instanceof PostgresUrlFault) return several;
  if (several !== undefined) {
    const read = several.hosts.map((one) =>
      readPostgresUrl(`${scheme}${credentials}${one}${several.rest}`, environment, role),
    );
    for (const one of read) if (one instanceof PostgresUrlFault) return one;
    // TLS is not for sockets, and each URL of a socket has its folder as a parameter.
    const tcp = several.hosts.findIndex((one) => !one.startsWith('%2F'));
    const common = new URL(String(read[Math.max(tcp, 0)]));
    if (tcp < 0) common.searchParams.delete('host');
    return `${scheme}${credentials}${several.hosts.join(',')}${common.pathname || '/'}${common.search}`;
  }
  const url = URL.parse(`${scheme}${credentials}${host === '' ? 'localhost' : host}${rest}`);
  if (url === null || ![url.username, url.password, url.pathname, url.hostname].every(isDecodable))
    return new PostgresUrlFault(`${FORM}; ${ESCAPES}`);
  const given = url.searchParams;
  nameSocketByParameter(url);
  if (host === '' && !given.has('host'))
    return new PostgresUrlFault(`${FORM}; for a Unix socket write ${SOCKET_FORM}`);
  for (const [name, cure] of foreignParameters)
    if (given.has(name)) return new PostgresUrlFault(`without ${name}: ${cure} instead`);
  const schema = given.get('schema');
  if (schema !== null && schema !== 'public')
    return new PostgresUrlFault(
      'without schema: write search_path with the name of the schema instead, or set it for the role (alter role … set search_path = …)',
    );
  const attributes = given.get('target_session_attrs');
  if (attributes !== null && !sessionAttributes[role].includes(attributes))
    return new PostgresUrlFault(
      `a URL whose target_session_attrs is one of ${sessionAttributes[role].join(', ')}`,
    );
  // Any change writes the whole query anew, in other escapes.
  for (const name of ['schema', 'target_session_attrs']) if (given.has(name)) given.delete(name);
  return withTls(url, text, environment);
}

const STRING_PARTS = /^(postgres(?:ql)?:\/\/)([^/?#]*)(.*)$/is;

function splitAuthority(authority: string): [credentials: string, host: string] {
  const at = authority.lastIndexOf('@');
  return [authority.slice(0, at + 1), authority.slice(at + 1)];
}

/** libpq takes the folder of the socket as an escaped host, too. */
function nameSocketByParameter(url: URL) {
  const socket = decodeURIComponent(url.hostname);
  if (!socket.startsWith('/')) return;
  url.searchParams.set('host', socket);
  url.hostname = 'localhost';
}

/**
 * Returns the hosts of a connection string that names several, and the path and the query without them; undefined where
 * there is one. They stand before the path or in the parameters `host` and `port` (PostgreSQL, "Specifying Multiple Hosts").
 */
function listHosts(
  authority: string,
  rest: string,
): { hosts: string[]; rest: string } | PostgresUrlFault | undefined {
  const fault = new PostgresUrlFault(
    `a URL with a host between any two commas, such as ${SEVERAL_FORM}`,
  );
  const [path = '', query = ''] = rest.split('?');
  const given = new URLSearchParams(query);
  const named = given.get('host') ?? '';
  if (!named.includes(',')) {
    if (!authority.includes(',')) return undefined;
    const hosts = authority.split(',');
    return hosts.every((one) => /^(\[[^\]]+\]|[^:[\]]+)(:\d+)?$/.test(one))
      ? { hosts, rest }
      : fault;
  }
  const [names, ports] = [named.split(','), (given.get('port') ?? '').split(',')];
  if (names.includes('') || (ports.length > 1 && ports.length !== names.length)) return fault;
  given.delete('host');
  given.delete('port');
  const hosts = names.map((name, at) => {
    const port = ports[ports.length === 1 ? 0 : at];
    const escaped = name.includes(':') ? `[${name}]` : encodeURIComponent(name);
    return port ? `${escaped}:${port}` : escaped;
  });
  return { hosts, rest: given.size > 0 ? `${path}?${given}` : path };
}

/** Returns one URL for each host of a connection string. */
export function hostUrls(url: string): string[] {
  const [, scheme = '', authority = '', rest = ''] = STRING_PARTS.exec(url) ?? [];
  const [credentials, host] = splitAuthority(authority);
  if (!host.includes(',')) return [url];
  return host.split(',').map((one) => {
    const single = new URL(`${scheme}${credentials}${one}${rest}`);
    nameSocketByParameter(single);
    return single.href;
  });
}

function withTls(url: URL, text: string, environment: Record<string, string | undefined>) {
  const given = url.searchParams;
  const isSocket = given.get('host')?.startsWith('/') ?? false;
  const { PGSSLMODE, PGSSLROOTCERT } = environment;
  if (!isSocket && PGSSLMODE && !given.has('sslmode') && !given.has('ssl'))
    given.set('sslmode', PGSSLMODE);
  const mode = given.get('sslmode');
  if (mode !== null && !SSL_MODES.includes(mode))
    return new PostgresUrlFault(
      `a URL whose sslmode is one of ${SSL_MODES.join(', ')}${mode === 'no-verify' ? '; require does not verify the certificate' : ''}`,
    );
  const usesTls = mode !== null && !['disable', 'allow', 'prefer'].includes(mode);
  if (usesTls && PGSSLROOTCERT && !given.has('sslrootcert'))
    given.set('sslrootcert', PGSSLROOTCERT);
  // The certificates of the system are what the client trusts by itself.
  if (given.get('sslrootcert') === 'system') {
    given.delete('sslrootcert');
    given.set('sslmode', 'verify-full');
  }
  const isChanged = url.href !== URL.parse(text)?.href;
  return isChanged ? url.href : text;
}

/** Returns the files that the connection string names, by the parameter that does. */
export function filesOf(url: string): [parameter: string, path: string][] {
  const given = new URL(hostUrls(url)[0] ?? url).searchParams;
  return ['sslrootcert', 'sslcert', 'sslkey'].flatMap((name) => {
    const path = given.get(name);
    return path ? [[name, path]] : [];
  });
}

/** Returns the host and port of a connection string, or the path of its socket. */
export function addressOf(url: string): { host: string; port: number } | { path: string } {
  const { hostname, port, searchParams } = new URL(url);
  const host = searchParams.get('host') || decodeURIComponent(hostname).replace(/^\[(.*)\]$/, '$1');
  const number = Number(searchParams.get('port') || port || 5432);
  return host.startsWith('/') ? { path: `${host}/.s.PGSQL.${number}` } : { host, port: number };
}

/** A percent sign that stands for itself has to be written %25. */
function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}
