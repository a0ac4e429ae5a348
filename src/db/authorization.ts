/**
 * Authorization, in the WHERE. A user sees a project, and all that is in it, through a row of `project_members`; their
 * role and the state of the project decide what they may do there. Every statement joins one of the fragments below, and
 * none loads a row to check it afterwards.
 */
// Decision: docs/decisions/28-lock-order.md
// Decision: docs/decisions/30-owner-is-a-member.md
import {
  and,
  type Column,
  eq,
  inArray,
  isNull,
  or,
  type SQL,
  type SQLWrapper,
  sql,
  type WithSubquery,
} from 'drizzle-orm';
import type { SelectedFieldsFlat } from 'drizzle-orm/pg-core/query-builders/select.types';
import { Problem } from '../errors/problem.ts';
import type {
  Actor,
  CurrentUser,
  ExpectedVersions,
  LoggedInUser,
} from '../schemas/current-user.ts';
import type { Calls } from './batching.ts';
import type { Database } from './database.ts';
import type { QueryParam, QueryParams, TypedQuery } from './prepared.ts';
import { columnsOf } from './row-mapper.ts';
import {
  api_tokens,
  comments,
  project_members,
  projects,
  type Role,
  sessions,
  tasks,
  trashed_tasks,
  users,
} from './schema.ts';

/** The part of a user that a query needs. */
export type UserParam = QueryParams<Pick<CurrentUser, 'id'>>;

/** The part of a user that a query needs which writes. */
export type ActorParam = QueryParams<Actor>;

export const actorOf = ({ id, apiTokenName = '' }: CurrentUser): Actor => ({
  id,
  token_name: apiTokenName,
});

/** The condition that a membership is the user's, in a project whose import, if it was imported, is complete. */
export const membershipOf = (user: UserParam) =>
  and(eq(project_members.user_id, user.id), isNull(project_members.importing_since));

/** The condition of a join: `project_members` has the user's membership in the project of the row. */
export const visibleTo = (user: UserParam, projectId: Column) =>
  and(eq(project_members.project_id, projectId), membershipOf(user));

/**
 * The condition that a comment belongs to a task. The comments of a task in the trash are kept, and a client may choose its id
 * for another task meanwhile: that has none of them.
 */
export const isOfTask = sql`(${comments.task_id} = ${tasks.id} and ${comments.project_id} = ${tasks.project_id} and ${tasks.comment_count} > 0)`;

const accessColumns = {
  project_id: projects.id,
  role: project_members.role,
  archived_at: projects.archived_at,
};

/** With what decides who may comment. */
export const commentAccessColumns = {
  ...accessColumns,
  viewers_may_comment: projects.viewers_may_comment,
};

/** The user's role in a project and the project's state; no row if it is invisible. */
export const selectAccess = (db: Database, user: UserParam, projectId: QueryParam, also?: SQL) =>
  db
    .select(accessColumns)
    .from(projects)
    .innerJoin(project_members, visibleTo(user, projects.id))
    .where(and(eq(projects.id, projectId), also));

/** `with access as …`: what `selectAccess` returns. */
export const projectAccess = (db: Database, user: UserParam, projectId: QueryParam) =>
  db.$with('access').as(selectAccess(db, user, projectId));

/**
 * Sets `mantou.actor` and `mantou.actor_token` for this transaction, so that events record who acted. It is always true, so
 * that it can stand in a WHERE.
 */
export const setActor = (actor: ActorParam) =>
  sql`set_config('mantou.actor', ${actor.id}, true) || set_config('mantou.actor_token', ${actor.token_name}, true) is not null`;

/** Makes the triggers record no events in this transaction, for rows that are not visible yet. It is always true. */
export const suppressEvents = sql`set_config('mantou.unrecorded', 'on', true) is not null`;

/** The condition that the session has not ended since the request was authenticated, for changes of the account. */
export const hasLiveSession = ({ id, sessionId }: Pick<LoggedInUser, 'id' | 'sessionId'>) =>
  sql`exists (select from ${sessions} where ${sessions.id} = ${sessionId} and ${sessions.user_id} = ${id} and ${sessions.expires_at} > now())`;

