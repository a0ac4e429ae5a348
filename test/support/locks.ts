/** Concurrent work on the same rows: an open transaction, and the statement that waits for it. */
import { SQL } from 'bun';
import type { Api } from './api.ts';
import { waitFor } from './process.ts';

/** Begins a transaction beside the API. @returns what commits it. */
export async function openTransaction(api: Api, work: (sql: SQL) => Promise<unknown>) {
  const sql = new SQL({ url: api.databaseUrl, max: 1 });
  await sql.unsafe('begin');
  await work(sql);
  return async () => {
    await sql.unsafe('commit');
    await sql.close();
  };
}

/** Waits until a statement of the API waits for a lock. */
export const waitForBlockedQuery = (api: Api) =>
  waitFor('a statement waits for a lock', () => isWaiting(api.sql));

/** Whether a statement of an API waits for a lock, in the database of this connection. */
export const isWaiting = async (sql: SQL) => (await countWaiting(sql)) > 0;

export async function countWaiting(sql: SQL): Promise<number> {
  const rows = await sql`select from pg_stat_activity
    where datname = current_database() and application_name = 'mantou' and wait_event_type = 'Lock'`;
  return rows.length;
}

/** Locks the table of users against writers while the work runs, or until the work unlocks it. */
export async function whileTableIsLocked(
  sql: SQL,
  work: (unlock: () => Promise<unknown>) => Promise<void>,
) {
  const client = await sql.reserve();
  const unlock = () => client`rollback`;
  try {
    await client`begin`;
    await client`lock table users in exclusive mode`;
    await work(unlock);
  } finally {
    await unlock();
    client.release();
  }
}
