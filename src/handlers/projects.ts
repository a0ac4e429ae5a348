import { and, eq, isNotNull, isNull, or, type SQL, type SQLWrapper, sql } from 'drizzle-orm';
import {
  actorOf,
  isPermitted,
  type Permission,
  projectWriteAccess,
  unwrapWrite,
  versionMatches,
  versionsParam,
  visibleTo,
  type WriteResult,
  writeWithAccess,
} from '../db/authorization.ts';
import { batchedRead, batchedWrite } from '../db/batching.ts';
import type { Database } from '../db/database.ts';
import { onViolation } from '../db/errors.ts';
import {
  arrayLiteral,
  parseSearchTerm,
  projectLexemes,
  projectMatches,
  projectSearchColumns,
  projectSearchQuery,
  type SearchQuery,
} from '../db/full-text.ts';
import {
  type Created,
  type IdempotencyKey,
  keyOf,
  unwrapOnce,
  writeOnce,
} from '../db/idempotency.ts';
import {
  afterCursor,
  type CursorPosition,
  orderBy,
  parsePage,
  type SortOrder,
  sortOrder,
  toPage,
} from '../db/pagination.ts';
import { asParam, type QueryParams, type TypedQuery } from '../db/prepared.ts';
import { columnsOf } from '../db/row-mapper.ts';
import { bumpVersion, insertRow } from '../db/row-values.ts';
import { project_members, projects, trashed_projects } from '../db/schema.ts';
import { projectColumns } from '../db/visible-columns.ts';
import { idTaken, Problem } from '../errors/problem.ts';
import { newId } from '../lib/new-id.ts';
import { sortKey } from '../lib/tokenizer.ts';
import type { Actor, CurrentUser, ExpectedVersions } from '../schemas/current-user.ts';
import type {
  Project,
  ProjectCreate,
  ProjectListQuery,
  ProjectPage,
  ProjectPatch,
} from '../schemas/projects.ts';

const isArchived = sql`${projects.archived_at} is not null`;

const owns: Permission = { roles: ['owner'], whileArchived: true };

const columns = { ...projectColumns, role: project_members.role };

/**
 * Creates a project with this user as its owner, in one statement.
 * @throws {Problem} `invalid_token`, `id_taken`, `idempotency_key_reused`, `idempotency_in_flight`.
 */
export async function createProject(
  db: Database,
  user: CurrentUser,
  input: ProjectCreate,
  request?: IdempotencyKey,
): Promise<Created<Project>> {
  const { name, description = null } = input;
  const texts = { name, description };
  const project = { id: newId(input.id), ...texts, ...projectLexemes(texts) };
  const [found] = await onViolation(
    { projects_pkey: () => idTaken('body.id') },
    insertProject(db, { user: actorOf(user), project, request }),
  );
  return unwrapOnce(found, columns, owns, request);
}

interface NewProject {
  user: Actor;
  project: Required<ProjectCreate> & ReturnType<typeof projectLexemes>;
  request: IdempotencyKey | undefined;
}

const insertProject = batchedWrite(
  (db, { user, project, request }: QueryParams<NewProject>, calls) => {
    const now = sql`now()`;
    const row = insertRow(projects, {
      ...project,
      ...projectSearchColumns(project),
      archived_at: null,
      viewers_may_comment: false,
      created_at: now,
      updated_at: now,
      version: 1,
      words_version: -1,
    });
    const isOfCall = (id: SQLWrapper) => sql`${id} = ${project.id}::uuid`;
    const statements = (first?: SQL) => {
      const created = db.$with('created').as(
        db
          .insert(projects)
          .select(
            db
              .select(row)
              .from(calls.from)
              .where(and(calls.actsOn(user, project.id), first)),
          )
          .returning(projectColumns),
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
              .from(created)
              .innerJoin(calls.from, isOfCall(created.id)),
          )
          .returning({ project_id: project_members.project_id, role: project_members.role }),
      );
      const made = db.$with('project').as(
        db
          .select({ ...columnsOf(created), role: owner.role })
          .from(created)
          .innerJoin(owner, eq(owner.project_id, created.id)),
      );
      return [created, owner, made] as const;
    };
    if (request)
      return writeOnce<Project>(db, calls, user, request, undefined, statements, isOfCall);
    const [created, owner, made] = statements();
    const attempted = db
      .with(created, owner, made)
      .select({ row: columnsOf(made), call: calls.call })
      .from(calls.from)
      .leftJoin(made, isOfCall(made.id));
    return attempted as unknown as TypedQuery<WriteResult<Project>>;
  },
  ({ user, project, request }) => ({ row: project.id, key: keyOf(user, request) }),
);

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
} as const satisfies Record<string, Pick<SortOrder<Project>, 'by' | 'type' | 'keyOf'>>;

