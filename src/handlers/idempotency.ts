/**
 * Writes that are safe to repeat (draft-ietf-httpapi-idempotency-key-header): the answer to a request with an
 * `Idempotency-Key` is kept by the very statement that writes, so a crash leaves both or neither. A key belongs to a
 * user, and to one request, for a day.
 */
import { and, type Column, eq, type SQL, sql, type WithSubquery } from 'drizzle-orm';
import type { SelectedFieldsFlat } from 'drizzle-orm/pg-core/query-builders/select.types';
import {
  type Access,
  type AskedUser,
  type Attempt,
  type CurrentUser,
  type Permission,
  rowOf,
} from '../db/access.ts';
import type { Database } from '../db/database.ts';
import { asRow, fromJson } from '../db/rows.ts';
import { idempotency_keys } from '../db/schema.ts';
import type { Asked, Given, Select } from '../db/statement.ts';
import { Problem } from '../problem.ts';
import { digest } from '../secrets.ts';

const KEPT_HOURS = 24;
/** Each write with a key takes away so many that are older: more than it adds, so they never pile up. */
const SWEPT_ROWS = 10;

/** A key, and a digest of the request that it came with. */
export interface IdempotencyKey {
  key: string;
  fingerprint: string;
}

type AskedKey = Asked<IdempotencyKey>;

/** Binds a key to what the request asks for, in whatever order its fields stand. */
export const idempotencyKey = async (key: string, asked: unknown): Promise<IdempotencyKey> => ({
  key,
  fingerprint: await digest(JSON.stringify(asked, sortFields)),
});

/** To be given to `JSON.stringify`. */
function sortFields(_: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** What was made, now or when the key was first used. */
export interface Made<Row> {
  row: Row;
  replayed: boolean;
}

const isOf = (user: AskedUser, key: Given) =>
  and(eq(idempotency_keys.user_id, user.id), eq(idempotency_keys.key, key));

const is_old = sql`${idempotency_keys.created_at} <= now() - make_interval(hours => ${KEPT_HOURS}::int)`;

/**
 * `with turn as …`: whether this request is the first with its key, or else the answer that was given. Requests with
 * one key that meet do not wait for each other: only one of them has its turn.
 */
export function takeTurn(db: Database, user: AskedUser, { key }: Pick<AskedKey, 'key'>) {
  return db.$with('turn').as(
    db
      .select({
        is_free:
          sql<boolean>`pg_try_advisory_xact_lock(hashtextextended(${user.id}::text || ' ' || ${key}::text, 0))`.as(
            'is_free',
          ),
        fingerprint: idempotency_keys.fingerprint,
        answer: idempotency_keys.answer,
      })
      .from(sql`(select) as one`)
      .leftJoin(idempotency_keys, and(isOf(user, key), sql`not ${is_old}`)),
  );
}

/** Whether an earlier request with the key was answered, whatever it asked for. */
export async function isAnswered(db: Database, user: CurrentUser, key: string): Promise<boolean> {
  const [answered] = await db
    .select({ key: idempotency_keys.key })
    .from(idempotency_keys)
    .where(and(isOf(user, key), sql`not ${is_old}`));
  return answered !== undefined;
}

export type Turn = ReturnType<typeof takeTurn>;

/** The condition that this request may write. */
export const isFirst = (turn: Turn): SQL =>
  sql`(select ${turn.is_free} and ${turn.answer} is null from ${turn})`;

/**
 * `with swept as …, noted as …`: keeps an answer for the key, in place of answers that are too old.
 * @param answer as JSON. @param source what it is selected from, where it is written by the same statement.
 */
export function noteAnswer(
  db: Database,
  user: AskedUser,
  { key, fingerprint }: AskedKey,
  answer: SQL,
  source: WithSubquery | SQL = sql`(select) as one`,
) {
  const oldest = db
    .select({ user_id: idempotency_keys.user_id, key: idempotency_keys.key })
    .from(idempotency_keys)
    .where(is_old)
    .orderBy(idempotency_keys.created_at)
    .limit(SWEPT_ROWS)
    .for('update', { skipLocked: true });
  const swept = db.$with('swept').as(
    db
      .delete(idempotency_keys)
      .where(
        and(
          is_old,
          sql`(${isOf(user, key)} or (${idempotency_keys.user_id}, ${idempotency_keys.key}) in ${oldest})`,
        ),
      )
      .returning({ key: idempotency_keys.key }),
  );
  const row = asRow(idempotency_keys, {
    user_id: user.id,
    key,
    fingerprint,
    answer,
    created_at: sql`now()`,
  });
  const noted = db.$with('noted').as(
    db
      .insert(idempotency_keys)
      // Counted, so that the old answer to this key is gone before the new one comes.
      .select(db.select(row).from(source).where(sql`(select count(*) from ${swept}) >= 0`))
      .returning({ key: idempotency_keys.key }),
  );
  return [swept, noted] as const;
}

type Statement = WithSubquery<string, Record<string, unknown>>;

/** What an insert with a key gives. */
interface AttemptOnce<Row> extends Attempt<Row> {
  turn: TurnTaken;
}

/**
 * An attempt at an insert, in one statement that also keeps its row as the answer to the key.
 * @param access what the insert depends on beside the turn; undefined where the user needs no access.
 * @param statements writes those of the insert, the last of which gives the row. `first` has to be among their conditions.
 */
export function attemptOnce<Row>(
  db: Database,
  user: AskedUser,
  request: AskedKey,
  access: Access | undefined,
  statements: (first: SQL) => readonly [...Statement[], Statement],
) {
  const turn = takeTurn(db, user, request);
  const written = statements(isFirst(turn));
  const row = written[written.length - 1] as Statement;
  const answer = sql`row_to_json(${sql.identifier(row._.alias)})`;
  const fields = {
    turn: turn._.selectedFields,
    ...(access && { access: access._.selectedFields }),
    row: row._.selectedFields,
  };
  return db
    .with(
      turn,
      ...(access ? [access] : []),
      ...written,
      ...noteAnswer(db, user, request, answer, row),
    )
    .select(fields as unknown as SelectedFieldsFlat)
    .from(turn)
    .leftJoin(access ?? sql`(select) as nothing`, sql`true`)
    .leftJoin(row, sql`true`) as unknown as Select<AttemptOnce<Row>>;
}

/**
 * What came of an attempt, with or without a key.
 * @param columns those of the row.
 * @throws {Problem} `idempotency_key_reused`, `idempotency_in_flight`; as `rowOf` does where there is no row.
 */
export function madeOf<Row>(
  found: Attempt<Row> | AttemptOnce<Row> | undefined,
  columns: Record<string, Column>,
  permission: Permission,
  request: IdempotencyKey | undefined,
): Made<Row> {
  const replay = request && findReplay((found as AttemptOnce<Row>).turn, request);
  if (replay) return { row: fromJson(columns, replay) as Row, replayed: true };
  return { row: rowOf(found, permission), replayed: false };
}

/** A row of `turn`. */
export interface TurnTaken {
  is_free: boolean;
  fingerprint: string | null;
  answer: unknown;
}

/**
 * What an earlier request with the key was answered; undefined where this one is the first.
 * @throws {Problem} `idempotency_key_reused`, `idempotency_in_flight`.
 */
export function findReplay(turn: TurnTaken, { fingerprint }: IdempotencyKey) {
  if (turn.fingerprint !== null) {
    if (turn.fingerprint !== fingerprint) throw new Problem('idempotency_key_reused');
    return turn.answer as Record<string, unknown>;
  }
  if (!turn.is_free) throw new Problem('idempotency_in_flight');
  return undefined;
}
