/**
 * Changes many tasks at once, all or none. The batch locks the rows before it reads them, so that nothing changes between the
 * plan and the write. Then one statement creates and updates tasks, and another deletes tasks.
 */
import { and, asc, eq, inArray, not, or, type SQL, type SQLWrapper, sql } from 'drizzle-orm';
import {
  actorOf,
  allows,
  assertPermitted,
  isPermitted,
  lockTree,
  passGate,
  setActor,
  visibleTo,
} from '../db/authorization.ts';
import type { Database } from '../db/database.ts';
import { onViolation } from '../db/errors.ts';
import { arrayLiteral, taskLexemes } from '../db/full-text.ts';
import {
  type Created,
  claimOrReplay,
  type IdempotencyKey,
  storeResponse,
} from '../db/idempotency.ts';
import { placeOf } from '../db/index-expressions.ts';
import { columnsOf } from '../db/row-mapper.ts';
import { bumpVersion, insertRow } from '../db/row-values.ts';
import { project_members, projects, tasks } from '../db/schema.ts';
import { taskColumns } from '../db/visible-columns.ts';
import {
  catalogue,
  type FieldError,
  idTaken,
  Problem,
  validationProblem,
} from '../errors/problem.ts';
import type { DatabaseError } from '../lib/database-error.ts';
import { newId } from '../lib/new-id.ts';
import { sleep } from '../lib/sleep.ts';
import type { CurrentUser, ExpectedVersions } from '../schemas/current-user.ts';
import {
  type BatchOperation,
  type BatchResults,
  notAMemberError,
  parentErrors,
  type Task,
  type TaskBatch,
  type TaskPatch,
  TREE_LEVELS_MAX,
} from '../schemas/tasks.ts';
import { draftedFields, draftsOf, fieldsOf } from './task-drafts.ts';
import {
  defaults,
  inUtc,
  isStatusAlone,
  MOVES_MAX,
  refuseSecondDueDate,
  withOwnId,
  writes,
} from './task-fields.ts';
import { placeIn, placeRefusals, putTask } from './task-order.ts';
import { assertBlockers, hasFewSubtasks, TREE_TASKS_MAX, tooManySubtasks } from './task-tree.ts';

/**
 * Carries out every operation, or none.
 * @returns the tasks as they are now, deleted ones as they were, in the order of the operations.
 * @throws {Problem} that names the first operation that cannot be done: `not_found`, `forbidden`, `conflict`, `id_taken`,
 * `precondition_failed`, `validation_failed`; `idempotency_key_reused`, `idempotency_in_flight`.
 */
export async function batchTasks(
  db: Database,
  user: CurrentUser,
  { operations: given }: TaskBatch,
  request?: IdempotencyKey,
): Promise<Created<BatchResults>> {
  refuseRepeated(given);
  const operations = given.map((one) => (one.op === 'delete' ? one : withOwnId(user, one)));
  return repeatMoved(db, async (tx) => {
    const replay = request && (await claimOrReplay(tx, user, request));
    if (replay) return { row: withEveryField(replay as unknown as BatchResults), replayed: true };

    const found = await lockReferencedRows(tx, user, operations);
    const locationOf = (index: number) => `body.operations.${index}`;
    const outcomes = operations.map((operation, index) =>
      outcomeAt(locationOf(index), operation, user, found),
    );
    assertLocked(found);
    await refuseUnknownBlockers(tx, user, operations, locationOf);
    const tasks = await write(tx, outcomes, carriedOutcomes(found), locationOf);
    await putTasks(tx, operations, tasks, locationOf);
    const results = operations.map(({ op }, index) => ({ op, task: tasks[index] as Task }));
    if (request) {
      const [swept, stored] = storeResponse(
        tx,
        user,
        request,
        sql`${JSON.stringify({ results })}::text`,
      );
      await tx.with(swept, stored).select({ key: stored.key }).from(stored);
    }
    return { row: { results }, replayed: false };
  });
}

