/**
 * Lists of tasks: of one project, or of several. Each is one statement that reads little more than the page: every sort has
 * an index that begins with the project, and so has every filter that selects little. There are three forms of a list, and
 * each has one text for each sort, whatever is asked:
 *
 * - *plain*: no filter. It walks the index of the sort.
 * - *filtered*: PostgreSQL chooses between the index of the sort and that of a filter, for the values at hand.
 * - *searched*: words or labels. Their index has no order, so the list first walks a bounded part of the index of the sort;
 *   only if that does not fill the page, it reads the index of words, and sorts all that it finds. A search in comments (`in`)
 *   does the same with a text of its own: a task counts with its comments among the rows that it walks.
 */
// Decision: docs/decisions/03-rows-not-json.md
// Decision: docs/decisions/13-an-index-for-each-sort.md
// Decision: docs/decisions/34-capped-search.md
import { type SQL, type SQLWrapper, sql } from 'drizzle-orm';
import { membershipOf, selectAccess } from '../db/authorization.ts';
import { batchedRead } from '../db/batching.ts';
import type { Database } from '../db/database.ts';
import {
  arrayLiteral,
  commentWordsMatchIn,
  taskWordsMatch,
  taskWordsMatchIn,
} from '../db/full-text.ts';
import {
  completedAscending,
  completedDescending,
  dueAscending,
  dueDescending,
  placeOf,
} from '../db/index-expressions.ts';
import {
  afterCursor,
  type CursorPosition,
  orderBy,
  parsePage,
  type SortOrder,
  sortOrder,
  toPage,
} from '../db/pagination.ts';
import { prepared, type QueryParams, rawQuery } from '../db/prepared.ts';
import { rowsOrNotFound } from '../db/row-values.ts';
import { comments, project_members, projects, tasks } from '../db/schema.ts';
import { taskColumns } from '../db/visible-columns.ts';
import { catalogue, Problem } from '../errors/problem.ts';
import { endOfDay } from '../lib/instant.ts';
import { sortKey } from '../lib/tokenizer.ts';
import type { CurrentUser } from '../schemas/current-user.ts';
import {
  type AllTasksQuery,
  type projectTaskSorts,
  type SubtaskListQuery,
  TASK_COUNT_MAX,
  type Task,
  type TaskCount,
  type TaskCountQuery,
  type TaskListQuery,
  type TaskPage,
} from '../schemas/tasks.ts';
import { PAGE_LIMIT_MAX } from '../schemas/types/page.ts';
import { expandTasks } from './task-expansions.ts';
import {
  type Filters,
  filterCondition,
  findFilters,
  ownTextsMatch,
  parseFilters,
} from './task-filters.ts';
import { readTask } from './tasks.ts';

/** A search walks up to this many rows of the index of the sort of a project before it reads the index of words. */
const WALKED_ROWS_MAX = 8000;
/** A search in comments with labels reads up to this many tasks of a project that have the labels before it reads comments. */
const LABELLED_ROWS_MAX = 20_000;
/**
 * Over several projects it walks only where a match is among the first rows. The projects share as many of these as one
 * walk has; with fewer than this a project, the index of words is faster.
 */
const PROBED_ROWS_MIN = 20;

/**
 * A page is planned for up to this many rows, whatever its limit. Without a bound, PostgreSQL takes a tenth of the largest
 * project for what a plan without values reads, and then plans each list anew.
 */
const PAGE_ROWS_MAX = sql.raw(String(PAGE_LIMIT_MAX + 1));

// --- Lists -----------------------------------------------------------------------------------------------------

/**
 * Lists the tasks of a project.
 * @throws {Problem} `not_found`, `invalid_cursor`; `validation_failed` for filters that contradict each other.
 */
export async function listTasks(
  db: Database,
  user: CurrentUser,
  projectId: string,
  query: TaskListQuery,
): Promise<TaskPage> {
  const { page, params, form } = await parseList(
    user,
    `tasks of ${projectId.toLowerCase()}`,
    query,
  );
  const rows = await selectTasks(db, { ...params, project_id: projectId }, query.sort, form);
  const found = rowsOrNotFound(rows, 'task');
  if (!query.sort.endsWith('position')) return withExpansions(db, query, await toPage(page, found));
  // The key of the order by hand is no field of a task.
  const keys = new Map(rows.map(({ task, key }) => [task?.id, key]));
  const keyOf = ({ id }: Task) => String(keys.get(id));
  const order = { ...page.order, keyOf };
  return withExpansions(db, query, await toPage({ ...page, order }, found));
}

