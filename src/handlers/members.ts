/**
 * Who is in a project. Whatever changes that raises the project's version, because the role that its readers see is
 * part of it. All changes of one project's members take turns at its row, and each is judged by what the one before
 * has left.
 */
import {
  and,
  eq,
  getTableColumns,
  isNull,
  ne,
  not,
  type SQL,
  sql,
  type WithSubquery,
} from 'drizzle-orm';
import type { WithSubqueryWithSelection } from 'drizzle-orm/pg-core';
import {
  accessToMembers,
  accessToProject,
  type CurrentUser,
  lockProject,
  type Permission,
  permits,
  refuse,
} from '../db/access.ts';
import type { Database } from '../db/database.ts';
import { asRow, nextVersion } from '../db/rows.ts';
import {
  isNamed,
  project_members,
  projects,
  type Role,
  roles,
  tasks,
  users,
} from '../db/schema.ts';
import { invalid, Problem } from '../problem.ts';
import type { PageQuery } from '../schemas/common.ts';
import type { Member, MemberCreate, MemberPage, MemberPatch } from '../schemas/members.ts';
import { after, inOrder, type Order, pageOf } from './page.ts';

const sees: Permission = { roles: ['owner', 'editor'], while_archived: true };
const manages: Permission = { roles: ['owner'], while_archived: false };
const leaves: Permission = { roles, while_archived: false };

const columns = {
  user_id: project_members.user_id,
  username: users.username,
  role: project_members.role,
  created_at: project_members.created_at,
};

const newestFirst: Order<Member> = {
  by: project_members.created_at,
  type: 'timestamptz',
  id: project_members.user_id,
  descending: true,
  keyOf: ({ created_at }) => created_at,
  idOf: ({ user_id }) => user_id,
};

/** The members of a project, latest first. @throws {Problem} `not_found`, `forbidden`, `invalid_cursor`. */
export async function listMembers(
  db: Database,
  user: CurrentUser,
  project_id: string,
  query: PageQuery,
): Promise<MemberPage> {
  const list = `members of ${project_id.toLowerCase()}`;
  const access = accessToProject(db, user, project_id);
  const page = db.$with('page').as(
    db
      .select(columns)
      .from(project_members)
      .innerJoin(users, eq(users.id, project_members.user_id))
      .where(and(eq(project_members.project_id, project_id), await after(list, query, newestFirst)))
      .orderBy(...inOrder(newestFirst))
      .limit(query.limit + 1),
  );
  const rows = await db
    .with(access, page)
    .select({ access: access._.selectedFields, member: page._.selectedFields })
    .from(access)
    .leftJoin(page, permits(access, sees))
    .orderBy(...inOrder({ ...newestFirst, by: page.created_at, id: page.user_id }));
  refuse(rows[0]?.access, sees);
  return pageOf(
    list,
    query,
    rows.flatMap(({ member }) => member ?? []),
    newestFirst,
  );
}

/**
 * Makes somebody a member, by user name.
 * @throws {Problem} `not_found`, `forbidden`; `conflict` where the project is archived or he is in it already;
 * `validation_failed` where nobody has this name.
 */
export async function addMember(
  db: Database,
  user: CurrentUser,
  project_id: string,
  { username, role }: MemberCreate,
): Promise<Member> {
  const access = accessToMembers(db, user, project_id);
  const invited = db.$with('invited').as(
    db
      .select({ user_id: users.id, username: users.username })
      .from(users)
      .where(and(isNamed(users.username, username), isNull(users.disabled_at)))
      // So that he is still there when he is put in.
      .for('key share'),
  );
  const row = asRow(project_members, {
    project_id: access.project_id,
    user_id: invited.user_id,
    role,
    created_at: sql`now()`,
    importing_since: null,
  });
  const added = db.$with('added').as(
    db
      .insert(project_members)
      .select(
        db.select(row).from(access).innerJoin(invited, sql`true`).where(permits(access, manages)),
      )
      .returning(getTableColumns(project_members)),
  );
  const [found] = await db
    .with(access, invited, added, raiseVersion(db, added))
    .select({
      access: access._.selectedFields,
      username: invited.username,
      added: added._.selectedFields,
    })
    .from(access)
    .leftJoin(invited, sql`true`)
    .leftJoin(added, sql`true`);
  refuse(found?.access, manages);
  if (!found?.added || found.username === null)
    throw invalid([
      { location: 'body.username', code: 'not_found', message: 'must be the name of a user' },
    ]);
  const { user_id, created_at } = found.added;
  return { user_id, username: found.username, role, created_at };
}

