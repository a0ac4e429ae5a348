import { and, desc, eq, getTableColumns, type SQL, sql } from 'drizzle-orm';
import { v7 as uuidv7 } from 'uuid';
import {
  accessToProject,
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
import { project_members, tasks } from '../db/schema.ts';
import { Problem } from '../problem.ts';
import { type PageQuery, parseInstant } from '../schemas/common.ts';
import type { Task, TaskPage, TaskPatch, TaskWrite } from '../schemas/tasks.ts';
import { after, pageOf } from './page.ts';

const writes: Permission = { roles: ['owner', 'editor'], while_archived: false };

const columns = getTableColumns(tasks);

/** What a writable field is when a client leaves it out of a task that it creates or replaces. */
const defaults = {
  description: null,
  status: 'todo',
  priority: 0,
  due_at: null,
  assignee_id: null,
  labels: [],
} as const satisfies Omit<Required<TaskWrite>, 'title'>;

/**
 * Makes a task in a project.
 * @throws {Problem} `not_found`, `forbidden`, `conflict`; `validation_failed` for an assignee who is no member.
 */
export async function createTask(
  db: Database,
  user: CurrentUser,
  project_id: string,
  input: TaskWrite,
): Promise<Task> {
  const access = accessToProject(db, user, project_id);
  const now = sql`now()`;
  const row = asRow({
    id: uuidv7(),
    project_id: access.project_id,
    ...defaults,
    ...input,
    due_at: inUtc(input.due_at ?? null),
    completed_at: input.status === 'done' ? now : null,
    created_at: now,
    updated_at: now,
    created_by: user.id,
    version: 1,
  });
  const created = db.$with('created').as(
    db
      .insert(tasks)
      .select(db.select(row).from(access).where(permits(access, writes)))
      .returning(),
  );
  return writeRow<Task>(db, access, created, writes);
}

/** The tasks of a project, newest first. @throws {Problem} `not_found`, `invalid_cursor`. */
export async function listTasks(
  db: Database,
  user: CurrentUser,
  project_id: string,
  query: PageQuery,
): Promise<TaskPage> {
  const list = `tasks of ${project_id.toLowerCase()}`;
  const access = accessToProject(db, user, project_id);
  const page = db.$with('page').as(
    db
      .select()
      .from(tasks)
      .where(and(eq(tasks.project_id, project_id), after(list, query, tasks)))
      .orderBy(desc(tasks.created_at), desc(tasks.id))
      .limit(query.limit + 1),
  );
  // One row with no task says that the project is there and empty; no row, that it is not there.
  const rows = await db
    .with(access, page)
    .select({ access: access.project_id, task: page._.selectedFields })
    .from(access)
    .leftJoin(page, sql`true`)
    .orderBy(desc(page.created_at), desc(page.id));
  if (rows.length === 0) throw new Problem('not_found');
  return pageOf(
    list,
    query,
    rows.flatMap(({ task }) => task ?? []),
  );
}

/** @throws {Problem} `not_found`. */
export async function readTask(db: Database, user: CurrentUser, task_id: string): Promise<Task> {
  const [task] = await db
    .select(columns)
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
        ...(input.due_at !== undefined && { due_at: inUtc(input.due_at) }),
        ...(input.status !== undefined && {
          completed_at:
            input.status === 'done' ? sql`coalesce(${tasks.completed_at}, now())` : null,
        }),
        ...(changes && { updated_at: sql`now()`, version: sql`${tasks.version} + 1` }),
      })
      .from(access)
      .where(
        and(eq(tasks.id, task_id), permits(access, writes), hasVersion(tasks.version, expected)),
      )
      .returning(columns),
  );
  return writeRow<Task>(db, access, changed, writes, expected);
}

const inUtc = (due_at: string | null) => (due_at === null ? null : (parseInstant(due_at) ?? null));

/** A task as a row to select, column by column in the table's order: `insert … select` can depend on access. */
function asRow(row: Record<keyof typeof columns, unknown>) {
  const entries = Object.entries(columns).map(([name, column]) => {
    const value = row[name as keyof typeof columns];
    const written = value instanceof Object && 'getSQL' in value ? value : sql.param(value, column);
    return [name, sql`${written}::${sql.raw(column.getSQLType())}`.as(name)];
  });
  return Object.fromEntries(entries) as Record<keyof typeof columns, SQL.Aliased>;
}