/**
 * Lists the tasks of all projects that the user sees, or of some of them.
 * @throws {Problem} `not_found` for a project that the user does not see; `invalid_cursor`; `validation_failed` for filters
 * that contradict each other.
 */
export async function listAllTasks(
  db: Database,
  user: CurrentUser,
  query: AllTasksQuery,
): Promise<TaskPage> {
  const { page, params, form } = await parseList(user, 'tasks', query);
  await assertVisible(db, user, query.project_id);
  const rows = await selectAllTasks(db, { ...params, ...scopeOf(query) }, query.sort, form);
  const found = rows.map(({ task }) => task);
  return withExpansions(db, query, await toPage(page, found));
}

const withExpansions = async (
  db: Database,
  { expand }: Pick<TaskListQuery, 'expand'>,
  page: TaskPage,
): Promise<TaskPage> =>
  expand === undefined ? page : { ...page, items: await expandTasks(db, expand, page.items) };

/** Lists the tasks right below a task. @throws {Problem} `not_found`, `invalid_cursor`. */
export async function listSubtasks(
  db: Database,
  user: CurrentUser,
  taskId: string,
  query: SubtaskListQuery,
): Promise<TaskPage> {
  const { id, project_id } = await readTask(db, user, taskId);
  return listTasks(db, user, project_id, { ...query, parent_id: id });
}

/** Counts tasks, exactly up to `TASK_COUNT_MAX`. @throws {Problem} as `listAllTasks` does. */
export async function countTasks(
  db: Database,
  user: CurrentUser,
  query: TaskCountQuery,
): Promise<TaskCount> {
  const filters = parseFilters(user, query);
  await assertVisible(db, user, query.project_id);
  const params = { user: { id: user.id }, ...scopeOf(query), filters, ...customPlan };
  const [row] = await selectCount(db, params, filters.query !== null);
  const found = row?.count ?? 0;
  return { count: Math.min(found, TASK_COUNT_MAX), more: found > TASK_COUNT_MAX };
}

/** @throws {Problem} `not_found` where the user does not see one of these projects. */
export async function assertVisible(
  db: Database,
  user: CurrentUser,
  projectIds: readonly string[] | undefined,
): Promise<void> {
  if (projectIds === undefined) return;
  const ids = new Set(projectIds.map((id) => id.toLowerCase()));
  const [row] = await countVisible(db, {
    user: { id: user.id },
    projects: arrayLiteral([...ids]),
    archived: null,
  });
  if (row?.count === ids.size) return;
  const { title: message } = catalogue.not_found;
  throw new Problem('not_found', {
    errors: [{ location: 'query.project_id', code: 'not_found', message }],
  });
}

const countVisible = prepared((_db, params: QueryParams<Scope & Pick<ListParams, 'user'>>) =>
  rawQuery<{ count: number }>(sql`select count(*)::int from (${projectsOf(params)}) visible`, [
    'count',
  ]),
);

// --- Parsing ---------------------------------------------------------------------------------------------------

type Form = 'plain' | 'filtered' | 'searched';

/** What a list asks for, as values of its statement. */
interface ListParams {
  user: Pick<CurrentUser, 'id'>;
  /** Undefined for a plain list. */
  filters: Filters | undefined;
  position: CursorPosition | undefined;
  count: number;
  once: number;
}

/** Which projects a list over several has. */
export interface Scope {
  projects: string | null;
  archived: boolean | null;
}

/**
 * PostgreSQL may plan a prepared statement once for all values, and then takes a common word for a rare one. It estimates
 * `generate_series(1, $1)` at 1,000 rows in such a plan, and at 1 in a plan for the values at hand; so it takes the latter.
 */
const customPlan = { once: 1 };

async function parseList(
  user: CurrentUser,
  list: string,
  { limit, cursor, expand: _, ...query }: TaskListQuery | AllTasksQuery,
) {
  const filters = findFilters(user, query);
  const form = filters === undefined ? 'plain' : filters.query === null ? 'filtered' : 'searched';
  // A cursor is tied to the list, its filters and its sort.
  const named = [list, ...Object.entries(query).sort(([a], [b]) => (a < b ? -1 : 1))];
  const page = await parsePage(named, { limit, cursor }, orderOf(query.sort));
  const params: ListParams = {
    user: { id: user.id },
    filters,
    position: page.position,
    count: page.count,
    ...customPlan,
  };
  return { page, params, form: form satisfies Form as Form };
}

