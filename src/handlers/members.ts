/**
 * The members of a project. A change of them raises the version of the project, because a project as its readers see it has
 * their role. Every change of the members locks the project's row, so that each change sees the result of the one before.
 */
// Decision: docs/decisions/09-member-changes-lock-the-project.md
import {
  and,
  eq,
  exists,
  getTableColumns,
  isNull,
  ne,
  not,
  type SQL,
  sql,
  type WithSubquery,
} from 'drizzle-orm';
import { alias, type WithSubqueryWithSelection } from 'drizzle-orm/pg-core';
import {
  actorOf,
  assertPermitted,
  closeGate,
  hasLiveCredential,
  isPermitted,
  lockProject,
  membershipOf,
  memberWriteLock,
  type Permission,
  projectAccess,
  projectWriteAccess,
  selectAccess,
} from '../db/authorization.ts';
import type { Database } from '../db/database.ts';
import { onViolation } from '../db/errors.ts';
import { arrayLiteral } from '../db/full-text.ts';
import { foldedName } from '../db/index-expressions.ts';
import { afterCursor, orderBy, parsePage, type SortOrder, toPage } from '../db/pagination.ts';
import { prepared, type QueryParams } from '../db/prepared.ts';
import { columnsOf } from '../db/row-mapper.ts';
import { bumpVersion, insertRow } from '../db/row-values.ts';
import {
  left_projects,
  project_members,
  projects,
  type Role,
  roles,
  tasks,
  users,
} from '../db/schema.ts';
import { matchesName } from '../db/user-names.ts';
import { Problem, validationProblem } from '../errors/problem.ts';
import type { CurrentUser } from '../schemas/current-user.ts';
import type { Member, MemberCreate, MemberPage, MemberPatch } from '../schemas/members.ts';
import type { PageQuery } from '../schemas/types/page.ts';
import { recordLeaver } from './left-projects.ts';
import { consumeNameLookup, type NameLimits } from './login-limits.ts';

const sees: Permission = { roles, whileArchived: true };
/** Who changes the members, and when. */
export const manages: Permission = { roles: ['owner'], whileArchived: false };
/** Members may leave an archived project as well. */
const leaves: Permission = { roles, whileArchived: true };

/** The columns of a member that a client sees. */
export const memberColumns = {
  user_id: project_members.user_id,
  username: users.username,
  role: project_members.role,
  created_at: project_members.created_at,
};

const newestFirst: SortOrder<Member> = {
  by: project_members.created_at,
  type: 'timestamptz',
  id: project_members.user_id,
  descending: true,
  keyOf: ({ created_at }) => created_at,
  idOf: ({ user_id }) => user_id,
};

/** Returns a page of the members of a project, latest first. @throws {Problem} `not_found`, `invalid_cursor`. */
export async function listMembers(
  db: Database,
  user: CurrentUser,
  projectId: string,
  query: PageQuery,
): Promise<MemberPage> {
  const list = `members of ${projectId.toLowerCase()}`;
  const request = await parsePage(list, query, newestFirst);
  const access = projectAccess(db, user, projectId);
  const page = db.$with('page').as(
    db
      .select(memberColumns)
      .from(project_members)
      .innerJoin(users, eq(users.id, project_members.user_id))
      .where(
        and(eq(project_members.project_id, projectId), afterCursor(request.position, newestFirst)),
      )
      .orderBy(...orderBy(newestFirst))
      .limit(request.count),
  );
  const rows = await db
    .with(access, page)
    .select({ access: columnsOf(access), member: columnsOf(page) })
    .from(access)
    .leftJoin(page, isPermitted(access, sees))
    .orderBy(...orderBy({ ...newestFirst, by: page.created_at, id: page.user_id }));
  assertPermitted(rows[0]?.access, sees);
  return toPage(
    request,
    rows.flatMap(({ member }) => member ?? []),
  );
}

/** A person whom the user may name: a member of a project that both see. */
export interface Fellow {
  id: string;
  username: string;
}

/** Returns the people with these user names, in any case, among the members of the user's projects. */
export const findFellows = (
  db: Database,
  user: CurrentUser,
  usernames: readonly string[],
): Promise<Fellow[]> =>
  selectFellows(db, {
    user: { id: user.id },
    names: arrayLiteral(usernames.map((name) => name.toLowerCase())),
  });

const selectFellows = prepared(
  (db, { user, names }: QueryParams<{ user: { id: string }; names: string }>) => {
    const theirs = alias(project_members, 'theirs');
    const shared = db
      .select({ user_id: theirs.user_id })
      .from(project_members)
      .innerJoin(theirs, eq(theirs.project_id, project_members.project_id))
      .where(and(membershipOf(user), eq(theirs.user_id, users.id)));
    return db
      .select({ id: users.id, username: users.username })
      .from(users)
      .where(and(sql`${foldedName(users.username)} = any(${names}::text[])`, exists(shared)));
  },
);

