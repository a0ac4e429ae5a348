/** Reads the environment once into a frozen record. Bad values stop the start, which names the variables. */
import ipaddr from 'ipaddr.js';
import { StartupError } from './errors/startup-error.ts';
import { type LogLevel, logLevels } from './lib/log.ts';
import { PostgresUrlFault, readPostgresUrl, type ServerRole } from './lib/postgres-url.ts';

export interface Settings {
  readonly production: boolean;
  readonly host: string;
  readonly port: number;
  /** The URL of the API as clients see it, without a slash at the end. Unset: as each request names it. */
  readonly publicUrl: string | undefined;
  /** Unset: metrics are served at `port`. */
  readonly metricsPort: number | undefined;
  /** May name several hosts, of which one is the primary. Unset: the embedded PostgreSQL under `dataDir`. */
  readonly databaseUrl: string | undefined;
  /** Leads to the server itself where `databaseUrl` leads to a pooler: for migrations, backups and LISTEN. */
  readonly databaseSessionUrl: string | undefined;
  /** Leads to a standby, from which exports and backups are read. Unset: they are read from the primary. */
  readonly databaseReplicaUrl: string | undefined;
  readonly dataDir: string;
  /** How many processes serve the port, each with a pool of its own. */
  readonly workers: number;
  readonly databasePoolSize: number;
  readonly databasePrepare: boolean;
  readonly databaseStatementTimeoutSeconds: number;
  /** Unset, in development only: one is made and kept under `dataDir`. */
  readonly jwtSecret: string | undefined;
  readonly jwtSecretPrevious: string | undefined;
  readonly jwtIssuer: string;
  readonly jwtAudience: string;
  readonly accessTokenTtlSeconds: number;
  /** How long a session lives that is not used. */
  readonly refreshTokenTtlSeconds: number;
  readonly registration: 'open' | 'closed';
  readonly rateLimit: boolean;
  /** How many proxies of ours each request comes through: whose entries of `X-Forwarded-For` are believed. */
  readonly trustedProxies: number;
  /** As a browser sends them in `Origin`; none closes the API to other sites. */
  readonly corsOrigins: readonly string[];
  readonly bodyLimitBytes: number;
  /** How long an event is kept: a client that has been away for longer starts afresh. */
  readonly eventsRetentionSeconds: number;
  /** How long what was deleted can be restored. 0: not at all. */
  readonly trashRetentionSeconds: number;
  /** Networks inside which webhooks may be delivered, as CIDR (RFC 4632). */
  readonly webhookAllow: readonly string[];
  readonly docs: boolean;
  readonly logLevel: LogLevel;
  /** Unset: pretty on a terminal, JSON elsewhere. */
  readonly logFormat: 'json' | 'pretty' | undefined;
}

/** The words that Bun, Node and their libraries know. */
const environments = ['production', 'development', 'test'] as const;

/** RFC 7518 §3.2: an HS256 key is at least as long as the hash. */
const SECRET_BYTES_MIN = 32;

/** PostgreSQL counts milliseconds in 31 bits, which end at 24 days. */
const STATEMENT_TIMEOUT_DAYS_MAX = 1;
const ACCESS_TOKEN_TTL_DAYS_MAX = 365;
const REFRESH_TOKEN_TTL_DAYS_MAX = 90;
const EVENTS_RETENTION_DAYS_MAX = 3650;
const TRASH_RETENTION_DAYS_MAX = 3650;
const TRUSTED_PROXIES_MAX = 10;
/** Far more than one machine has use for. */
const WORKERS_MAX = 64;
/** A body is held in memory. */
const BODY_LIMIT_MIB_MAX = 1024;

const MIB = 1024 ** 2;
const DAY_SECONDS = 86_400;
const secondsPerUnit = new Map(Object.entries({ s: 1, m: 60, h: 3600, d: DAY_SECONDS }));
const bytesPerUnit = new Map(Object.entries({ B: 1, KiB: 1024, MiB: MIB }));

