import { and, eq, type SQL, type SQLWrapper, sql } from 'drizzle-orm';
import {
  actorOf,
  allows,
  gatePassedOf,
  isStillAssigned,
  lockTree,
  projectAccessOf,
  taskAccessOf,
  taskLockOf,
  unwrapWrite,
  versionsParam,
  visibleTo,
  type WriteResult,
  writeCallsWithAccess,
} from '../db/authorization.ts';
import { batchedRead, batchedWrite, type Calls, oneCall } from '../db/batching.ts';
import type { Database } from '../db/database.ts';
import { onViolation } from '../db/errors.ts';
import { arrayLiteral, taskLexemes, taskSearchColumns, taskSearchText } from '../db/full-text.ts';
import {
  type Created,
  type IdempotencyKey,
  keyOf,
  unwrapOnce,
  writeOnce,
} from '../db/idempotency.ts';
import { prepared, type QueryParam, type QueryParams } from '../db/prepared.ts';
import { bumpVersion, insertRow } from '../db/row-values.ts';
import { project_members, tasks } from '../db/schema.ts';
import { taskColumns } from '../db/visible-columns.ts';
import { idTaken, Problem, validationProblem } from '../errors/problem.ts';
import { parseInstant } from '../lib/instant.ts';
import { newId } from '../lib/new-id.ts';
import type { Actor, CurrentUser, ExpectedVersions } from '../schemas/current-user.ts';
import {
  notAMemberError,
  type Task,
  type TaskPatch,
  type TaskReplace,
  type TaskWrite,
  type UnwritableField,
} from '../schemas/tasks.ts';
import { moveTask } from './task-batch.ts';
import {
  defaults,
  inUtc,
  isStatusAlone,
  MOVES_MAX,
  refuseSecondDueDate,
  withOwnId,
  writes,
} from './task-fields.ts';
import { placeIn, placeRefusals } from './task-order.ts';
import {
  assertBlockers,
  hasSubtasks,
  lockedTree,
  locksFewSubtasks,
  parentRefusals,
  refuseManySubtasks,
} from './task-tree.ts';

const patchRefusals = {
  tasks_assignee_id_fkey: () => validationProblem([notAMemberError('body.assignee_id')]),
  ...parentRefusals('body.parent_id'),
};

/** The problems of a patch, which may name a place. */
const refusalsOf = ({ after }: TaskPatch) => ({
  ...patchRefusals,
  ...placeRefusals(after === undefined ? 'body.before' : 'body.after'),
});
const createRefusals = { ...patchRefusals, tasks_pkey: () => idTaken('body.id') };

/**
 * Creates a task in a project.
 * @throws {Problem} `not_found`, `forbidden`, `conflict`, `id_taken`; `validation_failed` for an assignee who is no member and
 * for two due dates; `idempotency_key_reused`, `idempotency_in_flight`.
 */
export async function createTask(
  db: Database,
  user: CurrentUser,
  projectId: string,
  input: TaskWrite,
  request?: IdempotencyKey,
): Promise<Created<Task>> {
  const whole = withOwnId(user, { ...defaults, ...input });
  refuseSecondDueDate(whole);
  await assertBlockers(db, user, input.id, whole);
  const task = { id: newId(input.id), ...asValues(whole), ...taskLexemes(whole) };
  const params = { user: actorOf(user), project_id: projectId, task, request };
  const [found] = await onViolation(createRefusals, insertTask(db, params));
  return unwrapOnce(found, taskColumns, writes, request);
}

interface NewTask {
  user: Actor;
  project_id: string;
  task: { id: string } & Record<Field, string | number | null> & ReturnType<typeof taskLexemes>;
  request: IdempotencyKey | undefined;
}

