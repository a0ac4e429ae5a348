/**
 * Writes that are safe to repeat (draft-ietf-httpapi-idempotency-key-header): the statement that writes also stores the
 * response to the `Idempotency-Key`, so a crash leaves both or neither. A key belongs to a user, and to one request, for
 * a day.
 */
// Decision: docs/decisions/14-stored-responses.md
import { and, type Column, eq, type SQL, sql, type WithSubquery } from 'drizzle-orm';
import type { SelectedFieldsFlat } from 'drizzle-orm/pg-core/query-builders/select.types';
import { Problem } from '../errors/problem.ts';
import { digest } from '../lib/secrets.ts';
import type { CurrentUser } from '../schemas/current-user.ts';
import {
  type AccessOfCalls,
  accessFieldsOf,
  type Permission,
  type UserParam,
  unwrapWrite,
  type WriteResult,
} from './authorization.ts';
import { type Calls, oneCall } from './batching.ts';
import type { Database } from './database.ts';
import { asParam, type QueryParam, type QueryParams, type TypedQuery } from './prepared.ts';
import { columnsOf, nameOf } from './row-mapper.ts';
import { decodeRow, insertRow, noTable } from './row-values.ts';
import { idempotency_keys } from './schema.ts';

const KEPT_HOURS = 24;
/** Each write with a key deletes up to this many expired ones: more than it adds, so they never pile up. */
const SWEPT_ROWS = 10;

/** A key, and a digest of the request that it came with. */
export interface IdempotencyKey {
  key: string;
  fingerprint: string;
}

type KeyParams = QueryParams<IdempotencyKey>;

/** Returns the key bound to what the request asks for, in whatever order its fields stand. */
export const idempotencyKey = async (key: string, asked: unknown): Promise<IdempotencyKey> => ({
  key,
  fingerprint: await digest(JSON.stringify(asked, sortFields)),
});

