/**
 * Sessions: a log-in begins one, refreshing keeps it, deleting its row ends it. A session has a line of refresh tokens,
 * each spent by its successor. The successor is a keyed digest of its predecessor, so two tabs, or a client whose
 * answer was lost, that refresh with the same token at once get the same successor, and the line never forks.
 */
import { and, eq, gt, isNull, ne, sql } from 'drizzle-orm';
import { v7 as uuidv7 } from 'uuid';
import type { CurrentUser, LoggedInUser } from '../db/access.ts';
import type { Database } from '../db/database.ts';
import { isNamed, kindOfName, refresh_tokens, sessions, users } from '../db/schema.ts';
import { type Asked, statement } from '../db/statement.ts';
import type { Passwords } from '../platform.ts';
import { Problem } from '../problem.ts';
import type { PageQuery } from '../schemas/common.ts';
import type { Login, SessionPage } from '../schemas/sessions.ts';
import { digest, keyedDigest, newSecret } from '../secrets.ts';
import { limitLogins, limitRefreshes } from './limits.ts';
import { after, inOrder, newestFirst, pageOf } from './page.ts';
import { normalizePassword } from './password-rules.ts';

/** A session ends this long after its log-in, used or not. */
const SESSION_LIFETIME_DAYS = 90;
/** At the log-in that would be one more, the one that was unused longest ends. */
const SESSIONS_MAX = 100;
/** How long the immediate predecessor is honoured. */
const GRACE_SECONDS = 10;

/** From where a session is used. */
export interface Device {
  user_agent: string | null;
  address: string | null;
}

/** What the settings say of sessions. */
export interface SessionRules {
  /** Makes the successors of refresh tokens; whoever has it can sign access tokens too. */
  key: string;
  /** How long a session lives that is not refreshed. */
  idle_seconds: number;
  rate_limit: boolean;
}

/** What the access and refresh tokens of a session are made for. */
export interface Grant {
  user_id: string;
  username: string;
  session_id: string;
  refresh_token: string;
}

const idle = (rules: Asked<Pick<SessionRules, 'idle_seconds'>>) =>
  sql`make_interval(secs => ${rules.idle_seconds}::int)`;

/**
 * Begins a session for a user name or email with its password.
 * @throws {Problem} `invalid_credentials`, the same and after the same work whichever was wrong; `rate_limited`,
 * `overloaded`.
 */
export async function logIn(
  db: Database,
  passwords: Passwords,
  rules: SessionRules,
  device: Device,
  input: Login,
): Promise<Grant> {
  const attempt = async () => {
    const account = await authenticate(db, passwords, rules, device, input);
    return beginSession(db, rules, device, account);
  };
  // Once more where the hash was another by then: a log-in beside this one made it anew, or the password was changed.
  const grant = await passwords.inTurn(async () => (await attempt()) ?? (await attempt()));
  if (!grant) throw new Problem('invalid_credentials');
  return grant;
}

interface Account {
  id: string;
  username: string;
  password_hash: string;
}

async function authenticate(
  db: Database,
  passwords: Passwords,
  rules: SessionRules,
  { address }: Device,
  { username, password: given }: Login,
): Promise<Account> {
  const [found] = await selectAccount(db, { name: username }, kindOfName(username));
  const password = normalizePassword(given);
  const verify = () => passwords.verify(password, found?.password_hash);
  const matches = await limitLogins(
    db,
    rules.rate_limit,
    { username, account_id: found?.id, address },
    verify,
  );
  const condition = found && passwords.inspect(found.password_hash);
  if (!found || !matches) {
    const event = condition === 'unreadable' ? 'password_hash_unreadable' : 'login_failed';
    throw new Problem('invalid_credentials', { audit: { event, user_id: found?.id } });
  }
  if (condition !== 'outdated') return found;
  const password_hash = await hashUnlessBusy(passwords, password);
  if (password_hash === undefined) return found;
  await db
    .update(users)
    .set({ password_hash })
    .where(and(eq(users.id, found.id), eq(users.password_hash, found.password_hash)));
  return { ...found, password_hash };
}

const selectAccount = statement(
  (db, { name }: Asked<{ name: string }>, kind: ReturnType<typeof kindOfName>) =>
    db
      .select({ id: users.id, username: users.username, password_hash: users.password_hash })
      .from(users)
      .where(and(isNamed(users[kind], name), isNull(users.disabled_at))),
);

/** To make a hash anew can wait for a quieter log-in: this one has succeeded. */
async function hashUnlessBusy(passwords: Passwords, password: string): Promise<string | undefined> {
  try {
    return await passwords.hash(password);
  } catch (error) {
    if (error instanceof Problem && error.code === 'overloaded') return undefined;
    throw error;
  }
}

