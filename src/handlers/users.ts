import { and, eq, inArray, isNull, ne, or, type SQLWrapper, sql } from 'drizzle-orm';
import { v7 as uuidv7 } from 'uuid';
import { hasLiveSession, setActor } from '../db/authorization.ts';
import { batchedRead } from '../db/batching.ts';
import type { Database } from '../db/database.ts';
import { onViolation } from '../db/errors.ts';
import type { QueryParams } from '../db/prepared.ts';
import { bumpVersion } from '../db/row-values.ts';
import { project_members, projects, sessions, tasks, users } from '../db/schema.ts';
import { ERRORS_MAX, Problem, validationProblem } from '../errors/problem.ts';
import { assertStrongPassword, normalizePassword } from '../passwords/policy.ts';
import type { Passwords } from '../platform.ts';
import type { CurrentUser, LoggedInUser } from '../schemas/current-user.ts';
import {
  type AccountDeletion,
  newPasswordLength,
  type PasswordChange,
  passwordLength,
  type Registration,
  type User,
  type UserPatch,
} from '../schemas/users.ts';
import { type Acceptance, checkInvitation, joinAsNewUser } from './invitations.ts';
import {
  consumeNameLookup,
  consumePasswordCheck,
  consumeRegistration,
  type NameLimits,
  refundUnlessWrong,
} from './login-limits.ts';

const profile = {
  id: users.id,
  username: users.username,
  email: users.email,
  created_at: users.created_at,
  updated_at: users.updated_at,
};

const takenNames = {
  users_username_key: () => new Problem('username_taken'),
  users_email_key: () => new Problem('email_taken'),
};

/** Whether registration is open, and the client's address. */
interface RegistrationRules {
  registration: 'open' | 'closed';
  rateLimit: boolean;
  address: string | null;
}

/**
 * Makes an account. The unique indexes decide whether the names are free, so of twenty at once one wins. With an invitation, the
 * same transaction makes the account a member of its project, also where registration is closed.
 * @returns the account, and how it became a member.
 * @throws {Problem} `registration_closed`, `weak_password`, `username_taken`, `email_taken`, `rate_limited`,
 * `overloaded`; `not_found`, `invitation_ended`, `conflict` for the invitation.
 */
export async function registerUser(
  db: Database,
  { username, email, password, invitation }: Registration,
  { registration, rateLimit, address }: RegistrationRules,
  passwords: Passwords,
): Promise<{ user: User; acceptance?: Acceptance }> {
  if (registration === 'closed' && invitation === undefined)
    throw new Problem('registration_closed');
  const location = 'body.password';
  const normalized = normalizePassword(password, { ...newPasswordLength, location });
  await assertStrongPassword(passwords, normalized, { username, email, location });
  const tokenHash =
    invitation === undefined
      ? undefined
      : await checkInvitation(db, invitation, { address, rateLimit });
  await consumeRegistration(db, address, rateLimit);
  const passwordHash = await passwords.hash(normalized);
  const id = uuidv7();
  const insertUser = async (tx: Database) => {
    const [user] = await tx
      .insert(users)
      .values({ id, username, email, password_hash: passwordHash })
      .returning(profile);
    return user as User;
  };
  return onViolation(
    takenNames,
    tokenHash === undefined
      ? insertUser(db).then((user) => ({ user }))
      : db.transaction((tx) => joinAsNewUser(tx, id, tokenHash, () => insertUser(tx))),
  );
}

/** Returns the user's own profile. @throws {Problem} `invalid_token` when the account was deleted a moment ago. */
export async function readProfile(db: Database, user: CurrentUser): Promise<User> {
  const [found] = await selectProfile(db, { id: user.id });
  if (!found) throw new Problem('invalid_token');
  return found;
}

const selectProfile = batchedRead((db, { id }: QueryParams<{ id: string }>) =>
  db.select(profile).from(users).where(eq(users.id, id)),
);

/**
 * Merges a patch (RFC 7396) into the profile; one that names nothing new changes nothing. A new email needs the password,
 * because it is a way to the account.
 * @throws {Problem} `username_taken`, `email_taken`, `invalid_token`; `validation_failed`, `invalid_credentials`,
 * `rate_limited`, `overloaded` for the password.
 */
export async function patchProfile(
  db: Database,
  user: LoggedInUser,
  { password, ...input }: UserPatch,
  limits: NameLimits,
  passwords: Passwords,
): Promise<User> {
  const profileBefore = await readProfile(db, user);
  const { username = profileBefore.username, email = profileBefore.email } = input;
  if (username === profileBefore.username && email === profileBefore.email) return profileBefore;
  if (email !== profileBefore.email) {
    if (password === undefined)
      throw validationProblem([
        { location: 'body.password', code: 'required', message: 'is required for a new email' },
      ]);
    const given = { password, location: 'body.password' };
    await verifyOwnPassword(db, user, given, limits.rateLimit, passwords);
  }
  await consumeNameLookup(db, user, limits);
  const [changed] = await onViolation(
    takenNames,
    db
      .update(users)
      .set({ ...input, updated_at: sql`now()` })
      .where(and(eq(users.id, user.id), hasLiveSession(user)))
      .returning(profile),
  );
  if (!changed) throw new Problem('invalid_token');
  return changed;
}

/**
 * Changes the password and ends all other sessions. API tokens stay: they were made to outlive log-ins.
 * @throws {Problem} `invalid_credentials`, `weak_password`, `rate_limited`, `overloaded`.
 */