/** A response that an earlier release stored may lack a field. */
const withEveryField = ({ results }: BatchResults): BatchResults => ({
  results: results.map(({ op, task }) => ({
    op,
    task: {
      ...task,
      due_on: task.due_on ?? null,
      parent_id: task.parent_id ?? null,
      blocked_by: task.blocked_by ?? [],
      comment_count: task.comment_count ?? 0,
    },
  })),
});

/**
 * Patches a task and moves it to another project, with its subtasks.
 * @throws {Problem} `not_found`, `forbidden`, `conflict`, `precondition_failed`, `validation_failed`.
 */
export async function moveTask(
  db: Database,
  user: CurrentUser,
  taskId: string,
  patch: TaskPatch,
  expected: ExpectedVersions,
): Promise<Task> {
  const operation = { op: 'update' as const, task_id: taskId, ...withOwnId(user, patch) };
  return repeatMoved(db, async (tx) => {
    const found = await lockReferencedRows(tx, user, [operation]);
    const outcome = outcomeOf('body', operation, user, found, expected);
    assertLocked(found);
    await refuseUnknownBlockers(tx, user, [operation], () => 'body');
    const written = await write(tx, [outcome], carriedOutcomes(found), () => 'body');
    await putTasks(tx, [operation], written, () => 'body');
    return written[0] as Task;
  });
}

/** Another request has moved or assigned a task between the statement that finds it and the one that locks it. */
class MovedMeanwhile extends Error {}

/** @throws {MovedMeanwhile} where nothing is locked because of a reason that is gone. */
function assertLocked({ isRefused }: Found) {
  if (isRefused) throw new MovedMeanwhile();
}

/** Runs a transaction, and runs it anew where it finds that a task has moved meanwhile. @throws {Problem} `conflict`. */
async function repeatMoved<T>(db: Database, work: (tx: Database) => Promise<T>): Promise<T> {
  for (let moves = 0; moves <= MOVES_MAX; moves += 1) {
    try {
      return await db.transaction(work);
    } catch (error) {
      if (!(error instanceof MovedMeanwhile)) throw error;
    }
  }
  throw new Problem('conflict', { detail: 'The task is being moved by others' });
}

/** Refuses two operations on one task, because their order in the statement is undefined. @throws {Problem} `validation_failed`. */
function refuseRepeated(operations: readonly BatchOperation[]) {
  const seen = new Set<string>();
  for (const [index, operation] of operations.entries()) {
    const name = operation.op === 'create' ? 'id' : 'task_id';
    const id = (operation.op === 'create' ? operation.id : operation.task_id)?.toLowerCase();
    if (id === undefined) continue;
    if (seen.has(id))
      throw validationProblem([
        {
          location: `body.operations.${index}.${name}`,
          code: 'repeated',
          message: 'must not name a task that another operation names',
        },
      ]);
    seen.add(id);
  }
}

// --- Locking ---------------------------------------------------------------------------------------------

type Found = Awaited<ReturnType<typeof lockReferencedRows>>;

/**
 * Returns the projects, tasks and members that the operations name, as far as the user sees them, locked in the same order
 * as in every other write, and the subtasks of tasks that move. Where the user may not write in one of the projects, it locks
 * nothing, and the batch is refused.
 * @throws {MovedMeanwhile}
 */