const insertTask = batchedWrite(
  (db, { user, project_id, task, request }: QueryParams<NewTask>, calls) => {
    const access = projectAccessOf(db, calls, user, project_id, task.id);
    const passed = gatePassedOf(db, access, writes);
    const now = sql`now()`;
    const row = insertRow(tasks, {
      ...task,
      ...taskSearchColumns(task, passed.project_id),
      position: null,
      project_id: passed.project_id,
      completed_at: sql`case ${task.status}::text when 'done' then now() end`,
      created_at: now,
      updated_at: now,
      created_by: user.id,
      version: 1,
      words_version: -1,
      comment_count: 0,
    });
    const insert = (first?: SQL) =>
      db.$with('created').as(
        db
          .insert(tasks)
          .select(
            db
              .select(row)
              .from(passed)
              .innerJoin(calls.from, eq(passed.call, calls.call))
              .where(first),
          )
          .returning(taskColumns),
      );
    const isOfCall = (id: SQLWrapper) => sql`${id} = ${task.id}::uuid`;
    if (request)
      return writeOnce<Task>(
        db,
        calls,
        user,
        request,
        access,
        (first) => [passed, insert(first)],
        isOfCall,
      );
    const created = insert();
    return writeCallsWithAccess<Task>(db, calls, access, created, isOfCall(created.id), passed);
  },
  ({ user, task, request }) => ({ row: task.id, key: keyOf(user, request) }),
);

/** Returns a task. @throws {Problem} `not_found`. */
export async function readTask(db: Database, user: CurrentUser, taskId: string): Promise<Task> {
  const [task] = await selectTask(db, { user: { id: user.id }, task_id: taskId });
  if (!task) throw new Problem('not_found');
  return task;
}

const selectTask = batchedRead((db, { user, task_id }: QueryParams<OneTask>) =>
  db
    .select(taskColumns)
    .from(tasks)
    .innerJoin(project_members, visibleTo(user, tasks.project_id))
    .where(eq(tasks.id, task_id)),
);

/** The values of a statement on one task. */
interface OneTask {
  user: Pick<CurrentUser, 'id'>;
  task_id: string;
}

/**
 * Replaces every writable field of a task: a field that is left out returns to its default.
 * @throws {Problem} `not_found`, `forbidden`, `conflict`, `precondition_failed`; `validation_failed` for an assignee
 * who is no member, and for two due dates.
 */
export async function replaceTask(
  db: Database,
  user: CurrentUser,
  taskId: string,
  input: TaskReplace,
  expected: ExpectedVersions,
): Promise<Task> {
  // Others may have commented since the client read the task.
  const { comment_count: _, ...sent } = input;
  const { id, project_id, completed_at, created_at, updated_at, created_by, ...fields } = sent;
  const unwritable = { id, project_id, completed_at, created_at, updated_at, created_by };
  if (Object.values(unwritable).some((value) => value !== undefined)) {
    const task = await readTask(db, user, taskId);
    // On another version nothing is written, and the fields differ for that reason.
    if (expected === undefined || expected.includes(task.version))
      assertUnchanged(task, unwritable);
  }
  return updateTask(db, user, taskId, { ...defaults, ...fields }, expected);
}

/** @throws {Problem} `validation_failed` with each field that differs from the task's. */
function assertUnchanged(task: Task, given: Partial<Pick<Task, UnwritableField>>) {
  const errors = (Object.keys(given) as UnwritableField[])
    .filter((name) => given[name] !== undefined && !isSame(task[name], given[name]))
    .map((name) => ({
      location: `body.${name}`,
      code: 'read_only',
      message:
        name === 'project_id'
          ? 'is changed by PATCH alone: send it as it was read, or leave it out'
          : 'is read-only: send it as it was read, or leave it out',
    }));
  if (errors.length > 0) throw validationProblem(errors);
}

/** An instant may be written with another offset, and an id in upper case. */
function isSame(stored: string | null, given: string | null | undefined): boolean {
  if (stored === null || typeof given !== 'string') return stored === given;
  return (parseInstant(given) ?? given.toLowerCase()) === stored;
}

