import { describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { findMisspelt } from '../../src/environment.ts';
import { StartupError } from '../../src/errors/startup-error.ts';
import { readSettings, type Settings } from '../../src/settings.ts';

const defaults: Settings = {
  production: false,
  host: '127.0.0.1',
  port: 3000,
  publicUrl: undefined,
  metricsPort: undefined,
  databaseUrl: undefined,
  databaseSessionUrl: undefined,
  databaseReplicaUrl: undefined,
  dataDir: './.data',
  workers: 1,
  databasePoolSize: 10,
  databasePrepare: true,
  databaseStatementTimeoutSeconds: 10,
  jwtSecret: undefined,
  jwtSecretPrevious: undefined,
  jwtIssuer: 'mantou',
  jwtAudience: 'mantou',
  accessTokenTtlSeconds: 900,
  refreshTokenTtlSeconds: 2_592_000,
  rateLimit: true,
  trustedProxies: 0,
  corsOrigins: [],
  registration: 'open',
  bodyLimitBytes: 1_048_576,
  eventsRetentionSeconds: 7_776_000,
  trashRetentionSeconds: 2_592_000,
  webhookAllow: [],
  docs: true,
  logLevel: 'info',
  logFormat: undefined,
};

/** Every variable that is asked for. */
const names = namesRead();

/** Each variable that can be wrong, with values that are. */
const bad: Record<string, string[]> = {
  NODE_ENV: ['prod', 'PRODUCTION', 'staging'],
  HOST: ['a b', 'http://localhost', 'localhost/', '[::1', '::1]', '[]'],
  PORT: ['http', '-1', '65536', '80.5', '0x50', '1e3', ' 80', '+80', '1234567890'],
  PUBLIC_URL: [
    'example.org',
    'ftp://example.org',
    'https://example.org/?a=b',
    'https://example.org/#a',
    'https://ada:hunter2@example.org',
  ],
  METRICS_PORT: ['metrics', '65536'],
  DATABASE_REPLICA_URL: [
    'localhost',
    'postgres://ada:hunter2@db1,db2/mantou?target_session_attrs=read-write',
  ],
  DATABASE_SESSION_URL: ['localhost', 'mysql://ada:hunter2@localhost/mantou'],
  DATABASE_URL: [
    'localhost',
    'mysql://ada:hunter2@localhost/mantou',
    'postgres://',
    'postgres:///mantou',
    'postgres://ada:hunter2@localhost:65536/mantou',
    'postgres://ada:hunter2%@localhost/mantou',
    'postgres://a%da:hunter2@localhost/mantou',
    'postgres://ada:hunter2@localhost/man%tou',
    // Passwords that are not escaped: the rest of each would stand in the path, the query or the fragment.
    'postgres://ada:hunter2/hunter2@localhost/mantou',
    'postgres://ada:12/hunter2@localhost/mantou',
    'postgres://ada:12?hunter2@localhost/mantou',
    'postgres://ada:12#hunter2@localhost/mantou',
    'postgres://ada:12#hunter2',
    'unix:///run/postgresql/.s.PGSQL.5432?hunter2',
    '/run/postgresql',
    'host=localhost user=ada password=hunter2',
    'postgres://ada:hunter2@localhost/mantou?sslmode=maybe',
    'postgres://ada:hunter2@localhost/mantou?sslmode=no-verify',
    'postgres://ada:hunter2@localhost/mantou?schema=tenant',
    'postgres://ada:hunter2@localhost/mantou?pgbouncer=true',
    'postgres://ada:hunter2@localhost/mantou?connection_limit=5',
    'postgres://ada:hunter2@db1,,db2/mantou',
    'postgres://ada:hunter2@db1,db2:65536/mantou',
    'postgres://ada:hunter2@/mantou?host=db1,db2,db3&port=5432,5433',
    'postgres://ada:hunter2@db1,db2/mantou?target_session_attrs=standby',
    'postgres://ada:hunter2@db1,db2/mantou?targetServerType=primary',
  ],
  WORKERS: ['0', '65', 'auto', '-1'],
  DATABASE_POOL_SIZE: ['0', '1001', 'ten'],
  DATABASE_PREPARE: ['yes', '1', 'TRUE'],
  DATABASE_STATEMENT_TIMEOUT: ['10', '0s', '10 s', '-1s', '1.5s', '10S', '25h', '10constructor'],
  JWT_SECRET: ['hunter2', 'x'.repeat(31)],
  JWT_SECRET_PREVIOUS: ['hunter2', 'x'.repeat(31)],
  ACCESS_TOKEN_TTL: ['15', '0m', '15min', '366d', '999999999d'],
  REFRESH_TOKEN_TTL: ['30', '0d', '91d'],
  RATE_LIMIT: ['true', 'ON'],
  TRUST_PROXY: ['11', '-1', 'true', '1.5'],
  CORS_ORIGINS: [
    '*',
    'example.org',
    'https://example.org/',
    'https://example.org/path',
    'null',
    'https://a@b.org',
    'ftp://example.org',
  ],
  REGISTRATION: ['yes', 'OPEN', 'openclosed'],
  BODY_LIMIT: ['1048576', '0B', '1MB', '1mib', '1025MiB', '5toString'],
  EVENTS_RETENTION: ['90', '0d', '3651d', '1w'],
  TRASH_RETENTION: ['30', '0d', '00', '3651d', '-1d'],
  WEBHOOK_ALLOW: [
    'localhost',
    '10.1.0.0/33',
    '::1/129',
    '10.1.0.0/16/8',
    '10.1',
    '10.1.0.0/16,',
    '*',
  ],
  DOCS: ['true', 'On'],
  LOG_LEVEL: ['trace', 'INFO', '3'],
  LOG_FORMAT: ['text', 'JSON'],
};

type Good = [name: string, value: string, expected: Partial<Settings>];

const good: Good[] = [
  ['NODE_ENV', 'production', { production: true }],
  ['NODE_ENV', 'test', { production: false }],
  ['HOST', '0.0.0.0', { host: '0.0.0.0' }],
  ['HOST', 'api.internal', { host: 'api.internal' }],
  ['HOST', '::1', { host: '::1' }],
  ['HOST', '[::1]', { host: '::1' }],
  ['HOST', 'fe80::1%eth0', { host: 'fe80::1%eth0' }],
  ['PORT', '0', { port: 0 }],
  ['PORT', '65535', { port: 65_535 }],
  ['PUBLIC_URL', 'https://example.org', { publicUrl: 'https://example.org' }],
  ['PUBLIC_URL', 'http://example.org:8080/api/', { publicUrl: 'http://example.org:8080/api' }],
  ['METRICS_PORT', '0', { metricsPort: 0 }],
  ['METRICS_PORT', '9464', { metricsPort: 9464 }],
  ['DATABASE_SESSION_URL', 'postgres://db', { databaseSessionUrl: 'postgres://db' }],
  [
    'DATABASE_REPLICA_URL',
    'postgres://db2,db3/mantou?target_session_attrs=prefer-standby',
    { databaseReplicaUrl: 'postgres://db2,db3/mantou' },
  ],
  ['DATABASE_URL', 'postgres://db', { databaseUrl: 'postgres://db' }],
  [
    'DATABASE_URL',
    'postgresql://ada:100%25@[::1]:5432/mantou?sslmode=require',
    { databaseUrl: 'postgresql://ada:100%25@[::1]:5432/mantou?sslmode=require' },
  ],
  // Several hosts, in each form of libpq.
  ...(
    [
      [
        'postgres://ada:p%2Cw@db1:1,db2,[::1]:3/mantou?target_session_attrs=read-write&sslmode=require',
        'postgres://ada:p%2Cw@db1:1,db2,[::1]:3/mantou?sslmode=require',
      ],
      ['postgres://db1,db2?target_session_attrs=primary', 'postgres://db1,db2/'],
      [
        'postgres://ada@/mantou?host=db1,::1&port=5433',
        'postgres://ada@db1:5433,[::1]:5433/mantou',
      ],
      [
        'postgres://ada@/mantou?host=/run/a,db2&port=1,2',
        'postgres://ada@%2Frun%2Fa:1,db2:2/mantou',
      ],
      ['postgres://db1/mantou?target_session_attrs=read-write', 'postgres://db1/mantou'],
    ] as const
  ).map(([value, databaseUrl]): Good => ['DATABASE_URL', value, { databaseUrl }]),
  ['DATA_DIR', '/var/lib/mantou', { dataDir: '/var/lib/mantou' }],
  ['WORKERS', '1', { workers: 1 }],
  ['WORKERS', '64', { workers: 64 }],
  ['DATABASE_POOL_SIZE', '1', { databasePoolSize: 1 }],
  ['DATABASE_POOL_SIZE', '1000', { databasePoolSize: 1000 }],
  ['DATABASE_PREPARE', 'false', { databasePrepare: false }],
  ['DATABASE_STATEMENT_TIMEOUT', '1s', { databaseStatementTimeoutSeconds: 1 }],
  ['DATABASE_STATEMENT_TIMEOUT', '2m', { databaseStatementTimeoutSeconds: 120 }],
  ['DATABASE_STATEMENT_TIMEOUT', '1d', { databaseStatementTimeoutSeconds: 86_400 }],
  ['JWT_SECRET', 'x'.repeat(32), { jwtSecret: 'x'.repeat(32) }],
  // The bound counts bytes.
  ['JWT_SECRET_PREVIOUS', 'é'.repeat(16), { jwtSecretPrevious: 'é'.repeat(16) }],
  ['JWT_ISSUER', 'https://api.example.org', { jwtIssuer: 'https://api.example.org' }],
  ['JWT_AUDIENCE', 'web', { jwtAudience: 'web' }],
  ['ACCESS_TOKEN_TTL', '12h', { accessTokenTtlSeconds: 43_200 }],
  ['ACCESS_TOKEN_TTL', '365d', { accessTokenTtlSeconds: 31_536_000 }],
  ['REGISTRATION', 'closed', { registration: 'closed' }],
  ['BODY_LIMIT', '1B', { bodyLimitBytes: 1 }],
  ['BODY_LIMIT', '512KiB', { bodyLimitBytes: 524_288 }],
  ['BODY_LIMIT', '1024MiB', { bodyLimitBytes: 1_073_741_824 }],
  ['EVENTS_RETENTION', '12h', { eventsRetentionSeconds: 43_200 }],
  ['EVENTS_RETENTION', '3650d', { eventsRetentionSeconds: 315_360_000 }],
  ['TRASH_RETENTION', '0', { trashRetentionSeconds: 0 }],
  ['TRASH_RETENTION', '12h', { trashRetentionSeconds: 43_200 }],
  ['WEBHOOK_ALLOW', '10.1.0.0/16', { webhookAllow: ['10.1.0.0/16'] }],
  ['WEBHOOK_ALLOW', '127.0.0.1, fd00::/8', { webhookAllow: ['127.0.0.1', 'fd00::/8'] }],
  ['DOCS', 'off', { docs: false }],
  ['LOG_LEVEL', 'silent', { logLevel: 'silent' }],
  ['LOG_FORMAT', 'json', { logFormat: 'json' }],
  ['LOG_FORMAT', 'pretty', { logFormat: 'pretty' }],
];

test('without variables every setting has its default', () => {
  expect(readSettings({})).toStrictEqual(defaults);
});

test('an empty value counts as unset', () => {
  const empty = Object.fromEntries(names.map((name) => [name, '']));
  expect(readSettings(empty)).toStrictEqual(defaults);
});

test('variables of other programs change nothing', () => {
  expect(readSettings({ TZ: 'UTC', port: '80', PORTS: '80' })).toStrictEqual(defaults);
});

test.each(good)('%s may be %s', (name, value, expected) => {
  expect(readSettings({ [name]: value })).toStrictEqual({ ...defaults, ...expected });
});

describe.each(Object.entries(bad))('%s', (name, values) => {
  test.each(values)('cannot be "%s": one line names the variable, without the value', (value) => {
    const error = refusalOf({ [name]: value });
    expect(error).toBeInstanceOf(StartupError);
    expect(error.message).toMatch(new RegExp(`^${name} must be .+$`));
    if (/SECRET|URL/.test(name)) expect(error.message).not.toMatch(/hunter2|xxx/);
  });
});

test.each([
  [
    'postgres://ada:x@/db?host=/run/postgresql',
    'postgres://ada:x@localhost/db?host=/run/postgresql',
  ],
  ['postgres:///db?host=/run/postgresql', 'postgres://localhost/db?host=/run/postgresql'],
  [
    'postgres://ada:x@%2Frun%2Fpostgresql/db',
    'postgres://ada:x@localhost/db?host=%2Frun%2Fpostgresql',
  ],
  ['postgres://db/mantou?schema=public', 'postgres://db/mantou'],
  ['postgres://db/mantou?sslrootcert=system', 'postgres://db/mantou?sslmode=verify-full'],
])('DATABASE_URL=%s is read as %s', (text, url) => {
  expect(readSettings({ DATABASE_URL: text }).databaseUrl).toBe(url);
});

test('PGSSLMODE and PGSSLROOTCERT supply what DATABASE_URL leaves out', () => {
  const read = (text: string, environment: Record<string, string>) =>
    readSettings({ DATABASE_URL: text, ...environment }).databaseUrl;
  const [PGSSLMODE, PGSSLROOTCERT] = ['verify-full', '/etc/ca.pem'];
  const both = 'postgres://db/mantou?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem';
  expect(read('postgres://db/mantou', { PGSSLMODE, PGSSLROOTCERT })).toBe(both);
  expect(read('postgres://db/mantou?sslmode=verify-full', { PGSSLROOTCERT })).toBe(both);
  const own = 'postgres://db/mantou?sslmode=disable';
  expect(read(own, { PGSSLMODE, PGSSLROOTCERT })).toBe(own);
  const socket = 'postgres://localhost/mantou?host=/run/postgresql';
  expect(read(socket, { PGSSLMODE, PGSSLROOTCERT })).toBe(socket);
});

test('all wrong values are named at once', () => {
  expect(refusalOf({ PORT: 'x', RATE_LIMIT: 'no', WORKERS: '0' }).message).toBe(
    'PORT must be a whole number from 0 to 65535; WORKERS must be a whole number from 1 to 64; RATE_LIMIT must be one of on, off',
  );
});

test.each([
  ['DATABSE_URL', 'DATABASE_URL'],
  ['DATABASEURL', 'DATABASE_URL'],
  ['RATELIMIT', 'RATE_LIMIT'],
  ['RATE_LIMITS', 'RATE_LIMIT'],
  ['JWT_SECERT', 'JWT_SECRET'],
  ['jwt_secret', 'JWT_SECRET'],
  ['LOGLEVEL', 'LOG_LEVEL'],
  ['TRUSTED_PROXY', 'TRUST_PROXY'],
  ['CORS_ORIGIN', 'CORS_ORIGINS'],
])('%s in the environment is taken for a misspelt %s', (name, meant) => {
  expect(findMisspelt({ [name]: 'x' })).toEqual([`${name} is no setting: write ${meant}`]);
});

test('names of other programs are not taken for misspelt ones', () => {
  const others = [
    'PATH',
    'HOME',
    'HOSTNAME',
    'HOSTTYPE',
    'LOGNAME',
    'PWD',
    'TERM',
    'USER',
    'LANG',
    'PGHOST',
    'PGPORT',
  ];
  const more = [
    'DATADOG_API_KEY',
    'POSTGRES_PASSWORD',
    'NODE_OPTIONS',
    'DOCKER_HOST',
    'PORTS',
    'SECRET',
    'DEBUG',
  ];
  const environment = Object.fromEntries([...others, ...more].map((name) => [name, 'x']));
  expect(findMisspelt(environment)).toEqual([]);
});

test('these tests cover every variable', () => {
  const known = new Set([...Object.keys(bad), ...good.map(([name]) => name)]);
  expect([...known].sort()).toEqual([...names].sort());
});

test('the settings are frozen', () => {
  const settings = readSettings({});
  expect(Object.isFrozen(settings)).toBeTrue();
  expect(() => Object.assign(settings, { port: 1 })).toThrow(TypeError);
});

describe('the committed .env', () => {
  const lines = readFileSync(join(import.meta.dir, '../../.env'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(/=(.*)/s) as [string, string]);
  const committed = Object.fromEntries(lines);

  test('names every setting once', () => {
    // NODE_ENV says which .env files are read, so it cannot stand in one.
    const settable = names.filter((name) => name !== 'NODE_ENV');
    expect(lines.map(([name]) => name).sort()).toEqual(settable.sort());
  });

  test('holds the defaults', () => {
    expect(readSettings(committed)).toStrictEqual(defaults);
  });

  test('leaves only unset defaults empty', () => {
    const empty = lines.filter(([, value]) => value === '').map(([name]) => name);
    expect(empty.sort()).toEqual([
      'CORS_ORIGINS',
      'DATABASE_REPLICA_URL',
      'DATABASE_SESSION_URL',
      'DATABASE_URL',
      'JWT_SECRET',
      'JWT_SECRET_PREVIOUS',
      'LOG_FORMAT',
      'METRICS_PORT',
      'PUBLIC_URL',
      'WEBHOOK_ALLOW',
    ]);
  });
});

function namesRead(): string[] {
  const read = new Set<string>();
  const environment = new Proxy({}, { get: (_, name) => void read.add(String(name)) });
  readSettings(environment);
  return [...read];
}

function refusalOf(environment: Record<string, string>): Error {
  try {
    readSettings(environment);
  } catch (error) {
    return error as Error;
  }
  throw new Error(`${JSON.stringify(environment)} was accepted`);
}
