/** The projects that a user has left. Their owners cannot add the user again unless the user allows it. */
import { and, eq, notExists, sql } from 'drizzle-orm';
import type { WithSubqueryWithSelection } from 'drizzle-orm/pg-core';
import type { Database } from '../db/database.ts';
import { afterCursor, orderBy, parsePage, type SortOrder, toPage } from '../db/pagination.ts';
import { left_projects, type project_members, projects, trashed_projects } from '../db/schema.ts';
import { Problem } from '../errors/problem.ts';
import type { CurrentUser, LoggedInUser } from '../schemas/current-user.ts';
import type { LeftProject, LeftProjectPage } from '../schemas/left-projects.ts';
import type { PageQuery } from '../schemas/types/page.ts';

const columns = {
  project_id: left_projects.project_id,
  name: left_projects.name,
  left_at: left_projects.left_at,
};

const latestFirst: SortOrder<LeftProject> = {
  by: left_projects.left_at,
  type: 'timestamptz',
  id: left_projects.project_id,
  descending: true,
  keyOf: ({ left_at }) => left_at,
  idOf: ({ project_id }) => project_id,
};

/** Returns the projects that the user has left, latest first. @throws {Problem} `invalid_cursor`. */
export async function listLeftProjects(
  db: Database,
  user: LoggedInUser,
  query: PageQuery,
): Promise<LeftProjectPage> {
  const page = await parsePage<LeftProject>('left projects', query, latestFirst);
  const rows = await db
    .select(columns)
    .from(left_projects)
    .where(
      and(
        eq(left_projects.user_id, user.id),
        notExists(
          db
            .select({ id: trashed_projects.id })
            .from(trashed_projects)
            .where(eq(trashed_projects.id, left_projects.project_id)),
        ),
        afterCursor(page.position, page.order),
      ),
    )
    .orderBy(...orderBy(page.order))
    .limit(page.count);
  return toPage(page, rows);
}

/** Allows the owner of a project that the user has left to add them again. @throws {Problem} `not_found`. */
export async function forgetLeftProject(db: Database, user: LoggedInUser, projectId: string) {
  const forgotten = await db
    .delete(left_projects)
    .where(and(eq(left_projects.user_id, user.id), eq(left_projects.project_id, projectId)))
    .returning({ project_id: left_projects.project_id });
  if (forgotten.length === 0) throw new Problem('not_found');
}

/** Returns `with recorded as …`: it records that the user has left the project from which `removed` removed them. */
export const recordLeaver = (
  db: Database,
  removed: WithSubqueryWithSelection<{ project_id: typeof project_members.project_id }, string>,
  user: CurrentUser,
) =>
  db.$with('recorded').as(
    db
      .insert(left_projects)
      .select(
        db
          .select({
            user_id: sql<string>`${user.id}::uuid`.as('user_id'),
            project_id: projects.id,
            name: projects.name,
            left_at: sql<string>`now()`.as('left_at'),
          })
          .from(removed)
          .innerJoin(projects, eq(projects.id, removed.project_id)),
      )
      .returning({ project_id: left_projects.project_id }),
  );
