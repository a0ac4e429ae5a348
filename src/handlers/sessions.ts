/**
 * Sessions: a log-in begins one, a refresh keeps it, deleting its row ends it. A session has a chain of refresh tokens,
 * each spent by its successor. The successor is a keyed digest of its predecessor, so concurrent refreshes with one token
 * (two tabs, a lost answer) get the same successor, and the chain never branches.
 */
// Decision: docs/decisions/19-revocation.md
// Decision: docs/decisions/23-refresh-token-rotation.md
import { and, eq, gt, isNull, ne, sql } from 'drizzle-orm';
import { v7 as uuidv7 } from 'uuid';
import { batchedRead } from '../db/batching.ts';
import type { Database } from '../db/database.ts';
import { afterCursor, newestFirst, orderBy, parsePage, toPage } from '../db/pagination.ts';
import { prepared, type QueryParams } from '../db/prepared.ts';
import { refresh_tokens, sessions, users } from '../db/schema.ts';
import { Problem } from '../errors/problem.ts';
import { digest, keyedDigest, newSecret } from '../lib/secrets.ts';
import { normalizePassword } from '../passwords/policy.ts';
import type { Passwords } from '../platform.ts';
import type { CurrentUser, LoggedInUser } from '../schemas/current-user.ts';
import type { Credentials, Session, SessionPage } from '../schemas/sessions.ts';
import type { PageQuery } from '../schemas/types/page.ts';
import { passwordLength } from '../schemas/users.ts';
import {
  type Account,
  type Consumed,
  consumeLogin,
  consumeRefresh,
  nothingConsumed,
  refund,
  refunded,
  refundOnError,
  refundOnFailure,
} from './login-limits.ts';

/** A session ends this long after its log-in, used or not. */
const SESSION_LIFETIME_DAYS = 90;
/** A log-in beyond that ends the session that was unused longest. */
const SESSIONS_MAX = 100;
/** How long the immediate predecessor is accepted. */
const GRACE_SECONDS = 10;

/** The client that uses a session. */
export interface ClientInfo {
  user_agent: string | null;
  address: string | null;
}

/** The settings of sessions. */
export interface SessionPolicy {
  /** Makes the successors of refresh tokens. It also signs access tokens. */
  key: string;
  /** How long a session lives without a refresh. */
  idleSeconds: number;
  rateLimit: boolean;
}

/** A session whose tokens can be issued. */
export interface IssuedSession {
  user_id: string;
  username: string;
  session_id: string;
  refresh_token: string;
}

const idle = ({ idleSeconds }: QueryParams<Pick<SessionPolicy, 'idleSeconds'>>) =>
  sql`make_interval(secs => ${idleSeconds}::int)`;

/**
 * Begins a session for a user name or email with its password.
 * @throws {Problem} `invalid_credentials`, the same and after the same work whichever was wrong; `rate_limited`,
 * `overloaded`.
 */
export async function logIn(
  db: Database,
  input: Credentials,
  client: ClientInfo,
  policy: SessionPolicy,
  passwords: Passwords,
): Promise<IssuedSession> {
  const attempt = async () => {
    const { account, consumed } = await authenticate(db, input, client, policy, passwords);
    return beginSession(db, account, consumed, client, policy);
  };
  // Once more where the hash has changed meanwhile: another log-in has rehashed it, or the password was changed.
  const issued = await passwords.limitLogins(async () => (await attempt()) ?? (await attempt()));
  if (!issued) throw new Problem('invalid_credentials');
  return issued;
}

/** Returns the account whose password this is, and what the statement that begins its session has to refund. */
async function authenticate(
  db: Database,
  { username, password: given }: Credentials,
  { address }: ClientInfo,
  { rateLimit }: SessionPolicy,
  passwords: Passwords,
): Promise<{ account: Account; consumed: Consumed }> {
  const password = normalizePassword(given, { ...passwordLength, location: 'body.password' });
  const { account, counters } = await consumeLogin(db, { username, address }, rateLimit);
  const verifying = passwords.verify(password, account?.password_hash);
  const matches = await refundOnError(db, { counters }, verifying);

  const status = account && passwords.inspect(account.password_hash);
  if (!account || !matches) {
    const event = status === 'unreadable' ? 'password_hash_unreadable' : 'login_failed';
    throw new Problem('invalid_credentials', { audit: { event, user_id: account?.id } });
  }
  if (status !== 'outdated') return { account, consumed: { counters } };
  await refund(db, { counters });
  return { account: await rehash(db, account, password, passwords), consumed: nothingConsumed };
}

/** Replaces a hash that was made with other parameters than today's. */
async function rehash(
  db: Database,
  account: Account,
  password: string,
  passwords: Passwords,
): Promise<Account> {
  const passwordHash = await hashUnlessBusy(passwords, password);
  if (passwordHash === undefined) return account;
  await db
    .update(users)
    .set({ password_hash: passwordHash })
    .where(and(eq(users.id, account.id), eq(users.password_hash, account.password_hash)));
  return { ...account, password_hash: passwordHash };
}

/** Returns undefined where too many hashes are waiting: this log-in has succeeded, and a later one can rehash. */
async function hashUnlessBusy(passwords: Passwords, password: string): Promise<string | undefined> {
  try {
    return await passwords.hash(password);
  } catch (error) {
    if (error instanceof Problem && error.code === 'overloaded') return undefined;
    throw error;
  }
}

