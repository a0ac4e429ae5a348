/**
 * Limits against guessing and flooding that hold across processes: counters in PostgreSQL, by its clock. A counter's
 * key is the limit's name and a SHA-256 of whom it counts, so the table holds no name and no address.
 */
import { type SQL, sql } from 'drizzle-orm';
import type { Database } from '../db/database.ts';
import { rate_limits, refresh_tokens, sessions } from '../db/schema.ts';
import { type Asked, statement, written } from '../db/statement.ts';
import type { Problem } from '../problem.ts';
import { type RateLimit, rateLimited } from '../rate-limit.ts';

const MINUTE_SECONDS = 60;
const GUESSING_WINDOW_SECONDS = 15 * MINUTE_SECONDS;

const limits = {
  /** Wrong passwords for one account from one address. */
  login: { name: 'login', quota: 10, window_seconds: GUESSING_WINDOW_SECONDS },
  /** Wrong passwords from one address: many accounts tried with a few passwords each. */
  login_by_address: { name: 'login-address', quota: 100, window_seconds: GUESSING_WINDOW_SECONDS },
  /** Wrong passwords for one account from many addresses. */
  login_by_account: { name: 'login-account', quota: 100, window_seconds: GUESSING_WINDOW_SECONDS },
  /** Wrong passwords of somebody who is logged in: whoever finds his screen unlocked. */
  password: { name: 'password', quota: 10, window_seconds: GUESSING_WINDOW_SECONDS },
  register: { name: 'register', quota: 500, window_seconds: 60 * MINUTE_SECONDS },
  refresh: { name: 'refresh', quota: 60, window_seconds: MINUTE_SECONDS },
  refresh_by_address: { name: 'refresh-address', quota: 600, window_seconds: MINUTE_SECONDS },
} satisfies Record<string, RateLimit>;

/** Counters over this long go with each count: more than one count can make, so the table stays small. */
const PRUNED_ROWS_MAX = 10;

/** Who tries to log in, and from where; without an address those without one count together. */
interface LoginAttempt {
  username: string;
  /** Of the account with this user name or email; undefined where there is none. */
  account_id: string | undefined;
  address: string | null | undefined;
}

/**
 * Runs `verify` on the password of a log-in unless there were too many wrong ones: for this account from this address,
 * from this address, or for this account from anywhere. The last does not bind an address from where the account has
 * a session that has not ended, so strangers cannot keep its owner out. An account that does not exist is counted like
 * any other, and one counts the same by its user name and by its email.
 * @throws {Problem} `rate_limited`, and what `verify` throws.
 */
export function limitLogins(
  db: Database,
  rate_limit: boolean,
  { username, account_id, address }: LoginAttempt,
  verify: () => Promise<boolean>,
): Promise<boolean> {
  const asked = { username, account_id: account_id ?? null, address: address ?? '' };
  return limitFailures(db, rate_limit, () => countLogin(db, asked), verify);
}

const countLogin = counting(
  (asked: Asked<{ username: string; account_id: string | null; address: string }>) => {
    const id = sql`${asked.account_id}::uuid`;
    const account = sql`coalesce('id ' || ${id}::text, 'name ' || lower(${asked.username}::text collate "C"))`;
    const from = sql`${asked.address}::text`;
    const known_here = sql`exists (
    select from ${sessions}
    where ${sessions.user_id} = ${id} and ${sessions.address} = ${from} and ${sessions.expires_at} > now()
  )`;
    return [
      { limit: limits.login, whom: sql`${account} || ' ' || ${from}` },
      { limit: limits.login_by_address, whom: from },
      { limit: limits.login_by_account, whom: account, unless: known_here },
    ];
  },
);

/**
 * Runs `verify` on the password that somebody logged in repeats, unless he gave too many wrong ones.
 * @throws {Problem} `rate_limited`, and what `verify` throws.
 */
export function limitPasswordChecks(
  db: Database,
  rate_limit: boolean,
  user_id: string,
  verify: () => Promise<boolean>,
): Promise<boolean> {
  return limitFailures(db, rate_limit, () => countPasswordCheck(db, { user_id }), verify);
}

const countPasswordCheck = counting(({ user_id }: Asked<{ user_id: string }>) => [
  { limit: limits.password, whom: sql`${user_id}::text` },
]);

/** Counts a registration, successful or not: each costs a hash. @throws {Problem} `rate_limited`. */
export async function limitRegistrations(
  db: Database,
  rate_limit: boolean,
  address: string | null | undefined,
): Promise<void> {
  if (rate_limit) await countRegistration(db, { address: address ?? '' });
}

const countRegistration = counting(({ address }: Asked<{ address: string }>) => [
  { limit: limits.register, whom: sql`${address}::text` },
]);