/** @returns undefined where the account has another hash by now, is disabled or deleted. */
async function beginSession(
  db: Database,
  rules: SessionRules,
  device: Device,
  { id, username, password_hash }: Account,
): Promise<Grant | undefined> {
  const session_id = uuidv7();
  const refresh_token = newSecret();
  const token_hash = await digest(refresh_token);
  const begun = await insertSession(db, {
    account: { id, password_hash },
    session: { id: session_id, ...device },
    token_hash,
    idle_seconds: rules.idle_seconds,
  });
  if (begun.length === 0) return undefined;
  return { user_id: id, username, session_id, refresh_token };
}

interface NewSession {
  account: Omit<Account, 'username'>;
  session: { id: string } & Device;
  token_hash: string;
  idle_seconds: number;
}

const insertSession = statement((db, asked: Asked<NewSession>) => {
  const { account, token_hash } = asked;
  // Locked, so that a log-in and a change of password that meet happen one after the other: a session that began
  // with the old password ends with the change, or does not begin.
  const locked = db.$with('account').as(
    db
      .select({ id: users.id })
      .from(users)
      .where(
        and(
          eq(users.id, account.id),
          eq(users.password_hash, account.password_hash),
          isNull(users.disabled_at),
        ),
      )
      .for('share'),
  );
  const pruned = db.$with('pruned').as(
    db
      .delete(sessions)
      .where(
        sql`${sessions.id} in (
          select id from (
            select id, last_used_at, expires_at, row_number() over (order by last_used_at desc) as place
            from ${sessions} where user_id = ${account.id}
          ) s where place >= ${SESSIONS_MAX} or expires_at <= now() or last_used_at <= now() - ${idle(asked)}
        )`,
      )
      .returning({ id: sessions.id }),
  );
  const session = db.$with('session').as(
    db
      .insert(sessions)
      .select(
        db
          .select({
            id: sql`${asked.session.id}::uuid`.as('id'),
            user_id: locked.id,
            user_agent: sql`${asked.session.user_agent}::text`.as('user_agent'),
            address: sql`${asked.session.address}::text`.as('address'),
            created_at: sql`now()`.as('created_at'),
            last_used_at: sql`now()`.as('last_used_at'),
            expires_at: sql`now() + make_interval(days => ${SESSION_LIFETIME_DAYS}::int)`.as(
              'expires_at',
            ),
          })
          .from(locked),
      )
      .returning({ id: sessions.id, user_id: sessions.user_id }),
  );
  const token = db.$with('token').as(
    db
      .insert(refresh_tokens)
      .select(
        db
          .select({
            token_hash: sql`${token_hash}::text`.as('token_hash'),
            session_id: session.id,
            user_id: session.user_id,
            generation: sql`1`.as('generation'),
            created_at: sql`now()`.as('created_at'),
            spent_at: sql`null::timestamptz`.as('spent_at'),
          })
          .from(session),
      )
      .returning({ session_id: refresh_tokens.session_id }),
  );
  return db
    .with(locked, pruned, session, token)
    .select({ session_id: token.session_id })
    .from(token);
});

/**
 * Spends a refresh token for its successor. The immediate predecessor is honoured for 10 s with the same successor;
 * any other spent token is taken for stolen and ends the session.
 * @param onEnd called once a session has been ended for it.
 * @throws {Problem} `invalid_refresh_token`, `rate_limited`.
 */
export async function refreshSession(
  db: Database,
  rules: SessionRules,
  device: Device,
  presented: string,
  onEnd: () => Promise<void>,
): Promise<Grant> {
  const successor = await keyedDigest(rules.key, presented);
  const [presented_hash, successor_hash] = await Promise.all([
    digest(presented),
    digest(successor),
  ]);
  await limitRefreshes(db, rules.rate_limit, presented_hash, device.address);
  // The session before its token, as whoever ends a session locks them.
  const held = db.$with('held').as(
    db
      .select({ id: sessions.id, username: users.username })
      .from(refresh_tokens)
      .innerJoin(sessions, eq(sessions.id, refresh_tokens.session_id))
      .innerJoin(users, eq(users.id, sessions.user_id))
      .where(
        and(
          eq(refresh_tokens.token_hash, presented_hash),
          gt(sessions.expires_at, sql`now()`),
          isNull(users.disabled_at),
        ),
      )
      .for('no key update', { of: sessions }),
  );
  const spent = db.$with('spent').as(
    db
      .update(refresh_tokens)
      .set({ spent_at: sql`now()` })
      .from(held)
      .where(
        and(
          eq(refresh_tokens.token_hash, presented_hash),
          isNull(refresh_tokens.spent_at),
          gt(refresh_tokens.created_at, sql`now() - ${idle(rules)}`),
          eq(held.id, refresh_tokens.session_id),
        ),
      )
      .returning({
        session_id: refresh_tokens.session_id,
        user_id: refresh_tokens.user_id,
        generation: refresh_tokens.generation,
        username: held.username,
      }),
  );
  const next = db.$with('next').as(
    db
      .insert(refresh_tokens)
      .select(
        db
          .select({
            token_hash: sql`${successor_hash}::text`.as('token_hash'),
            session_id: spent.session_id,
            user_id: spent.user_id,
            generation: sql`${spent.generation} + 1`.as('generation'),
            created_at: sql`now()`.as('created_at'),
            spent_at: sql`null::timestamptz`.as('spent_at'),
          })
          .from(spent),
      )
      .returning({ generation: refresh_tokens.generation }),
  );
  const used = db.$with('used').as(
    db
      .update(sessions)
      .set({ last_used_at: sql`now()`, ...device })
      .from(spent)
      .innerJoin(next, sql`true`)
      .where(eq(sessions.id, spent.session_id))
      .returning({ session_id: sessions.id, user_id: sessions.user_id, username: spent.username }),
  );
  const [grant] = await db
    .with(held, spent, next, used)
    .select({ session_id: used.session_id, user_id: used.user_id, username: used.username })
    .from(used);
  const honoured = grant ?? (await honourOrEnd(db, presented_hash, successor_hash, onEnd));
  return { ...honoured, refresh_token: successor };
}