export async function changePassword(
  db: Database,
  user: LoggedInUser,
  input: PasswordChange,
  rateLimit: boolean,
  passwords: Passwords,
): Promise<void> {
  const { password_hash: oldHash, ...names } = await verifyOwnPassword(
    db,
    user,
    { password: input.current_password, location: 'body.current_password' },
    rateLimit,
    passwords,
  );
  const context = { ...names, location: 'body.new_password' };
  const normalized = normalizePassword(input.new_password, { ...newPasswordLength, ...context });
  await assertStrongPassword(passwords, normalized, context);
  const passwordHash = await passwords.hash(normalized);
  await db.transaction(async (tx) => {
    const changed = await tx
      .update(users)
      .set({ password_hash: passwordHash, updated_at: sql`now()` })
      .where(and(eq(users.id, user.id), eq(users.password_hash, oldHash), hasLiveSession(user)))
      .returning({ id: users.id });
    if (changed.length === 0) throw await refusal(tx, user);
    // A statement of its own: it sees the sessions that began while the one above waited for the row.
    await tx
      .delete(sessions)
      .where(and(eq(sessions.user_id, user.id), ne(sessions.id, user.sessionId)));
  });
}

/**
 * Deletes the account, the projects it owns with all that is in them, its sessions and API tokens. In shared projects
 * the work stays.
 * @throws {Problem} `invalid_credentials`, `rate_limited`, `overloaded`.
 */
export async function deleteAccount(
  db: Database,
  user: LoggedInUser,
  input: AccountDeletion,
  rateLimit: boolean,
  passwords: Passwords,
): Promise<void> {
  await verifyOwnPassword(
    db,
    user,
    { password: input.password, location: 'body.password' },
    rateLimit,
    passwords,
  );
  await deleteUser(db, user, input.projects === 'delete');
}

/**
 * Deletes a user with the projects that they own. Tasks in other projects stay, without assignee or creator.
 * @param includesShared whether projects with other members are deleted too.
 * @throws {Problem} `shared_projects`.
 */
export async function deleteUser(
  db: Database,
  { id }: { id: string },
  includesShared: boolean,
): Promise<void> {
  await db.transaction(async (tx) => {
    const owned = tx
      .select({ id: project_members.project_id })
      .from(project_members)
      .where(and(eq(project_members.user_id, id), eq(project_members.role, 'owner')));
    // The user's memberships end with the account, and every change of members locks the project first.
    const memberOf = tx
      .select({ id: project_members.project_id })
      .from(project_members)
      .where(eq(project_members.user_id, id));
    await tx
      .select({ id: projects.id })
      .from(projects)
      .where(inArray(projects.id, memberOf))
      .orderBy(projects.id)
      .for('no key update');
    // The lock order of a task that is being created, whose foreign keys lock its project and then its author.
    await tx
      .select({ id: projects.id })
      .from(projects)
      .where(inArray(projects.id, owned))
      .orderBy(projects.id)
      .for('update');
    // Locked before the projects are deleted, so that no project can be created meanwhile and be left without an owner.
    await tx
      .select({ id: users.id })
      .from(users)
      .where(and(eq(users.id, id), setActor({ id, token_name: '' })))
      .for('update');
    if (!includesShared) await refuseSharedProjects(tx, id, owned);
    await tx.delete(projects).where(inArray(projects.id, owned));
    // The constraints would do this too, but would not raise the versions.
    await tx
      .update(tasks)
      .set({
        assignee_id: sql`nullif(${tasks.assignee_id}, ${id})`,
        created_by: sql`nullif(${tasks.created_by}, ${id})`,
        ...bumpVersion(tasks),
      })
      .where(or(eq(tasks.assignee_id, id), eq(tasks.created_by, id)));
    await tx.delete(users).where(eq(users.id, id));
  });
}

/** @throws {Problem} `shared_projects` where other members see one of these projects. */
async function refuseSharedProjects(
  tx: Database,
  userId: string,
  owned: SQLWrapper,
): Promise<void> {
  const shared = await tx
    .selectDistinct({ id: projects.id, name: projects.name })
    .from(projects)
    .innerJoin(project_members, eq(project_members.project_id, projects.id))
    .where(
      and(
        inArray(projects.id, owned),
        ne(project_members.user_id, userId),
        isNull(project_members.importing_since),
      ),
    )
    .orderBy(projects.name, projects.id)
    .limit(ERRORS_MAX);
  if (shared.length === 0) return;
  const errors = shared.map(({ id, name }) => ({
    location: 'body.projects',
    code: 'shared_project',
    message: `${name} (${id}) has other members`,
  }));
  throw new Problem('shared_projects', { errors });
}

/** Returns why the password was not changed: the session has ended, or the password is another by now. */
async function refusal(tx: Database, user: LoggedInUser): Promise<Problem> {
  const [live] = await tx.select({ id: users.id }).from(users).where(hasLiveSession(user)).limit(1);
  return new Problem(live ? 'invalid_credentials' : 'invalid_token');
}

/** Returns the names of the account and the hash that the password was verified against. */
async function verifyOwnPassword(
  db: Database,
  user: LoggedInUser,
  { password, location }: { password: string; location: string },
  rateLimit: boolean,
  passwords: Passwords,
) {
  const normalized = normalizePassword(password, { ...passwordLength, location });
  const [found] = await db
    .select({ username: users.username, email: users.email, password_hash: users.password_hash })
    .from(users)
    .where(eq(users.id, user.id));
  if (!found) throw new Problem('invalid_token');
  const consumed = await consumePasswordCheck(db, user, rateLimit);
  const verifying = passwords.verify(normalized, found.password_hash);
  if (!(await refundUnlessWrong(db, consumed, verifying)))
    throw new Problem('invalid_credentials', {
      audit: { event: 'password_check_failed', user_id: user.id, session_id: user.sessionId },
    });
  return found;
}