/**
 * Counts a use of a refresh token, by its session and by the address. An unknown token counts by itself.
 * @param token_hash as it is stored: the token itself goes into no statement.
 * @throws {Problem} `rate_limited`.
 */
export async function limitRefreshes(
  db: Database,
  rate_limit: boolean,
  token_hash: string,
  address: string | null | undefined,
): Promise<void> {
  if (rate_limit) await countRefresh(db, { token_hash, address: address ?? '' });
}

const countRefresh = counting(
  ({ token_hash, address }: Asked<{ token_hash: string; address: string }>) => {
    const session_id = sql`(select ${refresh_tokens.session_id} from ${refresh_tokens} where ${refresh_tokens.token_hash} = ${token_hash})`;
    return [
      { limit: limits.refresh, whom: sql`coalesce(${session_id}::text, ${token_hash}::text)` },
      { limit: limits.refresh_by_address, whom: sql`${address}::text` },
    ];
  },
);

/**
 * Counts first and takes the count back unless the password was wrong, so that guesses sent at once cannot slip
 * through while none has failed yet.
 */
async function limitFailures(
  db: Database,
  rate_limit: boolean,
  count: () => Promise<Counted[]>,
  verify: () => Promise<boolean>,
): Promise<boolean> {
  if (!rate_limit) return verify();
  const counted = await count();
  let wrong = false;
  try {
    wrong = !(await verify());
    return !wrong;
  } finally {
    if (!wrong) await takeBack(db, counted);
  }
}

// --- Counters --------------------------------------------------------------------------------------------------

interface Check {
  limit: RateLimit;
  /** A text: equal for those who count together. */
  whom: SQL;
  /** Where this holds, the check is left out. */
  unless?: SQL;
}

/** A counter and the end of the window in which it was raised. */
interface Counted {
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
 * Raises the counters of all checks by one in one statement, or refuses. Nothing is raised where a check is full
 * already, so whoever goes on after a refusal fills no wider limit for others; and each counter is raised only after
 * the one before it, under its row's lock and never beyond its quota, which holds among those who come at once too.
 * Counters are locked in the order of the checks, and what is pruned comes last and waits for nobody: no two
 * statements can wait for each other.
 * @param checksOf makes the checks, the same for all values but for these.
 * @returns what counts. It throws {Problem} `rate_limited`, for the check with the longest wait.
 */
function counting<Values extends object>(checksOf: (asked: Values) => Check[]) {
  const raise = statement((_, asked: Values) =>
    written<CheckedRow>(raising(checksOf(asked)), checked_columns),
  );
  return async (db: Database, values: Parameters<typeof raise>[1]): Promise<Counted[]> => {
    const rows = await raise(db, values);
    const counted = rows.flatMap(({ key, counted_until }) =>
      counted_until === null ? [] : [{ key, resets_at: counted_until }],
    );
    const refusal = findRefusal(rows);
    if (!refusal) return counted;
    // Others at the same moment filled a later check after this one had passed the earlier.
    await takeBack(db, counted);
    throw refusal;
  };
}

const checked_columns = [
  'place',
  'name',
  'applies',
  'is_full',
  'key',
  'counted_until',
  'wait_seconds',
] as const;

function raising(checks: readonly Check[]): SQL {
  const asked = checks.map(
    ({ limit: { name, quota, window_seconds }, whom, unless }, place) => sql`
      select ${number(place)} as place, ${name}::text as name, ${number(quota)} as quota, make_interval(secs => ${number(window_seconds)}) as duration,
        ${name}::text || ':' || encode(sha256(convert_to(${whom}, 'UTF8')), 'hex') as key,
        ${unless ? sql`not ${unless}` : sql`true`} as applies`,
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
  const wait_seconds = Math.min(limit.window_seconds, longest.wait_seconds);
  return rateLimited(limit, wait_seconds, wait_seconds, {
    event: 'limit_reached',
    limit: limit.name,
  });
}

/** Lowers counters by one, unless their window is over. Locks them in the order in which they were raised. */
async function takeBack(db: Database, counted: Counted[]) {
  if (counted.length > 0) await lower(db, { counted });
}

const lower = statement((_, asked: Asked<{ counted: Counted[] }>) => {
  const mine = asked.counted.map(
    ({ key, resets_at }, place) => sql`(${number(place)}, ${key}::text, ${resets_at}::timestamptz)`,
  );
  return written<object>(
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

/** A number of ours, written into the statement: it never differs, so the statement can be prepared. */
const number = (value: number) => sql.raw(String(value));
const nothing = sql`select null::text as key, null::timestamptz as resets_at where false`;
const union = (queries: SQL[]) => sql.join(queries, sql` union all `);