/**
 * Merges a patch (RFC 7396) into a task; an empty one changes nothing. With `project_id` it moves the task.
 * @throws {Problem} as `replaceTask` does; for the project that the task moves to, `errors` names `body.project_id`.
 */
export async function patchTask(
  db: Database,
  user: CurrentUser,
  taskId: string,
  { project_id, ...fields }: TaskPatch,
  expected: ExpectedVersions,
): Promise<Task> {
  return project_id === undefined
    ? updateTask(db, user, taskId, fields, expected)
    : moveTask(db, user, taskId, { ...fields, project_id }, expected);
}

/** @throws {Problem} `not_found`, `forbidden`, `conflict`, `precondition_failed`. */
export async function deleteTask(
  db: Database,
  user: CurrentUser,
  taskId: string,
  expected: ExpectedVersions,
): Promise<void> {
  const versions = versionsParam(expected) ?? null;
  const params = { user: actorOf(user), task_id: taskId, versions };
  const found = await repeatMoved(
    async () => {
      const attempt = await deleteOne(db, params);
      // A statement for many leaves a task with subtasks alone.
      const [{ access, row } = { access: null, row: null }] = attempt;
      if (!access || !allows(access, writes) || row) return attempt;
      const again = await deleteTree(db, params);
      if (again[0]?.access && !again[0].row) await refuseManySubtasks(db, taskId);
      return again;
    },
    expected?.length !== 1 && (() => readExpected(db, user, taskId, expected)),
  );
  unwrapWrite(found, writes, expected);
}

/**
 * Runs a write again while it finds no row though the user may write: another has moved the task meanwhile.
 * @param explain throws where nothing is written for another reason. False: the task has no other version to move with.
 */
async function repeatMoved<Row>(
  write: () => PromiseLike<WriteResult<Row>[]>,
  explain: false | (() => Promise<unknown>),
): Promise<WriteResult<Row> | undefined> {
  let [found] = await write();
  for (let moves = 0; moves < MOVES_MAX; moves += 1) {
    if (!explain || !found?.access || found.row || !allows(found.access, writes)) break;
    await explain();
    [found] = await write();
  }
  return found;
}

/** Returns a task. @throws {Problem} `not_found`; `precondition_failed` where it has another version. */
async function readExpected(
  db: Database,
  user: CurrentUser,
  taskId: string,
  expected: ExpectedVersions,
): Promise<Task> {
  const task = await readTask(db, user, taskId);
  if (expected && !expected.includes(task.version)) throw new Problem('precondition_failed');
  return task;
}

interface WrittenTask extends OneTask {
  user: Actor;
  /** Null for any. */
  versions: string | null;
}

const deletion = (
  db: Database,
  { user, task_id, versions }: QueryParams<WrittenTask>,
  calls: Calls,
) => {
  const access = taskAccessOf(db, calls, user, task_id);
  const locked = taskLockOf(db, access, writes);
  const isOne = and(
    sql`${tasks.id} = ${task_id}::uuid`,
    // A task that has moved since is not in the project whose access was checked.
    eq(tasks.project_id, locked.project_id),
    sql`(${versions}::int[] is null or ${tasks.version} = any(${versions}::int[]))`,
    // The subtasks go by a cascade, and their events name the actor of the whole statement.
    calls === oneCall ? locksFewSubtasks : sql`not ${hasSubtasks}`,
  );
  const tree = db.$with('tree', { id: tasks.id }).as(lockedTree(task_id, locked));
  // Drizzle's builder has no USING. As a subquery, PostgreSQL would look at every task.
  const deleted = db.$with('deleted', { id: tasks.id }).as(sql`
      delete from ${tasks} using ${locked} inner join ${calls.from} on ${eq(locked.call, calls.call)}
      where ${isOne} returning ${tasks.id}`);
  const isOfCall = sql`${deleted.id} = ${task_id}::uuid`;
  const locks = calls === oneCall ? [locked, tree] : [locked];
  return writeCallsWithAccess<{ id: string }>(db, calls, access, deleted, isOfCall, ...locks);
};

