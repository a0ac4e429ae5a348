import type { PgDatabase, PgQueryResultHKT } from 'drizzle-orm/pg-core';

/** PostgreSQL through Drizzle, whichever driver is below: handlers know neither. */
export type Database = PgDatabase<PgQueryResultHKT, Record<string, never>>;
