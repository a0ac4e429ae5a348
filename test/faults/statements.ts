/**
 * A ledger of statements, because Bun's client once handed a connection's rows to another query's caller: every statement
 * carries a mark of its own, and what comes back, rows or error, has to carry the same. They run through the API's own
 * pool while connections are killed and statements cancelled.
 */
import { expect, test } from 'bun:test';
import { SQL } from 'bun';
import { sql } from 'drizzle-orm';
import type { Database } from '../../src/db/database.ts';
import { parseDatabaseError } from '../../src/lib/database-error.ts';
import { createPool, type Pool } from '../../src/postgres/pool.ts';
import { createCluster } from './cluster.ts';
import { times } from './report.ts';
import { POOL_SIZE, STATEMENT_TIMEOUT_SECONDS } from './service.ts';

const WORKERS = 40;
const STRIKE_INTERVAL_MS = 100;
/** Longer than the buffers that a client may cut a statement's name or text to. */
const PREFIX = `/* ${'the same for all '.repeat(200)}*/`;
const WIDE_LENGTH = 20_000;

const code = (value: number | string) => sql.raw(String(value));
type Rows = Record<string, unknown>[];
const rowsOf = async (db: Database, statement: ReturnType<typeof sql>) =>
  (await db.execute(statement)) as unknown as Rows;

/** Each runs statements marked with a number, and throws `Strange` when it gets what is not its own. */
const kinds: Record<string, (db: Database, mark: number) => Promise<void>> = {
  /** One text for all, prepared once a connection. */
  async prepared(db, mark) {
    same(await rowsOf(db, sql`select ${mark}::int as mark, ${`m${mark}`}::text as words`), [
      { mark, words: `m${mark}` },
    ]);
  },
  /** A text that was never seen. */
  async new(db, mark) {
    same(await rowsOf(db, sql`select ${code(mark)} as mark, 'n${code(mark)}' as words`), [
      { mark, words: `n${mark}` },
    ]);
  },
  async 'with a long common prefix'(db, mark) {
    const statement = sql`${code(PREFIX)} select ${mark}::int as mark, ${code(mark % 50)} as tail`;
    same(await rowsOf(db, statement), [{ mark, tail: mark % 50 }]);
  },
  /** Columns and types that differ from the neighbour's, and an answer of several packets. */
  async 'of another shape'(db, mark) {
    const [row] = await rowsOf(
      db,
      sql`select ${mark}::int as mark, repeat('w', ${WIDE_LENGTH}::int) || ${`${mark}`}::text as wide,
        array[${mark}::int] as list, null as nothing`,
    );
    same(
      [row?.mark, row?.wide === 'w'.repeat(WIDE_LENGTH) + mark, row?.nothing],
      [mark, true, null],
    );
  },
  async 'with many rows'(db, mark) {
    const rows = await rowsOf(
      db,
      sql`select ${mark}::int as mark, n from generate_series(1, 100) as n`,
    );
    same([rows.length, ...new Set(rows.map((row) => row.mark))], [100, mark]);
  },
  /** The error names what was sent. */
  async failing(db, mark) {
    const failure = await db.execute(sql`select ${`f${mark}`}::text::int`).then(
      () => undefined,
      (error: unknown) => {
        if (isInterruption(error)) throw error;
        return parseDatabaseError(error);
      },
    );
    same(
      [failure?.sqlstate, failure?.message],
      ['22P02', `invalid input syntax for type integer: "f${mark}"`],
    );
  },
  /** Sleeps for so long that it is likely to be cancelled or killed. */
  async slow(db, mark) {
    same(await rowsOf(db, sql`select ${mark}::int as mark, pg_sleep(0.01)::text as slept`), [
      { mark, slept: '' },
    ]);
  },
  async 'in a transaction'(db, mark) {
    await db.transaction(async (tx) => {
      same(await rowsOf(tx, sql`select ${mark}::int as mark`), [{ mark }]);
      same(await rowsOf(tx, sql`insert into marks values (${mark}) returning mark`), [{ mark }]);
      same(await rowsOf(tx, sql`select mark from marks where mark = ${mark}`), [{ mark }]);
    });
  },
  async 'rolled back'(db, mark) {
    const end = new Error('roll back');
    const ended = await db
      .transaction(async (tx) => {
        same(await rowsOf(tx, sql`insert into marks values (${-mark}) returning mark`), [
          { mark: -mark },
        ]);
        throw end;
      })
      .catch((error: unknown) => error);
    if (ended !== end) throw ended;
  },
  async writing(db, mark) {
    same(await rowsOf(db, sql`insert into marks values (${mark}) returning mark`), [{ mark }]);
  },
};
const names = Object.keys(kinds);

class Strange extends Error {}

function same(found: unknown, expected: unknown) {
  if (!Bun.deepEquals(found, expected))
    throw new Strange(`${JSON.stringify(found)} instead of ${JSON.stringify(expected)}`);
}

/** What killing, cancelling and waiting bring about. */
const isInterruption = (error: unknown) => parseDatabaseError(error)?.unavailable === true;

test.each([
  ['prepared', true, times(40_000)],
  ['not prepared, as for PgBouncer', false, times(10_000)],
] as const)('no statement gets what belongs to another: %s', async (_, prepare, statements) => {
  const cluster = await createCluster();
  const admin = new SQL({ url: cluster.admin_url, max: 1 });
  const pool: Pool = createPool(cluster.url, {
    databasePoolSize: POOL_SIZE,
    databasePrepare: prepare,
    databaseStatementTimeoutSeconds: STATEMENT_TIMEOUT_SECONDS,
  });
  await pool.database.execute(sql`create table marks (mark int not null)`);

  const counts = { done: 0, interrupted: 0 };
  const strange: string[] = [];
  const written: number[] = [];
  let mark = 0;
  async function work() {
    while (mark < statements) {
      mark += 1;
      const mine = mark;
      // Not in turn, so that each kind meets each other.
      const name = names[Math.floor(Math.random() * names.length)] ?? '';
      try {
        await kinds[name]?.(pool.database, mine);
        counts.done += 1;
        if (name === 'writing' || name === 'in a transaction') written.push(mine);
      } catch (error) {
        if (isInterruption(error)) counts.interrupted += 1;
        else strange.push(`${name}: ${(error as Error).message}`);
      }
    }
  }

  let striking = true;
  let strikes = 0;
  async function strike() {
    while (striking) {
      strikes += 1;
      const how = strikes % 3 === 0 ? 'pg_terminate_backend' : 'pg_cancel_backend';
      await admin.unsafe(`select ${how}(pid) from pg_stat_activity
        where application_name = 'mantou' and state <> 'idle' order by random() limit 3`);
      await Bun.sleep(STRIKE_INTERVAL_MS);
    }
  }
  const strikers = strike();
  await Promise.all(Array.from({ length: WORKERS }, work));
  striking = false;
  await strikers;

  const rows: { mark: number; times: number }[] =
    await admin`select mark, count(*)::int as times from marks group by mark`;
  const found = new Map(rows.map((row) => [row.mark, row.times]));
  console.log(
    `${counts.done} statements of ${names.length} kinds, ${counts.interrupted} interrupted by ${strikes} strikes, ` +
      `${written.length} writes acknowledged, ${strange.length} strange`,
  );
  expect(strange).toEqual([]);
  expect(written.filter((one) => found.get(one) !== 1)).toEqual([]);
  expect(rows.filter((row) => row.mark < 0 || row.times > 1)).toEqual([]);
  expect(counts.interrupted).toBeGreaterThan(0);
  await pool.close();
  await admin.close();
});