/** A replacer for `JSON.stringify`. */
function sortFields(_: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** A row that was created now, or when the key was first used. */
export interface Created<Row> {
  row: Row;
  replayed: boolean;
}

const isOf = (user: UserParam, key: QueryParam) =>
  and(eq(idempotency_keys.user_id, user.id), eq(idempotency_keys.key, key));

const isOld = sql`${idempotency_keys.created_at} <= now() - make_interval(hours => ${KEPT_HOURS}::int)`;

/**
 * `with claim as …`: for each call, whether it is the first with its key, or else the stored response. Concurrent requests
 * with one key compete for an advisory lock; all but one are told at once.
 *
 * A stored response is locked, which PostgreSQL writes to its log. So the commit of a replay waits for the same standbys
 * as the commit of the write did: a write that is on the primary alone, because its wait was cut short, is not
 * acknowledged by its replay.
 */
export function claimKey(
  db: Database,
  user: UserParam,
  { key }: Pick<KeyParams, 'key'>,
  calls = oneCall,
) {
  const stored = db.$with('stored').as(
    db
      .select({
        call: sql<number>`${calls.call}`.as('stored_call'),
        fingerprint: idempotency_keys.fingerprint,
        answer: idempotency_keys.answer,
      })
      .from(calls.from)
      .innerJoin(idempotency_keys, isOf(user, key))
      // Not as a range of times: the keys are found by their names, not among all of a day.
      .where(and(sql`(${isOld}) is not true`, calls.limitsLocks))
      .for('key share', { of: idempotency_keys }),
  );
  return db.$with('claim').as(
    db
      .with(stored)
      .select({
        is_free:
          sql<boolean>`pg_try_advisory_xact_lock(hashtextextended(${user.id}::text || ' ' || ${key}::text, 0))`.as(
            'is_free',
          ),
        fingerprint: stored.fingerprint,
        answer: stored.answer,
        call: sql<number>`${calls.call}`.as('claim_call'),
      })
      .from(calls.from)
      .leftJoin(stored, eq(stored.call, calls.call)),
  );
}

/** Names a key among those of all users. */
export const keyOf = (user: UserParam, request: Pick<KeyParams, 'key'> | undefined) =>
  request && `${user.id} ${request.key}`;

/** Returns whether a response is stored for the key, whatever was asked. */
export async function hasStoredResponse(
  db: Database,
  user: CurrentUser,
  key: string,
): Promise<boolean> {
  const [answered] = await db
    .select({ key: idempotency_keys.key })
    .from(idempotency_keys)
    .where(and(isOf(user, key), sql`not ${isOld}`));
  return answered !== undefined;
}

export type KeyClaim = ReturnType<typeof claimKey>;

/** The condition that a call may write. */
export const isFirstUse = (claim: KeyClaim, calls = oneCall): SQL =>
  sql`${calls.call} in (select ${claim.call} from ${claim} where ${claim.is_free} and ${claim.answer} is null)`;

/** What a response is selected from, where the same statement writes it. */
interface ResponseSource {
  from: WithSubquery;
  calls: Calls;
  /** The condition that a row of `from` belongs to a call. */
  isOfCall: SQL;
}

/**
 * `with swept as …, stored as …`: stores the response to a key, and deletes some that have expired.
 * @param answer as JSON.
 */
export function storeResponse(
  db: Database,
  user: UserParam,
  { key, fingerprint }: KeyParams,
  answer: SQL,
  source?: ResponseSource,
) {
  const calls = source?.calls ?? oneCall;
  const oldest = db
    .select({ user_id: idempotency_keys.user_id, key: idempotency_keys.key })
    .from(idempotency_keys)
    .where(isOld)
    .orderBy(idempotency_keys.created_at)
    .limit(asParam<number>(sql`${sql.raw(String(SWEPT_ROWS))} * ${calls.count}`))
    .for('update', { skipLocked: true });
  const swept = db.$with('swept').as(
    db
      .delete(idempotency_keys)
      .where(
        and(
          isOld,
          sql`((${idempotency_keys.user_id}, ${idempotency_keys.key}) in (select ${user.id}::uuid, ${key}::text from ${calls.from})
            or (${idempotency_keys.user_id}, ${idempotency_keys.key}) in ${oldest})`,
        ),
      )
      .returning({ key: idempotency_keys.key }),
  );
  const row = insertRow(idempotency_keys, {
    user_id: user.id,
    key,
    fingerprint,
    answer,
    created_at: sql`now()`,
  });
  const selected = source
    ? db.select(row).from(source.from).innerJoin(calls.from, source.isOfCall)
    : db.select(row).from(noTable);
  const stored = db.$with('stored').as(
    db
      .insert(idempotency_keys)
      // `count(*)` makes the delete run before the insert: this key may have an expired response.
      .select(selected.where(sql`(select count(*) from ${swept}) >= 0`))
      .returning({ key: idempotency_keys.key }),
  );
  return [swept, stored] as const;
}

type Statement = WithSubquery<string, Record<string, unknown>>;

/** What an insert with a key returns. */
interface WriteOnceResult<Row> extends WriteResult<Row> {
  claim: ClaimedKey;
}

/**
 * Returns one statement that inserts a row for each call and stores it as the response to the key.
 * @param access what the insert depends on beside the key; undefined where the user needs no access.
 * @param statements builds the CTEs of the insert, the last of which returns the rows. `first` has to be among their
 * conditions.
 * @param isOfCall the condition that a row with this id belongs to a call.
 */
export function writeOnce<Row>(
  db: Database,
  calls: Calls,
  user: UserParam,
  request: KeyParams,
  access: AccessOfCalls | undefined,
  statements: (first: SQL) => readonly [...Statement[], Statement],
  isOfCall: (rowId: SQL) => SQL,
) {
  const claim = claimKey(db, user, request, calls);
  const written = statements(isFirstUse(claim, calls));
  const row = written[written.length - 1] as Statement;
  const rowName = sql.identifier(nameOf(row));
  const isRowOfCall = isOfCall(sql`${rowName}.id`);
  const answer = sql`row_to_json(${rowName})`;
  const response = { from: row, calls, isOfCall: isRowOfCall };
  const fields = {
    claim: columnsOf(claim),
    ...(access && { access: accessFieldsOf(access) }),
    row: columnsOf(row),
    call: calls.call,
  };
  return db
    .with(
      claim,
      ...(access ? [access] : []),
      ...written,
      ...storeResponse(db, user, request, answer, response),
    )
    .select(fields as unknown as SelectedFieldsFlat)
    .from(calls.from)
    .innerJoin(claim, eq(claim.call, calls.call))
    .leftJoin(access ?? noAccess, access ? eq(access.call, calls.call) : sql`true`)
    .leftJoin(row, isRowOfCall) as unknown as TypedQuery<WriteOnceResult<Row>>;
}

const noAccess = sql`(select) as no_access`;

/**
 * Returns the row that an insert wrote, with or without a key.
 * @param columns those of the row.
 * @throws {Problem} `idempotency_key_reused`, `idempotency_in_flight`; as `unwrapWrite` does where there is no row.
 */
export function unwrapOnce<Row>(
  found: WriteResult<Row> | WriteOnceResult<Row> | undefined,
  columns: Record<string, Column>,
  permission: Permission,
  request: IdempotencyKey | undefined,
): Created<Row> {
  const replay = request && storedResponse((found as WriteOnceResult<Row>).claim, request);
  if (replay) return { row: decodeRow(columns, replay) as Row, replayed: true };
  return { row: unwrapWrite(found, permission), replayed: false };
}

/** A row of `claim`. */
export interface ClaimedKey {
  is_free: boolean;
  fingerprint: string | null;
  answer: unknown;
}

/**
 * Returns the response to an earlier request with the key; undefined where this one is the first.
 * @throws {Problem} `idempotency_key_reused`, `idempotency_in_flight`.
 */
export function storedResponse(claim: ClaimedKey, { fingerprint }: IdempotencyKey) {
  if (claim.fingerprint !== null) {
    if (claim.fingerprint !== fingerprint) throw new Problem('idempotency_key_reused');
    return claim.answer as Record<string, unknown>;
  }
  if (!claim.is_free) throw new Problem('idempotency_in_flight');
  return undefined;
}

/** Returns the stored response to a key, as `storedResponse` does, in a statement of its own. */
export async function claimOrReplay(db: Database, user: UserParam, request: IdempotencyKey) {
  const claim = claimKey(db, user, request);
  const [claimed] = await db.with(claim).select(columnsOf(claim)).from(claim);
  return storedResponse(claimed as ClaimedKey, request);
}
