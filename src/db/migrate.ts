/** Brings a database to the schema of this version. */
import { join } from 'node:path';
import type { SQL } from 'bun';
import { drizzle } from 'drizzle-orm/bun-sql';
import { migrate as applyMissing } from 'drizzle-orm/bun-sql/migrator';
import { readMigrationFiles } from 'drizzle-orm/migrator';
import { CannotStart } from '../cannot-start.ts';
import { fillInWords } from './backfill.ts';
import { explainFailure, openConnection } from './connection.ts';
import type { Database } from './database.ts';

/** Any constant will do, as long as every version uses the same: the ASCII codes of "mantou". */
export const MIGRATION_LOCK = 0x6d616e746f75;

const migrationsFolder = join(import.meta.dir, '../../drizzle');

/**
 * Applies the migrations that are missing, each once, in one transaction. Processes that start together take
 * turns under an advisory lock: Drizzle's own migrator lets one win and the others fail.
 * @throws {CannotStart} when the database cannot be reached or refuses.
 */
export async function migrate(url: string): Promise<void> {
  // One connection carries the lock and the migrations, so the lock cannot outlive the work.
  const client = openConnection(url, 'migrate');
  try {
    await client`select pg_advisory_lock(${MIGRATION_LOCK})`;
    const db = drizzle({ client });
    await applyMissing(db, { migrationsFolder });
    await fillInWords(db as Database);
  } catch (error) {
    throw new CannotStart(explainFailure(error, url, 'migrated'));
  } finally {
    await client.close({ timeout: 0 });
  }
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

/**
 * Applies the missing migrations up to one, in the transaction that is open, which Drizzle's migrator cannot; the books
 * are those that it keeps.
 */
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
