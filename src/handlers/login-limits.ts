/**
 * Brute-force limits that hold across processes: counters in PostgreSQL, by its clock. A counter's key is the limit's
 * name and a SHA-256 of what it counts, so the table holds no name and no address.
 */
// Decision: docs/decisions/25-count-guesses-first.md
import { type SQL, sql } from 'drizzle-orm';
import type { Database } from '../db/database.ts';
import { prepared, type QueryParams, rawQuery } from '../db/prepared.ts';
import { rate_limits, refresh_tokens, sessions } from '../db/schema.ts';
import type { Problem } from '../errors/problem.ts';
import { type RateLimit, rateLimited } from '../http/rate-limit-headers.ts';

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

/** A log-in that is tried. Clients whose address is unknown are not counted by address. */
export interface LoginAttempt {
  username: string;
  /** Of the account with this user name or email; undefined where there is none. */
  account_id: string | undefined;
  address: string | null | undefined;
}

/**
 * Counts a log-in for its account from its address, for its address, and for its account from anywhere. The last does not
 * bind an address from which the account has a session that has not ended, so that guesses from elsewhere cannot keep its
 * owner out. An account that does not exist is counted like any other; an account counts the same by its user name and by
 * its email.
 * @returns what `refundUnlessWrong` takes. @throws {Problem} `rate_limited`.
 */
export const consumeLogin = async (
  db: Database,
  { username, account_id, address }: LoginAttempt,
  rateLimit: boolean,
): Promise<Consumed[]> =>
  rateLimit
    ? countLogin(db, { username, account_id: account_id ?? null, address: address ?? '' })
    : [];

/** One counter for all clients whose address is unknown would let any of them lock out the others. */
const isUnknown = (address: unknown) => sql`${address}::text = ''`;

const countLogin = defineCounter(
  (asked: QueryParams<{ username: string; account_id: string | null; address: string }>) => {
    const id = sql`${asked.account_id}::uuid`;
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
);

/**
 * Counts the check of a password that a logged-in user repeats.
 * @returns what `refundUnlessWrong` takes. @throws {Problem} `rate_limited`.
 */
export const consumePasswordCheck = async (
  db: Database,
  { id, sessionId }: { id: string; sessionId: string },
  rateLimit: boolean,
): Promise<Consumed[]> =>
  rateLimit ? countPasswordCheck(db, { user_id: id, session_id: sessionId }) : [];

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
): Promise<Consumed[]> =>
  rateLimit ? countInvitationGuess(db, { user_id: userId ?? '', address: address ?? '' }) : [];

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
  consumed: Consumed[],
  verifying: Promise<Given>,
): Promise<Given> {
  let isWrong = false;
  try {
    const given = await verifying;
    isWrong = !given;
    return given;
  } finally {
    if (!isWrong) await refund(db, consumed);
  }
}

// --- Counters --------------------------------------------------------------------------------------------------

interface Rule {
  limit: RateLimit;
  /** A text: equal for requests that count together. */
  counterKey: SQL;
  /** Where this holds, the rule does not apply. */
  exemptIf?: SQL;
}

/** A counter and the end of the window in which it was raised. */
export interface Consumed {
  key: string;
  resets_at: string;
}

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
 * @returns it throws {Problem} `rate_limited`, for the rule with the longest wait.
 */
function defineCounter<Values extends object>(rulesOf: (asked: Values) => Rule[]) {
  const raise = prepared((_, asked: Values) =>
    rawQuery<CheckedRow>(consumeSql(rulesOf(asked)), checkedColumns),
  );
  return async (db: Database, values: Parameters<typeof raise>[1]): Promise<Consumed[]> => {
    const rows = await raise(db, values);
    const counted = rows.flatMap(({ key, counted_until }) =>
      counted_until === null ? [] : [{ key, resets_at: counted_until }],
    );
    const refusal = findRefusal(rows);
    if (!refusal) return counted;
    // Concurrent requests filled a later counter after this one had raised an earlier one.
    await refund(db, counted);
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

function consumeSql(checks: readonly Rule[]): SQL {
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
    with asked as (${union(asked)}),
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
      ceil(extract(epoch from coalesce(state.resets_at - now(), duration)))::int as wait_seconds
    from state left join raised on raised.key = state.key
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
async function refund(db: Database, counted: Consumed[]) {
  if (counted.length > 0) await decrement(db, { counted });
}

const decrement = prepared((_, asked: QueryParams<{ counted: Consumed[] }>) => {
  const mine = asked.counted.map(
    ({ key, resets_at }, place) => sql`(${number(place)}, ${key}::text, ${resets_at}::timestamptz)`,
  );
  return rawQuery<object>(
    sql`
    with mine as (
      select r.key from ${rate_limits} r
      join (values ${sql.join(mine, sql`, `)}) c (place, key, resets_at) using (key, resets_at)
      order by c.place for update of r
    )
    update ${rate_limits} r set hits = greatest(r.hits - 1, 0) from mine where r.key = mine.key`,
    [],
  );
});

/** A constant number in the text of the statement: the shape stays the same. */
const number = (value: number) => sql.raw(String(value));
const nothing = sql`select null::text as key, null::timestamptz as resets_at where false`;
const union = (queries: SQL[]) => sql.join(queries, sql` union all `);
