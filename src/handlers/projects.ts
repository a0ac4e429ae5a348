import { and, desc, eq, getTableColumns, inArray, sql } from 'drizzle-orm';
import { v7 as uuidv7 } from 'uuid';
import {
  accessToProject,
  type CurrentUser,
  type ExpectedVersions,
  hasVersion,
  type Permission,
  permits,
  visibleTo,
  writeRow,
} from '../db/access.ts';
import type { Database } from '../db/database.ts';
import { project_members, projects } from '../db/schema.ts';
import { Problem } from '../problem.ts';
import type { PageQuery } from '../schemas/common.ts';
import type { Project, ProjectCreate, ProjectPage, ProjectPatch } from '../schemas/projects.ts';
import { after, pageOf } from './page.ts';

const owns: Permission = { roles: ['owner'], while_archived: true };

const columns = { ...getTableColumns(projects), role: project_members.role };

/** Makes a project with this user as its owner, in one statement. @throws {Problem} `invalid_token`. */
export async function createProject(
  db: Database,
  user: CurrentUser,
  input: ProjectCreate,
): Promise<Project> {
  const created = db.$with('created').as(
    db
      .insert(projects)
      .values({ id: uuidv7(), ...input })
      .returning(),
  );
  const owner = db.$with('owner').as(
    db
      .insert(project_members)
      .select(
        db
          .select({
            project_id: created.id,
            user_id: sql`${user.id}::uuid`.as('user_id'),
            role: sql`'owner'`.as('role'),
            created_at: created.created_at,
          })
          .from(created),
      )
      .returning({ role: project_members.role }),
  );
  const [project] = await db
    .with(created, owner)
    .select({ ...created._.selectedFields, role: owner.role })
    .from(created)
    .innerJoin(owner, sql`true`);
  return project as Project;
}

/** The user's projects, own and shared, newest first. @throws {Problem} `invalid_cursor`. */
export async function listProjects(
  db: Database,
  user: CurrentUser,
  query: PageQuery,
): Promise<ProjectPage> {
  const list = 'projects';
  const rows = await db
    .select(columns)
    .from(projects)
    .innerJoin(project_members, visibleTo(user, projects.id))
    .where(after(list, query, projects))
    .orderBy(desc(projects.created_at), desc(projects.id))
    .limit(query.limit + 1);
  return pageOf(list, query, rows);
}

/** @throws {Problem} `not_found`. */
export async function readProject(
  db: Database,
  user: CurrentUser,
  project_id: string,
): Promise<Project> {
  const [project] = await db
    .select(columns)
    .from(projects)
    .innerJoin(project_members, visibleTo(user, projects.id))
    .where(eq(projects.id, project_id));
  if (!project) throw new Problem('not_found');
  return project;
}

/**
 * Merges a patch (RFC 7396) into a project; an empty one changes nothing. An archived project takes only a patch
 * that says whether it stays archived.
 * @throws {Problem} `not_found`, `forbidden`, `conflict`, `precondition_failed`.
 */
export async function patchProject(
  db: Database,
  user: CurrentUser,
  project_id: string,
  input: ProjectPatch,
  expected: ExpectedVersions,
): Promise<Project> {
  const { archived, ...fields } = input;
  // Read-only but for its end; to archive what is archived already changes nothing.
  const ends = archived === false || (archived === true && Object.keys(fields).length === 0);
  const permission = { ...owns, while_archived: ends };
  const changes = Object.keys(input).length > 0;
  const access = accessToProject(db, user, project_id);
  const changed = db.$with('changed').as(
    db
      .update(projects)
      .set({
        ...fields,
        ...(archived !== undefined && {
          archived_at: archived ? sql`coalesce(${projects.archived_at}, now())` : null,
        }),
        ...(changes && { updated_at: sql`now()`, version: sql`${projects.version} + 1` }),
        // So that an empty patch sets something.
        id: projects.id,
      })
      .from(access)
      .where(
        and(
          eq(projects.id, access.project_id),
          permits(access, permission),
          hasVersion(projects.version, expected),
        ),
      )
      .returning({ ...getTableColumns(projects), role: access.role }),
  );
  return writeRow<Project>(db, access, changed, permission, expected);
}

/**
 * Deletes a project with all that is in it, archived or not.
 * @throws {Problem} `not_found`, `forbidden`, `precondition_failed`.
 */
export async function deleteProject(
  db: Database,
  user: CurrentUser,
  project_id: string,
  expected: ExpectedVersions,
): Promise<void> {
  const access = accessToProject(db, user, project_id);
  const deleted = db.$with('deleted').as(
    db
      .delete(projects)
      .where(
        and(
          inArray(
            projects.id,
            db.select({ id: access.project_id }).from(access).where(permits(access, owns)),
          ),
          hasVersion(projects.version, expected),
        ),
      )
      .returning({ id: projects.id }),
  );
  await writeRow(db, access, deleted, owns, expected);
}