/** Returns undefined where the account has another hash by now, is disabled or deleted. */
async function beginSession(
  db: Database,
  { id, username, password_hash }: Account,
  consumed: Consumed,
  client: ClientInfo,
  { idleSeconds }: SessionPolicy,
): Promise<IssuedSession | undefined> {
  const sessionId = uuidv7();
  const refreshToken = newSecret();
  const tokenHash = await digest(refreshToken);
  const inserting = insertSession(db, {
    account: { id, password_hash },
    session: { id: sessionId, ...client },
    tokenHash,
    idleSeconds,
    consumed,
  });
  const begun = await refundOnFailure(db, consumed, inserting);
  if (begun.length === 0) return undefined;
  return { user_id: id, username, session_id: sessionId, refresh_token: refreshToken };
}

interface NewSession {
  account: Omit<Account, 'username'>;
  session: { id: string } & ClientInfo;
  tokenHash: string;
  idleSeconds: number;
  consumed: Consumed;
}

const insertSession = prepared((db, asked: QueryParams<NewSession>) => {
  const { account, tokenHash } = asked;
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
            token_hash: sql`${tokenHash}::text`.as('token_hash'),
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
  const isDone = sql`(select count(*) from ${token}) >= 0`;
  return db
    .with(locked, pruned, session, token, ...refunded(db, asked.consumed, isDone))
    .select({ session_id: token.session_id })
    .from(token);
});

/**
 * Spends a refresh token and returns its successor. The immediate predecessor is accepted for 10 s and gets the same
 * successor; any other spent token counts as stolen and ends the session.
 * @param onEnd called once a session has been ended for it.
 * @throws {Problem} `invalid_refresh_token`, `rate_limited`.
 */
export async function refreshSession(
  db: Database,
  token: string,
  client: ClientInfo,
  policy: SessionPolicy,
  onEnd: () => Promise<void>,
): Promise<IssuedSession> {
  const successor = await keyedDigest(policy.key, token);
  const [presentedHash, successorHash] = await Promise.all([digest(token), digest(successor)]);
  await consumeRefresh(db, presentedHash, client.address, policy.rateLimit);
  // The session before its token: the order in which the end of a session locks them.
  const held = db.$with('held').as(
    db
      .select({ id: sessions.id, username: users.username })
      .from(refresh_tokens)
      .innerJoin(sessions, eq(sessions.id, refresh_tokens.session_id))
      .innerJoin(users, eq(users.id, sessions.user_id))
      .where(
        and(
          eq(refresh_tokens.token_hash, presentedHash),
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
          eq(refresh_tokens.token_hash, presentedHash),
          isNull(refresh_tokens.spent_at),
          gt(refresh_tokens.created_at, sql`now() - ${idle(policy)}`),
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
            token_hash: sql`${successorHash}::text`.as('token_hash'),
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
      .set({ last_used_at: sql`now()`, ...client })
      .from(spent)
      .innerJoin(next, sql`true`)
      .where(eq(sessions.id, spent.session_id))
      .returning({ session_id: sessions.id, user_id: sessions.user_id, username: spent.username }),
  );
  const [grant] = await db
    .with(held, spent, next, used)
    .select({ session_id: used.session_id, user_id: used.user_id, username: used.username })
    .from(used);
  const honoured =
    grant ?? (await acceptWithinGraceOrRevoke(db, presentedHash, successorHash, onEnd));
  return { ...honoured, refresh_token: successor };
}

/** Handles a token that could not be spent: accepts a predecessor within its grace period, or ends the session. */
async function acceptWithinGraceOrRevoke(
  db: Database,
  presentedHash: string,
  successorHash: string,
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
          where successor.token_hash = ${successorHash} and successor.session_id = ${sessions.id}
            and successor.spent_at is null
        )`,
    })
    .from(refresh_tokens)
    .innerJoin(sessions, eq(sessions.id, refresh_tokens.session_id))
    .innerJoin(users, eq(users.id, sessions.user_id))
    .where(eq(refresh_tokens.token_hash, presentedHash));
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

/** Returns the user of a session; undefined where it has ended. */
export async function findSessionUser(
  db: Database,
  sessionId: string,
): Promise<Pick<CurrentUser, 'id' | 'username'> | undefined> {
  const [found] = await selectSessionUser(db, { session_id: sessionId });
  return found;
}

const selectSessionUser = batchedRead((db, { session_id }: QueryParams<{ session_id: string }>) =>
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

/** Returns the user's sessions that have not ended, latest log-in first. @throws {Problem} `invalid_cursor`. */
export async function listSessions(
  db: Database,
  user: LoggedInUser,
  query: PageQuery,
  policy: SessionPolicy,
): Promise<SessionPage> {
  const page = await parsePage<Session>('sessions', query, newestFirst(sessions));
  const rows = await db
    .select({
      id: sessions.id,
      current: sql<boolean>`${sessions.id} = ${user.sessionId}`,
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
        gt(sessions.last_used_at, sql`now() - ${idle(policy)}`),
        afterCursor(page.position, page.order),
      ),
    )
    .orderBy(...orderBy(page.order))
    .limit(page.count);
  return toPage(page, rows);
}

/** Ends the session of the request; it may have ended a moment ago. */
export async function logOut(db: Database, user: LoggedInUser) {
  await db.delete(sessions).where(eq(sessions.id, user.sessionId));
}

/** Ends one of the user's sessions. @throws {Problem} `not_found`. */
export async function endSession(db: Database, user: LoggedInUser, sessionId: string) {
  const ended = await db
    .delete(sessions)
    .where(and(eq(sessions.id, sessionId), eq(sessions.user_id, user.id)))
    .returning({ id: sessions.id });
  if (ended.length === 0) throw new Problem('not_found');
}

/** Ends all of the user's sessions except that of the request. */
export async function endOtherSessions(db: Database, user: LoggedInUser) {
  await db
    .delete(sessions)
    .where(and(eq(sessions.user_id, user.id), ne(sessions.id, user.sessionId)));
}
