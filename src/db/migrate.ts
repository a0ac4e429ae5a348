/** Brings a database to the schema of this version. */
import { join } from 'node:path';
import type { SQL } from 'bun';
import { drizzle } from 'drizzle-orm/bun-sql';
import { readMigrationFiles } from 'drizzle-orm/migrator';
import { entries } from '../../drizzle/meta/_journal.json';
import { CannotStart } from '../cannot-start.ts';
import { fillInWords } from './backfill.ts';
import { explainFailure, openConnection } from './connection.ts';
import type { Database } from './database.ts';
import { findFailure } from './failure.ts';
import { allTables } from './tables.ts';

/** Any constant will do, as long as every version uses the same: the ASCII codes of "mantou". */
export const MIGRATION_LOCK = 0x6d616e746f75;

const migrationsFolder = join(import.meta.dir, '../../drizzle');

/**
 * Far less than the second after which PostgreSQL ends one of those who wait in a circle: it would be a writer. Under a
 * load that never pauses, one attempt in ten finds every table free.
 */
const LOCK_TIMEOUT_MS = 100;
const LOCK_RETRY_MS = 100;
const LOCK_ATTEMPTS_MAX = 300;

/**
 * Applies the migrations that are missing, each once, in one transaction, while the version before may serve. Processes
 * that start together take turns under an advisory lock. Drizzle's migrator does neither: of processes that start
 * together it lets one win and the others fail.
 * @throws {CannotStart} when the database cannot be reached or refuses.
 */
export async function migrate(url: string): Promise<void> {
  // One connection carries the lock and the migrations, so the lock cannot outlive the work.
  const client = openConnection(url, 'migrate');
  try {
    await client`select pg_advisory_lock(${MIGRATION_LOCK})`;
    if (await isPending(client)) await migrateBesideWriters(client);
    await fillInWords(drizzle({ client }) as Database);
  } catch (error) {
    throw new CannotStart(explainFailure(error, url, 'migrated'));
  } finally {
    await client.close({ timeout: 0 });
  }
}

async function isPending(client: SQL): Promise<boolean> {
  return ((await findLatestMigration(client)) ?? 0) < (entries.at(-1)?.when ?? 0);
}

/** Tries until it has every table, and gives way meanwhile, so that writers wait for a moment and none fails. */
async function migrateBesideWriters(client: SQL) {
  for (let attempt = 1; ; attempt += 1) {
    await client`begin`;
    try {
      await lockTables(client);
      await applyMigrations(client, Number.POSITIVE_INFINITY);
      await client`commit`;
      return;
    } catch (error) {
      await client`rollback`;
      const is_busy = findFailure(error)?.sqlstate === LOCK_NOT_AVAILABLE;
      if (!is_busy || attempt === LOCK_ATTEMPTS_MAX) throw error;
      await Bun.sleep(LOCK_RETRY_MS);
    }
  }
}

const LOCK_NOT_AVAILABLE = '55P03';

/** Whoever takes locks as it goes meets writers who hold what it wants next and want what it holds. */
async function lockTables(client: SQL) {
  await client.unsafe(`set local lock_timeout = ${LOCK_TIMEOUT_MS}`);
  for (const { name } of allTables()) {
    const [table] = await client`select to_regclass(${name}) as name`;
    if (table.name !== null) await client.unsafe(`lock table "${name}" in access exclusive mode`);
  }
  await client`set local lock_timeout = 0`;
}

/** The latest migration that was applied, by the time it was generated; undefined where none was. */
export async function findLatestMigration(client: SQL): Promise<number | undefined> {
  const [books] = await client`select to_regclass('drizzle.__drizzle_migrations') as name`;
  if (books.name === null) return undefined;
  const [row] = await client`select max(created_at) as latest from drizzle.__drizzle_migrations`;
  return row.latest === null ? undefined : Number(row.latest);
}

/** Does what `migrate` does in the transaction that is open. */
export async function migrateWithin(client: SQL) {
  await applyMigrations(client, Number.POSITIVE_INFINITY);
  await fillInWords(drizzle({ client }) as Database);
}

/** Applies the missing migrations up to one, in the transaction that is open. The books are those that Drizzle keeps. */
export async function applyMigrations(client: SQL, until: number) {
  await client`create schema if not exists drizzle`;
  await client`create table if not exists drizzle.__drizzle_migrations
    (id serial primary key, hash text not null, created_at bigint)`;
  const latest = (await findLatestMigration(client)) ?? 0;
  for (const { sql, hash, folderMillis } of readMigrationFiles({ migrationsFolder })) {
    if (folderMillis <= latest || folderMillis > until) continue;
    for (const statement of sql) await client.unsafe(statement);
    await client`insert into drizzle.__drizzle_migrations (hash, created_at) values (${hash}, ${folderMillis})`;
  }
}

/** For the transaction that is open: it takes as long as it takes and writes times in one way, whatever the defaults. */
export async function setSessionForCopies(client: SQL) {
  await client`
    select set_config(name, value, true) from pg_settings join (values
      ('statement_timeout', '0'), ('idle_in_transaction_session_timeout', '0'), ('transaction_timeout', '0'),
      ('datestyle', 'ISO'), ('timezone', 'UTC')) wanted (parameter, value) on lower(name) = parameter`;
}
