/** `bun run doctor`: each finding, provoked. */
import { describe, expect, test } from 'bun:test';
import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { createEmptyDatabase, dropDatabase, useDatabase } from '../support/cluster.ts';
import { onSmallDisk, runCommand } from '../support/command.ts';
import { makeFolder, useProcesses } from '../support/process.ts';

useProcesses();

const JWT_SECRET = 'rJ3vX8qLw2TzN5yKc9Hd0PfGs7Bm4UeA1ioYtRlQnVg';
/** The tests' own cluster runs without fsync, which is rightly found. */
const RISKY =
  'database: a crash of the server can lose acknowledged writes: set fsync, full_page_writes and synchronous_commit to on';

const { url: DATABASE_URL, sql } = await useDatabase();

/** @returns what is to be mended, but for what the tests' cluster always has. */
async function findingsOf(environment: Record<string, string> = {}): Promise<string[]> {
  const { code, stdout, stderr } = await runCommand(
    { DATABASE_URL, JWT_SECRET, DATA_DIR: makeFolder(), ...environment },
    'doctor',
    [],
  );
  expect(stderr).toBe('');
  const findings = [...stdout.matchAll(/^FIX +(.*)$/gm)].map(([, finding]) => finding ?? '');
  expect(code).toBe(findings.length > 0 ? 1 : 0);
  return findings.filter((finding) => finding !== RISKY);
}

test('a new embedded database has pending migrations, and after them no finding', async () => {
  const environment = { DATA_DIR: join(makeFolder(), 'data') };
  const before = await runCommand(environment, 'doctor', []);
  expect(before.code).toBe(1);
  expect(before.stdout).toMatch(
    /^FIX +migrations: \d+ of \d+ are pending: run "bun run migrate", or start the server$/m,
  );
  expect((await runCommand(environment, 'migrate', [])).code).toBe(0);
  expect(await runCommand(environment, 'doctor', [])).toEqual({
    code: 0,
    stdout: ['secrets', 'network', 'database', 'privileges', 'migrations', 'clock', 'disk']
      .map((subject) => `ok    ${subject}\n`)
      .join(''),
    stderr: '',
  });
});

test('a good setup has no finding except that the server does not sync to disk', async () => {
  const { code, stdout } = await runCommand({ DATABASE_URL, JWT_SECRET }, 'doctor', []);
  expect(code).toBe(1);
  expect(stdout.match(/^FIX.*$/gm)).toEqual([`FIX   ${RISKY}`]);
});

describe('secrets', () => {
  test('finds no secret in production', async () => {
    expect(await findingsOf({ JWT_SECRET: '', NODE_ENV: 'production' })).toEqual([
      'secrets: JWT_SECRET must be set in production: make one with "openssl rand -base64 48"',
    ]);
  });

  test('finds no secret for a database that several machines may serve', async () => {
    const [finding] = await findingsOf({ JWT_SECRET: '' });
    expect(finding).toStartWith('secrets: JWT_SECRET is not set, so each machine makes one');
  });

  test.each([
    'abababababababababababababababababab',
    'this is the secret that never ever changes',
    'change-me-change-me-change-me-change-me',
  ])('finds a guessable secret: %s', async (secret) => {
    const findings = await findingsOf({ JWT_SECRET: secret });
    expect(findings).toEqual([
      'secrets: JWT_SECRET looks like words or a pattern: make one with "openssl rand -base64 48"',
    ]);
    expect(findings.join()).not.toContain(secret);
  });

  test('finds a previous secret that equals the present one', async () => {
    expect(await findingsOf({ JWT_SECRET_PREVIOUS: JWT_SECRET })).toEqual([
      'secrets: JWT_SECRET_PREVIOUS is the same as JWT_SECRET: take it away',
    ]);
  });

  test('finds a secret in a file that others can read', async () => {
    const DATA_DIR = makeFolder();
    const file = join(DATA_DIR, 'jwt-secret');
    await Bun.write(file, JWT_SECRET);
    await chmod(file, 0o640);
    expect(await findingsOf({ DATA_DIR })).toEqual([
      `secrets: ${file} can be read by others: chmod 600 ${file}`,
    ]);
    await chmod(file, 0o600);
    expect(await findingsOf({ DATA_DIR })).toEqual([]);
  });
});

describe('network', () => {
  test('finds a HOST that is open to other machines without TRUST_PROXY', async () => {
    const [finding] = await findingsOf({ HOST: '0.0.0.0' });
    expect(finding).toStartWith('network: HOST=0.0.0.0 is open to other machines');
    expect(await findingsOf({ HOST: '0.0.0.0', TRUST_PROXY: '1' })).toEqual([]);
    expect(await findingsOf({ HOST: '::1' })).toEqual([]);
  });

  test('finds RATE_LIMIT=off', async () => {
    expect(await findingsOf({ RATE_LIMIT: 'off' })).toEqual([
      'network: RATE_LIMIT is off, so passwords can be guessed: turn it on',
    ]);
  });

  test('finds a CORS origin without TLS in production', async () => {
    const CORS_ORIGINS = 'https://app.example.org,http://app.example.org';
    const findings = await findingsOf({ NODE_ENV: 'production', CORS_ORIGINS });
    expect(findings.length).toBe(1);
    expect(findings[0]).toStartWith('network: CORS_ORIGINS names http://app.example.org,');
    expect(await findingsOf({ CORS_ORIGINS })).toEqual([]);
  });
});

