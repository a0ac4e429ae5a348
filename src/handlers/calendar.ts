/** Writes due tasks for calendar programs. They poll the whole calendar, so it has an entity tag and is written page by page. */
import { and, eq, exists, isNotNull, isNull, or, type SQL, sql } from 'drizzle-orm';
import { visibleTo } from '../db/authorization.ts';
import type { Database } from '../db/database.ts';
import { arrayLiteral } from '../db/full-text.ts';
import { completedAscending } from '../db/index-expressions.ts';
import { afterRow, oldestFirst, pagesOf, WALK_PAGE_ROWS } from '../db/pagination.ts';
import { project_members, projects, tasks } from '../db/schema.ts';
import { taskColumns } from '../db/visible-columns.ts';
import { Problem } from '../errors/problem.ts';
import {
  CALENDAR_END,
  type CalendarTask,
  calendarHead,
  writeEvent,
  writeTodo,
} from '../formats/icalendar.ts';
import type { CalendarQuery, ProjectCalendarQuery } from '../schemas/calendar.ts';
import type { CurrentUser } from '../schemas/current-user.ts';
import type { Task } from '../schemas/tasks.ts';
import { conditionOf, statusesOf } from './task-filters.ts';
import { assertVisible } from './task-lists.ts';

/** How long a task stays in the calendar after it was done. */
const DONE_DAYS = 30;

/** Raise it with each change of the text, so that no client keeps what an earlier release wrote. */
const FORMAT = 2;

/** The name of a calendar over several projects. */
const NAME = 'mantou';

const hasDueDate = or(isNotNull(tasks.due_at), isNotNull(tasks.due_on));

const hasStatus = (status: Task['status']) => eq(tasks.status, status);

/** In the terms of the index by time of completion. */
const isDoneLately = and(
  hasStatus('done'),
  sql`${completedAscending(tasks)} >= now() - make_interval(days => ${sql.raw(String(DONE_DAYS))})`,
  sql`${completedAscending(tasks)} < 'infinity'`,
);

/**
 * The parts of a calendar, unless the query names statuses. A program that sees a task vanish cannot tell that it was done, and
 * vdirsyncer takes an empty calendar for a mistake. What is cancelled goes at once.
 */
const openOrDoneLately = [hasStatus('todo'), hasStatus('in_progress'), isDoneLately];

/** Which tasks a calendar holds, and how it writes them. */
export interface CalendarScope {
  name: string;
  /** Names what the tasks do not: the format, and the version of the project that the calendar is named after. */
  edition: string;
  /** Conditions that exclude each other. A task fulfils one of them. */
  parts: readonly (SQL | undefined)[];
  projectIds: readonly string[] | undefined;
  matches: SQL | undefined;
  write: typeof writeTodo;
}

/**
 * Returns the scope of a calendar over all projects of the user.
 * @throws {Problem} `not_found` for a project that the user does not see; `validation_failed` for filters that contradict
 * each other.
 */
export async function calendarScope(
  db: Database,
  user: CurrentUser,
  { project_id, ...query }: CalendarQuery,
): Promise<CalendarScope> {
  const filtered = filteredBy(user, query);
  await assertVisible(db, user, project_id);
  return { ...filtered, name: NAME, edition: `v${FORMAT}`, projectIds: project_id };
}

/**
 * Returns the scope of the calendar of a project, which has its name. The calendar of an archived project is empty.
 * @throws {Problem} as `calendarScope` does.
 */
export async function projectCalendarScope(
  db: Database,
  user: CurrentUser,
  projectId: string,
  query: ProjectCalendarQuery,
): Promise<CalendarScope> {
  const filtered = filteredBy(user, query);
  const [project] = await db
    .select({ name: projects.name, version: projects.version })
    .from(projects)
    .innerJoin(project_members, visibleTo(user, projects.id))
    .where(eq(projects.id, projectId));
  if (!project) throw new Problem('not_found');
  const { name, version } = project;
  return { ...filtered, name, edition: `v${FORMAT}_${version}`, projectIds: [projectId] };
}

function filteredBy(user: CurrentUser, { as, ...query }: ProjectCalendarQuery) {
  return {
    matches: conditionOf(user, query, tasks.project_id),
    parts: statusesOf(query)?.map(hasStatus) ?? openOrDoneLately,
    write: as === 'events' ? writeEvent : writeTodo,
  };
}

const isIn = ({ parts, matches }: CalendarScope) =>
  and(hasDueDate, parts.length > 0 ? or(...parts) : sql`false`, matches);

const isOfCalendar = ({ projectIds }: CalendarScope) =>
  and(
    isNull(projects.archived_at),
    projectIds && sql`${projects.id} = any(${arrayLiteral(projectIds)}::uuid[])`,
  );

/**
 * Returns the edition of the calendar and a digest of its tasks, their projects and the versions of both; it costs less than the
 * calendar.
 */
export async function readCalendarTag(
  db: Database,
  user: CurrentUser,
  scope: CalendarScope,
): Promise<string> {
  const [row] = await db
    .select({
      tag: sql<string>`md5(coalesce(string_agg(concat_ws('.', ${tasks.id}, ${tasks.version}, ${projects.id}, ${projects.version}), ' ' order by ${tasks.id}), ''))`,
    })
    .from(tasks)
    .innerJoin(project_members, visibleTo(user, tasks.project_id))
    .innerJoin(projects, eq(projects.id, tasks.project_id))
    .where(and(isIn(scope), isOfCalendar(scope)));
  return `${scope.edition}_${row?.tag}`;
}

/** Yields the text of the calendar, piece by piece, project by project. */
export async function* writeCalendar(
  db: Database,
  user: CurrentUser,
  scope: CalendarScope,
): AsyncGenerator<string> {
  // A failure before the first piece is a problem; a later one cuts the calendar.
  const found = await findProjects(db, user, scope);
  yield calendarHead(scope.name);
  for (const project of found)
    for (const part of scope.parts)
      for await (const page of pagesOfTasks(db, user, project.id, part, scope))
        yield page.map((task) => scope.write(task as CalendarTask, project.name)).join('');
  yield CALENDAR_END;
}

/** Returns the projects that have tasks in the calendar. */
function findProjects(
  db: Database,
  user: CurrentUser,
  scope: CalendarScope,
): PromiseLike<{ id: string; name: string }[]> {
  const due = db
    .select({ id: tasks.id })
    .from(tasks)
    .where(and(eq(tasks.project_id, projects.id), isIn(scope)));
  return db
    .select({ id: projects.id, name: projects.name })
    .from(projects)
    .innerJoin(project_members, visibleTo(user, projects.id))
    .where(and(isOfCalendar(scope), exists(due)))
    .orderBy(projects.id);
}

/** Reads in the order of the index by status, because the order does not matter to a calendar. */
const pagesOfTasks = (
  db: Database,
  user: CurrentUser,
  projectId: string,
  part: SQL | undefined,
  { matches }: CalendarScope,
) =>
  pagesOf<Task>((last) =>
    db
      .select(taskColumns)
      .from(tasks)
      .innerJoin(project_members, visibleTo(user, tasks.project_id))
      .where(and(eq(tasks.project_id, projectId), part, hasDueDate, matches, afterRow(tasks, last)))
      .orderBy(...oldestFirst(tasks))
      .limit(WALK_PAGE_ROWS),
  );
