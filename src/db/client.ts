/** The pool on Bun: the built-in PostgreSQL client under Drizzle. */
import { SQL } from 'bun';
import { drizzle } from 'drizzle-orm/bun-sql';
import type { Settings } from '../settings.ts';
import type { Database } from './database.ts';

const CONNECT_TIMEOUT_SECONDS = 5;
const IDLE_TIMEOUT_SECONDS = 60;
const CLOSE_TIMEOUT_SECONDS = 5;

export interface Pool {
  readonly database: Database;
  /** Ends idle connections at once and waits up to 5 s for queries in flight. */
  close(): Promise<void>;
}

type PoolSettings = Pick<
  Settings,
  'database_pool_size' | 'database_prepare' | 'database_statement_timeout_seconds'
>;

/** Opens a pool. Connections are made when they are first needed, so this never fails. */
export function openPool(url: string, settings: PoolSettings): Pool {
  const client = new SQL({
    url,
    max: settings.database_pool_size,
    prepare: settings.database_prepare,
    connectionTimeout: CONNECT_TIMEOUT_SECONDS,
    idleTimeout: IDLE_TIMEOUT_SECONDS,
    connection: {
      application_name: 'mantou',
      statement_timeout: settings.database_statement_timeout_seconds * 1000,
    },
  });
  return {
    database: drizzle({ client }),
    close: () => client.close({ timeout: CLOSE_TIMEOUT_SECONDS }),
  };
}