const deleteOne = batchedWrite(deletion, ({ task_id }) => ({ row: task_id }));

/** Deletes a task with its subtasks. */
const deleteTree = prepared((db, params: QueryParams<WrittenTask>) =>
  deletion(db, params, oneCall),
);

/** One statement serves every patch: its parameters say which fields it sets. */
async function updateTask(
  db: Database,
  user: CurrentUser,
  taskId: string,
  patch: TaskPatch,
  expected: ExpectedVersions,
): Promise<Task> {
  const input = withOwnId(user, patch);
  refuseSecondDueDate(input);
  await assertBlockers(db, user, taskId, input);
  const place = placeIn(input, 'body');
  const versions = versionsParam(expected) ?? null;
  const isSet = (name: keyof TaskPatch) => input[name] !== undefined;
  const given = {
    ...noLexemes,
    ...asValues(input),
    ...taskLexemes(input),
    title_set: isSet('title'),
    description_set: isSet('description'),
    status_set: isSet('status'),
    priority_set: isSet('priority'),
    due_at_set: isSet('due_at'),
    due_on_set: isSet('due_on'),
    assignee_id_set: isSet('assignee_id'),
    labels_set: isSet('labels'),
    status_alone: isStatusAlone(input),
    parent_id_set: isSet('parent_id'),
    blocked_by_set: isSet('blocked_by'),
    ...place,
  };
  const params = { user: actorOf(user), task_id: taskId, versions, given };
  const found = await repeatMoved(
    () => onViolation(refusalsOf(input), changeTask(db, params)),
    (expected?.length !== 1 || Boolean(input.due_at ?? input.due_on)) &&
      (async () => refuseSecondDueDate(input, await readExpected(db, user, taskId, expected))),
  );
  return unwrapWrite(found, writes, expected);
}

const fields = [
  'title',
  'description',
  'status',
  'priority',
  'due_at',
  'due_on',
  'assignee_id',
  'labels',
  'parent_id',
  'blocked_by',
] as const satisfies (keyof TaskPatch)[];
type Field = (typeof fields)[number];
type Lexeme = keyof typeof noLexemes;

/** What is stored of a text, with null where the text is not set. */
const noLexemes = {
  title_key: null,
  title_words: null,
  title_runs: null,
  description_words: null,
  description_runs: null,
  label_words: null,
};

/** The field that a lexeme is stored of. */
const textOf: Record<Lexeme, Field> = {
  title_key: 'title',
  title_words: 'title',
  title_runs: 'title',
  description_words: 'description',
  description_runs: 'description',
  label_words: 'labels',
};

interface ChangedTask {
  user: Actor;
  task_id: string;
  versions: string | null;
  given: Record<Field, string | number | null> &
    Record<Lexeme, string | null> &
    Record<`${Field}_set`, boolean> & {
      /** Whether an assignee may write it who is a viewer. */
      status_alone: boolean;
      is_placed: boolean;
      is_after: boolean;
      anchor_id: string | null;
    };
}

