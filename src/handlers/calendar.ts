/** What is due, for calendar programs. They ask for all of it again and again, so it has a tag, and is written page by page. */
import { and, asc, eq, exists, inArray, isNotNull, isNull, sql } from 'drizzle-orm';
import { type CurrentUser, visibleTo } from '../db/access.ts';
import type { Database } from '../db/database.ts';
import { project_members, projects, task_columns, tasks } from '../db/schema.ts';
import { CALENDAR_END, CALENDAR_HEAD, type Todo, writeTodo } from '../formats/icalendar.ts';
import type { Task } from '../schemas/tasks.ts';

const PAGE_ROWS = 200;

/** What is done or cancelled is not due. Nor is what is archived, which `isNull(projects.archived_at)` says. */
const open = ['todo', 'in_progress'] as const;
const isDue = and(isNotNull(tasks.due_at), inArray(tasks.status, open));

/** A digest of which tasks the calendar has, in which versions; it costs less than the calendar. */
export async function readCalendarTag(db: Database, user: CurrentUser): Promise<string> {
  const [row] = await db
    .select({
      tag: sql<string>`md5(coalesce(string_agg(${tasks.id}::text || ${tasks.version}, ' ' order by ${tasks.id}), ''))`,
    })
    .from(tasks)
    .innerJoin(project_members, visibleTo(user, tasks.project_id))
    .innerJoin(projects, eq(projects.id, tasks.project_id))
    .where(and(isDue, isNull(projects.archived_at)));
  return row?.tag ?? '';
}

/** The text of the calendar, piece by piece, project by project. */
export async function* writeCalendar(db: Database, user: CurrentUser): AsyncGenerator<string> {
  yield CALENDAR_HEAD;
  for (const project_id of await findProjects(db, user))
    for (const status of open)
      for await (const page of pagesOfTasks(db, user, project_id, status))
        yield page.map((task) => writeTodo(task as Todo)).join('');
  yield CALENDAR_END;
}

/** Those that have something in the calendar. */
async function findProjects(db: Database, user: CurrentUser): Promise<string[]> {
  const due = db
    .select({ id: tasks.id })
    .from(tasks)
    .where(and(eq(tasks.project_id, projects.id), isDue));
  const found = await db
    .select({ id: projects.id })
    .from(projects)
    .innerJoin(project_members, visibleTo(user, projects.id))
    .where(and(isNull(projects.archived_at), exists(due)))
    .orderBy(projects.id);
  return found.map(({ id }) => id);
}

/** In the order of the index that has the open ones apart: the order does not matter to a calendar. */
async function* pagesOfTasks(
  db: Database,
  user: CurrentUser,
  project_id: string,
  status: (typeof open)[number],
): AsyncGenerator<Task[]> {
  let last: Task | undefined;
  do {
    const page: Task[] = await db
      .select(task_columns)
      .from(tasks)
      .innerJoin(project_members, visibleTo(user, tasks.project_id))
      .where(
        and(
          eq(tasks.project_id, project_id),
          eq(tasks.status, status),
          isNotNull(tasks.due_at),
          last &&
            sql`(${tasks.created_at}, ${tasks.id}) > (${last.created_at}::timestamptz, ${last.id}::uuid)`,
        ),
      )
      .orderBy(asc(tasks.created_at), asc(tasks.id))
      .limit(PAGE_ROWS);
    if (page.length > 0) yield page;
    last = page.length === PAGE_ROWS ? page.at(-1) : undefined;
  } while (last);
}
