/** `compose.yaml` says what docs/operations.md promises of it. That it runs is tried where Docker is. */
import { expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readSettings } from '../../src/settings.ts';

const root = join(import.meta.dir, '../..');
const text = readFileSync(join(root, 'compose.yaml'), 'utf8');

/** Fills in variables as Compose does: `${NAME:-default}`, and `${NAME:?reason}` where NAME has to be set. */
function interpolate(environment: Record<string, string>): string {
  return text.replace(
    /\$\{(\w+)(:[-?])([^}]*)\}/g,
    (_, name: string, kind: string, rest: string) => {
      const value = environment[name] || (kind === ':-' ? rest : undefined);
      if (value === undefined) throw new Error(`${name}: ${rest}`);
      return value;
    },
  );
}

const secrets = {
  POSTGRES_PASSWORD: 'c0ffee'.repeat(8),
  JWT_SECRET: 'rJ3vX8qLw2TzN5yKc9Hd0PfGs7Bm4UeA1ioYtRlQnVg',
};

interface Service {
  image: string;
  command?: string[];
  read_only?: boolean;
  cap_drop?: string[];
  user?: string;
  privileged?: boolean;
  ports?: string[];
  environment: Record<string, string>;
  depends_on?: Record<string, { condition: string }>;
  healthcheck?: { test: string[] };
}

const compose = (environment: Record<string, string>) =>
  (Bun.YAML.parse(interpolate(environment)) as { services: Record<string, Service> }).services;

test('each secret must be set', () => {
  for (const name of Object.keys(secrets))
    expect(() => compose({ ...secrets, [name]: '' })).toThrow(
      `${name}: make one with "openssl rand`,
    );
});

test('the API accepts its settings in production', () => {
  const { api, migrate } = compose(secrets);
  const settings = readSettings({
    ...api?.environment,
    TRUST_PROXY: `${api?.environment.TRUST_PROXY}`,
  });
  expect(settings).toMatchObject({
    production: true,
    jwtSecret: secrets.JWT_SECRET,
    jwtSecretPrevious: undefined,
    databaseUrl: `postgres://mantou:${secrets.POSTGRES_PASSWORD}@db:5432/mantou`,
  });
  expect(migrate?.environment).toEqual(api?.environment as Record<string, string>);
  const known = readFileSync(join(root, '.env'), 'utf8');
  for (const name of Object.keys(api?.environment ?? {}))
    if (name !== 'NODE_ENV') expect(known).toContain(`\n${name}=`);
});

test('the migration waits for a healthy database, and the API for the migration', () => {
  const { db, migrate, api } = compose(secrets);
  expect(db?.image).toBe('postgres:18');
  expect(db?.healthcheck?.test[1]).toBe('pg_isready');
  expect(migrate?.command).toEqual(['bun', 'src/cli/migrate.ts']);
  expect(migrate?.depends_on).toEqual({ db: { condition: 'service_healthy' } });
  expect(api?.depends_on?.migrate).toEqual({ condition: 'service_completed_successfully' });
});

test('only the API is published, on loopback', () => {
  const services = compose({ ...secrets, API_PORTS: '3000-3002' });
  const ports = Object.entries(services).flatMap(([name, { ports = [] }]) =>
    ports.map((port) => `${name} ${port}`),
  );
  expect(ports).toEqual(['api 127.0.0.1:3000-3002:3000']);
});

test('the API has no privilege and a read-only root', () => {
  const { api, migrate } = compose(secrets);
  for (const service of [api, migrate])
    expect(service).toMatchObject({
      read_only: true,
      cap_drop: ['ALL'],
      security_opt: ['no-new-privileges:true'],
    });
});
