/**
 * Lists of tasks: of one project, or of all that a user sees. Each is one statement, and reads little more than the
 * page: every sort has an index that begins with the project, and so has every filter that leaves little.
 */
import {
  and,
  eq,
  gt,
  gte,
  inArray,
  isNull,
  lt,
  type Placeholder,
  type SQL,
  type SQLWrapper,
  sql,
} from 'drizzle-orm';
import { accessToProject, type CurrentUser, isMembershipOf } from '../db/access.ts';
import type { Database } from '../db/database.ts';
import { dueAscending, dueDescending, project_members, task_columns, tasks } from '../db/schema.ts';
import { type Sought, soughtInTasks, taskMatches } from '../db/search.ts';
import { type Asked, statement } from '../db/statement.ts';
import { invalid, Problem } from '../problem.ts';
import { parseInstant } from '../schemas/common.ts';
import type { Task, TaskListQuery, TaskPage, task_sorts } from '../schemas/tasks.ts';
import { sortKey } from '../words.ts';
import {
  inOrder,
  isBehind,
  type Order,
  type Position,
  pageOf,
  positionOf,
  sorted,
  wordsGiven,
} from './page.ts';

/**
 * The tasks of a project.
 * @throws {Problem} `not_found`, `invalid_cursor`; `validation_failed` for filters that contradict each other.
 */
export async function listTasks(
  db: Database,
  user: CurrentUser,
  project_id: string,
  query: TaskListQuery,
): Promise<TaskPage> {
  const list = listName(`tasks of ${project_id.toLowerCase()}`, query);
  const asked = await askedOf(user, list, query);
  // One row with no task says that the project is there and empty; no row, that it is not there.
  const rows = await selectTasks(db, { ...asked, project_id }, query.sort);
  if (rows.length === 0) throw new Problem('not_found');
  const tasks = rows.flatMap(({ task }) => task ?? []);
  return pageOf(list, query, tasks, orderOf(query.sort));
}

const selectTasks = statement(
  (db, asked: Asked<AskedList & { project_id: string }>, sort: Sort) => {
    const { user, project_id, filters, position, count } = asked;
    const order = orderOf(sort);
    const access = accessToProject(db, user, project_id);
    const wanted = isWanted(filters, sql`${project_id}::uuid`);
    const page = db
      .select({ ...task_columns, key: sql`${order.by}`.as('key') })
      .from(tasks)
      .where(
        and(
          eq(tasks.project_id, project_id),
          wanted,
          wanted && is_planned_for_its_values,
          isBehind(position, order),
        ),
      )
      .orderBy(...inOrder(order))
      .limit(count as Placeholder)
      .as('page');
    const { key, ...fields } = page._.selectedFields;
    return db
      .with(access)
      .select({ there: sql`true`, task: fields })
      .from(access)
      .innerJoin(wanted ? once : sql`(select) as once`, sql`true`)
      .leftJoinLateral(page, sql`true`)
      .orderBy(...inOrder({ ...order, by: key, id: page.id }));
  },
);

/**
 * The tasks of all projects that the user sees.
 * @throws {Problem} `invalid_cursor`; `validation_failed` for filters that contradict each other.
 */
export async function listAllTasks(
  db: Database,
  user: CurrentUser,
  query: TaskListQuery,
): Promise<TaskPage> {
  const list = listName('tasks', query);
  const rows = await selectAllTasks(db, await askedOf(user, list, query), query.sort);
  return pageOf(list, query, rows, orderOf(query.sort));
}

/**
 * Only projects whose first task is among the first of all can have a part in the page, so one task of each is looked at
 * before those are read; but not where words are looked for, which costs the same for one task as for all that have them.
 */
const selectAllTasks = statement((db, asked: Asked<AskedList>, sort: Sort) => {
  const { user, filters, position } = asked;
  const count = asked.count as Placeholder;
  const order = orderOf(sort);
  const by_words = filters.sought !== undefined;
  const firstOf = (project_id: SQLWrapper, count: number | Placeholder) =>
    db
      .select({ id: tasks.id, key: sql`${order.by}`.as('key') })
      .from(tasks)
      .where(
        and(
          // Words are a project's own. Its index would be read beside theirs, all of it; as text it cannot be.
          by_words
            ? sql`${tasks.project_id}::text = ${project_id}::text`
            : eq(tasks.project_id, project_id),
          isWanted(filters, project_id),
          isBehind(position, order),
        ),
      )
      .orderBy(...inOrder(order))
      .limit(count);

  const memberships = db.select({ project_id: project_members.project_id }).from(project_members);
  const is_mine = isMembershipOf(user);
  const head = firstOf(project_members.project_id, 1).as('head');
  const nearest = db.$with('nearest').as(
    by_words
      ? memberships.where(is_mine)
      : memberships
          .crossJoinLateral(head)
          .where(is_mine)
          .orderBy(...inOrder({ ...order, by: head.key, id: head.id }))
          .limit(count),
  );
  const candidate = firstOf(nearest.project_id, count).as('candidate');
  const found = db.$with('found').as(
    db
      .select({ id: candidate.id, key: candidate.key })
      .from(nearest)
      .crossJoinLateral(candidate)
      .orderBy(...inOrder({ ...order, by: candidate.key, id: candidate.id }))
      .limit(count),
  );
  return db
    .with(nearest, found)
    .select(task_columns)
    .from(found)
    .innerJoin(tasks, eq(tasks.id, found.id))
    .orderBy(...inOrder({ ...order, by: found.key, id: found.id }));
});

