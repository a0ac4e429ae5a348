import { and, eq, inArray, isNotNull, isNull, type Placeholder, type SQL, sql } from 'drizzle-orm';
import { v7 as uuidv7 } from 'uuid';
import {
  type Attempt,
  accessToChange,
  actingAs,
  attempt,
  type CurrentUser,
  type ExpectedVersions,
  hasVersion,
  type Permission,
  permits,
  rowOf,
  versionsAsked,
  visibleTo,
} from '../db/access.ts';
import type { Database } from '../db/database.ts';
import { asRow, nextVersion } from '../db/rows.ts';
import { project_columns, project_members, projects } from '../db/schema.ts';
import {
  projectLexemes,
  projectMatches,
  type Sought,
  searchableProject,
  soughtInProjects,
} from '../db/search.ts';
import { type Asked, type Select, statement } from '../db/statement.ts';
import { Problem } from '../problem.ts';
import type {
  Project,
  ProjectCreate,
  ProjectListQuery,
  ProjectPage,
  ProjectPatch,
} from '../schemas/projects.ts';
import { sortKey } from '../words.ts';
import { attemptOnce, type IdempotencyKey, type Made, madeOf } from './idempotency.ts';
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

const owns: Permission = { roles: ['owner'], while_archived: true };

const columns = { ...project_columns, role: project_members.role };

/**
 * Makes a project with this user as its owner, in one statement.
 * @throws {Problem} `invalid_token`, `idempotency_key_reused`, `idempotency_in_flight`.
 */
export async function createProject(
  db: Database,
  user: CurrentUser,
  input: ProjectCreate,
  request?: IdempotencyKey,
): Promise<Made<Project>> {
  const { name, description = null } = input;
  const texts = { name, description };
  const project = { id: uuidv7(), ...texts, ...projectLexemes(texts) };
  const [found] = await insertProject(db, { user: { id: user.id }, project, request });
  return madeOf(found, columns, owns, request);
}

interface NewProject {
  user: Pick<CurrentUser, 'id'>;
  project: { id: string } & Required<ProjectCreate> & ReturnType<typeof projectLexemes>;
  request: IdempotencyKey | undefined;
}

const insertProject = statement((db, { user, project, request }: Asked<NewProject>) => {
  const now = sql`now()`;
  const row = asRow(projects, {
    ...project,
    ...searchableProject(project),
    archived_at: null,
    created_at: now,
    updated_at: now,
    version: 1,
    words_version: 1,
  });
  const statements = (first?: SQL) => {
    const created = db.$with('created').as(
      db
        .insert(projects)
        .select(
          db
            .select(row)
            .from(sql`(select) as one`)
            .where(and(actingAs(user), first)),
        )
        .returning(project_columns),
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
              importing_since: sql`null::timestamptz`.as('importing_since'),
            })
            .from(created),
        )
        .returning({ role: project_members.role }),
    );
    const project = db.$with('project').as(
      db
        .select({ ...created._.selectedFields, role: owner.role })
        .from(created)
        .innerJoin(owner, sql`true`),
    );
    return [created, owner, project] as const;
  };
  if (request) return attemptOnce<Project>(db, user, request, undefined, statements);
  const [created, owner, made] = statements();
  const attempted = db.with(created, owner, made).select({ row: made._.selectedFields }).from(made);
  return attempted as unknown as Select<Attempt<Project>>;
});

const orders = {
  created_at: {
    by: projects.created_at,
    type: 'timestamptz',
    keyOf: (project) => project.created_at,
  },
  updated_at: {
    by: projects.updated_at,
    type: 'timestamptz',
    keyOf: (project) => project.updated_at,
  },
  name: { by: projects.name_key, type: 'text', keyOf: (project) => sortKey(project.name) },
} as const satisfies Record<string, Pick<Order<Project>, 'by' | 'type' | 'keyOf'>>;

/** The user's projects, own and shared. @throws {Problem} `invalid_cursor`; `validation_failed` for a `q` without words. */
export async function listProjects(
  db: Database,
  user: CurrentUser,
  query: ProjectListQuery,
): Promise<ProjectPage> {
  const { sort, archived, q, limit } = query;
  const list = JSON.stringify(['projects', sort, archived, q]);
  const order = orderOf(sort);
  const sought = q === undefined ? undefined : soughtInProjects(wordsGiven(q));
  const position = await positionOf(list, query, order);
  const asked = { user: { id: user.id }, sought, position, count: limit + 1 };
  const rows = await selectProjects(db, asked, { archived, sort });
  return pageOf(list, query, rows, order);
}

type Sort = ProjectListQuery['sort'];

const orderOf = (sort: Sort): Order<Project> => sorted(sort, orders, projects.id);

interface AskedProjects {
  user: Pick<CurrentUser, 'id'>;
  sought: Sought | undefined;
  position: Position | undefined;
  count: number;
}

const selectProjects = statement(
  (
    db,
    { user, sought, position, count }: Asked<AskedProjects>,
    { archived, sort }: Pick<ProjectListQuery, 'archived' | 'sort'>,
  ) => {
    const order = orderOf(sort);
    return db
      .select(columns)
      .from(projects)
      .innerJoin(project_members, visibleTo(user, projects.id))
      .where(
        and(
          archived === 'false' ? isNull(projects.archived_at) : undefined,
          archived === 'true' ? isNotNull(projects.archived_at) : undefined,
          sought && projectMatches(sought),
          isBehind(position, order),
        ),
      )
      .orderBy(...inOrder(order))
      .limit(count as Placeholder);
  },
);

/** @throws {Problem} `not_found`. */
export async function readProject(
  db: Database,
  user: CurrentUser,
  project_id: string,
): Promise<Project> {
  const [project] = await selectProject(db, { user: { id: user.id }, project_id });
  if (!project) throw new Problem('not_found');
  return project;
}

/** What a statement asks of a project. */
interface OneProject {
  user: Pick<CurrentUser, 'id'>;
  project_id: string;
}

const selectProject = statement((db, { user, project_id }: Asked<OneProject>) =>
  db
    .select(columns)
    .from(projects)
    .innerJoin(project_members, visibleTo(user, projects.id))
    .where(eq(projects.id, project_id)),
);

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
  const access = accessToChange(db, user, project_id);
  const changed = db.$with('changed').as(
    db
      .update(projects)
      .set({
        ...fields,
        ...searchableProject(projectLexemes(fields)),
        ...(archived !== undefined && {
          archived_at: archived ? sql`coalesce(${projects.archived_at}, now())` : null,
        }),
        ...(changes && nextVersion(projects)),
        // So that an empty patch sets something.
        id: projects.id,
      })
      .from(access)
      .where(
        and(
          eq(projects.id, access.project_id),
          permits(access, permission),
          hasVersion(projects.version, versionsAsked(expected)),
        ),
      )
      .returning({ ...project_columns, role: access.role }),
  );
  const [found] = await attempt<Project>(db, access, changed);
  return rowOf(found, permission, expected);
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
  const access = accessToChange(db, user, project_id);
  const deleted = db.$with('deleted').as(
    db
      .delete(projects)
      .where(
        and(
          inArray(
            projects.id,
            db.select({ id: access.project_id }).from(access).where(permits(access, owns)),
          ),
          hasVersion(projects.version, versionsAsked(expected)),
        ),
      )
      .returning({ id: projects.id }),
  );
  const [found] = await attempt(db, access, deleted);
  rowOf(found, owns, expected);
}
