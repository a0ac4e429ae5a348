/** The environment, read once into a frozen record. A bad value stops the start and names the variable. */
import { CannotStart } from './cannot-start.ts';

export interface Settings {
  readonly production: boolean;
  readonly host: string;
  readonly port: number;
  /** Unset: metrics are served at `port`. */
  readonly metrics_port: number | undefined;
  /** Unset: the embedded PostgreSQL under `data_dir`. */
  readonly database_url: string | undefined;
  readonly data_dir: string;
  /** How many processes serve the port, each with a pool of its own. */
  readonly workers: number;
  readonly database_pool_size: number;
  readonly database_prepare: boolean;
  readonly database_statement_timeout_seconds: number;
  /** Unset, in development only: one is made and kept under `data_dir`. */
  readonly jwt_secret: string | undefined;
  readonly jwt_secret_previous: string | undefined;
  readonly jwt_issuer: string;
  readonly jwt_audience: string;
  readonly access_token_ttl_seconds: number;
  /** How long a session lives that is not used. */
  readonly refresh_token_ttl_seconds: number;
  readonly registration: 'open' | 'closed';
  readonly rate_limit: boolean;
  /** How many proxies of ours each request comes through: whose entries of `X-Forwarded-For` are believed. */
  readonly trusted_proxies: number;
  /** As a browser sends them in `Origin`; none closes the API to other sites. */
  readonly cors_origins: readonly string[];
  readonly body_limit_bytes: number;
  /** How long an event is kept: a client that has been away for longer starts afresh. */
  readonly events_retention_seconds: number;
  readonly docs: boolean;
  readonly log_level: LogLevel;
  /** Unset: pretty on a terminal, JSON elsewhere. */
  readonly log_format: 'json' | 'pretty' | undefined;
}

