/**
 * Brute-force limits that hold across processes: counters in PostgreSQL, by its clock. A counter's key is the limit's
 * name and a SHA-256 of what it counts, so the table holds no name and no address.
 */
// Decision: docs/decisions/25-count-guesses-first.md
import { and, isNull, type SQL, type SQLWrapper, sql } from 'drizzle-orm';
import type { Database } from '../db/database.ts';
import { prepared, type QueryParam, type QueryParams, rawQuery } from '../db/prepared.ts';
import { rate_limits, refresh_tokens, sessions, users } from '../db/schema.ts';
import { matchesName, nameColumn } from '../db/user-names.ts';
import type { Problem } from '../errors/problem.ts';
import { type RateLimit, rateLimited } from '../http/rate-limit-headers.ts';
import { parseDatabaseError } from '../lib/database-error.ts';

const MINUTE_SECONDS = 60;
const GUESSING_WINDOW_SECONDS = 15 * MINUTE_SECONDS;

const limits = {
  /** Wrong passwords for one account from one address. */
  login: { name: 'login', quota: 10, windowSeconds: GUESSING_WINDOW_SECONDS },
  /** Wrong passwords from one address: many accounts tried with a few passwords each. */
  login_by_address: { name: 'login-address', quota: 100, windowSeconds: GUESSING_WINDOW_SECONDS },
  /** Wrong passwords for one account from many addresses. */
  login_by_account: { name: 'login-account', quota: 100, windowSeconds: GUESSING_WINDOW_SECONDS },
  /** Wrong passwords of a user who is logged in: an unlocked screen is no way to the password. */
  password: { name: 'password', quota: 10, windowSeconds: GUESSING_WINDOW_SECONDS },
  /** The same from all sessions of a user: a thief who has one must not keep the owner from the other ones. */
  password_by_user: { name: 'password-user', quota: 100, windowSeconds: GUESSING_WINDOW_SECONDS },
  /** Changes of a name or an email, and additions of members: each tells whether an account exists. */
  names: { name: 'names', quota: 100, windowSeconds: 60 * MINUTE_SECONDS },
  names_by_address: { name: 'names-address', quota: 500, windowSeconds: 60 * MINUTE_SECONDS },
  register: { name: 'register', quota: 500, windowSeconds: 60 * MINUTE_SECONDS },
  refresh: { name: 'refresh', quota: 60, windowSeconds: MINUTE_SECONDS },
  refresh_by_address: { name: 'refresh-address', quota: 600, windowSeconds: MINUTE_SECONDS },
  /** Tokens of invitations that do not exist, tried by one user. */
  invitation: { name: 'invitation', quota: 10, windowSeconds: GUESSING_WINDOW_SECONDS },
  /** The same from one address, by users and by those who register. */
  invitation_by_address: {
    name: 'invitation-address',
    quota: 100,
    windowSeconds: GUESSING_WINDOW_SECONDS,
  },
  /** Secret addresses of calendars that do not exist, or no longer do, asked for by one address. */
  calendar: { name: 'calendar', quota: 100, windowSeconds: GUESSING_WINDOW_SECONDS },
} satisfies Record<string, RateLimit>;

/** Each count deletes up to this many expired counters: more than it can make, so the table stays small. */
const PRUNED_ROWS_MAX = 10;

/** A log-in that is tried, by user name or email. Clients whose address is unknown are not counted by address. */
export interface LoginAttempt {
  username: string;
  address: string | null | undefined;
}

/** An account that is not disabled, to verify a password with. */
export interface Account {
  id: string;
  username: string;
  password_hash: string;
}

/** What was counted for a log-in, and its account; undefined where there is none. */
export interface ConsumedLogin extends Consumed {
  account: Account | undefined;
}

/**
 * Finds the account of a log-in and counts the log-in, in one statement: for its account from its address, for its address,
 * and for its account from anywhere. The last does not bind an address from which the account has a session that has not
 * ended, so that guesses from elsewhere cannot keep its owner out. An account that does not exist is counted like any other;
 * an account counts the same by its user name and by its email.
 * @returns what `refund` and `refunded` take. @throws {Problem} `rate_limited`.
 */
