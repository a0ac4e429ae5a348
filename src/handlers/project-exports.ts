/** A project, to take along: as the document that can be imported again, or as a table. Written page by page. */
import { asc, eq, sql } from 'drizzle-orm';
import { alias } from 'drizzle-orm/pg-core';
import { accessToProject, type CurrentUser, visibleTo } from '../db/access.ts';
import type { Database } from '../db/database.ts';
import { project_members, projects, tasks, users } from '../db/schema.ts';
import { asText, csvLines } from '../formats/csv.ts';
import { Problem } from '../problem.ts';
import {
  type ExportedProject,
  type ExportedTask,
  PROJECT_FORMAT,
  PROJECT_FORMAT_VERSION,
} from '../schemas/project-exports.ts';

const PAGE_ROWS = 200;

/**
 * The text of the document, piece by piece, each task on a line of its own. What changes while it is written may be in
 * it or not; each row is whole.
 * @throws {Problem} `not_found`: before the first piece, or later if the user sees the project no more by then.
 */
export async function* exportProject(
  db: Database,
  user: CurrentUser,
  project_id: string,
): AsyncGenerator<string> {
  const head = {
    format: PROJECT_FORMAT,
    format_version: PROJECT_FORMAT_VERSION,
    exported_at: new Date().toISOString(),
    project: await findProject(db, user, project_id),
  };
  // The list goes where the object of the head would end.
  yield `${JSON.stringify(head).slice(0, -1)},"tasks":[`;
  let separator = '\n';
  for await (const page of pagesOfTasks(db, user, project_id)) {
    yield page
      .map(({ id: _, ...task }) => {
        const line = separator + JSON.stringify(task satisfies ExportedTask);
        separator = ',\n';
        return line;
      })
      .join('');
  }
  yield '\n]}\n';
}

/** The tasks as lines of a table, after a line with the names of the columns. @throws {Problem} as `exportProject` does. */
export async function* exportTaskTable(
  db: Database,
  user: CurrentUser,
  project_id: string,
): AsyncGenerator<string> {
  await findProject(db, user, project_id);
  yield csvLines([columns]);
  for await (const page of pagesOfTasks(db, user, project_id)) yield csvLines(page.map(cellsOf));
}

async function findProject(
  db: Database,
  user: CurrentUser,
  project_id: string,
): Promise<ExportedProject> {
  const { name, description, archived_at, created_at, updated_at } = projects;
  const [project] = await db
    .select({ name, description, archived_at, created_at, updated_at })
    .from(projects)
    .innerJoin(project_members, visibleTo(user, projects.id))
    .where(eq(projects.id, project_id));
  if (!project) throw new Problem('not_found');
  return project;
}

type Row = ExportedTask & { id: string };

/** In the order of (created_at, id), by keyset; the access is looked at for each page. */
async function* pagesOfTasks(
  db: Database,
  user: CurrentUser,
  project_id: string,
): AsyncGenerator<Row[]> {
  let last: Row | undefined;
  do {
    const page = await readPage(db, user, project_id, last);
    if (page.length > 0) yield page;
    last = page.length === PAGE_ROWS ? page.at(-1) : undefined;
  } while (last);
}

async function readPage(
  db: Database,
  user: CurrentUser,
  project_id: string,
  last: Row | undefined,
): Promise<Row[]> {
  const access = accessToProject(db, user, project_id);
  const [assignees, creators] = [alias(users, 'assignees'), alias(users, 'creators')];
  const page = db
    .select({
      id: tasks.id,
      title: tasks.title,
      description: tasks.description,
      status: tasks.status,
      priority: tasks.priority,
      due_at: tasks.due_at,
      assignee: sql<string | null>`${assignees.username}`.as('assignee'),
      labels: tasks.labels,
      completed_at: tasks.completed_at,
      created_at: tasks.created_at,
      updated_at: tasks.updated_at,
      created_by: sql<string | null>`${creators.username}`.as('creator'),
    })
    .from(tasks)
    .leftJoin(assignees, eq(assignees.id, tasks.assignee_id))
    .leftJoin(creators, eq(creators.id, tasks.created_by))
    .where(
      sql`${tasks.project_id} = ${access.project_id} and (${tasks.created_at}, ${tasks.id}) >
        (${last?.created_at ?? '-infinity'}::timestamptz, ${last?.id ?? NO_ID}::uuid)`,
    )
    .orderBy(asc(tasks.created_at), asc(tasks.id))
    .limit(PAGE_ROWS)
    .as('page');
  // One row without a task says that the project is there; no row, that it is not.
  const rows = await db
    .with(access)
    .select({ access: access.project_id, task: page._.selectedFields })
    .from(access)
    .leftJoinLateral(page, sql`true`)
    .orderBy(asc(page.created_at), asc(page.id));
  if (rows.length === 0) throw new Problem('not_found');
  return rows.flatMap(({ task }) => task ?? []);
}

/** Below every other. */
const NO_ID = '00000000-0000-0000-0000-000000000000';

const columns = [
  'id',
  'title',
  'description',
  'status',
  'priority',
  'due_at',
  'assignee',
  'labels',
  'completed_at',
  'created_at',
  'updated_at',
  'created_by',
] as const satisfies (keyof Row)[];

const cellsOf = (task: Row) => {
  const cells = {
    ...task,
    title: asText(task.title),
    description: asText(task.description),
    assignee: asText(task.assignee),
    // No label holds a comma.
    labels: asText(task.labels.join(',')),
    created_by: asText(task.created_by),
  };
  return columns.map((name) => cells[name]);
};
