import { and, eq, inArray, ne, or, sql } from 'drizzle-orm';
import { v7 as uuidv7 } from 'uuid';
import { actingAs, type CurrentUser, type LoggedInUser } from '../db/access.ts';
import type { Database } from '../db/database.ts';
import { nextVersion } from '../db/rows.ts';
import { project_members, projects, sessions, tasks, users } from '../db/schema.ts';
import type { Passwords } from '../platform.ts';
import { Problem } from '../problem.ts';
import type {
  AccountDeletion,
  PasswordChange,
  Registration,
  User,
  UserPatch,
} from '../schemas/users.ts';
import { limitPasswordChecks, limitRegistrations } from './limits.ts';
import { normalizePassword, refuseWeakPassword } from './password-rules.ts';

const profile = {
  id: users.id,
  username: users.username,
  email: users.email,
  created_at: users.created_at,
  updated_at: users.updated_at,
};

/** Who may register, and from where somebody does. */
interface RegistrationRules {
  registration: 'open' | 'closed';
  rate_limit: boolean;
  address: string | null;
}

/**
 * Makes an account. The unique indexes decide whether the names are free, so of twenty at once one wins.
 * @throws {Problem} `registration_closed`, `weak_password`, `username_taken`, `email_taken`, `rate_limited`,
 * `overloaded`.
 */
export async function registerUser(
  db: Database,
  passwords: Passwords,
  { registration, rate_limit, address }: RegistrationRules,
  { username, email, password }: Registration,
): Promise<User> {
  if (registration === 'closed') throw new Problem('registration_closed');
  await refuseWeakPassword(passwords, password, { username, email, location: 'body.password' });
  await limitRegistrations(db, rate_limit, address);
  const password_hash = await passwords.hash(normalizePassword(password));
  const [user] = await db
    .insert(users)
    .values({ id: uuidv7(), username, email, password_hash })
    .returning(profile);
  return user as User;
}

/** @throws {Problem} `invalid_token` when the account was deleted a moment ago. */
export async function readProfile(db: Database, user: CurrentUser): Promise<User> {
  const [found] = await db.select(profile).from(users).where(eq(users.id, user.id));
  if (!found) throw new Problem('invalid_token');
  return found;
}

/**
 * Merges a patch (RFC 7396) into the profile; an empty one changes nothing.
 * @throws {Problem} `username_taken`, `email_taken`, `invalid_token`.
 */
export async function patchProfile(
  db: Database,
  user: LoggedInUser,
  input: UserPatch,
): Promise<User> {
  if (Object.keys(input).length === 0) return readProfile(db, user);
  const [changed] = await db
    .update(users)
    .set({ ...input, updated_at: sql`now()` })
    .where(eq(users.id, user.id))
    .returning(profile);
  if (!changed) throw new Problem('invalid_token');
  return changed;
}

/**
 * Changes the password and ends all other sessions. API tokens stay: they were made to outlive log-ins.
 * @throws {Problem} `invalid_credentials`, `weak_password`, `rate_limited`, `overloaded`.
 */
export async function changePassword(
  db: Database,
  passwords: Passwords,
  rate_limit: boolean,
  user: LoggedInUser,
  input: PasswordChange,
): Promise<void> {
  const { password_hash: old_hash, ...names } = await verifyOwnPassword(
    db,
    passwords,
    rate_limit,
    user,
    input.current_password,
  );
  const context = { ...names, location: 'body.new_password' };
  await refuseWeakPassword(passwords, input.new_password, context);
  const password_hash = await passwords.hash(normalizePassword(input.new_password));
  await db.transaction(async (tx) => {
    const changed = await tx
      .update(users)
      .set({ password_hash, updated_at: sql`now()` })
      .where(and(eq(users.id, user.id), eq(users.password_hash, old_hash)))
      .returning({ id: users.id });
    if (changed.length === 0) throw new Problem('invalid_credentials');
    // A statement of its own: it sees the sessions that began while the one above waited for the row.
    await tx
      .delete(sessions)
      .where(and(eq(sessions.user_id, user.id), ne(sessions.id, user.session_id)));
  });
}

/**
 * Deletes the account, the projects it owns with all that is in them, its sessions and API tokens. In shared projects
 * the work stays.
 * @throws {Problem} `invalid_credentials`, `rate_limited`, `overloaded`.
 */
export async function deleteAccount(
  db: Database,
  passwords: Passwords,
  rate_limit: boolean,
  user: LoggedInUser,
  input: AccountDeletion,
): Promise<void> {
  await verifyOwnPassword(db, passwords, rate_limit, user, input.password);
  await db.transaction(async (tx) => {
    const owned = tx
      .select({ id: project_members.project_id })
      .from(project_members)
      .where(and(eq(project_members.user_id, user.id), eq(project_members.role, 'owner')));
    // The order of a task that is being made, whose foreign keys lock its project and then its author.
    await tx
      .select({ id: projects.id })
      .from(projects)
      .where(inArray(projects.id, owned))
      .orderBy(projects.id)
      .for('update');
    // Locked before the projects go, so that none can be made meanwhile and be left without an owner.
    await tx
      .select({ id: users.id })
      .from(users)
      .where(and(eq(users.id, user.id), actingAs(user)))
      .for('update');
    await tx.delete(projects).where(inArray(projects.id, owned));
    // The constraints would do this too, but leave the versions as they are.
    await tx
      .update(tasks)
      .set({
        assignee_id: sql`nullif(${tasks.assignee_id}, ${user.id})`,
        created_by: sql`nullif(${tasks.created_by}, ${user.id})`,
        ...nextVersion(tasks),
      })
      .where(or(eq(tasks.assignee_id, user.id), eq(tasks.created_by, user.id)));
    await tx.delete(users).where(eq(users.id, user.id));
  });
}

/** @returns the names of the account and the hash that the password was verified against. */
async function verifyOwnPassword(
  db: Database,
  passwords: Passwords,
  rate_limit: boolean,
  user: LoggedInUser,
  password: string,
) {
  const [found] = await db
    .select({ username: users.username, email: users.email, password_hash: users.password_hash })
    .from(users)
    .where(eq(users.id, user.id));
  if (!found) throw new Problem('invalid_token');
  const verify = () => passwords.verify(normalizePassword(password), found.password_hash);
  if (!(await limitPasswordChecks(db, rate_limit, user.id, verify)))
    throw new Problem('invalid_credentials', {
      audit: { event: 'password_check_failed', user_id: user.id, session_id: user.session_id },
    });
  return found;
}
