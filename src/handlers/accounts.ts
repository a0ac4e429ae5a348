/** What an operator does to accounts. It is for commands alone: no route leads here. */
import { asc, eq, type SQL, sql } from 'drizzle-orm';
import type { Database } from '../db/database.ts';
import { api_tokens, isNamed, kindOfName, sessions, users } from '../db/schema.ts';
import type { Passwords } from '../platform.ts';
import { Problem } from '../problem.ts';
import { normalizePassword, refuseWeakPassword } from './password-rules.ts';

const account = {
  id: users.id,
  username: users.username,
  email: users.email,
  created_at: users.created_at,
  disabled_at: users.disabled_at,
};

export interface Account {
  id: string;
  username: string;
  email: string;
  created_at: string;
  disabled_at: string | null;
}

const ACCOUNTS_PER_QUERY = 500;

/** Every account, oldest first. */
export async function* listAccounts(db: Database): AsyncGenerator<Account> {
  let last: Account | undefined;
  do {
    const page: Account[] = await db
      .select(account)
      .from(users)
      .where(
        last &&
          sql`(${users.created_at}, ${users.id}) > (${last.created_at}::timestamptz, ${last.id}::uuid)`,
      )
      .orderBy(asc(users.created_at), asc(users.id))
      .limit(ACCOUNTS_PER_QUERY);
    yield* page;
    last = page.at(-1);
  } while (last);
}

/** @param name a user name or an email. @throws {Problem} `not_found`. */
export async function findAccount(db: Database, name: string): Promise<Account> {
  const [found] = await db
    .select(account)
    .from(users)
    .where(isNamed(users[kindOfName(name)], name));
  if (!found) throw noSuchUser();
  return found;
}

/**
 * Sets a password and ends all sessions, as a change of password does.
 * @param revoke_tokens whether API tokens go too; they outlive a change of password otherwise.
 * @throws {Problem} `weak_password`, `not_found`.
 */
export async function resetPassword(
  db: Database,
  passwords: Passwords,
  { id, username, email }: Account,
  { password, revoke_tokens }: { password: string; revoke_tokens: boolean },
): Promise<void> {
  await refuseWeakPassword(passwords, password, { username, email, location: 'password' });
  const password_hash = await passwords.hash(normalizePassword(password));
  await db.transaction(async (tx) => {
    await changeAccount(tx, id, { password_hash, updated_at: sql`now()` });
    // A statement of its own: it sees the sessions that began while the one above waited for the row.
    await tx.delete(sessions).where(eq(sessions.user_id, id));
    if (revoke_tokens) await tx.delete(api_tokens).where(eq(api_tokens.user_id, id));
  });
}

/** Ends all sessions and lets nobody in; API tokens are refused for as long. @throws {Problem} `not_found`. */
export async function disableAccount(db: Database, { id }: Account): Promise<void> {
  await db.transaction(async (tx) => {
    await changeAccount(tx, id, { disabled_at: sql`coalesce(${users.disabled_at}, now())` });
    await tx.delete(sessions).where(eq(sessions.user_id, id));
  });
}

/** Lets somebody in again, and the API tokens that are left. @throws {Problem} `not_found`. */
export async function enableAccount(db: Database, { id }: Account): Promise<void> {
  await changeAccount(db, id, { disabled_at: null });
}

interface Change {
  password_hash?: string;
  disabled_at?: SQL | null;
  updated_at?: SQL;
}

async function changeAccount(db: Database, id: string, change: Change) {
  const changed = await db
    .update(users)
    .set(change)
    .where(eq(users.id, id))
    .returning({ id: users.id });
  if (changed.length === 0) throw noSuchUser();
}

const noSuchUser = () => new Problem('not_found', { detail: 'there is no such user' });