/** Returns which projects a query names. */
export const scopeOf = ({
  project_id,
  archived,
}: Pick<TaskCountQuery, 'project_id' | 'archived'>): Scope => ({
  projects: project_id ? arrayLiteral(project_id) : null,
  archived: archived === 'any' ? null : archived === 'true',
});

// --- Sort ------------------------------------------------------------------------------------------------------

type Sort = TaskListQuery['sort'];
type Key = Pick<SortOrder<Task>, 'by' | 'type' | 'keyOf'>;

function makeOrder(sort: Sort): SortOrder<Task> {
  const descending = sort.startsWith('-');
  const last = descending ? '-infinity' : 'infinity';
  const orders: Record<(typeof projectTaskSorts)[number], Key> = {
    created_at: { by: tasks.created_at, type: 'timestamptz', keyOf: (task) => task.created_at },
    updated_at: { by: tasks.updated_at, type: 'timestamptz', keyOf: (task) => task.updated_at },
    due_at: {
      by: (descending ? dueDescending : dueAscending)(tasks),
      type: 'timestamptz',
      keyOf: (task) => task.due_at ?? (task.due_on ? endOfDay(task.due_on) : last),
    },
    completed_at: {
      by: (descending ? completedDescending : completedAscending)(tasks),
      type: 'timestamptz',
      keyOf: (task) => task.completed_at ?? last,
    },
    priority: { by: tasks.priority, type: 'smallint', keyOf: (task) => task.priority },
    title: { by: tasks.title_key, type: 'text', keyOf: (task) => sortKey(task.title) },
    // The list that has this order knows the keys.
    position: { by: placeOf(tasks), type: 'text', keyOf: () => '' },
  };
  return sortOrder(sort, orders, tasks.id);
}

const orders = new Map<Sort, SortOrder<Task>>();

/** Returns the order of a sort. Each is made once. */
function orderOf(sort: Sort): SortOrder<Task> {
  const order = orders.get(sort) ?? makeOrder(sort);
  orders.set(sort, order);
  return order;
}

// --- Statements ------------------------------------------------------------------------------------------------

const columns = sql.join(
  Object.values(taskColumns).map((column) => sql`${column}`),
  sql`, `,
);

const selectTasks = batchedRead(
  (db, params: QueryParams<ListParams & { project_id: string }>, sort: Sort, form: Form) => {
    const order = orderOf(sort);
    const projectId = sql`${params.project_id}::uuid`;
    const place = { projectId, count: sql`${params.count}::bigint`, size: undefined };
    const page =
      form === 'searched'
        ? sql`select ${columns}, page.key from (${pageOf(place, params, order, form)}) page join ${tasks} on ${tasks.id} = page.id`
        : pageOf(place, params, order, form, columns);
    const key = sort.endsWith('position') ? sql`tasks.key` : sql`null`;
    return rawQuery<{ there: boolean; key: string | null; task: Task | null }>(
      sql`
      with access as ${selectAccess(db, params.user, params.project_id)}
      select true, ${key}, ${columns}
      from access cross join ${onceOf(params)} left join lateral (${page}) tasks on true
      ${ordered(order, sql`tasks.key`, sql`tasks.id`)}`,
      { there: sql`true`, key: sql`key`, task: taskColumns },
    );
  },
  // With a filter, PostgreSQL plans for the values at hand.
  ({ filters }) => filters === undefined,
);

/**
 * Only projects whose first task is among the first of all can have a part in the page. So where there are more projects
 * than the page has tasks, the first task of each comes before the pages of those that are left.
 */
const selectAllTasks = prepared(
  (_db, params: QueryParams<ListParams & Scope>, sort: Sort, form: Form) => {
    const order = orderOf(sort);
    const count = sql`${params.count}::bigint`;
    const size = sql`(select projects from size)`;
    const pageIn = (limit: SQL) =>
      pageOf({ projectId: sql`mine.project_id`, count: limit, size }, params, order, form);
    return rawQuery<{ task: Task }>(
      sql`
      with mine as materialized (${projectsOf(params)}),
      size as materialized (select count(*)::int as projects from mine),
      nearest as materialized (
        select mine.project_id from mine cross join ${onceOf(params)} cross join lateral (${pageIn(sql`1`)}) head
        where ${size} > ${count} ${ordered(order, sql`head.key`, sql`head.id`)} limit ${count}
      ),
      chosen as materialized (
        select project_id from nearest union all select project_id from mine where ${size} <= ${count}
      ),
      found as materialized (
        select candidate.id, candidate.key
        from chosen as mine cross join ${onceOf(params)} cross join lateral (${pageIn(count)}) candidate
        ${ordered(order, sql`candidate.key`, sql`candidate.id`)} limit ${count}
      )
      select ${columns} from found join ${tasks} on ${tasks.id} = found.id
      ${ordered(order, sql`found.key`, sql`found.id`)}`,
      { task: taskColumns },
    );
  },
);