async function lockReferencedRows(
  tx: Database,
  user: CurrentUser,
  operations: readonly BatchOperation[],
) {
  const taskIds = operations.flatMap((one) => (one.op === 'create' ? [] : one.task_id));
  const projectIds = operations.flatMap((one) => (one.op !== 'delete' && one.project_id) || []);
  const ofTasks = tx.select({ id: tasks.project_id }).from(tasks).where(anyOf(tasks.id, taskIds));
  const statusIds = operations.flatMap((one) => (changesStatusAlone(one) ? one.task_id : []));
  const named = tx
    .select({
      id: projects.id,
      role: project_members.role,
      archived_at: projects.archived_at,
      as_assignee: asAssignee(tx, user, { taskIds, statusIds, projectIds }).as('as_assignee'),
    })
    .from(projects)
    .innerJoin(project_members, visibleTo(user, projects.id))
    .where(
      and(
        setActor(actorOf(user)),
        or(anyOf(projects.id, projectIds), inArray(projects.id, ofTasks)),
      ),
    )
    .orderBy(asc(projects.id));
  // The subquery sorts, so that the statement passes the gates in the order of the ids.
  const sorted = named.offset(0).as('sorted');
  const visible = await tx
    .select({
      ...columnsOf(sorted),
      gate: sql`case when ${isPermitted(sorted, writes)} then ${passGate(sorted.id)} end`,
    })
    .from(sorted);
  const isRefused = visible.some((project) => !allows(project, writes));
  const held = isRefused ? visible : await named.for('key share', { of: projects });
  const seen = held.map(({ id }) => id);
  // The statement did not pass the gate of another project.
  if (seen.some((id) => !visible.some((project) => project.id === id))) throw new MovedMeanwhile();
  const targets = new Map<string, string>();
  for (const one of operations)
    if (one.op === 'update' && one.project_id)
      targets.set(one.task_id.toLowerCase(), one.project_id.toLowerCase());
  if (!isRefused && operations.some(changesTree)) await lockTrees(tx, seen);
  const carriedIds = isRefused ? [] : await idsBelow(tx, [...targets.keys()], seen);
  const deletedIds = operations.flatMap((one) => (one.op === 'delete' ? one.task_id : []));
  if (!isRefused && deletedIds.length > 0)
    await lockWithSubtasks(tx, [...taskIds, ...carriedIds], deletedIds, seen);
  const found = tx
    .select(taskColumns)
    .from(tasks)
    .where(and(anyOf(tasks.id, [...taskIds, ...carriedIds]), anyOf(tasks.project_id, seen)))
    .orderBy(asc(tasks.id));
  const lockedTasks = await (isRefused ? found : found.for('update'));
  if (!isRefused && (await hasMoved(tx, user, taskIds, lockedTasks))) throw new MovedMeanwhile();
  addTargetsBelow(targets, lockedTasks);
  const assigneeIds = [
    ...operations.flatMap((one) => (one.op !== 'delete' && one.assignee_id) || []),
    ...lockedTasks.flatMap(({ id, assignee_id }) => (targets.has(id) && assignee_id) || []),
  ];
  const members =
    assigneeIds.length === 0
      ? []
      : await tx
          .select({ project_id: project_members.project_id, user_id: project_members.user_id })
          .from(project_members)
          .where(
            and(
              anyOf(project_members.project_id, seen),
              anyOf(project_members.user_id, assigneeIds),
            ),
          )
          .orderBy(asc(project_members.project_id), asc(project_members.user_id))
          .for('key share');
  return {
    isRefused,
    projects: new Map(held.map((project) => [project.id, project])),
    tasks: new Map(lockedTasks.map((task) => [task.id, task])),
    named: new Set(taskIds.map((id) => id.toLowerCase())),
    /** The project that each task moves to. */
    targets,
    members: new Set(members.map(({ project_id, user_id }) => `${project_id} ${user_id}`)),
  };
}

/** Returns whether an operation is one that an assignee may carry out who is a viewer. */
function changesStatusAlone(
  operation: BatchOperation,
): operation is Extract<BatchOperation, { op: 'update' }> {
  if (operation.op !== 'update') return false;
  const { op: _, task_id: __, version: ___, ...patch } = operation;
  return isStatusAlone(patch);
}

