import { eq, sql } from 'drizzle-orm';
import { v7 as uuidv7 } from 'uuid';
import type { CurrentUser } from '../db/access.ts';
import type { Database } from '../db/database.ts';
import { users } from '../db/schema.ts';
import type { Passwords } from '../platform.ts';
import { Problem } from '../problem.ts';
import type { Login, Registration, Tokens, User } from '../schemas/users.ts';

const profile = {
  id: users.id,
  username: users.username,
  email: users.email,
  created_at: users.created_at,
  updated_at: users.updated_at,
};

/** Who signs the access tokens. */
interface TokenIssuer {
  issue(user: User, session_id: string): Promise<Tokens>;
}

/**
 * Makes an account. The unique indexes decide whether the names are free, so of twenty at once one wins.
 * @throws {Problem} `registration_closed`, `username_taken`, `email_taken`, `overloaded`.
 */
export async function registerUser(
  db: Database,
  passwords: Passwords,
  registration: 'open' | 'closed',
  input: Registration,
): Promise<User> {
  if (registration === 'closed') throw new Problem('registration_closed');
  const password_hash = await passwords.hash(normalize(input.password));
  const [user] = await db
    .insert(users)
    .values({ id: uuidv7(), username: input.username, email: input.email, password_hash })
    .returning(profile);
  return user as User;
}

/**
 * Trades a user name or email with its password for an access token, in a session of its own.
 * @throws {Problem} `invalid_credentials`, the same and after the same work whichever was wrong; `overloaded`.
 */
export async function logIn(
  db: Database,
  passwords: Passwords,
  tokens: TokenIssuer,
  input: Login,
): Promise<Tokens> {
  // A user name never holds an @, so one index answers.
  const column = input.username.includes('@') ? users.email : users.username;
  const [found] = await db
    .select({ ...profile, password_hash: users.password_hash })
    .from(users)
    .where(eq(sql`lower(${column} collate "C")`, sql`lower(${input.username} collate "C")`));
  const matches = await passwords.verify(
    normalize(input.password),
    found?.password_hash ?? NOBODYS_HASH,
  );
  if (!found || !matches) throw new Problem('invalid_credentials');
  return tokens.issue(found, uuidv7());
}

/** @throws {Problem} `invalid_token` when the account was deleted while the token lived. */
export async function readProfile(db: Database, user: CurrentUser): Promise<User> {
  const [found] = await db.select(profile).from(users).where(eq(users.id, user.id));
  if (!found) throw new Problem('invalid_token');
  return found;
}

/** An unknown user costs the same one hash: this is of a password that was thrown away, with the same parameters. */
const NOBODYS_HASH =
  '$argon2id$v=19$m=19456,t=2,p=1$pjOZjgrOYkeKmNqY/mUONh4502xkSWMD7s45by9h570$xZMqYj18NdjKy87ok2qn8ec12TdnTb3wm/SOJfUb+3Y';

/** Keyboards differ in how they compose; NFKC makes the same password the same bytes. */
const normalize = (password: string) => password.normalize('NFKC');
