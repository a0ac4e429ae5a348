/** Two at the same rows: somebody else's open transaction, and whoever waits for it. */
import { SQL } from 'bun';
import type { Api } from './api.ts';
import { until } from './process.ts';

/** A transaction of somebody else, open until it is told to commit. */
export async function elsewhere(api: Api, work: (sql: SQL) => Promise<unknown>) {
  const sql = new SQL({ url: api.database_url, max: 1 });
  await sql.unsafe('begin');
  await work(sql);
  return async () => {
    await sql.unsafe('commit');
    await sql.close();
  };
}

/** Until a statement of the API waits for a lock. */
export const somebodyWaits = (api: Api) =>
  until('a statement waits for a lock', () => isWaiting(api.sql));

/** Whether a statement of an API waits for a lock, in the database of this connection. */
export const isWaiting = async (sql: SQL) => (await countWaiting(sql)) > 0;

export async function countWaiting(sql: SQL): Promise<number> {
  const rows = await sql`select from pg_stat_activity
    where datname = current_database() and application_name = 'mantou' and wait_event_type = 'Lock'`;
  return rows.length;
}

/** Holds up whoever wants to write a user, until told otherwise or the work is done. */
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