/** Whether the user is a viewer of the project and all that the operations do there is to set the status of their own tasks. */
function asAssignee(
  tx: Database,
  user: CurrentUser,
  {
    taskIds,
    statusIds,
    projectIds,
  }: Record<'taskIds' | 'statusIds' | 'projectIds', readonly string[]>,
) {
  if (statusIds.length === 0) return sql<boolean>`false`;
  const isOwn = sql`(${and(anyOf(tasks.id, statusIds), eq(tasks.assignee_id, user.id))}) is true`;
  const others = tx
    .select({ id: tasks.project_id })
    .from(tasks)
    .where(and(anyOf(tasks.id, taskIds), not(isOwn)));
  // A case: PostgreSQL looks at no task for another role.
  return sql<boolean>`case when ${project_members.role} = 'viewer'
    then ${projects.id} not in ${others} and not ${anyOf(projects.id, projectIds)} else false end`;
}

/** Returns whether an operation changes the tree or the order by hand of a project. */
const changesTree = (one: BatchOperation): boolean =>
  one.op === 'create'
    ? (one.parent_id ?? null) !== null
    : one.op === 'update' &&
      [one.parent_id, one.project_id, one.after, one.before].some((value) => value !== undefined);

/** Locks the trees of projects in the order of their ids, before any task is locked. */
async function lockTrees(tx: Database, projectIds: readonly string[]) {
  await tx.execute(sql`
    select ${lockTree(sql`sorted.id`)} from (
      select id from unnest(${arrayLiteral(projectIds)}::uuid[]) id order by id offset 0
    ) sorted`);
}

/**
 * Locks those of these tasks that are in the projects, and the subtasks of those that are deleted, in the order of their ids, as
 * every statement does that locks several tasks: the cascade would lock the subtasks last.
 */
async function lockWithSubtasks(
  tx: Database,
  ids: readonly string[],
  deletedIds: readonly string[],
  projectIds: readonly string[],
) {
  const below = selectBelow(deletedIds, projectIds, deletedIds.length * (TREE_TASKS_MAX + 1));
  await tx.execute(sql`
    select count(*) from (
      select from ${tasks}
      where ${anyOf(tasks.project_id, projectIds)}
        and (${anyOf(tasks.id, ids)} or ${tasks.id} = any(array(${below})))
      order by ${tasks.id} for update
    ) locked`);
}

/**
 * Returns the ids of all tasks below those of these that are in projects which the user sees. One that comes below them
 * afterwards makes PostgreSQL refuse the write.
 * @throws {Problem} `conflict` where they are too many.
 */
async function idsBelow(
  tx: Database,
  ids: readonly string[],
  projectIds: readonly string[],
): Promise<string[]> {
  if (ids.length === 0) return [];
  const rows = await tx.execute(selectBelow(ids, projectIds, TREE_TASKS_MAX + 1));
  const found = [...(rows as unknown as Iterable<{ id: string }>)].map(({ id }) => id);
  if (found.length > TREE_TASKS_MAX) throw tooManySubtasks();
  return found;
}

const selectBelow = (ids: readonly string[], projectIds: readonly string[], max: number) => sql`
  with recursive below as (
    select ${tasks.id} from ${tasks}
    where ${anyOf(tasks.parent_id, ids)} and ${anyOf(tasks.project_id, projectIds)}
    union select ${tasks.id} from below join ${tasks} on ${tasks.parent_id} = below.id
  ) select id from below limit ${max}`;

/** Lets tasks go where the task goes of which they are subtasks, unless they have another target. */
function addTargetsBelow(targets: Map<string, string>, found: readonly Task[]) {
  for (let level = 1; level < TREE_LEVELS_MAX; level += 1)
    for (const { id, parent_id } of found) {
      const target = parent_id === null ? undefined : targets.get(parent_id);
      if (target !== undefined && !targets.has(id)) targets.set(id, target);
    }
}

/** Returns whether the user sees a task that was not found in the projects that are locked. */
async function hasMoved(
  tx: Database,
  user: CurrentUser,
  taskIds: readonly string[],
  found: readonly { id: string }[],
): Promise<boolean> {
  const ids = new Set(found.map(({ id }) => id));
  const missing = taskIds.filter((id) => !ids.has(id.toLowerCase()));
  if (missing.length === 0) return false;
  const elsewhere = await tx
    .select({ id: tasks.id })
    .from(tasks)
    .innerJoin(project_members, visibleTo(user, tasks.project_id))
    .where(anyOf(tasks.id, missing))
    .limit(1);
  return elsewhere.length > 0;
}