/**
 * Returns a page of the user's projects, own and shared.
 * @throws {Problem} `invalid_cursor`; `validation_failed` for a `q` without words.
 */
export async function listProjects(
  db: Database,
  user: CurrentUser,
  query: ProjectListQuery,
): Promise<ProjectPage> {
  const { sort, archived, q } = query;
  const search = q === undefined ? undefined : projectSearchQuery(parseSearchTerm(q));
  const list = ['projects', sort, archived, q];
  const page = await parsePage(list, query, orderOf(sort));
  const params = { user: { id: user.id }, search, position: page.position, count: page.count };
  return toPage(page, await selectProjects(db, params, { archived, sort }));
}

type Sort = ProjectListQuery['sort'];

const orderOf = (sort: Sort): SortOrder<Project> => sortOrder(sort, orders, projects.id);

interface ProjectListParams {
  user: Pick<CurrentUser, 'id'>;
  search: SearchQuery | undefined;
  position: CursorPosition | undefined;
  count: number;
}

const selectProjects = batchedRead(
  (
    db,
    { user, search, position, count }: QueryParams<ProjectListParams>,
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
          search && projectMatches(search),
          afterCursor(position, order),
        ),
      )
      .orderBy(...orderBy(order))
      .limit(asParam<number>(count));
  },
  ({ search }) => search === undefined,
);

/** Names that differ only in case and accents may be many. */
const NAMESAKES_MAX = 200;

/** Returns the user's projects that have one of these names, whatever their case and accents. */
export const findNamedProjects = (
  db: Database,
  user: CurrentUser,
  names: readonly string[],
): Promise<NamedProject[]> =>
  selectNamed(db, { user: { id: user.id }, keys: arrayLiteral(names.map(sortKey)), ids: '{}' });

/** Returns the names of projects, of those that the user sees. */
export const nameProjects = (
  db: Database,
  user: CurrentUser,
  ids: readonly string[],
): Promise<NamedProject[]> =>
  selectNamed(db, { user: { id: user.id }, keys: '{}', ids: arrayLiteral(ids) });

export type NamedProject = Pick<Project, 'id' | 'name' | 'archived_at'>;

const selectNamed = batchedRead(
  (
    db,
    { user, keys, ids }: QueryParams<{ user: { id: string }; keys: string; ids: string }>,
  ): TypedQuery<NamedProject> =>
    db
      .select({ id: projects.id, name: projects.name, archived_at: projects.archived_at })
      .from(projects)
      .innerJoin(project_members, visibleTo(user, projects.id))
      .where(
        or(
          sql`${projects.name_key} = any(${keys}::text[])`,
          sql`${projects.id} = any(${ids}::text::uuid[])`,
        ),
      )
      .orderBy(projects.id)
      .limit(NAMESAKES_MAX),
);

/** Returns a project. @throws {Problem} `not_found`. */
export async function readProject(
  db: Database,
  user: CurrentUser,
  projectId: string,
): Promise<Project> {
  const [project] = await selectProject(db, { user: { id: user.id }, project_id: projectId });
  if (!project) throw new Problem('not_found');
  return project;
}