export const log_levels = ['debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof log_levels)[number];

/** RFC 7518 §3.2: an HS256 key is at least as long as the hash. */
const SECRET_BYTES_MIN = 32;

/** PostgreSQL counts milliseconds in 31 bits, which end at 24 days. */
const STATEMENT_TIMEOUT_DAYS_MAX = 1;
const ACCESS_TOKEN_TTL_DAYS_MAX = 365;
const REFRESH_TOKEN_TTL_DAYS_MAX = 90;
const EVENTS_RETENTION_DAYS_MAX = 3650;
const TRUSTED_PROXIES_MAX = 10;
/** Far more than one machine has use for. */
const WORKERS_MAX = 64;
/** A body is held in memory. */
const BODY_LIMIT_MIB_MAX = 1024;

const MIB = 1024 ** 2;
const DAY_SECONDS = 86_400;
const seconds_per_unit = new Map(Object.entries({ s: 1, m: 60, h: 3600, d: DAY_SECONDS }));
const bytes_per_unit = new Map(Object.entries({ B: 1, KiB: 1024, MiB: MIB }));

/**
 * Reads the settings.
 * @throws {CannotStart} naming the variable and what it takes, never the value of a secret.
 */
export function readSettings(environment: Record<string, string | undefined>): Settings {
  /** An empty value counts as unset, so that a line of `.env` can be emptied. */
  const value = (name: string) => environment[name] || undefined;

  function read<T>(
    name: string,
    fallback: T,
    expected: string,
    parse: (text: string) => T | undefined,
  ): T {
    const text = value(name);
    if (text === undefined) return fallback;
    const parsed = parse(text);
    if (parsed === undefined) throw new CannotStart(`${name} must be ${expected}`);
    return parsed;
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

  const duration = (name: string, fallback: number, days_max: number) =>
    quantity(
      name,
      fallback,
      days_max * DAY_SECONDS,
      seconds_per_unit,
      `a duration such as 30s, 15m or 12h, up to ${days_max}d`,
    );

  const secret = (name: string) =>
    read(
      name,
      undefined,
      `at least ${SECRET_BYTES_MIN} bytes long: make one with "openssl rand -base64 48"`,
      (text) => (new TextEncoder().encode(text).length >= SECRET_BYTES_MIN ? text : undefined),
    );

  return Object.freeze({
    production: value('NODE_ENV') === 'production',
    // An IPv6 address may come in brackets, as in a URL.
    host: read(
      'HOST',
      '127.0.0.1',
      'an address or a host name',
      (text) => /^[\w.:%-]+$/.exec(text.replace(/^\[(.*)\]$/, '$1'))?.[0],
    ),
    port: integer('PORT', 3000, 0, 65_535),
    metrics_port: integer('METRICS_PORT', undefined, 0, 65_535),
    database_url: read(
      'DATABASE_URL',
      undefined,
      'a URL such as postgres://user:password@host:5432/database',
      (text) => (isPostgresUrl(text) ? text : undefined),
    ),
    data_dir: value('DATA_DIR') ?? './.data',
    workers: integer('WORKERS', 1, 1, WORKERS_MAX),
    database_pool_size: integer('DATABASE_POOL_SIZE', 10, 1, 1000),
    database_prepare: oneOf('DATABASE_PREPARE', 'true', ['true', 'false']) === 'true',
    database_statement_timeout_seconds: duration(
      'DATABASE_STATEMENT_TIMEOUT',
      10,
      STATEMENT_TIMEOUT_DAYS_MAX,
    ),
    jwt_secret: secret('JWT_SECRET'),
    jwt_secret_previous: secret('JWT_SECRET_PREVIOUS'),
    jwt_issuer: value('JWT_ISSUER') ?? 'mantou',
    jwt_audience: value('JWT_AUDIENCE') ?? 'mantou',
    access_token_ttl_seconds: duration('ACCESS_TOKEN_TTL', 15 * 60, ACCESS_TOKEN_TTL_DAYS_MAX),
    refresh_token_ttl_seconds: duration(
      'REFRESH_TOKEN_TTL',
      30 * 86_400,
      REFRESH_TOKEN_TTL_DAYS_MAX,
    ),
    registration: oneOf('REGISTRATION', 'open', ['open', 'closed']),
    rate_limit: oneOf('RATE_LIMIT', 'on', ['on', 'off']) === 'on',
    trusted_proxies: integer('TRUST_PROXY', 0, 0, TRUSTED_PROXIES_MAX),
    cors_origins: read(
      'CORS_ORIGINS',
      [],
      'origins such as https://app.example.org or http://localhost:5173, separated by commas',
      (text) => {
        const origins = text.split(',').map((one) => one.trim());
        return origins.every(isOrigin) ? origins : undefined;
      },
    ),
    body_limit_bytes: quantity(
      'BODY_LIMIT',
      MIB,
      BODY_LIMIT_MIB_MAX * MIB,
      bytes_per_unit,
      `a size such as 512KiB or 1MiB, up to ${BODY_LIMIT_MIB_MAX}MiB`,
    ),
    events_retention_seconds: duration(
      'EVENTS_RETENTION',
      90 * DAY_SECONDS,
      EVENTS_RETENTION_DAYS_MAX,
    ),
    docs: oneOf('DOCS', 'on', ['on', 'off']) === 'on',
    log_level: oneOf('LOG_LEVEL', 'info', log_levels),
    log_format: oneOf('LOG_FORMAT', undefined, ['json', 'pretty']),
  });
}

function isPostgresUrl(text: string): boolean {
  const url = URL.parse(text);
  if (url === null || !['postgres:', 'postgresql:'].includes(url.protocol)) return false;
  return url.hostname !== '' && [url.username, url.password, url.pathname].every(isDecodable);
}

/** RFC 6454 §6.2, exactly as browsers write it: lower case, no default port, no path. A pattern would match none. */
function isOrigin(text: string): boolean {
  return /^https?:\/\/[^*]+$/.test(text) && URL.parse(text)?.origin === text;
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