/** Sends all ids as one parameter, so that one prepared query serves any number of ids. */
const anyOf = (column: SQLWrapper, ids: readonly string[]): SQL =>
  sql`${column} = any(${`{${ids.join(',')}}`}::text::uuid[])`;

// --- Planning ------------------------------------------------------------------------------------------

/** The task that an operation leaves. The statement that writes it sets a missing time. */
interface Outcome {
  row: Draft;
  step: 'write' | 'delete' | 'noop';
}

type Draft = Omit<Task, 'created_at' | 'updated_at'> & { created_at: string | null };

/** @throws {Problem} as `batchTasks` does. */
function outcomeOf(
  location: string,
  operation: BatchOperation,
  user: CurrentUser,
  found: Found,
  expected: ExpectedVersions,
): Outcome {
  if (operation.op === 'create') {
    const { op: _, project_id, id, ...fields } = operation;
    const project = found.projects.get(project_id.toLowerCase());
    assertPermitted(project, writes);
    const row = {
      ...defaults,
      ...fields,
      id: newId(id),
      project_id: project.id,
      completed_at: null,
      created_at: null,
      created_by: user.id,
      version: 1,
      comment_count: 0,
    };
    return { row: withFields(location, row, fields, found), step: 'write' };
  }
  const task = found.tasks.get(operation.task_id.toLowerCase());
  const project = task && found.projects.get(task.project_id);
  const asAssignee = changesStatusAlone(operation) && task?.assignee_id === user.id;
  assertPermitted(
    project && { ...project, as_assignee: asAssignee && project.role === 'viewer' },
    writes,
  );
  if (!task) throw new Problem('not_found');
  if (expected && !expected.includes(task.version))
    throw new Problem('precondition_failed', { version: task.version });
  if (operation.op === 'delete') return { row: task, step: 'delete' };
  const {
    op: _,
    task_id: __,
    version: ___,
    project_id: ____,
    after: _____,
    before: ______,
    ...fields
  } = operation;
  const targetId = found.targets.get(task.id) ?? task.project_id;
  const target =
    targetId === task.project_id
      ? project
      : atLocation(`${location}.project_id`, () => {
          const named = found.projects.get(targetId);
          assertPermitted(named, writes);
          return named;
        });
  const moved = movedTo(target.id, task, found);
  const row = withFields(location, moved, fields, found);
  if (isSame(row, task)) return { row: task, step: 'noop' };
  return { row: { ...row, version: task.version + 1 }, step: 'write' };
}

/** Returns the task in a project, with its assignee if they are a member there, and its parent if that moves too. */
function movedTo(projectId: string, task: Task, found: Found): Task {
  if (projectId === task.project_id) return task;
  const isMember = found.members.has(`${projectId} ${task.assignee_id}`);
  const goesWithParent = found.targets.get(task.parent_id ?? '') === projectId;
  return {
    ...task,
    project_id: projectId,
    assignee_id: isMember ? task.assignee_id : null,
    parent_id: goesWithParent ? task.parent_id : null,
  };
}

/** Returns the outcomes of tasks that no operation names, and that move with the task above them. */
const carriedOutcomes = (found: Found): Outcome[] =>
  [...found.tasks.values()].flatMap((task) => {
    const target = found.targets.get(task.id);
    if (found.named.has(task.id) || target === undefined || target === task.project_id) return [];
    const row = { ...movedTo(target, task, found), version: task.version + 1 };
    return { row, step: 'write' as const };
  });