describe('database', () => {
  test('finds a database that cannot be reached', async () => {
    const url = 'postgres://ada:hunter2@127.0.0.1:1/mantou';
    expect(await findingsOf({ DATABASE_URL: url })).toEqual([
      'database: the database/mantou at 127.0.0.1:1 cannot be reached: start PostgreSQL, or correct DATABASE_URL',
    ]);
  });

  test('finds a read-only database', async () => {
    const empty = await createEmptyDatabase();
    await sql.unsafe(
      `alter database ${new URL(empty).pathname.slice(1)} set default_transaction_read_only = on`,
    );
    expect(await findingsOf({ DATABASE_URL: empty })).toContain(
      'database: the database only reads: name the primary server in DATABASE_URL',
    );
    await dropDatabase(empty);
  });

  test('finds a database that stores no Unicode', async () => {
    const name = `test_ascii_${crypto.randomUUID().slice(0, 8)}`;
    await sql.unsafe(
      `create database ${name} template template0 encoding 'SQL_ASCII' locale_provider libc locale 'C'`,
    );
    const url = Object.assign(new URL(DATABASE_URL), { pathname: `/${name}` }).href;
    const [finding] = await findingsOf({ DATABASE_URL: url });
    expect(finding).toStartWith("database: the database's encoding is SQL_ASCII");
    await dropDatabase(url);
  });

  test('finds a pool that takes every connection of the server', async () => {
    const [finding] = await findingsOf({ DATABASE_POOL_SIZE: '1000' });
    expect(finding).toStartWith('database: DATABASE_POOL_SIZE=1000 wants all ');
  });

  test('finds pools of all workers that take more connections than the server has', async () => {
    const [finding] = await findingsOf({ DATABASE_POOL_SIZE: '300', WORKERS: '64' });
    expect(finding).toStartWith(
      'database: DATABASE_POOL_SIZE=300 for WORKERS=64, and for one that replaces another, wants 19500 connections',
    );
  });

  test('finds missing privileges', async () => {
    const role = `doctor_${crypto.randomUUID().slice(0, 8)}`;
    await sql.unsafe(`create role ${role} login password 'x'`);
    await sql.unsafe(`grant usage on schema drizzle to ${role}`);
    await sql.unsafe(`grant select on all tables in schema drizzle to ${role}`);
    await sql.unsafe(
      `grant select, insert, update, delete on all tables in schema public to ${role}`,
    );
    await sql.unsafe(`revoke delete on tasks from ${role}`);
    const url = Object.assign(new URL(DATABASE_URL), { username: role, password: 'x' }).href;
    const findings = await findingsOf({ DATABASE_URL: url });
    expect(findings.length).toBe(2);
    expect(findings[0]).toStartWith('privileges: the user may not create tables');
    expect(findings[1]).toBe(
      `privileges: the user may not read and write tasks: grant select, insert, update, delete on tasks to ${role}`,
    );
    await sql.unsafe(`drop owned by ${role}`);
    await sql.unsafe(`drop role ${role}`);
  });
});

test('finds a database of a later version', async () => {
  await sql`insert into drizzle.__drizzle_migrations (hash, created_at) values ('later', 9999999999999)`;
  expect(await findingsOf()).toEqual([
    'migrations: the database is of a later version than this program: run that version',
  ]);
  await sql`delete from drizzle.__drizzle_migrations where hash = 'later'`;
});

test('finds a clock that differs from that of the database', async () => {
  // The database's clock cannot be set, but what answers for it can.
  await sql`create schema clocks`;
  await sql`create function clocks.clock_timestamp() returns timestamptz language sql
    as $$ select pg_catalog.clock_timestamp() + interval '1 minute' $$`;
  const database = new URL(DATABASE_URL).pathname.slice(1);
  await sql.unsafe(`alter database ${database} set search_path = clocks, pg_catalog, public`);
  expect(await findingsOf()).toContain(
    'clock: this machine and the database differ by 60 s: keep both by NTP (timedatectl set-ntp true)',
  );
  await sql.unsafe(`alter database ${database} reset search_path`);
});

test('finds a full disk, also where it stops other checks', async () => {
  const DATA_DIR = makeFolder();
  const { stdout } = await runCommand({ DATA_DIR }, 'doctor', [], {
    prefix: onSmallDisk(DATA_DIR, '1m'),
  });
  expect(stdout).toMatch(/^FIX +database: /m);
  expect(stdout).toMatch(/^FIX +disk: 0\.0 GiB \(\d+ %\) are free for DATA_DIR=/m);
});
