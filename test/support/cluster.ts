/**
 * One PostgreSQL for the run, one database a file. The cluster stays under `.data/test`, joined as the server joins
 * its own, so runs side by side share it and the next run finds it made. A template, named after the migrations,
 * makes a database in a few hundredths of a second.
 */
import { afterAll } from 'bun:test';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SQL } from 'bun';
import { joinEmbeddedPostgres } from '../../src/db/embedded.ts';
import { migrate } from '../../src/db/migrate.ts';

const root = join(import.meta.dir, '../..');
export const postgres = await joinEmbeddedPostgres(join(root, '.data/test'));
const admin = new SQL({ url: postgres.url, max: 1 });
const template = `template_${migrationsHash()}`;
await prepareCluster();

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

afterAll(async () => {
  await admin.close();
  await postgres.leave();
});

const newName = () => `test_${process.pid}_${crypto.randomUUID().slice(0, 8)}`;

async function prepareCluster() {
  // Tests lose nothing that matters if the machine goes down.
  await admin.unsafe('alter system set fsync = off');
  await admin.unsafe('alter system set max_connections = 300');
  await admin`select pg_reload_conf()`;
  await alone(async () => {
    const [made] = await admin`select from pg_database where datname = ${template}`;
    if (made) return;
    await admin.unsafe(`drop database if exists ${template}_draft with (force)`);
    await admin.unsafe(`create database ${template}_draft`);
    await migrate(urlOf(`${template}_draft`));
    await admin.unsafe(`alter database ${template}_draft rename to ${template}`);
  });
}

/** A template can be copied by one at a time. */
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
  const url = new URL(postgres.url);
  url.pathname = `/${database}`;
  return url.href;
}
