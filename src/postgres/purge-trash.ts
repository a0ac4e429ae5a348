/** Deletes for good what has been in the trash for the retention time, in steps that each hold few locks for a short time. */
// Decision: docs/decisions/41-trash.md
import { and, asc, eq, inArray, isNotNull, isNull, type SQL, sql } from 'drizzle-orm';
import type { PgColumn, PgTable } from 'drizzle-orm/pg-core';
import { suppressEvents } from '../db/authorization.ts';
import type { Database } from '../db/database.ts';
import { events, projects, tasks, trashed_projects, trashed_tasks } from '../db/schema.ts';

/** Rows that one step deletes. */
const PURGED_ROWS_MAX = 1000;

/** Purges everything that is due. Replicas may do so at once: each skips the rows that another has locked. */
export async function purgeTrash(db: Database, retentionSeconds: number): Promise<void> {
  const isOver = (deletedAt: PgColumn) =>
    sql`${deletedAt} <= now() - make_interval(secs => ${retentionSeconds}::int)`;
  await purgeRows(db, trashed_tasks, isOver(trashed_tasks.deleted_at));
  // Discarded first: a replica with a longer retention time does not restore a project of which rows are gone.
  await db
    .update(trashed_projects)
    .set({ discarded_at: sql`now()` })
    .where(and(isNull(trashed_projects.discarded_at), isOver(trashed_projects.deleted_at)));
  const discarded = await db
    .select({ id: trashed_projects.id })
    .from(trashed_projects)
    .where(isNotNull(trashed_projects.discarded_at))
    .orderBy(asc(trashed_projects.discarded_at), asc(trashed_projects.id));
  // One project that cannot be purged does not keep the others.
  const purges = await Array.fromAsync(discarded, ({ id }) =>
    purgeProject(db, id).then(
      () => undefined,
      (error: Error) => error,
    ),
  );
  const failed = purges.find((error) => error !== undefined);
  if (failed) throw failed;
}

/** The events of its members' access stay: they are theirs, and end with the retention of events. */
async function purgeProject(db: Database, id: string) {
  // Those without subtasks first: a cascade would delete more rows than a step may.
  const isLeaf = sql`not exists (select from ${tasks} child where child.parent_id = ${tasks.id})`;
  await purgeRows(db, tasks, and(eq(tasks.project_id, id), isLeaf));
  await purgeRows(db, trashed_tasks, eq(trashed_tasks.project_id, id));
  await purgeRows(db, events, and(eq(events.project_id, id), isNull(events.recipient_id)));
  await db.delete(projects).where(and(eq(projects.id, id), suppressEvents));
}

async function purgeRows(
  db: Database,
  table: PgTable & { id: PgColumn },
  which: SQL | undefined,
): Promise<void> {
  const some = db
    .select({ id: table.id })
    .from(table)
    .where(which)
    .limit(PURGED_ROWS_MAX)
    .for('update', { skipLocked: true });
  let purged: unknown[];
  do {
    purged = await db
      .delete(table)
      .where(and(inArray(table.id, some), suppressEvents))
      .returning({ id: table.id });
  } while (purged.length > 0);
}
