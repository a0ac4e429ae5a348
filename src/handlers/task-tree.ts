/** Subtasks and blockers: what a write refuses, and what a reader asks for beside a task. */
// Decision: docs/decisions/44-subtasks.md
import { and, eq, not, type SQLWrapper, sql } from 'drizzle-orm';
import { visibleTo } from '../db/authorization.ts';
import type { Database } from '../db/database.ts';
import { arrayLiteral } from '../db/full-text.ts';
import { prepared, type QueryParam, type QueryParams, rawQuery } from '../db/prepared.ts';
import { project_members, tasks } from '../db/schema.ts';
import { Problem, problemsOf, validationProblem } from '../errors/problem.ts';
import type { CurrentUser } from '../schemas/current-user.ts';
import { parentErrors, type Task, type TaskPatch, unknownBlockerError } from '../schemas/tasks.ts';
import { isOpen } from './task-filters.ts';

/** A move and a deletion take along up to this many subtasks. */
export const TREE_TASKS_MAX = 1000;

export const tooManySubtasks = () =>
  new Problem('conflict', {
    detail: `The task has more than ${TREE_TASKS_MAX} subtasks: move or delete some of them first`,
  });

/** The condition that a task has subtasks: one look into their index. */
export const hasSubtasks = sql`exists (select from ${tasks} child where child.parent_id = ${tasks.id})`;

/** The condition that a task has no more subtasks than a deletion takes along. A task without any costs one look into their index. */
export const hasFewSubtasks = sql`case when ${hasSubtasks} then (
  with recursive below as (
    select child.id from ${tasks} child where child.parent_id = ${tasks.id}
    union all select child.id from below join ${tasks} child on child.parent_id = below.id
  ) select count(*) from (select from below limit ${sql.raw(String(TREE_TASKS_MAX + 1))}) counted
) <= ${sql.raw(String(TREE_TASKS_MAX))} else true end`;

/**
 * The CTE `tree` of the statement that deletes a task: the rows of the task and of those below it, locked in the order of their ids, as
 * every statement does that locks several tasks. A cascade would lock the subtasks after their parent.
 * @param locked the CTE with the project of the task; without a row there, it locks nothing.
 */
export const lockedTree = (taskId: QueryParam, locked: SQLWrapper) => sql`
  select ${tasks.id} from ${tasks} where ${tasks.id} = any(array(
    with recursive tree as (
      select ${taskId}::uuid as id from ${locked}
      union all select child.id from tree join ${tasks} child on child.parent_id = tree.id
    ) select id from tree limit ${sql.raw(String(TREE_TASKS_MAX + 2))}
  )) order by ${tasks.id} for update`;

/** `hasFewSubtasks`, beside `tree`. It locks them. */
export const locksFewSubtasks = sql`case when ${hasSubtasks}
  then (select count(*) from tree) <= ${sql.raw(String(TREE_TASKS_MAX + 1))} else true end`;

/** @throws {Problem} `conflict` where a task has more subtasks than a deletion takes along. */
export async function refuseManySubtasks(db: Database, taskId: string): Promise<void> {
  const found = await selectLarge(db, { task_id: taskId });
  if (found.length > 0) throw tooManySubtasks();
}

const selectLarge = prepared((db, { task_id }: QueryParams<{ task_id: string }>) =>
  db
    .select({ id: tasks.id })
    .from(tasks)
    .where(and(eq(tasks.id, task_id), not(hasFewSubtasks))),
);

/** Returns the problems of the constraints on the parent. @param location of the field: `body.parent_id`. */
export const parentRefusals = (location: string) => problemsOf(parentErrors(location));

/**
 * Refuses blockers that the user does not see, and a task that blocks itself.
 * @param taskId undefined for a task that is created with an id of the server.
 * @throws {Problem} `validation_failed`.
 */
export async function assertBlockers(
  db: Database,
  user: Pick<CurrentUser, 'id'>,
  taskId: string | undefined,
  { blocked_by = [] }: Pick<TaskPatch, 'blocked_by'>,
  location = 'body.blocked_by',
): Promise<void> {
  if (blocked_by.length === 0) return;
  const ids = new Set(blocked_by.map((id) => id.toLowerCase()));
  const isItself = taskId !== undefined && ids.has(taskId.toLowerCase());
  const [seen] = await countVisible(db, { user: { id: user.id }, ids: arrayLiteral([...ids]) });
  if (isItself || seen?.count !== ids.size)
    throw validationProblem([unknownBlockerError(location)]);
}

const countVisible = prepared(
  (db, { user, ids }: QueryParams<{ user: { id: string }; ids: string }>) =>
    db
      .select({ count: sql<number>`count(*)::int` })
      .from(tasks)
      .innerJoin(project_members, visibleTo(user, tasks.project_id))
      .where(sql`${tasks.id} = any(${ids}::uuid[])`),
);

/** Returns the tasks with the counts of their subtasks, and whether an open task blocks them. */
export async function expandProgress(db: Database, found: readonly Task[]): Promise<Task[]> {
  if (found.length === 0) return [];
  const ids = arrayLiteral(found.map(({ id }) => id));
  const blockers = arrayLiteral([...new Set(found.flatMap((task) => task.blocked_by))]);
  const rows = await selectProgress(db, { ids, blockers });
  const counts = new Map(rows.map((row) => [row.id, row]));
  return found.map((task) => {
    const { open = 0, done = 0 } = counts.get(task.id) ?? {};
    return {
      ...task,
      subtask_counts: { open, done },
      is_blocked: task.blocked_by.some((id) => counts.get(id)?.is_open === true),
    };
  });
}

/** A row for each task with subtasks and for each open blocker; a task may have both. */
const selectProgress = prepared(
  (_db, { ids, blockers }: QueryParams<{ ids: string; blockers: string }>) =>
    rawQuery<{ id: string; open: number; done: number; is_open: boolean }>(
      sql`
    select coalesce(counts.id, open_blocker.id) as id, coalesce(counts.open, 0) as open, coalesce(counts.done, 0) as done,
      open_blocker.id is not null as is_open
    from (
      select ${tasks.parent_id} as id, count(*) filter (where ${isOpen(tasks.status)})::int as open,
        count(*) filter (where ${tasks.status} = 'done')::int as done
      from ${tasks} where ${tasks.parent_id} = any(${ids}::uuid[]) group by ${tasks.parent_id}
    ) counts full join (
      select ${tasks.id} from ${tasks} where ${tasks.id} = any(${blockers}::uuid[]) and ${isOpen(tasks.status)}
    ) open_blocker on open_blocker.id = counts.id`,
      ['id', 'open', 'done', 'is_open'],
    ),
);
