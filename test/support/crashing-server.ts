/** The server, with an uncaught error whose message holds a submitted value. */
import { sql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/bun-sql';
import '../../src/server/main.ts';

const database = drizzle(process.env.DATABASE_URL ?? '');
const failure = await database
  .execute(sql`select ${'hunter2'}::int`)
  .catch((error: unknown) => error);
if (process.env.CRASH === 'reject') Promise.reject(failure);
else
  setTimeout(() => {
    throw failure;
  });