/**
 * Adds a member, by user name.
 * @throws {Problem} `not_found`, `forbidden`, `invalid_token`; `conflict` where the project is archived, or the user is a
 * member already, or has left the project and does not allow to be added again; `validation_failed` where no user has
 * this name.
 */
export async function addMember(
  db: Database,
  user: CurrentUser,
  projectId: string,
  { username, role }: MemberCreate,
  limits: NameLimits,
): Promise<Member> {
  await consumeNameLookup(db, user, limits);
  return db.transaction(async (tx) => {
    await lockMembers(tx, user, projectId);
    // A statement of its own after the lock, so that it sees who left during the wait.
    const invited = tx.$with('invited').as(
      tx
        .select({
          user_id: users.id,
          username: users.username,
          left_at: left_projects.left_at,
        })
        .from(users)
        .leftJoin(
          left_projects,
          and(eq(left_projects.user_id, users.id), eq(left_projects.project_id, projectId)),
        )
        .where(and(matchesName(users.username, username), isNull(users.disabled_at)))
        // Locks the account, so that it still exists when it is added.
        .for('key share', { of: users }),
    );
    const row = insertRow(project_members, {
      project_id: sql`${projectId}::uuid`,
      user_id: invited.user_id,
      role,
      created_at: sql`now()`,
      importing_since: null,
    });
    const added = tx.$with('added').as(
      tx
        .insert(project_members)
        .select(tx.select(row).from(invited).where(isNull(invited.left_at)))
        .returning(getTableColumns(project_members)),
    );
    const [found] = await onViolation(
      {
        project_members_pkey: () =>
          new Problem('conflict', { detail: 'The user is a member already' }),
      },
      tx
        .with(invited, added, raiseVersion(tx, added))
        .select({ username: invited.username, added: columnsOf(added) })
        .from(invited)
        .leftJoin(added, sql`true`),
    );
    if (!found)
      throw validationProblem([
        { location: 'body.username', code: 'not_found', message: 'must be the name of a user' },
      ]);
    if (!found.added) throw new Problem('conflict', { detail: hasLeft });
    const { user_id, created_at } = found.added;
    return { user_id, username: found.username, role, created_at };
  });
}

const hasLeft =
  'The user has left this project. They allow to be added again with DELETE /users/me/left-projects/{project_id}';

/**
 * Locks the project for a change of its members, as the user.
 * @throws {Problem} `not_found`, `forbidden`, `conflict`, without a lock; `invalid_token` where the credential has ended.
 */
export async function lockMembers(tx: Database, user: CurrentUser, projectId: string) {
  const access = projectWriteAccess(tx, actorOf(user), projectId);
  const locked = memberWriteLock(tx, user, projectId, manages);
  const [found] = await tx
    .with(access, locked)
    .select({ access: columnsOf(access), locked: locked.project_id })
    .from(access)
    .leftJoin(locked, sql`true`);
  assertPermitted(found?.access, manages);
  if (found?.locked === null) throw await memberRefusal(tx, user, projectId);
}

/** Returns why a member may not be changed, where the permission or the credential ended while a statement waited. */
export async function memberRefusal(
  db: Database,
  user: CurrentUser,
  projectId: string,
): Promise<Problem> {
  const [access] = await selectAccess(db, user, projectId);
  assertPermitted(access, manages);
  return new Problem('invalid_token');
}

/**
 * Changes the role of a member; an empty patch changes nothing. A new owner takes the project over, and the owner becomes
 * an editor.
 * @throws {Problem} `not_found`, `forbidden`, `invalid_token`; `conflict` where the project is archived or would lose its owner.
 */