export async function consumeLogin(
  db: Database,
  { username, address }: LoginAttempt,
  rateLimit: boolean,
): Promise<ConsumedLogin> {
  const kind = nameColumn(username);
  if (!rateLimit) {
    const [account] = await selectAccount(db, { username }, kind);
    return { ...nothingConsumed, account };
  }
  return countLogin[kind](db, { username, address: address ?? '' });
}

/** One counter for all clients whose address is unknown would let any of them lock out the others. */
const isUnknown = (address: unknown) => sql`${address}::text = ''`;

type NameColumn = ReturnType<typeof nameColumn>;

const accountNamed = (db: Database, username: QueryParam, kind: NameColumn) =>
  db
    .select({ id: users.id, username: users.username, password_hash: users.password_hash })
    .from(users)
    .where(and(matchesName(users[kind], sql`${username}::text`), isNull(users.disabled_at)));

const selectAccount = prepared(
  (db, { username }: QueryParams<{ username: string }>, kind: NameColumn) =>
    accountNamed(db, username, kind),
);

const countLoginBy = (kind: NameColumn) =>
  defineCounter(
    (asked: QueryParams<{ username: string; address: string }>) => {
      const id = sql`(select id from account)`;
      const account = sql`coalesce('id ' || ${id}::text, 'name ' || lower(${asked.username}::text collate "C"))`;
      const from = sql`${asked.address}::text`;
      const knownHere = sql`exists (
    select from ${sessions}
    where ${sessions.user_id} = ${id} and ${sessions.address} = ${from} and ${sessions.expires_at} > now()
  )`;
      return [
        { limit: limits.login, counterKey: sql`${account} || ' ' || ${from}` },
        { limit: limits.login_by_address, counterKey: from, exemptIf: isUnknown(from) },
        { limit: limits.login_by_account, counterKey: account, exemptIf: knownHere },
      ];
    },
    (db, { username }) => accountNamed(db, username, kind),
  );
const countLogin = { username: countLoginBy('username'), email: countLoginBy('email') };

/**
 * Counts the check of a password that a logged-in user repeats.
 * @returns what `refundUnlessWrong` takes. @throws {Problem} `rate_limited`.
 */
export const consumePasswordCheck = async (
  db: Database,
  { id, sessionId }: { id: string; sessionId: string },
  rateLimit: boolean,
): Promise<Consumed> =>
  rateLimit ? countPasswordCheck(db, { user_id: id, session_id: sessionId }) : nothingConsumed;

const countPasswordCheck = defineCounter(
  ({ user_id, session_id }: QueryParams<{ user_id: string; session_id: string }>) => [
    { limit: limits.password, counterKey: sql`${session_id}::text` },
    { limit: limits.password_by_user, counterKey: sql`${user_id}::text` },
  ],
);

/** How the requests of a user are counted that could tell whether something exists. */
export interface NameLimits {
  address: string | null | undefined;
  rateLimit: boolean;
}

/** Counts a request that tells whether a name or an email is taken, whatever it tells. @throws {Problem} `rate_limited`. */
export async function consumeNameLookup(
  db: Database,
  user: { id: string },
  { address, rateLimit }: NameLimits,
): Promise<void> {
  if (rateLimit) await countNameLookup(db, { user_id: user.id, address: address ?? '' });
}

const countNameLookup = defineCounter(
  ({ user_id, address }: QueryParams<{ user_id: string; address: string }>) => [
    { limit: limits.names, counterKey: sql`${user_id}::text` },
    {
      limit: limits.names_by_address,
      counterKey: sql`${address}::text`,
      exemptIf: isUnknown(address),
    },
  ],
);

/** Counts a registration, successful or not: each costs a hash. @throws {Problem} `rate_limited`. */
export async function consumeRegistration(
  db: Database,
  address: string | null | undefined,
  rateLimit: boolean,
): Promise<void> {
  if (rateLimit) await countRegistration(db, { address: address ?? '' });
}

