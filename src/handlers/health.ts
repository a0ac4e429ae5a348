import { sql } from 'drizzle-orm';
import { entries } from '../../drizzle/meta/_journal.json';
import type { Database } from '../db/database.ts';
import { Problem } from '../problem.ts';

/** Where Drizzle keeps its books, by the time each migration was generated. */
const latest_migration = Math.max(...entries.map(({ when }) => when));

/**
 * @param stopping whether this process is about to end.
 * @throws {Problem} `database_unavailable` when the database cannot be reached or lacks a migration; `overloaded` when
 * the process stops, so that the next requests go to another.
 */
export async function checkReadiness(db: Database, stopping = false): Promise<{ status: 'ok' }> {
  if (stopping) throw new Problem('overloaded', { detail: 'This process is stopping' });
  const rows = await db
    .select({ applied: sql<string | null>`max(created_at)` })
    .from(sql`drizzle.__drizzle_migrations`);
  if (Number(rows[0]?.applied) < latest_migration)
    throw new Problem('database_unavailable', { detail: 'The database is not migrated' });
  return { status: 'ok' };
}