/** `hasLiveSession`, or the same of the API token that the request was authenticated with. */
export const hasLiveCredential = ({ id, sessionId, apiTokenId }: CurrentUser) =>
  sessionId === undefined
    ? sql`exists (select from ${api_tokens} join ${users} on ${users.id} = ${api_tokens.user_id}
        where ${api_tokens.id} = ${apiTokenId} and ${users.id} = ${id} and ${users.disabled_at} is null
        and (${api_tokens.expires_at} is null or ${api_tokens.expires_at} > now()))`
    : hasLiveSession({ id, sessionId });

/** `projectAccess` for a statement that writes: it also records the actor. */
export const projectWriteAccess = (db: Database, user: ActorParam, projectId: QueryParam) =>
  db.$with('access').as(selectAccess(db, user, projectId, setActor(user)));

/** `projectWriteAccess` for the project of a task in the trash. */
export const trashedTaskAccess = (db: Database, user: CurrentUser, taskId: string, also?: SQL) =>
  db.$with('access').as(
    db
      .select(accessColumns)
      .from(trashed_tasks)
      .innerJoin(projects, eq(projects.id, trashed_tasks.project_id))
      .innerJoin(project_members, visibleTo(user, projects.id))
      .where(and(eq(trashed_tasks.id, taskId), setActor(actorOf(user)), also)),
  );

/**
 * Two locks keep changes of members apart from writes of tasks: a writer holds the *gate* of a project shared, and a
 * removal holds it alone. PostgreSQL queues for it in order, so a removal waits for the writes that have begun, and for no
 * others: a row lock alone would let new writers pass, and a removal could wait as long as they come. A statement that
 * passes several gates does so in the order of their ids.
 */
const gateOf = (projectId: SQLWrapper | QueryParam) =>
  sql`hashtextextended('members of ' || ${projectId}::text, 0)`;

/** Waits for removals of members of the project. It is always true, so that it can stand in a WHERE. */
export const passGate = (projectId: SQLWrapper) =>
  sql`pg_advisory_xact_lock_shared(${gateOf(projectId)})::text is not null`;

/**
 * Waits for changes of the tree and of the order by hand in the project, and keeps others out until the transaction ends. A
 * statement takes this lock after the gate and before it locks a task. It is always true, so that it can stand in a WHERE.
 */
export const lockTree = (projectId: SQLWrapper) =>
  sql`pg_advisory_xact_lock(tree_lock(${projectId}))::text is not null`;

/** Waits for writers in the project, and keeps others out until the transaction ends. */
export const closeGate = (projectId: string) =>
  sql`select pg_advisory_xact_lock(${gateOf(sql`${projectId}::uuid`)})`;

/** Locks the project until the transaction ends, once those that write in it are done. */
export const lockProject = (tx: Database, user: ActorParam, projectId: QueryParam) =>
  selectAccess(tx, user, projectId, setActor(user)).for('update', { of: projects });

/**
 * `with locked as …`: the project, locked for a change of its members, so that such changes run one after another; no row,
 * and no lock, for a user who may not do that. The membership is locked too, so that its role is the one after the wait.
 */
export const memberWriteLock = (
  db: Database,
  user: CurrentUser,
  projectId: QueryParam,
  permission: Permission,
) =>
  db
    .$with('locked')
    .as(
      selectAccess(
        db,
        user,
        projectId,
        and(isPermitted(accessColumns, permission), hasLiveCredential(user)),
      ).for('no key update', { of: [projects, project_members] }),
    );

/**
 * `with locked as …`: the project, locked for a write of tasks in it; no row, and no lock, where the access is not enough.
 * The project is locked before its tasks: the order in which the deletion of a project locks them.
 */
export const taskWriteLock = (db: Database, access: Access, permission: Permission) =>
  db.$with('locked').as(
    db
      .select({ project_id: projects.id })
      .from(access)
      .innerJoin(projects, eq(projects.id, access.project_id))
      .where(and(isPermitted(access, permission), passGate(access.project_id)))
      .for('key share', { of: projects }),
  );

/**
 * `with access as …` of a statement that writes for many calls: for each, the call, the user's role in the project and
 * the project's state.
 */
