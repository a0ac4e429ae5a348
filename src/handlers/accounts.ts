/** Accounts as an operator manages them. For commands alone: no route calls it. */
import { and, eq, ilike, or, type SQL, sql } from 'drizzle-orm';
import type { Database } from '../db/database.ts';
import { afterRow, oldestFirst, pagesOf, WALK_PAGE_ROWS } from '../db/pagination.ts';
import { api_tokens, calendar_addresses, sessions, users } from '../db/schema.ts';
import { matchesName, nameColumn } from '../db/user-names.ts';
import { Problem } from '../errors/problem.ts';
import { assertStrongPassword, normalizePassword } from '../passwords/policy.ts';
import type { Passwords } from '../platform.ts';
import { newPasswordLength } from '../schemas/users.ts';

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

/**
 * Yields every account, oldest first.
 * @param search keeps those whose user name or email contains this text, in any case.
 */
export async function* listAccounts(db: Database, search = ''): AsyncGenerator<Account> {
  // In LIKE, % and _ stand for any text, unless they are escaped.
  const pattern = `%${search.replaceAll(/[\\%_]/g, '\\$&')}%`;
  const matches =
    search === '' ? undefined : or(ilike(users.username, pattern), ilike(users.email, pattern));
  const pages = pagesOf<Account>((last) =>
    db
      .select(account)
      .from(users)
      .where(and(matches, afterRow(users, last)))
      .orderBy(...oldestFirst(users))
      .limit(WALK_PAGE_ROWS),
  );
  for await (const page of pages) yield* page;
}

/** Returns the account. @param name a user name or an email. @throws {Problem} `not_found`. */
export async function findAccount(db: Database, name: string): Promise<Account> {
  const [found] = await db
    .select(account)
    .from(users)
    .where(matchesName(users[nameColumn(name)], name));
  if (!found) throw noSuchUser();
  return found;
}

/**
 * Sets a password and ends all sessions, as a change of password does.
 * @param input `revokeTokens`: whether API tokens and addresses of the calendar end too; they outlive a change of password otherwise.
 * @throws {Problem} `weak_password`, `not_found`.
 */
export async function resetPassword(
  db: Database,
  { id, username, email }: Account,
  { password, revokeTokens }: { password: string; revokeTokens: boolean },
  passwords: Passwords,
): Promise<void> {
  const location = 'password';
  const normalized = normalizePassword(password, { ...newPasswordLength, location });
  await assertStrongPassword(passwords, normalized, { username, email, location });
  const passwordHash = await passwords.hash(normalized);
  await db.transaction(async (tx) => {
    await changeAccount(tx, id, { password_hash: passwordHash, updated_at: sql`now()` });
    // A statement of its own: it sees the sessions that began while the one above waited for the row.
    await tx.delete(sessions).where(eq(sessions.user_id, id));
    if (!revokeTokens) return;
    await tx.delete(api_tokens).where(eq(api_tokens.user_id, id));
    await tx.delete(calendar_addresses).where(eq(calendar_addresses.user_id, id));
  });
}

/** Ends all sessions and refuses log-ins and API tokens until the account is enabled. @throws {Problem} `not_found`. */
export async function disableAccount(db: Database, { id }: Account): Promise<void> {
  await db.transaction(async (tx) => {
    await changeAccount(tx, id, { disabled_at: sql`coalesce(${users.disabled_at}, now())` });
    await tx.delete(sessions).where(eq(sessions.user_id, id));
  });
}

/** Accepts log-ins again, and the API tokens that are left. @throws {Problem} `not_found`. */
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