/** @throws {Problem} `validation_failed`. A task that the batch creates may be a blocker, too. */
async function refuseUnknownBlockers(
  tx: Database,
  user: CurrentUser,
  operations: readonly BatchOperation[],
  locationOf: (index: number) => string,
) {
  const created = new Set(
    operations.flatMap((one) => (one.op === 'create' && one.id?.toLowerCase()) || []),
  );
  for (const [index, operation] of operations.entries()) {
    if (operation.op === 'delete') continue;
    const id = operation.op === 'create' ? operation.id : operation.task_id;
    const blockedBy = operation.blocked_by?.filter(
      (one) => one.toLowerCase() === id?.toLowerCase() || !created.has(one.toLowerCase()),
    );
    await assertBlockers(
      tx,
      user,
      id,
      { blocked_by: blockedBy },
      `${locationOf(index)}.blocked_by`,
    );
  }
}

/** Returns whether two states of a task have the same fields. */
const isSame = (one: Draft, other: Draft) => JSON.stringify(one) === JSON.stringify(other);

/**
 * Merges fields into a task (RFC 7396).
 * @throws {Problem} `validation_failed` for an assignee who is no member, and for a second due date.
 */
function withFields(location: string, task: Draft, fields: TaskPatch, found: Found): Draft {
  const assigneeId = fields.assignee_id?.toLowerCase();
  if (assigneeId && !found.members.has(`${task.project_id} ${assigneeId}`))
    throw validationProblem([notAMemberError(`${location}.assignee_id`)]);
  refuseSecondDueDate(fields, task, location);
  const row = { ...task, ...fields };
  return {
    ...row,
    assignee_id: assigneeId === undefined ? row.assignee_id : assigneeId,
    parent_id: row.parent_id?.toLowerCase() ?? null,
    blocked_by: row.blocked_by.map((id) => id.toLowerCase()),
    due_at: fields.due_at === undefined ? task.due_at : inUtc(fields.due_at),
    completed_at: row.status === 'done' ? task.completed_at : null,
  };
}

/**
 * Plans an operation. A problem that names no field names the operation instead.
 * @param location of the operation: `body.operations.3`.
 */
function outcomeAt(
  location: string,
  operation: BatchOperation,
  user: CurrentUser,
  found: Found,
): Outcome {
  const { version = undefined } = operation.op === 'create' ? {} : operation;
  const expected = version === undefined ? undefined : [version];
  return atLocation(location, () => outcomeOf(location, operation, user, found, expected));
}

/** Runs work whose problems name the location, unless they name a field. */
function atLocation<T>(location: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof Problem) || error.particulars.errors) throw error;
    const errors = [{ location, code: error.code, message: catalogue[error.code].title }];
    throw new Problem(error.code, { ...error.particulars, errors });
  }
}

// --- Writing ---------------------------------------------------------------------------------------------------

/**
 * Writes the planned rows, and those of tasks that go along.
 * @returns the tasks as they are now, deleted ones as they were, in the order of the outcomes.
 * @throws {Problem} `id_taken`; `validation_failed` for a parent that PostgreSQL refuses.
 * @throws {MovedMeanwhile}
 */
async function write(
  tx: Database,
  outcomes: readonly Outcome[],
  carried: readonly Outcome[],
  locationOf: (index: number) => string,
): Promise<Task[]> {
  const written = await onViolation(
    refusedParents(outcomes, locationOf),
    writeRows(tx, [...outcomes, ...carried]),
  );
  return outcomes.map(({ row, step }, index) => {
    const task = written.get(row.id);
    if (step === 'write' && !task) throw idTaken(`body.operations.${index}.id`);
    return task ?? (row as Task);
  });
}