export const projectAccessOf = (
  db: Database,
  calls: Calls,
  user: ActorParam,
  projectId: QueryParam,
  taskId: QueryParam,
) => {
  // Lateral, so that each project is looked up by its key: for a batch, PostgreSQL would rather read small tables whole.
  const seen = selectAccess(db, user, projectId).limit(1).as('seen');
  return db.$with('access').as(
    db
      .select({ call: sql<number>`${calls.call}`.as('access_call'), ...columnsOf(seen) })
      .from(calls.from)
      .innerJoinLateral(seen, sql`true`)
      .where(calls.actsOn(user, taskId)),
  );
};

/**
 * `projectAccessOf` for the project of a task.
 * @param byAssignee the condition under which a viewer writes the task that is assigned to them; undefined for never.
 */
export const taskAccessOf = (
  db: Database,
  calls: Calls,
  user: ActorParam,
  taskId: QueryParam,
  byAssignee?: SQL,
) => {
  const asAssignee = sql<boolean>`(${byAssignee} and ${eq(project_members.role, 'viewer')} and ${eq(tasks.assignee_id, user.id)}) is true`;
  return db.$with('access').as(
    db
      .select({
        call: sql<number>`${calls.call}`.as('access_call'),
        ...accessColumns,
        ...(byAssignee && { as_assignee: asAssignee.as('access_as_assignee') }),
      })
      .from(calls.from)
      .innerJoin(tasks, eq(tasks.id, taskId))
      .innerJoin(projects, eq(projects.id, tasks.project_id))
      .innerJoin(project_members, visibleTo(user, projects.id))
      .where(calls.actsOn(user, taskId)),
  );
};

/**
 * `with passed as …`: for each call with enough access, the project whose gate it has passed. A join would pass the gate
 * once for each pair of calls.
 */
export const gatePassedOf = (db: Database, access: AccessOfCalls, permission: Permission) =>
  db.$with('passed').as(
    db
      .select({
        call: sql<number>`${access.call}`.as('passed_call'),
        project_id: sql<string>`${access.project_id}`.as('passed_project_id'),
      })
      .from(access)
      .where(and(isPermitted(access, permission), passGate(access.project_id))),
  );

/** `taskWriteLock` for many calls. */
export const taskLockOf = (
  db: Database,
  access: AccessOfCalls & AssigneeAccess,
  permission: Permission,
) =>
  db.$with('locked').as(
    db
      .select({
        call: sql<number>`${access.call}`.as('locked_call'),
        project_id: projects.id,
        ...(access.as_assignee && {
          as_assignee: sql<boolean>`${access.as_assignee}`.as('locked_as_assignee'),
        }),
      })
      .from(access)
      .innerJoin(projects, eq(projects.id, access.project_id))
      .where(and(isPermitted(access, permission), passGate(access.project_id)))
      .for('key share', { of: projects }),
  );

export type AccessOfCalls = ReturnType<typeof projectAccessOf>;

/** Whether the access is that of a viewer to a task that is assigned to them, where a statement asks for it. */
interface AssigneeAccess {
  as_assignee?: SQLWrapper | undefined;
}

/** The condition, on the row that is written, that a task is still assigned to the viewer whose access depends on it. */
export const isStillAssigned = ({ as_assignee }: AssigneeAccess, userId: SQL) =>
  as_assignee && sql`(not ${as_assignee} or ${tasks.assignee_id} = ${userId})`;

/** What a statement returns of the access. The first field is never null. */
export function accessFieldsOf(access: AccessOfCalls) {
  const { call: _, ...fields } = columnsOf(access);
  return fields;
}

export type Access = ReturnType<typeof projectAccess>;

/** Who may do something: stated once, used by the statement and by the refusal that explains it. */
export interface Permission {
  roles: readonly Role[];
  /** Whether viewers may do it too where the project lets them comment. */
  commentingViewers?: boolean;
  /** Whether it may be done in an archived project, which is read-only otherwise. */
  whileArchived: boolean;
}

/** The condition that the access is enough. */
export const isPermitted = (
  access: Record<'role' | 'archived_at', Column> &
    AssigneeAccess & { viewers_may_comment?: Column },
  permission: Permission,
) =>
  and(
    or(
      inArray(access.role, [...permission.roles]),
      access.as_assignee && sql`${access.as_assignee}`,
      permission.commentingViewers ? sql`${access.viewers_may_comment}` : undefined,
    ),
    permission.whileArchived ? undefined : isNull(access.archived_at),
  );