/**
 * Changes the role of a member; an empty patch changes nothing. To make him the owner hands the project over: the
 * owner becomes an editor.
 * @throws {Problem} `not_found`, `forbidden`; `conflict` where the project is archived or would lose its owner.
 */
export async function patchMember(
  db: Database,
  user: CurrentUser,
  project_id: string,
  user_id: string,
  { role }: MemberPatch,
): Promise<Member> {
  const access = accessToMembers(db, user, project_id);
  const member = db.$with('member').as(
    db
      .select(columns)
      .from(access)
      .innerJoin(project_members, eq(project_members.project_id, access.project_id))
      .innerJoin(users, eq(users.id, project_members.user_id))
      .where(and(eq(project_members.user_id, user_id), permits(access, manages)))
      // His account too, in the order of its deletion: a project is handed to nobody who is about to go.
      .for('no key update', { of: [users, project_members] }),
  );
  const is_member = eq(project_members.user_id, user_id);
  const is_owner = eq(project_members.role, 'owner');
  const setRole = (from: WithSubquery, wanted: Role | typeof project_members.role, where?: SQL) =>
    db
      .update(project_members)
      .set({ role: wanted })
      .from(from)
      .where(and(eq(project_members.project_id, project_id), where))
      .returning({ project_id: project_members.project_id });
  // An index allows no second owner, so the old one steps back first; and only where there is a member to follow.
  const demoted = db.$with('demoted').as(setRole(member, 'editor', and(is_owner, not(is_member))));
  const wanted = role ?? project_members.role;
  const changed = db
    .$with('changed')
    .as(
      role === 'owner'
        ? setRole(demoted, role, is_member)
        : setRole(member, wanted, and(is_member, not(is_owner), ne(project_members.role, wanted))),
    );
  const [found] = await db
    .with(
      access,
      member,
      ...(role === 'owner' ? [demoted] : []),
      changed,
      raiseVersion(db, changed),
    )
    .select({
      access: access._.selectedFields,
      member: member._.selectedFields,
      changed: changed.project_id,
    })
    .from(access)
    .leftJoin(member, sql`true`)
    .leftJoin(changed, sql`true`);
  refuse(found?.access, manages);
  if (!found?.member) throw new Problem('not_found');
  if (role === undefined || role === found.member.role) return found.member;
  if (found.changed === null) throw new Problem('conflict', { detail: ownerless });
  return { ...found.member, role };
}

/**
 * Takes a member out of a project: the owner anybody, everybody himself. His tasks stay, without an assignee.
 * @throws {Problem} `not_found`, `forbidden`; `conflict` where the project is archived or would lose its owner.
 */
export async function removeMember(
  db: Database,
  user: CurrentUser,
  project_id: string,
  user_id: string,
): Promise<void> {
  const permission = user_id.toLowerCase() === user.id ? leaves : manages;
  await db.transaction(async (tx) => {
    // Before anything is looked at: a task that is being assigned to him must be seen, to lose the assignment.
    await lockProject(tx, user, project_id);
    const access = accessToProject(tx, user, project_id);
    const member = tx.$with('member').as(
      tx
        .select(getTableColumns(project_members))
        .from(access)
        .innerJoin(project_members, eq(project_members.project_id, access.project_id))
        .where(and(eq(project_members.user_id, user_id), permits(access, permission))),
    );
    const leaver = tx
      .select({ project_id: member.project_id, user_id: member.user_id })
      .from(member)
      .where(ne(member.role, 'owner'));
    const unassigned = tx.$with('unassigned').as(
      tx
        .update(tasks)
        .set({ assignee_id: null, ...nextVersion(tasks) })
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
    const [found] = await tx
      .with(access, member, unassigned, removed, raiseVersion(tx, removed))
      .select({ access: access._.selectedFields, role: member.role, removed: removed.project_id })
      .from(access)
      .leftJoin(member, sql`true`)
      .leftJoin(removed, sql`true`);
    refuse(found?.access, permission);
    if (found?.role === null) throw new Problem('not_found');
    if (found?.removed === null) throw new Problem('conflict', { detail: ownerless });
  });
}

const ownerless = 'Hand the project over first: it needs an owner';

/** `with raised as …`: the next version of the project of whatever row has been changed. */
const raiseVersion = (
  db: Database,
  changed: WithSubqueryWithSelection<{ project_id: typeof project_members.project_id }, string>,
) =>
  db
    .$with('raised')
    .as(
      db
        .update(projects)
        .set(nextVersion(projects))
        .from(changed)
        .where(eq(projects.id, changed.project_id))
        .returning({ id: projects.id }),
    );