const selectCount = prepared(
  (
    _db,
    params: QueryParams<Scope & Pick<ListParams, 'user' | 'once'> & { filters: Filters }>,
    isSearch: boolean,
  ) => {
    const limit = sql.raw(String(TASK_COUNT_MAX + 1));
    const projectId = sql`mine.project_id`;
    const candidates = isSearch
      ? sql`(${withWords(params.filters, projectId, sql`true`)})`
      : sql`(select * from ${tasks} where ${tasks.project_id} = ${projectId} and once.n = 1)`;
    return rawQuery<{ count: number }>(
      sql`
      with mine as materialized (${projectsOf(params)})
      select count(*)::int from (
        select from mine cross join ${onceOf(params)} cross join lateral (
          select from ${candidates} tasks where ${filterCondition(params.filters, projectId)}
          limit ${limit}
        ) found limit ${limit}
      ) counted`,
      ['count'],
    );
  },
);

/** The projects of a list over several. */
export const projectsOf = ({
  user,
  projects: only,
  archived,
}: QueryParams<Scope & Pick<ListParams, 'user'>>) =>
  sql`
  select ${project_members.project_id} from ${project_members}
  join ${projects} on ${projects.id} = ${project_members.project_id}
  where ${membershipOf(user)} and (${only}::uuid[] is null or ${project_members.project_id} = any(${only}::uuid[]))
    and (${archived}::boolean is null or (${projects.archived_at} is not null) = ${archived}::boolean)`;

/** Where a page begins and ends, as SQL. */
interface PagePlace {
  projectId: SQL;
  count: SQL;
  /** How many projects the list has; undefined where it has one. */
  size: SQL | undefined;
}

/**
 * The first tasks of a project after the cursor, with the `key` that they are sorted by.
 * @param selected what is read of each beside; a search gives the `id` alone.
 */
function pageOf(
  { projectId, count, size }: PagePlace,
  { filters, position }: Pick<QueryParams<ListParams>, 'filters' | 'position'>,
  order: SortOrder<Task>,
  form: Form,
  selected: SQLWrapper = tasks.id,
): SQL {
  const after = afterCursor(position, order) ?? sql`true`;
  const inOrder = ordered(order, order.by, order.id);
  const key = sql`${order.by} as key`;
  const isThere = sql`${tasks.project_id} = ${projectId} and once.n = 1 and ${after}`;
  const byKey = ordered(order, sql`key`, sql`id`);
  if (form === 'plain' || filters === undefined)
    return sql`select * from (
      select ${selected}, ${key} from ${tasks} where ${isThere} ${inOrder} limit ${PAGE_ROWS_MAX}
    ) first ${byKey} limit ${count}`;
  const matches = filterCondition(filters, projectId);
  if (form === 'filtered')
    return sql`select ${selected}, ${key} from ${tasks} where ${isThere} and ${matches} ${inOrder} limit ${count}`;
  const walk = (filters.within ? walkWithComments : walkOfTasks)(isThere, inOrder);
  const rows = size === undefined ? WALKED_ROWS : rowsToWalk(size, walk, matches);
  const walkedRows = sql`(select rows from walk)`;
  return sql`
    with walk as materialized (select ${rows} as rows), walked as materialized (
      select id, key from (${walk.first(walkedRows, sql`tasks.*, ${key}`)}) tasks
      where ${matches} ${byKey} limit ${count}
    ), deeper as materialized (
      select (select count(*) from walked) < ${count} and exists (
        ${walk.beyond(walkedRows)}
      ) as needed
    )
    select id, key from walked where not (select needed from deeper)
    union all (
      select id, key from (
        select tasks.*, ${key} from (${withWords(filters, projectId, sql`(select needed from deeper)`)}) tasks
        where ${after} and ${matches}
      ) searched ${byKey} limit ${count}
    )`;
}

const WALKED_ROWS = sql.raw(String(WALKED_ROWS_MAX));
const LABELLED_ROWS = sql.raw(String(LABELLED_ROWS_MAX));

