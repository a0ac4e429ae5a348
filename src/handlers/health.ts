import { sql } from 'drizzle-orm';
import { entries } from '../../drizzle/meta/_journal.json';
import type { Database } from '../db/database.ts';
import { Problem } from '../errors/problem.ts';

/** Drizzle's own table records migrations by the time at which each was generated. */
const latestMigration = Math.max(...entries.map(({ when }) => when));

/** Clients check as often as they like; the database is asked once in this time. */
const CHECK_TTL_MS = 1000;

/** Throws while the process stops, so that the next requests go to another one. @throws {Problem} `overloaded`. */
export function assertNotStopping(stopping: boolean | undefined) {
  if (stopping) throw new Problem('overloaded', { detail: 'This process is stopping' });
}

/** Throws where the database cannot be reached, only reads or lacks a migration. @throws {Problem} `database_unavailable`. */
export async function assertReady(db: Database): Promise<void> {
  const [row] = await db
    .select({
      applied: sql<string | null>`max(created_at)`,
      isStandby: sql<boolean>`pg_is_in_recovery()`,
    })
    .from(sql`drizzle.__drizzle_migrations`);
  if (row?.isStandby)
    throw new Problem('database_unavailable', { detail: 'The database is a standby' });
  if (Number(row?.applied) < latestMigration)
    throw new Problem('database_unavailable', { detail: 'The database is not migrated' });
}

/**
 * Returns the same check for any number of callers: they share one statement, and its result for a second, but not beyond
 * the loss of a connection.
 * @param countLosses how many connections to the database have been lost so far.
 */
export function shareReadiness(db: Database, countLosses: () => number): () => Promise<void> {
  let latest: { result: Promise<void>; atMs: number; losses: number } | undefined;
  return () => {
    const [nowMs, losses] = [performance.now(), countLosses()];
    if (latest === undefined || nowMs - latest.atMs >= CHECK_TTL_MS || losses !== latest.losses)
      latest = { result: assertReady(db), atMs: nowMs, losses };
    return latest.result;
  };
}
