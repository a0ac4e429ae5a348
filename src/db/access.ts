/**
 * Who may do what, in the WHERE. A user sees a project, and all that is in it, through a row of `project_members`;
 * his role and the state of the project decide what he may do there. Every statement joins one of the two fragments
 * below, and none loads a row to check it afterwards.
 */
import {
  and,
  type Column,
  eq,
  inArray,
  isNull,
  type SQL,
  sql,
  type WithSubquery,
} from 'drizzle-orm';
import type { SelectedFieldsFlat } from 'drizzle-orm/pg-core/query-builders/select.types';
import { Problem } from '../problem.ts';
import type { Database } from './database.ts';
import { project_members, projects, type Role, type Scope, tasks } from './schema.ts';
import type { Asked, Given, Select } from './statement.ts';

/** Whoever sent the request. */
export interface CurrentUser {
  id: string;
  username: string;
  /** What the credential allows; a log-in allows everything. */
  scopes: readonly Scope[];
  /** Missing where the credential is an API token. */
  session_id?: string;
}

/** All that a statement asks of a user. */
export type AskedUser = Asked<Pick<CurrentUser, 'id'>>;

/** Somebody who gave his password, not a script of his. */
export interface LoggedInUser extends CurrentUser {
  session_id: string;
}

/** The versions that `If-Match` allows (RFC 9110 §13.1.1); undefined allows any. */
export type ExpectedVersions = readonly number[] | undefined;

/** The condition that this is a membership of the user, in a project that is there: not one half imported. */
export const isMembershipOf = (user: AskedUser) =>
  and(eq(project_members.user_id, user.id), isNull(project_members.importing_since));

/** The condition that this user sees the project of the row: joins `project_members` to whatever has a project. */
export const visibleTo = (user: AskedUser, project_id: Column) =>
  and(eq(project_members.project_id, project_id), isMembershipOf(user));

const found = {
  project_id: projects.id,
  role: project_members.role,
  archived_at: projects.archived_at,
};

const selectProject = (db: Database, user: AskedUser, project_id: Given, also?: SQL) =>
  db
    .select(found)
    .from(projects)
    .innerJoin(project_members, visibleTo(user, projects.id))
    .where(and(eq(projects.id, project_id), also));

/** `with access as …`: this user's role in a project and the project's state; no row if it is invisible. */
export const accessToProject = (db: Database, user: AskedUser, project_id: Given) =>
  db.$with('access').as(selectProject(db, user, project_id));

/**
 * A condition that always holds, for every statement that writes: it tells the triggers that record events, until the
 * transaction ends, whose work it is.
 */
export const actingAs = (user: AskedUser) =>
  sql`set_config('mantou.actor', ${user.id}, true) is not null`;

/** A condition that always holds, for what nobody sees yet: no event is made of it, until the transaction ends. */
export const unrecorded = sql`set_config('mantou.unrecorded', 'on', true) is not null`;

/** The same, for a change of the project or of what is in it. */
export const accessToChange = (db: Database, user: AskedUser, project_id: Given) =>
  db.$with('access').as(selectProject(db, user, project_id, actingAs(user)));

/** The same, for a change of its members: they take turns at the project. */
export const accessToMembers = (db: Database, user: AskedUser, project_id: Given) =>
  db
    .$with('access')
    .as(selectProject(db, user, project_id, actingAs(user)).for('no key update', { of: projects }));

/** Waits for whoever writes in the project, and lets nobody else until the transaction ends. */
export const lockProject = (tx: Database, user: AskedUser, project_id: Given) =>
  selectProject(tx, user, project_id, actingAs(user)).for('update', { of: projects });

/** The same for a change of a task, by its project. */
export const accessToTask = (db: Database, user: AskedUser, task_id: Given) =>
  db.$with('access').as(
    db
      .select(found)
      .from(tasks)
      .innerJoin(projects, eq(projects.id, tasks.project_id))
      .innerJoin(project_members, visibleTo(user, projects.id))
      .where(and(eq(tasks.id, task_id), actingAs(user)))
      // The project before the task, as whoever deletes a project locks them.
      .for('key share', { of: projects }),
  );

export type Access = ReturnType<typeof accessToProject>;

/** Who may do a thing: stated once, read by the statement that does it and by the refusal where it did not. */
export interface Permission {
  roles: readonly Role[];
  /** An archived project is read-only, but for what ends that. */
  while_archived: boolean;
}

/** The condition that the access found is enough. */
export const permits = (access: Access, permission: Permission) =>
  and(
    inArray(access.role, [...permission.roles]),
    permission.while_archived ? undefined : isNull(access.archived_at),
  );

/** Versions as one value of a statement; undefined where any will do. */
export const versionsAsked = (expected: ExpectedVersions) => expected && `{${expected.join(',')}}`;

/** The condition that the row still has one of the versions asked for. */
export const hasVersion = (version: Column, versions: Given | undefined) =>
  versions === undefined ? undefined : sql`${version} = any(${versions}::int[])`;

/** What a writing statement gives: the access there was, and the row it wrote, if it wrote one. */
export interface Attempt<Row> {
  access: { role: Role; archived_at: string | null } | null;
  row: Row | null;
}

/**
 * `with access as …, written as … select`: one statement that tells what it has written, or enough to say why nothing.
 * @param written the insert, update or delete, which depends on the access.
 */
export const attempt = <Row>(
  db: Database,
  access: Access,
  written: WithSubquery<string, Record<string, unknown>>,
) =>
  db
    .with(access, written)
    .select({
      access: access._.selectedFields,
      row: written._.selectedFields as SelectedFieldsFlat,
    })
    .from(access)
    // What Drizzle cannot infer: the rows are those that `written` returns.
    .leftJoin(written, sql`true`) as unknown as Select<Attempt<Row>> & PromiseLike<Attempt<Row>[]>;

/**
 * The row that an attempt has written.
 * @throws {Problem} the reason why none was: `not_found` where the user sees nothing, `forbidden` where his role is too
 * low, `conflict` where the project is archived, `precondition_failed` where the version is not an expected one.
 */
export function rowOf<Row>(
  { access, row }: Attempt<Row> = { access: null, row: null },
  permission: Permission,
  expected?: ExpectedVersions,
): Row {
  if (row) return row;
  refuse(access, permission);
  if (expected) throw new Problem('precondition_failed');
  // Seen when the statement began, deleted by another before it could write.
  throw new Problem('not_found');
}

/** @throws {Problem} `not_found`, `forbidden`, `conflict` unless this access is enough. */
export function refuse(
  access: Attempt<unknown>['access'] | undefined,
  permission: Permission,
): asserts access {
  if (!access) throw new Problem('not_found');
  if (!permission.roles.includes(access.role)) throw new Problem('forbidden');
  if (access.archived_at && !permission.while_archived)
    throw new Problem('conflict', { detail: 'The project is archived' });
}