const countRegistration = defineCounter(({ address }: QueryParams<{ address: string }>) => [
  { limit: limits.register, counterKey: sql`${address}::text`, exemptIf: isUnknown(address) },
]);

/**
 * Counts a request for a calendar that does not exist. It comes after the look-up: 256 bits cannot be guessed, so this bounds the
 * work, and a program whose address was revoked must not stop others behind the same address.
 * @throws {Problem} `rate_limited`.
 */
export async function consumeUnknownCalendar(
  db: Database,
  address: string | null | undefined,
  rateLimit: boolean,
): Promise<void> {
  if (rateLimit) await countUnknownCalendar(db, { address: address ?? '' });
}

const countUnknownCalendar = defineCounter(({ address }: QueryParams<{ address: string }>) => [
  { limit: limits.calendar, counterKey: sql`${address}::text`, exemptIf: isUnknown(address) },
]);

/**
 * Counts a token of an invitation that is tried.
 * @param userId undefined for one who has no account yet.
 * @returns what `refundUnlessWrong` takes. @throws {Problem} `rate_limited`.
 */
export const consumeInvitationGuess = async (
  db: Database,
  userId: string | undefined,
  { address, rateLimit }: NameLimits,
): Promise<Consumed> =>
  rateLimit
    ? countInvitationGuess(db, { user_id: userId ?? '', address: address ?? '' })
    : nothingConsumed;

const countInvitationGuess = defineCounter(
  ({ user_id, address }: QueryParams<{ user_id: string; address: string }>) => [
    {
      limit: limits.invitation,
      counterKey: sql`${user_id}::text`,
      exemptIf: isUnknown(user_id),
    },
    {
      limit: limits.invitation_by_address,
      counterKey: sql`${address}::text`,
      exemptIf: isUnknown(address),
    },
  ],
);

/**
 * Counts a use of a refresh token, by its session and by the address. An unknown token counts by itself.
 * @param tokenHash as it is stored: the token itself goes into no statement.
 * @throws {Problem} `rate_limited`.
 */
export async function consumeRefresh(
  db: Database,
  tokenHash: string,
  address: string | null | undefined,
  rateLimit: boolean,
): Promise<void> {
  if (rateLimit) await countRefresh(db, { token_hash: tokenHash, address: address ?? '' });
}

const countRefresh = defineCounter(
  ({ token_hash, address }: QueryParams<{ token_hash: string; address: string }>) => {
    const sessionId = sql`(select ${refresh_tokens.session_id} from ${refresh_tokens} where ${refresh_tokens.token_hash} = ${token_hash})`;
    return [
      { limit: limits.refresh, counterKey: sql`coalesce(${sessionId}::text, ${token_hash}::text)` },
      {
        limit: limits.refresh_by_address,
        counterKey: sql`${address}::text`,
        exemptIf: isUnknown(address),
      },
    ];
  },
);

/**
 * Returns what the guess gave, and refunds what was consumed unless that is false or undefined. The count comes first, so that
 * concurrent guesses cannot pass while none of them has failed yet.
 */
export async function refundUnlessWrong<Given>(
  db: Database,
  consumed: Consumed,
  verifying: Promise<Given>,
): Promise<Given> {
  const given = await refundOnError(db, consumed, verifying);
  if (given) await refund(db, consumed);
  return given;
}

/** Returns what the guess gave. Where it could not be verified, refunds what was consumed and throws. */
export async function refundOnError<Given>(
  db: Database,
  consumed: Consumed,
  verifying: Promise<Given>,
): Promise<Given> {
  try {
    return await verifying;
  } catch (error) {
    await refund(db, consumed);
    throw error;
  }
}

/**
 * Awaits a statement with the CTE `refunded`, and refunds apart where PostgreSQL has refused it or it was never sent. Without an
 * answer it may have run: refunded twice, a counter would forget a wrong password.
 */