/** For a token that could not be spent: the grant of a predecessor within its grace, or the end of its session. */
async function honourOrEnd(
  db: Database,
  presented_hash: string,
  successor_hash: string,
  onEnd: () => Promise<void>,
) {
  const [token] = await db
    .select({
      session_id: refresh_tokens.session_id,
      user_id: refresh_tokens.user_id,
      username: users.username,
      is_spent: sql<boolean>`${refresh_tokens.spent_at} is not null`,
      honoured: sql<boolean>`${refresh_tokens.spent_at} > now() - make_interval(secs => ${GRACE_SECONDS}::int)
        and ${sessions.expires_at} > now() and ${users.disabled_at} is null
        and exists (
          select from ${refresh_tokens} successor
          where successor.token_hash = ${successor_hash} and successor.session_id = ${sessions.id}
            and successor.spent_at is null
        )`,
    })
    .from(refresh_tokens)
    .innerJoin(sessions, eq(sessions.id, refresh_tokens.session_id))
    .innerJoin(users, eq(users.id, sessions.user_id))
    .where(eq(refresh_tokens.token_hash, presented_hash));
  if (token?.honoured) {
    const { session_id, user_id, username } = token;
    return { session_id, user_id, username };
  }
  if (!token) throw new Problem('invalid_refresh_token');
  await db.delete(sessions).where(eq(sessions.id, token.session_id));
  await onEnd();
  throw new Problem('invalid_refresh_token', {
    audit: {
      event: token.is_spent ? 'refresh_token_reused' : 'session_expired',
      user_id: token.user_id,
      session_id: token.session_id,
    },
  });
}

/** The user of a living session; undefined for a session that has ended. */
export async function findSessionUser(
  db: Database,
  session_id: string,
): Promise<Pick<CurrentUser, 'id' | 'username'> | undefined> {
  const [found] = await selectSessionUser(db, { session_id });
  return found;
}

const selectSessionUser = statement((db, { session_id }: Asked<{ session_id: string }>) =>
  db
    .select({ id: users.id, username: users.username })
    .from(sessions)
    .innerJoin(users, eq(users.id, sessions.user_id))
    .where(
      and(
        eq(sessions.id, session_id),
        gt(sessions.expires_at, sql`now()`),
        isNull(users.disabled_at),
      ),
    ),
);

/** The user's living sessions, latest log-in first. @throws {Problem} `invalid_cursor`. */
export async function listSessions(
  db: Database,
  user: LoggedInUser,
  rules: SessionRules,
  query: PageQuery,
): Promise<SessionPage> {
  const list = 'sessions';
  const order = newestFirst(sessions);
  const rows = await db
    .select({
      id: sessions.id,
      current: sql<boolean>`${sessions.id} = ${user.session_id}`,
      user_agent: sessions.user_agent,
      address: sessions.address,
      created_at: sessions.created_at,
      last_used_at: sessions.last_used_at,
      expires_at: sessions.expires_at,
    })
    .from(sessions)
    .where(
      and(
        eq(sessions.user_id, user.id),
        gt(sessions.expires_at, sql`now()`),
        gt(sessions.last_used_at, sql`now() - ${idle(rules)}`),
        await after(list, query, order),
      ),
    )
    .orderBy(...inOrder(order))
    .limit(query.limit + 1);
  return pageOf(list, query, rows, order);
}

/** Ends the session that asks; it may have ended a moment ago. */
export async function logOut(db: Database, user: LoggedInUser) {
  await db.delete(sessions).where(eq(sessions.id, user.session_id));
}

/** Ends one of the user's sessions. @throws {Problem} `not_found`. */
export async function endSession(db: Database, user: LoggedInUser, session_id: string) {
  const ended = await db
    .delete(sessions)
    .where(and(eq(sessions.id, session_id), eq(sessions.user_id, user.id)))
    .returning({ id: sessions.id });
  if (ended.length === 0) throw new Problem('not_found');
}

/** Ends all of the user's sessions but the one that asks. */
export async function endOtherSessions(db: Database, user: LoggedInUser) {
  await db
    .delete(sessions)
    .where(and(eq(sessions.user_id, user.id), ne(sessions.id, user.session_id)));
}
