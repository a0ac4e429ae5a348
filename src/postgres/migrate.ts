/** Brings a database to the schema of this version. */
// Decision: docs/decisions/27-migrations-lock-all-tables-first.md
import { join } from 'node:path';
import type { SQL } from 'bun';
import { drizzle } from 'drizzle-orm/bun-sql';
import { readMigrationFiles } from 'drizzle-orm/migrator';
import { entries } from '../../drizzle/meta/_journal.json';
import type { Database } from '../db/database.ts';
import { StartupError } from '../errors/startup-error.ts';
import { parseDatabaseError } from '../lib/database-error.ts';
import { explainFailure, openConnection } from './connection.ts';
import { reindexSearch } from './reindex-search.ts';
import { allTables } from './tables.ts';

/** The key of the advisory lock, the same in every version: the ASCII codes of "mantou". */
export const MIGRATION_LOCK = 0x6d616e746f75;

const migrationsFolder = join(import.meta.dir, '../../drizzle');

/**
 * Far less than the second after which PostgreSQL looks for deadlocks, because it would cancel a writer. Under a load
 * that never pauses, one attempt in ten finds every table free.
 */
const LOCK_TIMEOUT_MS = 100;
const LOCK_RETRY_MS = 100;
const LOCK_ATTEMPTS_MAX = 300;

/**
 * Applies the missing migrations, each once, in one transaction, while the version before may serve. An advisory lock
 * lets processes that start together migrate one after another; with Drizzle's migrator all but one of them fail.
 * @returns how many it has applied.
 * @throws {StartupError} when the database cannot be reached or refuses.
 */
export async function migrate(url: string): Promise<number> {
  const client = openConnection(url, 'migrate');
  try {
    const applied = await migrateBesideWriters(client);
    await reindexSearch((step) =>
      client.begin(async (transaction) => {
        await waitForMigrationLock(transaction);
        return step(drizzle({ client: transaction }) as Database);
      }),
    );
    return applied;
  } catch (error) {
    throw new StartupError(await explainFailure(error, url, 'migrated'));
  } finally {
    await client.close({ timeout: 0 });
  }
}

async function isPending(client: SQL): Promise<boolean> {
  return ((await findLatestMigration(client)) ?? 0) < (entries.at(-1)?.when ?? 0);
}

/** Retries until it has locked every table, and releases its locks in between, so that writers wait briefly and none fails. */
async function migrateBesideWriters(client: SQL): Promise<number> {
  for (let attempt = 1; ; attempt += 1) {
    await client`begin`;
    try {
      await waitForMigrationLock(client);
      let applied = 0;
      if (await isPending(client)) {
        await lockTables(client);
        applied = await applyMigrations(client, Number.POSITIVE_INFINITY);
      }
      await client`commit`;
      return applied;
    } catch (error) {
      await client`rollback`;
      const isBusy = parseDatabaseError(error)?.sqlstate === LOCK_NOT_AVAILABLE;
      if (!isBusy || attempt === LOCK_ATTEMPTS_MAX) throw error;
      await Bun.sleep(LOCK_RETRY_MS);
    }
  }
}

/** Held by the transaction: behind a pooler a session's lock would stay with a connection that others use. */
const waitForMigrationLock = (client: SQL) =>
  client`select pg_advisory_xact_lock(${MIGRATION_LOCK})`;

const LOCK_NOT_AVAILABLE = '55P03';

/** Locks all tables first: a migration that locks them one by one deadlocks with writers. */
async function lockTables(client: SQL) {
  await client.unsafe(`set local lock_timeout = ${LOCK_TIMEOUT_MS}`);
  for (const { name } of allTables()) {
    const [table] = await client`select to_regclass(${name}) as name`;
    if (table.name !== null) await client.unsafe(`lock table "${name}" in access exclusive mode`);
  }
  await client`set local lock_timeout = 0`;
}

/** Returns when the latest applied migration was generated; undefined where none was applied. */
export async function findLatestMigration(client: SQL): Promise<number | undefined> {
  const [books] = await client`select to_regclass('drizzle.__drizzle_migrations') as name`;
  if (books.name === null) return undefined;
  const [row] = await client`select max(created_at) as latest from drizzle.__drizzle_migrations`;
  return row.latest === null ? undefined : Number(row.latest);
}

/** Does what `migrate` does, in the open transaction. */
export async function migrateWithin(client: SQL) {
  await applyMigrations(client, Number.POSITIVE_INFINITY);
  await reindexSearch((step) => step(drizzle({ client }) as Database));
}

/**
 * Applies the missing migrations up to one, in the open transaction, and records them in Drizzle's own table.
 * @returns how many it has applied.
 */
export async function applyMigrations(client: SQL, until: number): Promise<number> {
  let applied = 0;
  await client`create schema if not exists drizzle`;
  await client`create table if not exists drizzle.__drizzle_migrations
    (id serial primary key, hash text not null, created_at bigint)`;
  const latest = (await findLatestMigration(client)) ?? 0;
  for (const { sql, hash, folderMillis } of readMigrationFiles({ migrationsFolder })) {
    if (folderMillis <= latest || folderMillis > until) continue;
    for (const statement of sql) await client.unsafe(statement);
    await client`insert into drizzle.__drizzle_migrations (hash, created_at) values (${hash}, ${folderMillis})`;
    applied += 1;
  }
  return applied;
}

/** Sets the open transaction up for copies: no timeout, and times in one format, whatever the defaults are. */
export async function setSessionForCopies(client: SQL) {
  await client`
    select set_config(name, value, true) from pg_settings join (values
      ('statement_timeout', '0'), ('idle_in_transaction_session_timeout', '0'), ('transaction_timeout', '0'),
      ('datestyle', 'ISO'), ('timezone', 'UTC')) wanted (parameter, value) on lower(name) = parameter`;
}