const changeTask = batchedWrite(
  (db, { user, task_id, versions, given }: QueryParams<ChangedTask>, calls) => {
    const byAssignee = typed(given.status_alone, 'boolean');
    const access = taskAccessOf(db, calls, user, task_id, byAssignee);
    const locked = taskLockOf(db, access, writes);
    const lexemes = Object.keys(noLexemes) as Lexeme[];
    // Each value once: a description is long.
    const values = db.$with('given').as(
      db
        .select({
          call: sql<number>`${calls.call}`.as('given_call'),
          user_id: typed(user.id, 'uuid').as('user_id'),
          task_id: typed(task_id, 'uuid').as('task_id'),
          versions: typed(versions, 'int[]').as('versions'),
          ...Object.fromEntries([
            ...fields.map((name) => [name, typed(given[name], tasks[name].getSQLType()).as(name)]),
            ...lexemes.map((name) => [name, typed(given[name], 'text').as(name)]),
            ['is_placed', typed(given.is_placed, 'boolean').as('is_placed')],
            ['is_after', typed(given.is_after, 'boolean').as('is_after')],
            ['anchor_id', typed(given.anchor_id, 'uuid').as('anchor_id')],
            ...fields.map((name) => [
              `${name}_set`,
              typed(given[`${name}_set`], 'boolean').as(`${name}_set`),
            ]),
          ]),
        })
        .from(calls.from),
    );
    const value = (name: string) => sql`given.${sql.identifier(name)}`;
    const next = (name: Field | Lexeme, field: Field, given: SQL) =>
      sql`case when ${value(`${field}_set`)} then ${given} else ${tasks[name]} end`;
    const nextOf = (name: Field) => next(name, name, value(name));
    const nextFields = fields.map(nextOf);
    const currentFields = fields.map((name) => sql`${tasks[name]}`);
    const isChange = sql`(${value('is_placed')} or (${sql.join(nextFields, sql`, `)}) is distinct from (${sql.join(currentFields, sql`, `)}))`;
    const changed = db.$with('changed').as(
      db
        .update(tasks)
        .set({
          ...Object.fromEntries(fields.map((name, index) => [name, nextFields[index]])),
          ...Object.fromEntries(
            lexemes.map((name) => {
              const text = value(name);
              const stored = name.endsWith('_words')
                ? taskSearchText(text, tasks.project_id)
                : text;
              return [name, next(name, textOf[name], stored)];
            }),
          ),
          completed_at: sql`case when ${value('status_set')} then
            case ${value('status')} when 'done' then coalesce(${tasks.completed_at}, now()) end
            else ${tasks.completed_at} end`,
          position: sql`case when ${value('is_placed')} then place_task(${tasks.id}, ${tasks.project_id}, ${value('anchor_id')}, ${value('is_after')}) else ${tasks.position} end`,
          ...bumpVersion(tasks, isChange),
        })
        .from(locked)
        .innerJoin(values, eq(values.call, locked.call))
        .where(
          and(
            // Before the row is locked.
            sql`case when ${value('is_placed')} or ${value('parent_id_set')} then ${lockTree(locked.project_id)} else true end`,
            sql`${tasks.id} = ${value('task_id')}`,
            eq(tasks.project_id, locked.project_id),
            isStillAssigned(locked, value('user_id')),
            sql`(${value('versions')} is null or ${tasks.version} = any(${value('versions')}))`,
            // A second due date: the patch has to clear the first.
            sql`num_nulls(${nextOf('due_at')}, ${nextOf('due_on')}) > 0`,
          ),
        )
        .returning(taskColumns),
    );
    const isOfCall = sql`${changed.id} = ${task_id}::uuid`;
    return writeCallsWithAccess<Task>(db, calls, access, changed, isOfCall, locked, values);
  },
  ({ task_id }) => ({ row: task_id }),
);

const typed = (value: QueryParam<string | number | boolean | null>, type: string) =>
  sql`${value}::${sql.raw(type)}`;

/** Returns the fields as the driver takes them; null for one that is not given. */
const asValues = ({ due_at, labels, blocked_by, ...fields }: TaskPatch) => ({
  title: fields.title ?? null,
  description: fields.description ?? null,
  status: fields.status ?? null,
  priority: fields.priority ?? null,
  assignee_id: fields.assignee_id ?? null,
  due_at: due_at ? inUtc(due_at) : null,
  due_on: fields.due_on ?? null,
  labels: labels ? (tasks.labels.mapToDriverValue(labels) as string) : null,
  parent_id: fields.parent_id ?? null,
  blocked_by: blocked_by ? arrayLiteral(blocked_by) : null,
});
