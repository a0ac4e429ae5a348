/** Brings a database to the schema of this version. */
import { join } from 'node:path';
import { SQL } from 'bun';
import { drizzle } from 'drizzle-orm/bun-sql';
import { migrate as applyMigrations } from 'drizzle-orm/bun-sql/migrator';
import { CannotStart } from '../cannot-start.ts';
import { fillInWords } from './backfill.ts';
import type { Database } from './database.ts';
import { findFailure } from './failure.ts';

/** Any constant will do, as long as every version uses the same: the ASCII codes of "mantou". */
const LOCK = 0x6d616e746f75;

const folder = join(import.meta.dir, '../../drizzle');

/**
 * Applies the migrations that are missing, each once, in one transaction. Processes that start together take
 * turns under an advisory lock: Drizzle's own migrator lets one win and the others fail.
 * @throws {CannotStart} when the database cannot be reached or refuses.
 */
export async function migrate(url: string): Promise<void> {
  // One connection carries the lock and the migrations, so the lock cannot outlive the work.
  const client = openClient(url);
  try {
    await client`select pg_advisory_lock(${LOCK})`;
    const db = drizzle({ client });
    await applyMigrations(db, { migrationsFolder: folder });
    await fillInWords(db as Database);
  } catch (error) {
    throw new CannotStart(explain(error, url));
  } finally {
    await client.close({ timeout: 0 });
  }
}

function openClient(url: string): SQL {
  try {
    return new SQL({
      url,
      max: 1,
      connectionTimeout: 5,
      connection: { application_name: 'mantou migrate' },
    });
  } catch (error) {
    throw new CannotStart(`DATABASE_URL cannot be used: ${(error as Error).message}`);
  }
}

function explain(error: unknown, url: string): string {
  const { host, pathname } = new URL(url);
  const where = `the database${pathname} at ${host}`;
  const failure = findFailure(error);
  switch (failure?.sqlstate) {
    case '28P01':
    case '28000':
      return `${where} refuses the user name or password in DATABASE_URL: correct them`;
    case '3D000':
      return `${where} does not exist: create it, or correct DATABASE_URL`;
    case '42501':
      return `the user in DATABASE_URL may not create tables in ${where}: grant it CREATE on the database and on its schema public`;
    case '25006':
      return `${where} is read-only: name the primary server in DATABASE_URL`;
    case '53300':
      return `${where} has no connection left: raise its limit, or end other clients`;
  }
  if (failure?.unavailable)
    return `${where} cannot be reached: start PostgreSQL, or correct DATABASE_URL`;
  return `${where} cannot be migrated: ${failure?.message ?? String(error)}`;
}
