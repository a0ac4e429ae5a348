import { describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CannotStart } from '../src/cannot-start.ts';
import { readSettings, type Settings } from '../src/settings.ts';

const defaults: Settings = {
  production: false,
  host: '127.0.0.1',
  port: 3000,
  metrics_port: undefined,
  database_url: undefined,
  data_dir: './.data',
  workers: 1,
  database_pool_size: 10,
  database_prepare: true,
  database_statement_timeout_seconds: 10,
  jwt_secret: undefined,
  jwt_secret_previous: undefined,
  jwt_issuer: 'mantou',
  jwt_audience: 'mantou',
  access_token_ttl_seconds: 900,
  refresh_token_ttl_seconds: 2_592_000,
  rate_limit: true,
  trusted_proxies: 0,
  cors_origins: [],
  registration: 'open',
  body_limit_bytes: 1_048_576,
  events_retention_seconds: 7_776_000,
  docs: true,
  log_level: 'info',
  log_format: undefined,
};

/** Every variable that is asked for. */
const names = namesRead();

/** Each variable that can be wrong, with values that are. */
const bad: Record<string, string[]> = {
  HOST: ['a b', 'http://localhost', 'localhost/', '[::1', '::1]', '[]'],
  PORT: ['http', '-1', '65536', '80.5', '0x50', '1e3', ' 80', '+80', '1234567890'],
  METRICS_PORT: ['metrics', '65536'],
  DATABASE_URL: [
    'localhost',
    'mysql://ada:hunter2@localhost/mantou',
    'postgres://',
    'postgres:///mantou',
    'postgres://ada:hunter2@localhost:65536/mantou',
    'postgres://ada:hunter2%@localhost/mantou',
    'postgres://a%da:hunter2@localhost/mantou',
    'postgres://ada:hunter2@localhost/man%tou',
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
  DOCS: ['true', 'On'],
  LOG_LEVEL: ['trace', 'INFO', '3'],
  LOG_FORMAT: ['text', 'JSON'],
};

const good: [name: string, value: string, expected: Partial<Settings>][] = [
  ['NODE_ENV', 'production', { production: true }],
  ['NODE_ENV', 'test', { production: false }],
  ['HOST', '0.0.0.0', { host: '0.0.0.0' }],
  ['HOST', 'api.internal', { host: 'api.internal' }],
  ['HOST', '::1', { host: '::1' }],
  ['HOST', '[::1]', { host: '::1' }],
  ['HOST', 'fe80::1%eth0', { host: 'fe80::1%eth0' }],
  ['PORT', '0', { port: 0 }],
  ['PORT', '65535', { port: 65_535 }],
  ['METRICS_PORT', '0', { metrics_port: 0 }],
  ['METRICS_PORT', '9464', { metrics_port: 9464 }],
  ['DATABASE_URL', 'postgres://db', { database_url: 'postgres://db' }],
  [
    'DATABASE_URL',
    'postgresql://ada:100%25@[::1]:5432/mantou?sslmode=require',
    { database_url: 'postgresql://ada:100%25@[::1]:5432/mantou?sslmode=require' },
  ],
  ['DATA_DIR', '/var/lib/mantou', { data_dir: '/var/lib/mantou' }],
  ['WORKERS', '1', { workers: 1 }],
  ['WORKERS', '64', { workers: 64 }],
  ['DATABASE_POOL_SIZE', '1', { database_pool_size: 1 }],
  ['DATABASE_POOL_SIZE', '1000', { database_pool_size: 1000 }],
  ['DATABASE_PREPARE', 'false', { database_prepare: false }],
  ['DATABASE_STATEMENT_TIMEOUT', '1s', { database_statement_timeout_seconds: 1 }],
  ['DATABASE_STATEMENT_TIMEOUT', '2m', { database_statement_timeout_seconds: 120 }],
  ['DATABASE_STATEMENT_TIMEOUT', '1d', { database_statement_timeout_seconds: 86_400 }],
  ['JWT_SECRET', 'x'.repeat(32), { jwt_secret: 'x'.repeat(32) }],
  // The bound counts bytes.
  ['JWT_SECRET_PREVIOUS', 'é'.repeat(16), { jwt_secret_previous: 'é'.repeat(16) }],
  ['JWT_ISSUER', 'https://api.example.org', { jwt_issuer: 'https://api.example.org' }],
  ['JWT_AUDIENCE', 'web', { jwt_audience: 'web' }],
  ['ACCESS_TOKEN_TTL', '12h', { access_token_ttl_seconds: 43_200 }],
  ['ACCESS_TOKEN_TTL', '365d', { access_token_ttl_seconds: 31_536_000 }],
  ['REGISTRATION', 'closed', { registration: 'closed' }],
  ['BODY_LIMIT', '1B', { body_limit_bytes: 1 }],
  ['BODY_LIMIT', '512KiB', { body_limit_bytes: 524_288 }],
  ['BODY_LIMIT', '1024MiB', { body_limit_bytes: 1_073_741_824 }],
  ['EVENTS_RETENTION', '12h', { events_retention_seconds: 43_200 }],
  ['EVENTS_RETENTION', '3650d', { events_retention_seconds: 315_360_000 }],
  ['DOCS', 'off', { docs: false }],
  ['LOG_LEVEL', 'silent', { log_level: 'silent' }],
  ['LOG_FORMAT', 'json', { log_format: 'json' }],
  ['LOG_FORMAT', 'pretty', { log_format: 'pretty' }],
];

test('without any variable every setting has its default', () => {
  expect(readSettings({})).toStrictEqual(defaults);
});

test('an empty value counts as unset', () => {
  const empty = Object.fromEntries(names.map((name) => [name, '']));
  expect(readSettings(empty)).toStrictEqual(defaults);
});

test('a variable of another program changes nothing', () => {
  expect(readSettings({ TZ: 'UTC', port: '80', PORTS: '80' })).toStrictEqual(defaults);
});

test.each(good)('%s may be %s', (name, value, expected) => {
  expect(readSettings({ [name]: value })).toStrictEqual({ ...defaults, ...expected });
});

describe.each(Object.entries(bad))('%s', (name, values) => {
  test.each(values)('cannot be "%s": one line names the variable, without the value', (value) => {
    const error = refusalOf({ [name]: value });
    expect(error).toBeInstanceOf(CannotStart);
    expect(error.message).toMatch(new RegExp(`^${name} must be .+$`));
    if (/SECRET|URL/.test(name)) expect(error.message).not.toMatch(/hunter2|xxx/);
  });
});

test('these tests know every variable', () => {
  const known = new Set([...Object.keys(bad), ...good.map(([name]) => name)]);
  expect([...known].sort()).toEqual([...names].sort());
});

test('the record cannot be changed', () => {
  const settings = readSettings({});
  expect(Object.isFrozen(settings)).toBeTrue();
  expect(() => Object.assign(settings, { port: 1 })).toThrow(TypeError);
});

describe('the committed .env', () => {
  const lines = readFileSync(join(import.meta.dir, '../.env'), 'utf8')
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

  test('leaves nothing empty but what is unset by default', () => {
    const empty = lines.filter(([, value]) => value === '').map(([name]) => name);
    expect(empty.sort()).toEqual([
      'CORS_ORIGINS',
      'DATABASE_URL',
      'JWT_SECRET',
      'JWT_SECRET_PREVIOUS',
      'LOG_FORMAT',
      'METRICS_PORT',
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