/** The tasks of a project in the order of the list, as far as a search walks. */
interface Walk {
  /** The first tasks, which have up to so many rows to look at. */
  first(rows: SQL, columns: SQL): SQL;
  /** A row where there are tasks beyond. */
  beyond(rows: SQL): SQL;
}

const walkOfTasks = (isThere: SQL, inOrder: SQL): Walk => ({
  first: (rows, columns) =>
    sql`select ${columns} from ${tasks} where ${isThere} ${inOrder} limit ${rows}`,
  beyond: (rows) => sql`select from ${tasks} where ${isThere} ${inOrder} offset ${rows} limit 1`,
});

/** A task has one row and those of its comments. */
const walkWithComments = (isThere: SQL, inOrder: SQL): Walk => {
  const soFar = sql`sum(1 + ${tasks.comment_count}) over (${inOrder} rows unbounded preceding) as so_far`;
  return {
    first: (rows, columns) => sql`select * from (
      select ${columns}, ${soFar} from ${tasks} where ${isThere} ${inOrder} limit ${rows}
    ) walking where so_far <= ${rows}`,
    beyond: (rows) => sql`select from (
      select ${soFar} from ${tasks} where ${isThere} ${inOrder} limit ${rows} + 1
    ) walking where so_far > ${rows}`,
  };
};

/** How many rows of a project a search over several walks: none, unless a match is among the first. */
const rowsToWalk = (size: SQL, walk: Walk, matches: SQL) => {
  const probed = sql`${WALKED_ROWS} / ${size}`;
  return sql`(case when ${probed} >= ${sql.raw(String(PROBED_ROWS_MIN))} and exists (
      select from (${walk.first(probed, sql`tasks.*`)}) tasks where ${matches}
    ) then ${WALKED_ROWS} else 0 end)`;
};

/**
 * The tasks of a project that have the words. The other filters come after these (`offset 0`): otherwise PostgreSQL reads
 * their indexes, too, for all projects and to the end, beside that of words. A search in comments reads the tasks that have
 * the labels, where they are few, and looks for the words in their comments; otherwise it reads the comments that have the
 * words. PostgreSQL cannot choose: over several projects it does not know the project when it plans.
 */
function withWords(filters: QueryParams<Filters>, projectId: SQL, isNeeded: SQL): SQL {
  const { query, within } = filters;
  const isAsked = sql`${isNeeded} and once.n = 1`;
  if (within === undefined)
    return sql`select ${tasks}.* from ${tasks}
    where ${isAsked} and ${taskWordsMatchIn(sql`${query}::text`, projectId)}
    offset 0`;
  const own = (match: typeof taskWordsMatch) => ownTextsMatch(filters, within, projectId, match);
  const labels = sql`${within.labels}::text`;
  const wanted = sql`${isAsked} and ${within.comments}::boolean`;
  const areFew = sql`(select count(*) from labelled) <= ${LABELLED_ROWS}`;
  return sql`
    with labelled as materialized (
      select ${tasks.id} from ${tasks}
      where ${wanted} and ${labels} is not null and ${taskWordsMatchIn(labels, projectId)} limit ${LABELLED_ROWS} + 1
    )
    (select ${tasks}.* from ${tasks} where ${isAsked} and ${own(taskWordsMatchIn)} offset 0)
    union all (
      select ${tasks}.* from labelled join ${tasks} on ${tasks.id} = labelled.id
      where ${areFew} and ${own(taskWordsMatch)} is not true
      offset 0
    ) union all (
      select ${tasks}.* from ${tasks} join (
        select distinct ${comments.task_id} as id from ${comments}
        where ${wanted} and (${labels} is null or not ${areFew})
          and ${commentWordsMatchIn(sql`${within.words}::text`, projectId)}
        offset 0
      ) commented on commented.id = ${tasks.id}
      where ${tasks.project_id}::text = ${projectId}::text and ${own(taskWordsMatch)} is not true
      offset 0
    )`;
}

/** A plain list needs no plan of its own. */
const onceOf = ({ once, filters }: Pick<QueryParams<ListParams>, 'once' | 'filters'>) =>
  filters === undefined
    ? sql`(select 1 as n) as once`
    : sql`generate_series(1, ${once}::int) as once (n)`;

/** `ORDER BY` with the direction of an order. */
const ordered = ({ descending }: SortOrder<Task>, by: SQLWrapper, id: SQLWrapper) =>
  sql`order by ${sql.join(orderBy({ by, id, descending }), sql`, `)}`;