export async function patchMember(
  db: Database,
  user: CurrentUser,
  projectId: string,
  userId: string,
  { role }: MemberPatch,
): Promise<Member> {
  const access = projectWriteAccess(db, actorOf(user), projectId);
  const locked = memberWriteLock(db, user, projectId, manages);
  const member = db.$with('member').as(
    db
      .select(memberColumns)
      .from(locked)
      .innerJoin(project_members, eq(project_members.project_id, locked.project_id))
      .innerJoin(users, eq(users.id, project_members.user_id))
      .where(eq(project_members.user_id, userId))
      // Locks the account as well, in the order in which its deletion locks: an account that is being deleted gets no project.
      .for('no key update', { of: [users, project_members] }),
  );
  const isMember = eq(project_members.user_id, userId);
  const isOwner = eq(project_members.role, 'owner');
  const setRole = (from: WithSubquery, wanted: Role | typeof project_members.role, where?: SQL) =>
    db
      .update(project_members)
      .set({ role: wanted })
      .from(from)
      .where(and(eq(project_members.project_id, projectId), where))
      .returning({ project_id: project_members.project_id });
  // A unique index allows one owner, so the present one is demoted first, if the new one is a member.
  const demoted = db.$with('demoted').as(setRole(member, 'editor', and(isOwner, not(isMember))));
  const wanted = role ?? project_members.role;
  const changed = db
    .$with('changed')
    .as(
      role === 'owner'
        ? setRole(demoted, role, isMember)
        : setRole(member, wanted, and(isMember, not(isOwner), ne(project_members.role, wanted))),
    );
  const [found] = await db
    .with(
      access,
      locked,
      member,
      ...(role === 'owner' ? [demoted] : []),
      changed,
      raiseVersion(db, changed),
    )
    .select({
      access: columnsOf(access),
      locked: locked.project_id,
      member: columnsOf(member),
      changed: changed.project_id,
    })
    .from(access)
    .leftJoin(locked, sql`true`)
    .leftJoin(member, sql`true`)
    .leftJoin(changed, sql`true`);
  assertPermitted(found?.access, manages);
  if (found?.locked === null) throw await memberRefusal(db, user, projectId);
  if (!found?.member) throw new Problem('not_found');
  if (role === undefined || role === found.member.role) return found.member;
  if (found.changed === null) throw new Problem('conflict', { detail: ownerless });
  return { ...found.member, role };
}

/**
 * Removes a member: the owner removes any other member, and all members may remove themselves. Tasks that were assigned to
 * them stay, without an assignee. A user who leaves is not added again unless they allow it.
 * @throws {Problem} `not_found`, `forbidden`, `invalid_token`; `conflict` where the project is archived or would lose its owner.
 */
export async function removeMember(
  db: Database,
  user: CurrentUser,
  projectId: string,
  userId: string,
): Promise<void> {
  const isLeaving = userId.toLowerCase() === user.id;
  const permission = isLeaving ? leaves : manages;
  const asked = projectAccess(db, user, projectId);
  await db.transaction(async (tx) => {
    // Refused without a lock, so that others do not wait for a request that may not be done.
    const [before] = await tx.with(asked).select(columnsOf(asked)).from(asked);
    assertPermitted(before, permission);
    // Before the tasks are read: one that is being assigned to the member has to lose the assignment too.
    await tx.execute(closeGate(projectId));
    await lockProject(tx, actorOf(user), projectId);
    const access = projectAccess(tx, user, projectId);
    const member = tx.$with('member').as(
      tx
        .select(getTableColumns(project_members))
        .from(access)
        .innerJoin(project_members, eq(project_members.project_id, access.project_id))
        .where(
          and(
            eq(project_members.user_id, userId),
            isPermitted(access, permission),
            hasLiveCredential(user),
          ),
        ),
    );
    const leaver = tx
      .select({ project_id: member.project_id, user_id: member.user_id })
      .from(member)
      .where(ne(member.role, 'owner'));
    const unassigned = tx.$with('unassigned').as(
      tx
        .update(tasks)
        .set({ assignee_id: null, ...bumpVersion(tasks) })
        .where(sql`(${tasks.project_id}, ${tasks.assignee_id}) in ${leaver}`)
        .returning({ id: tasks.id }),
    );
    const removed = tx
      .$with('removed')
      .as(
        tx
          .delete(project_members)
          .where(sql`(${project_members.project_id}, ${project_members.user_id}) in ${leaver}`)
          .returning({ project_id: project_members.project_id }),
      );
    const recorded = recordLeaver(tx, removed, user);
    const [found] = await tx
      .with(
        ...[access, member, unassigned, removed, raiseVersion(tx, removed)],
        ...(isLeaving ? [recorded] : []),
      )
      .select({
        access: columnsOf(access),
        isLive: sql<boolean>`${hasLiveCredential(user)}`,
        role: member.role,
        removed: removed.project_id,
      })
      .from(access)
      .leftJoin(member, sql`true`)
      .leftJoin(removed, sql`true`);
    assertPermitted(found?.access, permission);
    if (!found?.isLive) throw new Problem('invalid_token');
    if (found.role === null) throw new Problem('not_found');
    if (found.removed === null) throw new Problem('conflict', { detail: ownerless });
  });
}

const ownerless = 'Hand the project over first: it needs an owner';

/** `with raised as …`: raises the version of the project whose member has changed. */
export const raiseVersion = (
  db: Database,
  changed: WithSubqueryWithSelection<{ project_id: typeof project_members.project_id }, string>,
) =>
  db
    .$with('raised')
    .as(
      db
        .update(projects)
        .set(bumpVersion(projects))
        .from(changed)
        .where(eq(projects.id, changed.project_id))
        .returning({ id: projects.id }),
    );
