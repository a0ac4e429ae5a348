/** Everything that a user owns, as one JSON document, written page by page: memory does not grow with the account. */
import { and, asc, eq, gt, or } from 'drizzle-orm';
import { type CurrentUser, visibleTo } from '../db/access.ts';
import type { Database } from '../db/database.ts';
import {
  project_columns,
  project_members,
  projects,
  task_columns,
  tasks,
  users,
} from '../db/schema.ts';
import { readProfile } from './users.ts';

const FORMAT = 'mantou-account';
const FORMAT_VERSION = 1;
const PAGE_ROWS = 200;

/**
 * The text of the document, piece by piece. What changes while it is written may be in it or not; each row is whole.
 * @throws {Problem} `invalid_token` before the first piece.
 */
export async function* exportAccount(db: Database, user: CurrentUser): AsyncGenerator<string> {
  const head = {
    format: FORMAT,
    format_version: FORMAT_VERSION,
    exported_at: new Date().toISOString(),
    user: await readProfile(db, user),
  };
  // The list goes where the object of the head would end.
  yield `${JSON.stringify(head).slice(0, -1)},"projects":[`;
  let first = true;
  for await (const project of ownProjects(db, user)) {
    const members = await listMembers(db, project.id);
    yield `${first ? '' : ','}${JSON.stringify({ ...project, members }).slice(0, -1)},"tasks":[`;
    first = false;
    let separator = '';
    for await (const task of tasksOf(db, project.id)) {
      yield separator + JSON.stringify(task);
      separator = ',';
    }
    yield ']}';
  }
  yield ']}\n';
}

interface Position {
  created_at: string;
  id: string;
}

/** Rows in the order of (created_at, id), fetched by keyset. */
async function* inPages<Row extends Position>(
  fetch: (after: Position | undefined) => Promise<Row[]>,
): AsyncGenerator<Row> {
  let last: Position | undefined;
  do {
    const rows = await fetch(last);
    yield* rows;
    last = rows.length === PAGE_ROWS ? rows.at(-1) : undefined;
  } while (last);
}

const ownProjects = (db: Database, user: CurrentUser) =>
  inPages((last: Position | undefined) =>
    db
      .select(project_columns)
      .from(projects)
      .innerJoin(
        project_members,
        and(visibleTo(user, projects.id), eq(project_members.role, 'owner')),
      )
      .where(last && beyond(projects, last))
      .orderBy(asc(projects.created_at), asc(projects.id))
      .limit(PAGE_ROWS),
  );

const tasksOf = (db: Database, project_id: string) =>
  inPages((last: Position | undefined) =>
    db
      .select(task_columns)
      .from(tasks)
      .where(and(eq(tasks.project_id, project_id), last && beyond(tasks, last)))
      .orderBy(asc(tasks.created_at), asc(tasks.id))
      .limit(PAGE_ROWS),
  );

function beyond(table: typeof projects | typeof tasks, last: Position) {
  return or(
    gt(table.created_at, last.created_at),
    and(eq(table.created_at, last.created_at), gt(table.id, last.id)),
  );
}

const listMembers = (db: Database, project_id: string) =>
  db
    .select({
      user_id: project_members.user_id,
      username: users.username,
      role: project_members.role,
      created_at: project_members.created_at,
    })
    .from(project_members)
    .innerJoin(users, eq(users.id, project_members.user_id))
    .where(eq(project_members.project_id, project_id))
    .orderBy(asc(project_members.created_at), asc(project_members.user_id));
