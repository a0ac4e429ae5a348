/**
 * One PostgreSQL for all files, one database for each. `test/run.ts` starts the server and names it in
 * `TEST_POSTGRES_URL`; a plain `bun test` starts it itself. The cluster stays under `.data/test`, so runs at the same
 * time share it and the next run finds it. A template, named after the migrations, makes a database in a few hundredths
 * of a second.
 */
import { afterAll } from 'bun:test';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SQL } from 'bun';
import { migrate } from '../../src/postgres/migrate.ts';
import { joinTestPostgres } from './postgres.ts';

const root = join(import.meta.dir, '../..');
const shared = process.env.TEST_POSTGRES_URL;
const postgres = shared === undefined ? await joinTestPostgres() : undefined;
const postgresUrl = shared ?? postgres?.url ?? '';
const admin = new SQL({ url: postgresUrl, max: 1 });
const template = `template_${migrationsHash()}`;
await alone(prepareTemplate);

/** Makes a migrated, empty database. @returns its URL. */
export async function createDatabase(): Promise<string> {
  const name = newName();
  await alone(() => admin.unsafe(`create database ${name} template ${template}`));
  return urlOf(name);
}

/** A database for a file of tests, with a connection to look into it; both end with the file. */
export async function useDatabase(): Promise<{ url: string; sql: SQL }> {
  const url = await createDatabase();
  const sql = new SQL({ url, max: 2 });
  afterAll(async () => {
    await sql.close();
    await dropDatabase(url);
  });
  return { url, sql };
}

export async function dropDatabase(url: string): Promise<void> {
  await admin.unsafe(`drop database ${new URL(url).pathname.slice(1)} with (force)`);
}

/** Makes an empty database without any table. @returns its URL. */
export async function createEmptyDatabase(): Promise<string> {
  const name = newName();
  await admin.unsafe(`create database ${name}`);
  return urlOf(name);
}

// A process of `test/run.ts` comes here after each of its files, so it keeps the connection until it ends.
afterAll(async () => {
  if (!postgres) return;
  await admin.close();
  await postgres.leave();
});

const newName = () => `test_${process.pid}_${crypto.randomUUID().slice(0, 8)}`;

async function prepareTemplate() {
  const [existing] = await admin`select from pg_database where datname = ${template}`;
  if (existing) return;
  await admin.unsafe(`drop database if exists ${template}_draft with (force)`);
  await admin.unsafe(`create database ${template}_draft`);
  await migrate(urlOf(`${template}_draft`));
  await admin.unsafe(`alter database ${template}_draft rename to ${template}`);
}

/** Runs the work while no other process runs any: a template can be copied once at a time. */
async function alone(work: () => Promise<unknown>) {
  await admin`select pg_advisory_lock(1)`;
  try {
    await work();
  } finally {
    await admin`select pg_advisory_unlock(1)`;
  }
}

function migrationsHash(): string {
  const folder = join(root, 'drizzle');
  const files = readdirSync(folder).filter((name) => name.endsWith('.sql'));
  const hash = createHash('sha256');
  for (const name of files.sort()) hash.update(readFileSync(join(folder, name)));
  return hash.digest('hex').slice(0, 12);
}

function urlOf(database: string): string {
  const url = new URL(postgresUrl);
  url.pathname = `/${database}`;
  return url.href;
}
