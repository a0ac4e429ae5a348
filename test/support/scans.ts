/** Which plans PostgreSQL has chosen, by its counters. */
import type { SQL } from 'bun';

/**
 * Returns a function that gives how often these tables have been read whole so far.
 * @param sql has one connection, the one that the statements ran on: each reports its counters late.
 */
export const scanCounter =
  (sql: SQL, ...tables: string[]) =>
  async (): Promise<number> => {
    await sql`select pg_stat_force_next_flush()`;
    await sql`select pg_stat_clear_snapshot()`;
    const [row] = await sql`select sum(seq_scan)::int as scans from pg_stat_user_tables
      where relname = any(${sql.array(tables, 'text')})`;
    return row.scans;
  };
