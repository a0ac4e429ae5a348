import { and, eq, type SQL, type SQLWrapper, sql } from 'drizzle-orm';
import { v7 as uuidv7 } from 'uuid';
import {
  accessToChange,
  accessToTask,
  type CurrentUser,
  type ExpectedVersions,
  hasVersion,
  type Permission,
  permits,
  visibleTo,
  writeRow,
} from '../db/access.ts';
import type { Database } from '../db/database.ts';
import { asRow, nextVersion } from '../db/rows.ts';
import { project_members, task_columns, tasks } from '../db/schema.ts';
import { searchableTask } from '../db/search.ts';
import { Problem } from '../problem.ts';
import { parseInstant } from '../schemas/common.ts';
import type { Task, TaskPatch, TaskWrite } from '../schemas/tasks.ts';
import { type IdempotencyKey, insertOnce, type Made } from './idempotency.ts';

/** Whoever may write tasks, and when. */
export const writes: Permission = { roles: ['owner', 'editor'], while_archived: false };

/** What a writable field is when a client leaves it out of a task that it creates or replaces. */
export const defaults = {
  description: null,
  status: 'todo',
  priority: 0,
  due_at: null,
  assignee_id: null,
  labels: [],
} as const satisfies Omit<Required<TaskWrite>, 'title'>;

/**
 * Makes a task in a project.
 * @throws {Problem} `not_found`, `forbidden`, `conflict`; `validation_failed` for an assignee who is no member;
 * `idempotency_key_reused`, `idempotency_in_flight`.
 */
export async function createTask(
  db: Database,
  user: CurrentUser,
  project_id: string,
  input: TaskWrite,
  request?: IdempotencyKey,
): Promise<Made<Task>> {
  const access = accessToChange(db, user, project_id);
  const row = asRow(tasks, newTask(user, access.project_id, input));
  const insert = (first?: SQL) =>
    db.$with('created').as(
      db
        .insert(tasks)
        .select(
          db
            .select(row)
            .from(access)
            .where(and(permits(access, writes), first)),
        )
        .returning(task_columns),
    );
  if (!request) return { row: await writeRow<Task>(db, access, insert(), writes), replayed: false };
  return insertOnce(db, user, request, {
    access,
    permission: writes,
    statements: (first) => [insert(first)],
    columns: task_columns,
  });
}

/** A new task as a row of the table. */
export function newTask(user: CurrentUser, project_id: SQLWrapper, input: TaskWrite) {
  const now = sql`now()`;
  const fields = { ...defaults, ...input };
  return {
    id: uuidv7(),
    project_id,
    ...fields,
    due_at: inUtc(fields.due_at),
    completed_at: fields.status === 'done' ? now : null,
    created_at: now,
    updated_at: now,
    created_by: user.id,
    version: 1,
    words_version: 1,
    ...searchableTask(fields, project_id),
  };
}

/** @throws {Problem} `not_found`. */
export async function readTask(db: Database, user: CurrentUser, task_id: string): Promise<Task> {
  const [task] = await db
    .select(task_columns)
    .from(tasks)
    .innerJoin(project_members, visibleTo(user, tasks.project_id))
    .where(eq(tasks.id, task_id));
  if (!task) throw new Problem('not_found');
  return task;
}

/**
 * Replaces every writable field of a task: what is left out goes back to its default.
 * @throws {Problem} `not_found`, `forbidden`, `conflict`, `precondition_failed`; `validation_failed` for an assignee
 * who is no member.
 */
export async function replaceTask(
  db: Database,
  user: CurrentUser,
  task_id: string,
  input: TaskWrite,
  expected: ExpectedVersions,
): Promise<Task> {
  return updateTask(db, user, task_id, { ...defaults, ...input }, expected);
}

/**
 * Merges a patch (RFC 7396) into a task; an empty one changes nothing.
 * @throws {Problem} as `replaceTask` does.
 */
export async function patchTask(
  db: Database,
  user: CurrentUser,
  task_id: string,
  input: TaskPatch,
  expected: ExpectedVersions,
): Promise<Task> {
  return updateTask(db, user, task_id, input, expected);
}

/** @throws {Problem} `not_found`, `forbidden`, `conflict`, `precondition_failed`. */
export async function deleteTask(
  db: Database,
  user: CurrentUser,
  task_id: string,
  expected: ExpectedVersions,
): Promise<void> {
  const access = accessToTask(db, user, task_id);
  const deleted = db.$with('deleted').as(
    db
      .delete(tasks)
      .where(
        and(
          eq(tasks.id, task_id),
          sql`exists ${db.select().from(access).where(permits(access, writes))}`,
          hasVersion(tasks.version, expected),
        ),
      )
      .returning({ id: tasks.id }),
  );
  await writeRow(db, access, deleted, writes, expected);
}

async function updateTask(
  db: Database,
  user: CurrentUser,
  task_id: string,
  input: TaskPatch,
  expected: ExpectedVersions,
): Promise<Task> {
  const access = accessToTask(db, user, task_id);
  const changes = Object.keys(input).length > 0;
  const changed = db.$with('changed').as(
    db
      .update(tasks)
      .set({
        // So that an empty patch sets something.
        id: tasks.id,
        ...input,
        ...searchableTask(input),
        ...(input.due_at !== undefined && { due_at: inUtc(input.due_at) }),
        ...(input.status !== undefined && {
          completed_at:
            input.status === 'done' ? sql`coalesce(${tasks.completed_at}, now())` : null,
        }),
        ...(changes && nextVersion(tasks)),
      })
      .from(access)
      .where(
        and(eq(tasks.id, task_id), permits(access, writes), hasVersion(tasks.version, expected)),
      )
      .returning(task_columns),
  );
  return writeRow<Task>(db, access, changed, writes, expected);
}

export const inUtc = (due_at: string | null) =>
  due_at === null ? null : (parseInstant(due_at) ?? null);