/** The problems of the constraints on the parent, each at the operation whose row violates it. */
function refusedParents(outcomes: readonly Outcome[], locationOf: (index: number) => string) {
  const refuse = (constraint: string) => (failure: DatabaseError) => {
    // The detail names the task, or its parent where there is no such task.
    const index = outcomes.findIndex(({ row: { id, parent_id } }) =>
      [id, parent_id].some((one) => one && failure.detail?.includes(one)),
    );
    const location = index < 0 ? 'body.operations' : `${locationOf(index)}.parent_id`;
    return validationProblem([parentErrors(location)[constraint] as FieldError]);
  };
  return {
    ...Object.fromEntries(Object.keys(parentErrors('')).map((name) => [name, refuse(name)])),
    // A task in the trash has the id; where another task has it, the statement writes nothing.
    tasks_pkey: ({ detail }: DatabaseError) => {
      const index = outcomes.findIndex(({ row: { id } }) => detail?.includes(id));
      return idTaken(`${locationOf(index)}.id`);
    },
    // A subtask came below a task that moves.
    tasks_subtask_project_check: () => new MovedMeanwhile(),
  };
}

/** Puts tasks in their places, in the order of the operations, and replaces them in `written`. @throws {Problem} `validation_failed`. */
async function putTasks(
  tx: Database,
  operations: readonly BatchOperation[],
  written: Task[],
  locationOf: (index: number) => string,
) {
  for (const [index, operation] of operations.entries()) {
    const task = written[index];
    if (operation.op !== 'update' || task === undefined) continue;
    const location = locationOf(index);
    const place = placeIn(operation, location);
    const field = `${location}.${place.is_after ? 'after' : 'before'}`;
    if (place.is_placed)
      written[index] = await onViolation(placeRefusals(field), putTask(tx, task, place));
  }
}

async function writeRows(tx: Database, outcomes: readonly Outcome[]): Promise<Map<string, Task>> {
  const rowsTo = (what: Outcome['step']) =>
    outcomes.flatMap(({ row, step }) => (step === what ? row : []));
  const deleted = rowsTo('delete').map(({ id }) => id);
  if (deleted.length > 0) {
    const gone = await tx
      .delete(tasks)
      .where(and(anyOf(tasks.id, deleted), hasFewSubtasks))
      .returning({ id: tasks.id });
    // The cascade may have deleted some of them, which the statement does not return.
    const left = await tx.select({ id: tasks.id }).from(tasks).where(anyOf(tasks.id, deleted));
    if (gone.length < deleted.length && left.length > 0) throw tooManySubtasks();
  }
  const drafts: Draft[] = [];
  for (const row of rowsTo('write')) {
    const draft = { ...row, ...taskLexemes(row), words_version: -row.version };
    drafts.push(draft);
    if (isLong(row)) await sleep();
  }
  if (drafts.length === 0) return new Map();
  // In one order, so that two batches that choose the same ids do not wait for each other.
  drafts.sort((a, b) => (a.id < b.id ? -1 : 1));
  const written = await tx
    .insert(tasks)
    .select(tx.select(insertColumns).from(draftsOf(drafts)))
    .onConflictDoUpdate({ target: tasks.id, set: upsertColumns, setWhere: isNextVersion })
    .returning(taskColumns);
  return new Map(written.map((task) => [task.id, task]));
}

/** It takes milliseconds to tokenize a longer text, and a batch may have many of them. */
const LONG_TEXT_LENGTH = 2000;
const isLong = ({ description }: Draft) => (description?.length ?? 0) > LONG_TEXT_LENGTH;

/** A draft as a row of the table. */
const insertColumns = insertRow(tasks, {
  ...draftedFields,
  position: null,
  completed_at: sql`coalesce(draft.completed_at, case draft.status when 'done' then now() end)`,
  created_at: sql`coalesce(draft.created_at, now())`,
  updated_at: sql`now()`,
});

/** A new task whose id exists updates nothing, in whatever project that task is: its draft has the first version. */
const isNextVersion = sql`${tasks.version} = excluded.version - 1`;

/** The columns that an update copies from the draft. */
const upsertColumns = {
  ...fieldsOf((name) => sql`excluded.${sql.identifier(name)}`),
  position: sql`case when ${tasks.project_id} = excluded.project_id then ${tasks.position} else place_of_newcomer(${placeOf(tasks)}) end`,
  updated_at: bumpVersion(tasks).updated_at,
};