/**
 * Reads the settings.
 * @throws {StartupError} naming every variable that is wrong and what it takes, never the value of a secret.
 */
export function readSettings(environment: Record<string, string | undefined>): Settings {
  /** An empty value counts as unset, so that a line of `.env` can be emptied. */
  const value = (name: string) => environment[name] || undefined;
  const faults: string[] = [];

  function read<T>(
    name: string,
    fallback: T,
    expected: string,
    parse: (text: string) => T | undefined,
  ): T {
    const text = value(name);
    if (text === undefined) return fallback;
    const parsed = parse(text);
    if (parsed === undefined) faults.push(`${name} must be ${expected}`);
    return parsed ?? fallback;
  }

  const integer = <T>(name: string, fallback: T, min: number, max: number) =>
    read<number | T>(name, fallback, `a whole number from ${min} to ${max}`, (text) => {
      const number = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
      return number >= min && number <= max ? number : undefined;
    });

  const oneOf = <const T extends string, Fallback extends T | undefined>(
    name: string,
    fallback: Fallback,
    values: readonly T[],
  ) =>
    read<T | Fallback>(name, fallback, `one of ${values.join(', ')}`, (text) =>
      values.find((one) => one === text),
    );

  const quantity = (
    name: string,
    fallback: number,
    max: number,
    units: Map<string, number>,
    expected: string,
  ) =>
    read(name, fallback, expected, (text) => {
      const [, digits, unit] = /^([1-9]\d{0,8})([A-Za-z]+)$/.exec(text) ?? [];
      const number = Number(digits) * (units.get(unit ?? '') ?? Number.NaN);
      return number <= max ? number : undefined;
    });

  const duration = (name: string, fallback: number, daysMax: number, orElse = '') =>
    quantity(
      name,
      fallback,
      daysMax * DAY_SECONDS,
      secondsPerUnit,
      `a duration such as 30s, 15m or 12h, up to ${daysMax}d${orElse}`,
    );

  const durationOrNone = (name: string, fallback: number, daysMax: number) =>
    value(name) === '0' ? 0 : duration(name, fallback, daysMax, ', or 0');

  const secret = (name: string) =>
    read(
      name,
      undefined,
      `at least ${SECRET_BYTES_MIN} bytes long: make one with "openssl rand -base64 48"`,
      (text) => (new TextEncoder().encode(text).length >= SECRET_BYTES_MIN ? text : undefined),
    );

  /** The forms are many, so the fault says which part of the text is wrong. */
  function postgresUrl(name: string, role: ServerRole = 'primary'): string | undefined {
    const text = value(name);
    const url = text === undefined ? undefined : readPostgresUrl(text, environment, role);
    if (!(url instanceof PostgresUrlFault)) return url;
    faults.push(`${name} must be ${url.expected}`);
    return undefined;
  }

  const settings: Settings = Object.freeze({
    production: oneOf('NODE_ENV', 'development', environments) === 'production',
    // An IPv6 address may come in brackets, as in a URL.
    host: read(
      'HOST',
      '127.0.0.1',
      'an address or a host name',
      (text) => /^[\w.:%-]+$/.exec(text.replace(/^\[(.*)\]$/, '$1'))?.[0],
    ),
    port: integer('PORT', 3000, 0, 65_535),
    publicUrl: read(
      'PUBLIC_URL',
      undefined,
      'a URL such as https://example.org/api, without a query or a user',
      readPublicUrl,
    ),
    metricsPort: integer('METRICS_PORT', undefined, 0, 65_535),
    databaseUrl: postgresUrl('DATABASE_URL'),
    databaseSessionUrl: postgresUrl('DATABASE_SESSION_URL'),
    databaseReplicaUrl: postgresUrl('DATABASE_REPLICA_URL', 'standby'),
    dataDir: value('DATA_DIR') ?? './.data',
    workers: integer('WORKERS', 1, 1, WORKERS_MAX),
    databasePoolSize: integer('DATABASE_POOL_SIZE', 10, 1, 1000),
    databasePrepare: oneOf('DATABASE_PREPARE', 'true', ['true', 'false']) === 'true',
    databaseStatementTimeoutSeconds: duration(
      'DATABASE_STATEMENT_TIMEOUT',
      10,
      STATEMENT_TIMEOUT_DAYS_MAX,
    ),
    jwtSecret: secret('JWT_SECRET'),
    jwtSecretPrevious: secret('JWT_SECRET_PREVIOUS'),
    jwtIssuer: value('JWT_ISSUER') ?? 'mantou',
    jwtAudience: value('JWT_AUDIENCE') ?? 'mantou',
    accessTokenTtlSeconds: duration('ACCESS_TOKEN_TTL', 15 * 60, ACCESS_TOKEN_TTL_DAYS_MAX),
    refreshTokenTtlSeconds: duration('REFRESH_TOKEN_TTL', 30 * 86_400, REFRESH_TOKEN_TTL_DAYS_MAX),
    registration: oneOf('REGISTRATION', 'open', ['open', 'closed']),
    rateLimit: oneOf('RATE_LIMIT', 'on', ['on', 'off']) === 'on',
    trustedProxies: integer('TRUST_PROXY', 0, 0, TRUSTED_PROXIES_MAX),
    corsOrigins: read(
      'CORS_ORIGINS',
      [],
      'origins such as https://app.example.org or http://localhost:5173, separated by commas',
      (text) => {
        const origins = text.split(',').map((one) => one.trim());
        return origins.every(isOrigin) ? origins : undefined;
      },
    ),
    bodyLimitBytes: quantity(
      'BODY_LIMIT',
      MIB,
      BODY_LIMIT_MIB_MAX * MIB,
      bytesPerUnit,
      `a size such as 512KiB or 1MiB, up to ${BODY_LIMIT_MIB_MAX}MiB`,
    ),
    eventsRetentionSeconds: duration(
      'EVENTS_RETENTION',
      90 * DAY_SECONDS,
      EVENTS_RETENTION_DAYS_MAX,
    ),
    trashRetentionSeconds: durationOrNone(
      'TRASH_RETENTION',
      30 * DAY_SECONDS,
      TRASH_RETENTION_DAYS_MAX,
    ),
    webhookAllow: read(
      'WEBHOOK_ALLOW',
      [],
      'networks or addresses such as 10.1.0.0/16 or ::1, separated by commas',
      (text) => {
        const networks = text.split(',').map((one) => one.trim());
        return networks.every(isNetwork) ? networks : undefined;
      },
    ),
    docs: oneOf('DOCS', 'on', ['on', 'off']) === 'on',
    logLevel: oneOf('LOG_LEVEL', 'info', logLevels),
    logFormat: oneOf('LOG_FORMAT', undefined, ['json', 'pretty']),
  });
  if (faults.length > 0) throw new StartupError(faults.join('; '));
  return settings;
}

/** Returns the names of all settings. */
export function settingNames(): string[] {
  const names = new Set<string>();
  readSettings(new Proxy({}, { get: (_, name) => void names.add(String(name)) }));
  return [...names];
}

function isNetwork(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/');
  const isIpv4 = ipaddr.IPv4.isValidFourPartDecimal(address);
  if (rest.length > 0 || !(isIpv4 || ipaddr.IPv6.isValid(address))) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (isIpv4 ? 32 : 128));
}

function readPublicUrl(text: string): string | undefined {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol)) return undefined;
  if (url.username || url.password || url.search || url.hash) return undefined;
  return url.href.replace(/\/+$/, '');
}

/** RFC 6454 §6.2, exactly as browsers write it: lower case, no default port, no path. A pattern would match none. */
function isOrigin(text: string): boolean {
  return /^https?:\/\/[^*]+$/.test(text) && URL.parse(text)?.origin === text;
}