export async function refundOnFailure<Row>(
  db: Database,
  consumed: Consumed,
  statement: Promise<Row>,
): Promise<Row> {
  try {
    return await statement;
  } catch (error) {
    const failure = parseDatabaseError(error);
    if (failure === undefined || failure.sqlstate !== undefined) await refund(db, consumed);
    throw error;
  }
}

/**
 * `with refunded as …`: refunds what was consumed, in a statement that goes on after a right guess.
 * @param after a condition that reads what comes before: counters are locked last, and so for the shortest time.
 */
export const refunded = (db: Database, { counters }: QueryParams<Consumed>, after: SQL) =>
  counters.length === 0
    ? []
    : [
        db
          .$with('refunded', { key: rate_limits.key })
          .as(sql`${lower(counters, after)} returning r.key`),
      ];

// --- Counters --------------------------------------------------------------------------------------------------

interface Rule {
  limit: RateLimit;
  /** A text: equal for requests that count together. */
  counterKey: SQL;
  /** Where this holds, the rule does not apply. */
  exemptIf?: SQL;
}

/** A counter and the end of the window in which it was raised. */
interface Counter {
  key: string;
  resets_at: string;
}

/** What a guess has raised, to refund it. */
export interface Consumed {
  counters: Counter[];
}

export const nothingConsumed: Consumed = { counters: [] };

interface CheckedRow {
  place: number;
  /** Of the limit. */
  name: string;
  applies: boolean;
  is_full: boolean;
  wait_seconds: number;
  key: string;
  /** When the counter that was raised resets, as PostgreSQL writes it; null where none was raised. */
  counted_until: string | null;
}

/**
 * Returns a function that raises the counters of all rules by one in one statement, or refuses. It raises none where one
 * is full already, so that requests after a refusal fill no wider limit for others; and it raises each counter only after
 * the one before it, under its row's lock and never beyond its quota, which also holds among concurrent requests.
 * Counters are locked in the order of the rules, and the rows to prune come last and are skipped where they are locked: no
 * two statements can wait for each other.
 * @param rulesOf makes the rules, with placeholders for the values.
 * @param accountOf makes the query of an account, which the rules may read as `account`.
 * @returns it throws {Problem} `rate_limited`, for the rule with the longest wait.
 */
function defineCounter<Values extends object>(
  rulesOf: (asked: Values) => Rule[],
  accountOf?: (db: Database, asked: Values) => SQLWrapper,
) {
  const raise = prepared((db, asked: Values) =>
    rawQuery<CheckedRow & FoundAccount>(
      consumeSql(rulesOf(asked), accountOf?.(db, asked) ?? noAccount),
      [...checkedColumns, ...accountColumns],
    ),
  );
  return async (db: Database, values: Parameters<typeof raise>[1]): Promise<ConsumedLogin> => {
    const rows = await raise(db, values);
    const counters = rows.flatMap(({ key, counted_until }) =>
      counted_until === null ? [] : [{ key, resets_at: counted_until }],
    );
    const refusal = findRefusal(rows);
    if (!refusal) return { counters, account: accountIn(rows[0]) };
    // Concurrent requests filled a later counter after this one had raised an earlier one.
    await refund(db, { counters });
    throw refusal;
  };
}

const checkedColumns = [
  'place',
  'name',
  'applies',
  'is_full',
  'key',
  'counted_until',
  'wait_seconds',
] as const;

const accountColumns = ['id', 'username', 'password_hash'] as const;
type FoundAccount = { [Name in keyof Account]: Account[Name] | null };
const noAccount = sql`select null::uuid as id, null::text as username, null::text as password_hash where false`;

function accountIn(row: FoundAccount | undefined): Account | undefined {
  const { id, username, password_hash } = row ?? {};
  return id && username && password_hash ? { id, username, password_hash } : undefined;
}

