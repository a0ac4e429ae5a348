import { and, eq, type SQL, sql } from 'drizzle-orm';
import { v7 as uuidv7 } from 'uuid';
import {
  accessToChange,
  accessToTask,
  attempt,
  type CurrentUser,
  type ExpectedVersions,
  hasVersion,
  type Permission,
  permits,
  rowOf,
  versionsAsked,
  visibleTo,
} from '../db/access.ts';
import type { Database } from '../db/database.ts';
import { asRow, nextVersion } from '../db/rows.ts';
import { project_members, task_columns, tasks } from '../db/schema.ts';
import { searchableTask, taskLexemes } from '../db/search.ts';
import { type Asked, statement } from '../db/statement.ts';
import { Problem } from '../problem.ts';
import { parseInstant } from '../schemas/common.ts';
import type { Task, TaskPatch, TaskWrite } from '../schemas/tasks.ts';
import { attemptOnce, type IdempotencyKey, type Made, madeOf } from './idempotency.ts';

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
  const fields = { ...defaults, ...input };
  const task = { id: uuidv7(), ...asValues(fields), ...taskLexemes(fields) };
  const [found] = await insertTask(db, { user: { id: user.id }, project_id, task, request });
  return madeOf(found, task_columns, writes, request);
}

interface NewTask {
  user: Pick<CurrentUser, 'id'>;
  project_id: string;
  task: { id: string } & Values<Required<TaskWrite>> & ReturnType<typeof taskLexemes>;
  request: IdempotencyKey | undefined;
}

const insertTask = statement((db, { user, project_id, task, request }: Asked<NewTask>) => {
  const access = accessToChange(db, user, project_id);
  const now = sql`now()`;
  const row = asRow(tasks, {
    ...task,
    ...searchableTask(task, access.project_id),
    project_id: access.project_id,
    completed_at: sql`case ${task.status}::text when 'done' then now() end`,
    created_at: now,
    updated_at: now,
    created_by: user.id,
    version: 1,
    words_version: 1,
  });
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
  if (!request) return attempt<Task>(db, access, insert());
  return attemptOnce<Task>(db, user, request, access, (first) => [insert(first)]);
});

/** @throws {Problem} `not_found`. */
export async function readTask(db: Database, user: CurrentUser, task_id: string): Promise<Task> {
  const [task] = await selectTask(db, { user: { id: user.id }, task_id });
  if (!task) throw new Problem('not_found');
  return task;
}

const selectTask = statement((db, { user, task_id }: Asked<OneTask>) =>
  db
    .select(task_columns)
    .from(tasks)
    .innerJoin(project_members, visibleTo(user, tasks.project_id))
    .where(eq(tasks.id, task_id)),
);

/** What a statement asks of a task. */
interface OneTask {
  user: Pick<CurrentUser, 'id'>;
  task_id: string;
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
  const versions = versionsAsked(expected);
  const [found] = await deleteOne(db, { user: { id: user.id }, task_id, versions });
  rowOf(found, writes, expected);
}

interface WrittenTask extends OneTask {
  versions: string | undefined;
}

const deleteOne = statement((db, { user, task_id, versions }: Asked<WrittenTask>) => {
  const access = accessToTask(db, user, task_id);
  const deleted = db.$with('deleted').as(
    db
      .delete(tasks)
      .where(
        and(
          eq(tasks.id, task_id),
          sql`exists ${db.select().from(access).where(permits(access, writes))}`,
          hasVersion(tasks.version, versions),
        ),
      )
      .returning({ id: tasks.id }),
  );
  return attempt(db, access, deleted);
});

async function updateTask(
  db: Database,
  user: CurrentUser,
  task_id: string,
  input: TaskPatch,
  expected: ExpectedVersions,
): Promise<Task> {
  const changes = { ...asValues(input), ...taskLexemes(input) };
  const versions = versionsAsked(expected);
  const [found] = await changeTask(db, { user: { id: user.id }, task_id, versions, changes });
  return rowOf(found, writes, expected);
}

interface ChangedTask extends WrittenTask {
  changes: Values<TaskPatch> & ReturnType<typeof taskLexemes>;
}

const changeTask = statement((db, { user, task_id, versions, changes }: Asked<ChangedTask>) => {
  const access = accessToTask(db, user, task_id);
  const { status } = changes;
  const changed = db.$with('changed').as(
    db
      .update(tasks)
      .set({
        // So that an empty patch sets something.
        id: tasks.id,
        ...(changes as object),
        ...searchableTask(changes),
        ...(status !== undefined && {
          completed_at: sql`case ${status}::text when 'done' then coalesce(${tasks.completed_at}, now()) end`,
        }),
        ...(Object.keys(changes).length > 0 && nextVersion(tasks)),
      })
      .from(access)
      .where(
        and(eq(tasks.id, task_id), permits(access, writes), hasVersion(tasks.version, versions)),
      )
      .returning(task_columns),
  );
  return attempt<Task>(db, access, changed);
});

/** Fields of a task as values of a statement. */
type Values<Fields> = {
  [Name in keyof Fields]: Name extends 'labels' ? string : Fields[Name];
};

/** In one order, whatever the client's: the statement is the same. */
function asValues<Fields extends TaskPatch>(fields: Fields) {
  const { title, description, status, priority, due_at, assignee_id, labels } = fields;
  return {
    ...{ title, description, status, priority, assignee_id },
    due_at: due_at && inUtc(due_at),
    labels: labels && (tasks.labels.mapToDriverValue(labels) as string),
  } as Values<Fields>;
}

export const inUtc = (due_at: string | null) =>
  due_at === null ? null : (parseInstant(due_at) ?? null);
