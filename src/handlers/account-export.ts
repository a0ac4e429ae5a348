/** Exports of everything that a user owns: one JSON document, written page by page, so that memory does not grow with it. */
import { and, asc, eq } from 'drizzle-orm';
import { isOfTask, visibleTo } from '../db/authorization.ts';
import type { Database } from '../db/database.ts';
import { afterRow, oldestFirst, pagesOf, WALK_PAGE_ROWS } from '../db/pagination.ts';
import { comments, project_members, projects, tasks, users } from '../db/schema.ts';
import { commentColumns, projectColumns, taskColumns } from '../db/visible-columns.ts';
import type { CurrentUser } from '../schemas/current-user.ts';
import { memberColumns } from './members.ts';
import { readProfile } from './users.ts';

const FORMAT = 'mantou-account';
const FORMAT_VERSION = 1;

/**
 * Yields the text of the document, piece by piece. A change while it is written may be in it or not; each row is whole.
 * @throws {Problem} `invalid_token` before the first piece.
 */
export async function* exportAccount(db: Database, user: CurrentUser): AsyncGenerator<string> {
  const head = {
    format: FORMAT,
    format_version: FORMAT_VERSION,
    exported_at: new Date().toISOString(),
    user: await readProfile(db, user),
  };
  // The list takes the place of the closing brace of the head.
  yield `${JSON.stringify(head).slice(0, -1)},"projects":[`;
  let first = true;
  for await (const page of ownProjects(db, user))
    for (const project of page) {
      const members = await membersOf(db, project.id);
      yield `${first ? '' : ','}${JSON.stringify({ ...project, members }).slice(0, -1)},"tasks":[`;
      first = false;
      yield* itemsOf(tasksOf(db, project.id));
      yield '],"comments":[';
      yield* itemsOf(commentsOf(db, project.id));
      yield ']}';
    }
  yield ']}\n';
}

/** Yields the items of a list. */
async function* itemsOf(pages: AsyncIterable<object[]>): AsyncGenerator<string> {
  let separator = '';
  for await (const page of pages) {
    yield separator + page.map((item) => JSON.stringify(item)).join(',');
    separator = ',';
  }
}

const ownProjects = (db: Database, user: CurrentUser) =>
  pagesOf((last) =>
    db
      .select(projectColumns)
      .from(projects)
      .innerJoin(
        project_members,
        and(visibleTo(user, projects.id), eq(project_members.role, 'owner')),
      )
      .where(afterRow(projects, last))
      .orderBy(...oldestFirst(projects))
      .limit(WALK_PAGE_ROWS),
  );

const tasksOf = (db: Database, projectId: string) =>
  pagesOf((last) =>
    db
      .select(taskColumns)
      .from(tasks)
      .where(and(eq(tasks.project_id, projectId), afterRow(tasks, last)))
      .orderBy(...oldestFirst(tasks))
      .limit(WALK_PAGE_ROWS),
  );

const commentsOf = (db: Database, projectId: string) =>
  pagesOf((last) =>
    db
      .select(commentColumns)
      .from(comments)
      .innerJoin(tasks, isOfTask)
      .where(and(eq(comments.project_id, projectId), afterRow(comments, last)))
      .orderBy(...oldestFirst(comments))
      .limit(WALK_PAGE_ROWS),
  );

const membersOf = (db: Database, projectId: string) =>
  db
    .select(memberColumns)
    .from(project_members)
    .innerJoin(users, eq(users.id, project_members.user_id))
    .where(eq(project_members.project_id, projectId))
    .orderBy(asc(project_members.created_at), asc(project_members.user_id));