function consumeSql(checks: readonly Rule[], account: SQLWrapper): SQL {
  const asked = checks.map(
    ({ limit: { name, quota, windowSeconds }, counterKey, exemptIf }, place) => sql`
      select ${number(place)} as place, ${name}::text as name, ${number(quota)} as quota, make_interval(secs => ${number(windowSeconds)}) as duration,
        ${name}::text || ':' || encode(sha256(convert_to(${counterKey}, 'UTF8')), 'hex') as key,
        ${exemptIf ? sql`not ${exemptIf}` : sql`true`} as applies`,
  );
  const raised = checks.map((_, place) => sql.raw(`select key, resets_at from raised_${place}`));
  const raise = checks.map(
    ({ limit }, place) => sql`raised_${number(place)} as (
      insert into ${rate_limits} as r (key, hits, resets_at)
      select key, 1, now() + duration from state
      where place = ${number(place)} and applies and not exists (select from state where is_full)
        and (select count(*) from (${union([nothing, ...raised.slice(0, place)])}) before) =
            (select count(*) from state where applies and place < ${number(place)})
      on conflict (key) do update set
        hits = case when r.resets_at > now() then r.hits + 1 else 1 end,
        resets_at = case when r.resets_at > now() then r.resets_at else excluded.resets_at end
      where r.hits < ${number(limit.quota)} or r.resets_at <= now()
      returning key, resets_at
    )`,
  );
  return sql`
    with account as materialized (${account}),
    asked as (${union(asked)}),
    state as materialized (
      select asked.*, r.resets_at, applies and coalesce(r.hits >= quota, false) as is_full
      from asked left join ${rate_limits} r on r.key = asked.key and r.resets_at > now()
    ),
    ${sql.join(raise, sql`, `)},
    raised as (${union(raised)}),
    over as materialized (
      select key from ${rate_limits}
      where resets_at < now() and key not in (select key from asked) and (select count(*) from raised) >= 0
      order by resets_at limit ${number(PRUNED_ROWS_MAX)} for update skip locked
    ),
    pruned as (delete from ${rate_limits} where key in (select key from over))
    select place, name, applies, is_full, state.key, raised.resets_at::text as counted_until,
      ceil(extract(epoch from coalesce(state.resets_at - now(), duration)))::int as wait_seconds,
      account.id, account.username, account.password_hash
    from state left join raised on raised.key = state.key left join account on true
    order by place`;
}

function findRefusal(rows: CheckedRow[]): Problem | undefined {
  const full = rows.filter(({ is_full }) => is_full);
  const missed = rows.filter(({ applies, counted_until }) => applies && counted_until === null);
  const [longest] = (full.length > 0 ? full : missed.slice(0, 1)).sort(
    (a, b) => b.wait_seconds - a.wait_seconds,
  );
  const limit = Object.values(limits).find(({ name }) => name === longest?.name);
  if (!longest || !limit) return undefined;
  const waitSeconds = Math.min(limit.windowSeconds, longest.wait_seconds);
  return rateLimited(limit, waitSeconds, waitSeconds, {
    event: 'limit_reached',
    limit: limit.name,
  });
}

/** Lowers counters by one, unless their window is over, and locks them in the order in which they were raised. */
export async function refund(db: Database, { counters }: Consumed) {
  if (counters.length > 0) await decrement(db, { counters });
}

const decrement = prepared((_, { counters }: QueryParams<Consumed>) =>
  rawQuery<object>(lower(counters, sql`true`), []),
);

function lower(counters: readonly QueryParams<Counter>[], condition: SQL): SQL {
  const mine = counters.map(
    ({ key, resets_at }, place) => sql`(${number(place)}, ${key}::text, ${resets_at}::timestamptz)`,
  );
  return sql`
    with mine as (
      select r.key from ${rate_limits} r
      join (values ${sql.join(mine, sql`, `)}) c (place, key, resets_at) using (key, resets_at)
      where ${condition}
      order by c.place for update of r
    )
    update ${rate_limits} r set hits = greatest(r.hits - 1, 0) from mine where r.key = mine.key`;
}

/** A constant number in the text of the statement: the shape stays the same. */
const number = (value: number) => sql.raw(String(value));
const nothing = sql`select null::text as key, null::timestamptz as resets_at where false`;
const union = (queries: SQL[]) => sql.join(queries, sql` union all `);