/** What a list asks for, as values of its statement. */
interface AskedList {
  user: Pick<CurrentUser, 'id'>;
  filters: Filters;
  position: Position | undefined;
  /** One more than the page has. */
  count: number;
}

async function askedOf(user: CurrentUser, list: string, query: TaskListQuery): Promise<AskedList> {
  return {
    user: { id: user.id },
    filters: filtersOf(user, query),
    position: await positionOf(list, query, orderOf(query.sort)),
    count: query.limit + 1,
  };
}

/** A cursor is tied to the list, its filters and its sort. */
function listName(list: string, { limit: _, cursor: __, ...asked }: TaskListQuery): string {
  return JSON.stringify([list, ...Object.entries(asked).sort(([a], [b]) => (a < b ? -1 : 1))]);
}

/**
 * A prepared statement may be planned once for all values, and then takes a common word for a rare one. Here such a
 * plan looks a thousand times as dear as one for the values at hand, because only that one knows that this is one row.
 */
const once = sql`generate_series(1, ${1}::int) as once (n)`;
/** To stand where the work is done. */
const is_planned_for_its_values = sql`once.n = 1`;

// --- Sort ------------------------------------------------------------------------------------------------------

type Key = Pick<Order<Task>, 'by' | 'type' | 'keyOf'>;

type Sort = TaskListQuery['sort'];

function makeOrder(sort: Sort): Order<Task> {
  const last = sort.startsWith('-') ? '-infinity' : 'infinity';
  const orders: Record<(typeof task_sorts)[number], Key> = {
    created_at: { by: tasks.created_at, type: 'timestamptz', keyOf: (task) => task.created_at },
    updated_at: { by: tasks.updated_at, type: 'timestamptz', keyOf: (task) => task.updated_at },
    due_at: {
      by: sort.startsWith('-') ? dueDescending(tasks) : dueAscending(tasks),
      type: 'timestamptz',
      keyOf: (task) => task.due_at ?? last,
    },
    priority: { by: tasks.priority, type: 'smallint', keyOf: (task) => task.priority },
    title: { by: tasks.title_key, type: 'text', keyOf: (task) => sortKey(task.title) },
  };
  return sorted(sort, orders, tasks.id);
}

const orders = new Map<Sort, Order<Task>>();

/** Each is made once. */
function orderOf(sort: Sort): Order<Task> {
  const order = orders.get(sort) ?? makeOrder(sort);
  orders.set(sort, order);
  return order;
}

// --- Filters ---------------------------------------------------------------------------------------------------

/** Those that are given. */
interface Filters {
  status: readonly string[] | undefined;
  priority_min: number | undefined;
  assignee_id: string | undefined;
  /** Nobody has it. */
  unassigned: true | undefined;
  due: { after: string | undefined; before: string } | undefined;
  sought: Sought | undefined;
}

function filtersOf(user: CurrentUser, query: TaskListQuery): Filters {
  const { status, label: labels, priority_min, assignee_id, q } = query;
  const unassigned = assignee_id === 'none' || undefined;
  return {
    status,
    priority_min,
    assignee_id: unassigned ? undefined : assignee_id === 'me' ? user.id : assignee_id,
    unassigned,
    due: dueOf(query),
    sought: soughtInTasks(q === undefined ? undefined : wordsGiven(q), labels),
  };
}

function dueOf({ due_after, due_before }: TaskListQuery): Filters['due'] {
  const after = due_after === undefined ? undefined : parseInstant(due_after);
  const before = due_before === undefined ? undefined : parseInstant(due_before);
  if (after === undefined && before === undefined) return undefined;
  if (after !== undefined && before !== undefined && after >= before)
    throw invalid([
      { location: 'query.due_before', code: 'contradiction', message: 'must be after due_after' },
    ]);
  // Tasks without a due date stand at infinity.
  return { after, before: before ?? 'infinity' };
}

/**
 * The condition that a task passes the filters.
 * @param project_id that of the tasks, as SQL that does not depend on them: an index can begin there.
 */
function isWanted(filters: Asked<Filters>, project_id: SQLWrapper): SQL | undefined {
  const { status, priority_min, assignee_id, unassigned, due, sought } = filters;
  return and(
    status && inArray(tasks.status, status as Placeholder[]),
    priority_min === undefined ? undefined : gte(tasks.priority, priority_min),
    assignee_id === undefined ? undefined : eq(tasks.assignee_id, assignee_id),
    unassigned === undefined ? undefined : isNull(tasks.assignee_id),
    due && isDue(due),
    sought && taskMatches(sought, project_id),
  );
}

function isDue({ after, before }: Asked<NonNullable<Filters['due']>>) {
  const due = dueAscending(tasks);
  return and(
    after === undefined ? undefined : gt(due, sql`${after}::timestamptz`),
    lt(due, sql`${before}::timestamptz`),
  );
}