/** The parameters of a statement on one project. */
interface OneProject {
  user: Pick<CurrentUser, 'id'>;
  project_id: string;
}

const selectProject = batchedRead((db, { user, project_id }: QueryParams<OneProject>) =>
  db
    .select(columns)
    .from(projects)
    .innerJoin(project_members, visibleTo(user, projects.id))
    .where(eq(projects.id, project_id)),
);

/**
 * Merges a patch (RFC 7396) into a project; an empty patch changes nothing. An archived project accepts `archived: false`, also
 * with other fields, and `archived: true` alone, which changes nothing.
 * @throws {Problem} `not_found`, `forbidden`, `conflict`, `precondition_failed`.
 */
export async function patchProject(
  db: Database,
  user: CurrentUser,
  projectId: string,
  input: ProjectPatch,
  expected: ExpectedVersions,
): Promise<Project> {
  const { archived, ...fields } = input;
  const isAllowedWhileArchived =
    archived === false || (archived === true && Object.keys(fields).length === 0);
  const permission: Permission = { ...owns, whileArchived: isAllowedWhileArchived };
  const {
    name = projects.name,
    description = projects.description,
    viewers_may_comment = projects.viewers_may_comment,
  } = fields;
  const isChange = sql`(${name}::text, ${description}::text, ${archived ?? isArchived}::boolean, ${viewers_may_comment}::boolean)
    is distinct from (${projects.name}, ${projects.description}, ${isArchived}, ${projects.viewers_may_comment})`;
  const access = projectWriteAccess(db, actorOf(user), projectId);
  const changed = db.$with('changed').as(
    db
      .update(projects)
      .set({
        ...fields,
        ...projectSearchColumns(projectLexemes(fields)),
        ...(archived !== undefined && {
          archived_at: archived ? sql`coalesce(${projects.archived_at}, now())` : null,
        }),
        ...bumpVersion(projects, isChange),
      })
      .from(access)
      .where(
        and(
          eq(projects.id, access.project_id),
          isPermitted(access, permission),
          versionMatches(projects.version, versionsParam(expected)),
        ),
      )
      .returning({ ...projectColumns, role: access.role }),
  );
  const [found] = await writeWithAccess<Project>(db, access, changed);
  return unwrapWrite(found, permission, expected);
}

/**
 * Moves a project to the trash, archived or not. It stays as it is, and its members do not see it any more.
 * @throws {Problem} `not_found`, `forbidden`, `precondition_failed`.
 */
// Decision: docs/decisions/41-trash.md
export async function deleteProject(
  db: Database,
  user: CurrentUser,
  projectId: string,
  expected: ExpectedVersions,
): Promise<void> {
  const access = projectWriteAccess(db, actorOf(user), projectId);
  const locked = db.$with('locked').as(
    db
      .select({ id: projects.id })
      .from(access)
      .innerJoin(projects, eq(projects.id, access.project_id))
      .where(
        and(isPermitted(access, owns), versionMatches(projects.version, versionsParam(expected))),
      )
      .for('no key update', { of: projects }),
  );
  const hidden = db
    .$with('hidden')
    .as(
      db
        .update(project_members)
        .set({ importing_since: sql`'infinity'` })
        .from(locked)
        .where(eq(project_members.project_id, locked.id))
        .returning({ project_id: project_members.project_id }),
    );
  const trashed = db.$with('trashed').as(
    db
      .insert(trashed_projects)
      .select(
        db
          .select(
            insertRow(trashed_projects, {
              id: locked.id,
              deleted_at: sql`now()`,
              deleted_by: user.id,
              discarded_at: null,
            }),
          )
          .from(locked),
      )
      .onConflictDoNothing()
      .returning({ id: trashed_projects.id }),
  );
  const [found] = await writeWithAccess(db, access, trashed, locked, hidden);
  unwrapWrite(found, owns, expected);
}
