/** Prepared queries: what decides their text, and which values they are sent with. */
import { afterAll, expect, test } from 'bun:test';
import { and, eq, getTableColumns, inArray, type Placeholder, sql } from 'drizzle-orm';
import { dependencies } from '../../package.json';
import { prepared, type QueryParams, rawQuery } from '../../src/db/prepared.ts';
import { DRIZZLE_VERSION } from '../../src/db/row-mapper.ts';
import { project_members, projects, users } from '../../src/db/schema.ts';
import { createPool } from '../../src/postgres/pool.ts';
import { readSettings } from '../../src/settings.ts';
import { createDatabase, dropDatabase } from '../support/cluster.ts';

const url = await createDatabase();
const pool = createPool(url, readSettings({}));
const { database: db } = pool;

test('the private surface of Drizzle was written against the installed version', () => {
  expect(DRIZZLE_VERSION).toBe(dependencies['drizzle-orm']);
});

afterAll(async () => {
  await pool.close();
  await dropDatabase(url);
});

interface Wanted {
  text: string | null;
  number?: number | undefined;
  list?: readonly string[] | undefined;
}

/** A query that returns the values it is sent with, and how often it was built. */
function echo() {
  let count = 0;
  const send = prepared((_, { text, number, list }: QueryParams<Wanted>, variant: string = '') => {
    count += 1;
    const listed = list === undefined ? sql`null` : sql`array[${sql.join([...list], sql`, `)}]`;
    return rawQuery<{ text: string; number: number; list: string[]; variant: string }>(
      sql`select ${text}::text, ${number ?? null}::int, ${listed}::text[], ${sql.raw(`'${variant}'`)}::text`,
      ['text', 'number', 'list', 'variant'],
    );
  });
  return { send, builds: () => count };
}

test('a query is built once for all values of one shape, and each caller gets its own rows', async () => {
  const { send, builds } = echo();
  const answers = await Promise.all(
    Array.from({ length: 200 }, (_, n) => send(db, { text: `text ${n}`, number: n }, '')),
  );
  expect(answers.map(([row]) => [row?.text, row?.number])).toEqual(
    Array.from({ length: 200 }, (_, n) => [`text ${n}`, n]),
  );
  expect(builds()).toBe(1);
});

test('null is a value, undefined is an absent one', async () => {
  const { send, builds } = echo();
  expect(await send(db, { text: 'a' }, '')).toMatchObject([{ text: 'a', number: null }]);
  expect(await send(db, { text: null }, '')).toMatchObject([{ text: null, number: null }]);
  expect(await send(db, { text: 'a', number: undefined }, '')).toMatchObject([{ number: null }]);
  expect(builds()).toBe(1);
  expect(await send(db, { text: 'a', number: 5 }, '')).toMatchObject([{ number: 5 }]);
  expect(builds()).toBe(2);
});

test('a list of another length has another shape, and so has another variant', async () => {
  const { send, builds } = echo();
  expect(await send(db, { text: '', list: ['a', 'b'] }, '')).toMatchObject([{ list: ['a', 'b'] }]);
  expect(await send(db, { text: '', list: ['b', 'c'] }, '')).toMatchObject([{ list: ['b', 'c'] }]);
  expect(builds()).toBe(1);
  expect(await send(db, { text: '', list: ['a'] }, '')).toMatchObject([{ list: ['a'] }]);
  expect(await send(db, { text: '', list: ['a'] }, 'x')).toMatchObject([{ variant: 'x' }]);
  expect(builds()).toBe(3);
});

test('a property that a library adds to all arrays is not sent as a value', async () => {
  const { send } = echo();
  const lists = Array.prototype as unknown as Record<string, unknown>;
  lists.random = () => 4;
  try {
    const answer = await send(db, { list: ['a'], text: 'after it' }, '');
    expect(answer).toMatchObject([{ list: ['a'], text: 'after it' }]);
  } finally {
    delete lists.random;
  }
});

test('of 501 shapes the oldest is evicted and built again', async () => {
  const { send, builds } = echo();
  for (let n = 0; n <= 500; n += 1) await send(db, { text: '' }, `variant ${n}`);
  expect(builds()).toBe(501);
  await send(db, { text: '' }, 'variant 500');
  expect(builds()).toBe(501);
  await send(db, { text: '' }, 'variant 0');
  expect(builds()).toBe(502);
});

test('rows are those that Drizzle returns, with null for a missing nested object', async () => {
  const [ada, bob] = [crypto.randomUUID(), crypto.randomUUID()];
  const person = (id: string, username: string) => ({
    ...{ id, username, email: `${username}@example.org`, password_hash: '' },
  });
  await db.insert(users).values([person(ada, 'ada'), person(bob, 'bob')]);
  const project = crypto.randomUUID();
  await db.insert(projects).values({ id: project, name: 'Kitchen', name_key: '' });
  await db.insert(project_members).values({ project_id: project, user_id: ada, role: 'owner' });

  const query = (ids: readonly (string | Placeholder)[]) =>
    db
      .select({
        username: users.username,
        at: users.created_at,
        project: getTableColumns(projects),
      })
      .from(users)
      .leftJoin(project_members, eq(project_members.user_id, users.id))
      .leftJoin(projects, eq(projects.id, project_members.project_id))
      .where(and(inArray(users.id, [...ids]), sql`true`))
      .orderBy(users.username);
  const send = prepared((_, { ids }: QueryParams<{ ids: readonly string[] }>) => query(ids));
  const rows = await send(db, { ids: [ada, bob] });
  expect(rows).toEqual(await query([ada, bob]));
  expect(rows.map((row) => row.project?.id ?? null)).toEqual([project, null]);
});

test('an error is the one that Drizzle throws, with its cause', async () => {
  const send = prepared((_, { text }: QueryParams<{ text: string }>) =>
    rawQuery<{ number: number }>(sql`select ${text}::text::int`, ['number']),
  );
  const failed = send(db, { text: 'no number' });
  expect(failed).rejects.toMatchObject({ cause: { errno: '22P02' } });
  await failed.catch(() => undefined);
});
