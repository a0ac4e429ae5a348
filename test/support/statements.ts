/** The lists as handlers, on a connection that remembers each statement and can explain it. */
import { SQL } from 'bun';
import { drizzle } from 'drizzle-orm/bun-sql';
import type { Database } from '../../src/db/database.ts';
import { listAllTasks, listTasks } from '../../src/handlers/task-lists.ts';
import type { CurrentUser } from '../../src/schemas/current-user.ts';
import type { AllTasksQuery } from '../../src/schemas/tasks.ts';
import { countRowsRead, type Plan } from './dataset.ts';

interface Statement {
  text: string;
  parameters: unknown[];
}

export interface Lists {
  readonly sql: SQL;
  /** Lists once. @param projectId undefined for all. @returns how many tasks were found. */
  list(projectId: string | undefined, parameters: string): Promise<number>;
  /** How many statements the latest list took, and the rows that the last of them reads once it is prepared. */
  readonly latest: Statement[];
  rowsRead(): Promise<number>;
  /** What `explain (analyze, buffers)` says of it, once it is prepared. */
  explain(): Promise<string>;
  /** How many tasks the latest list would find without a limit. */
  countMatches(): Promise<number>;
  close(): Promise<void>;
}

/** What a list fetches: its page, and the row that tells of the next. */
export const PAGE_ROWS = 51;

export function openLists(url: string, userId: string): Lists {
  const sql = new SQL({ url, max: 1, connection: { jit: 'off' } });
  const latest: Statement[] = [];
  const logger = {
    logQuery: (text: string, parameters: unknown[]) => void latest.push({ text, parameters }),
  };
  const db = drizzle({ client: sql, logger }) as Database;
  const user: CurrentUser = { id: userId, username: 'reader', scopes: ['read'] };
  let prepared = 0;

  async function explainLatest(options: string): Promise<Record<string, unknown>[]> {
    const [{ text, parameters }] = latest as [Statement];
    prepared += 1;
    const values = parameters.map(literal).join(', ');
    const name = `list_${prepared}`;
    await sql.unsafe(`prepare ${name} as ${text}`);
    // From the sixth time on, PostgreSQL may think that one plan will do for all values.
    for (let times = 0; times < 6; times += 1) await sql.unsafe(`execute ${name}(${values})`);
    const explained = await sql.unsafe(`explain (${options}) execute ${name}(${values})`);
    await sql.unsafe(`deallocate ${name}`);
    return explained;
  }

  return {
    sql,
    latest,
    async list(projectId, parameters) {
      latest.length = 0;
      const query = queryOf(parameters);
      const page = projectId
        ? await listTasks(db, user, projectId, query)
        : await listAllTasks(db, user, query);
      return page.items.length;
    },
    async rowsRead() {
      const [explained] = await explainLatest('analyze, timing off, format json');
      return countRowsRead((explained as { 'QUERY PLAN': [{ Plan: Plan }] })['QUERY PLAN'][0].Plan);
    },
    async explain() {
      const lines = await explainLatest('analyze, buffers');
      return lines.map((line) => line['QUERY PLAN']).join('\n');
    },
    async countMatches() {
      const [{ text, parameters }] = latest as [Statement];
      const values = parameters.map((value) => (value === PAGE_ROWS ? 2 ** 31 : value));
      const [{ count }] = await sql.unsafe(
        `select count(title)::int from (${text.replace('select true, ', 'select ')}) as found`,
        values as string[],
      );
      return count;
    },
    close: () => sql.close(),
  };
}

/** As the schema makes it of the URL. */
function queryOf(parameters: string): AllTasksQuery {
  const given = new URLSearchParams(parameters);
  const listed = (name: string) => given.get(name)?.split(',');
  return {
    limit: 50,
    sort: '-created_at',
    archived: 'false',
    ...Object.fromEntries(given),
    ...(given.has('priority_min') && { priority_min: Number(given.get('priority_min')) }),
    ...(given.has('status') && { status: listed('status') }),
    ...(given.has('label') && { label: listed('label') }),
    ...(given.has('in') && { in: listed('in') }),
  } as AllTasksQuery;
}

function literal(value: unknown): string {
  if (value === null || typeof value === 'number') return String(value);
  if (Array.isArray(value)) return `array[${value.map(literal).join(', ')}]`;
  return `'${String(value).replaceAll("'", "''")}'`;
}