/** Returns the expected versions as one array; undefined where any version will do. */
export const versionsParam = (expected: ExpectedVersions) => expected && `{${expected.join(',')}}`;

/** The condition that the row still has one of the expected versions. */
export const versionMatches = (version: Column, versions: QueryParam | undefined) =>
  versions === undefined ? undefined : sql`${version} = any(${versions}::int[])`;

/** What a writing statement returns: the access, and the row that it wrote, if it wrote one. */
export interface WriteResult<Row> {
  access: {
    role: Role;
    archived_at: string | null;
    as_assignee?: boolean;
    viewers_may_comment?: boolean;
  } | null;
  row: Row | null;
}

/**
 * `with access as …, written as … select`: one statement that returns what it wrote, or enough to say why it wrote nothing.
 * @param written the insert, update or delete, which depends on the access and the locks.
 */
export const writeWithAccess = <Row>(
  db: Database,
  access: WithSubquery<string, Record<string, unknown>>,
  written: WithSubquery<string, Record<string, unknown>>,
  ...locks: WithSubquery[]
) =>
  db
    .with(access, ...locks, written)
    .select({
      access: columnsOf(access) as SelectedFieldsFlat,
      row: columnsOf(written) as SelectedFieldsFlat,
    })
    .from(access)
    // What Drizzle cannot infer: the rows are those that `written` returns.
    .leftJoin(written, sql`true`) as unknown as TypedQuery<WriteResult<Row>> &
    PromiseLike<WriteResult<Row>[]>;

/**
 * `writeWithAccess` for many calls: a row for each.
 * @param isOfCall the condition that a written row belongs to the call.
 */
export function writeCallsWithAccess<Row>(
  db: Database,
  calls: Calls,
  access: AccessOfCalls,
  written: WithSubquery<string, Record<string, unknown>>,
  isOfCall: SQL,
  ...locks: WithSubquery[]
) {
  return db
    .with(access, ...locks, written)
    .select({
      access: accessFieldsOf(access),
      row: columnsOf(written) as SelectedFieldsFlat,
      call: calls.call,
    })
    .from(calls.from)
    .leftJoin(access, eq(access.call, calls.call))
    .leftJoin(written, isOfCall) as unknown as TypedQuery<WriteResult<Row>>;
}

/**
 * Returns the row that a statement wrote.
 * @throws {Problem} the reason why it wrote none: `not_found` where the user sees nothing, `forbidden` where their role
 * is too low, `conflict` where the project is archived, `precondition_failed` where the version is not an expected one.
 */
export function unwrapWrite<Row>(
  { access, row }: WriteResult<Row> = { access: null, row: null },
  permission: Permission,
  expected?: ExpectedVersions,
): Row {
  if (row) return row;
  assertPermitted(access, permission);
  if (expected) throw new Problem('precondition_failed');
  // Seen when the statement began, deleted by another before it could write.
  throw new Problem('not_found');
}

/** Returns whether the access that was read is enough: `isPermitted`, outside SQL. */
export const allows = (
  access: NonNullable<WriteResult<unknown>['access']>,
  permission: Permission,
) => isRoleEnough(access, permission) && (permission.whileArchived || access.archived_at === null);

const isRoleEnough = (
  {
    role,
    as_assignee = false,
    viewers_may_comment = false,
  }: NonNullable<WriteResult<unknown>['access']>,
  { roles, commentingViewers = false }: Permission,
) => roles.includes(role) || as_assignee || (commentingViewers && viewers_may_comment);

/** @throws {Problem} `not_found`, `forbidden`, `conflict` unless this access is enough. */
export function assertPermitted(
  access: WriteResult<unknown>['access'] | undefined,
  permission: Permission,
): asserts access {
  if (!access) throw new Problem('not_found');
  if (!isRoleEnough(access, permission)) throw new Problem('forbidden');
  if (access.archived_at && !permission.whileArchived) throw projectArchived();
}

export const projectArchived = () => new Problem('conflict', { detail: 'The project is archived' });
