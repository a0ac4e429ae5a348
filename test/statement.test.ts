/** Statements that are written once: what decides their text, and whose values they are sent with. */
import { afterAll, expect, test } from 'bun:test';
import { and, eq, getTableColumns, inArray, type Placeholder, sql } from 'drizzle-orm';
import { openPool } from '../src/db/client.ts';
import { project_members, projects, users } from '../src/db/schema.ts';
import { type Asked, statement, written } from '../src/db/statement.ts';
import { readSettings } from '../src/settings.ts';
import { createDatabase, dropDatabase } from './support/cluster.ts';

const url = await createDatabase();
const pool = openPool(url, readSettings({}));
const { database: db } = pool;

afterAll(async () => {
  await pool.close();
  await dropDatabase(url);
});

interface Wanted {
  text: string | null;
  number?: number | undefined;
  list?: readonly string[] | undefined;
}

/** A statement that gives back what it is asked with, and how often it was written. */
function echo() {
  let count = 0;
  const send = statement((_, { text, number, list }: Asked<Wanted>, variant: string = '') => {
    count += 1;
    const listed = list === undefined ? sql`null` : sql`array[${sql.join([...list], sql`, `)}]`;
    return written<{ text: string; number: number; list: string[]; variant: string }>(
      sql`select ${text}::text, ${number ?? null}::int, ${listed}::text[], ${sql.raw(`'${variant}'`)}::text`,
      ['text', 'number', 'list', 'variant'],
    );
  });
  return { send, writings: () => count };
}

test('is written once for all values of one shape, and each gets his own answer', async () => {
  const { send, writings } = echo();
  const answers = await Promise.all(
    Array.from({ length: 200 }, (_, n) => send(db, { text: `text ${n}`, number: n }, '')),
  );
  expect(answers.map(([row]) => [row?.text, row?.number])).toEqual(
    Array.from({ length: 200 }, (_, n) => [`text ${n}`, n]),
  );
  expect(writings()).toBe(1);
});

test('null is a value, undefined is none', async () => {
  const { send, writings } = echo();
  expect(await send(db, { text: 'a' }, '')).toMatchObject([{ text: 'a', number: null }]);
  expect(await send(db, { text: null }, '')).toMatchObject([{ text: null, number: null }]);
  expect(await send(db, { text: 'a', number: undefined }, '')).toMatchObject([{ number: null }]);
  expect(writings()).toBe(1);
  expect(await send(db, { text: 'a', number: 5 }, '')).toMatchObject([{ number: 5 }]);
  expect(writings()).toBe(2);
});

test('lists of another length have another shape, and so has another variant', async () => {
  const { send, writings } = echo();
  expect(await send(db, { text: '', list: ['a', 'b'] }, '')).toMatchObject([{ list: ['a', 'b'] }]);
  expect(await send(db, { text: '', list: ['b', 'c'] }, '')).toMatchObject([{ list: ['b', 'c'] }]);
  expect(writings()).toBe(1);
  expect(await send(db, { text: '', list: ['a'] }, '')).toMatchObject([{ list: ['a'] }]);
  expect(await send(db, { text: '', list: ['a'] }, 'x')).toMatchObject([{ variant: 'x' }]);
  expect(writings()).toBe(3);
});

test('what a library adds to all lists is no value', async () => {
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

test('of 501 shapes the oldest is written anew', async () => {
  const { send, writings } = echo();
  for (let n = 0; n <= 500; n += 1) await send(db, { text: '' }, `variant ${n}`);
  expect(writings()).toBe(501);
  await send(db, { text: '' }, 'variant 500');
  expect(writings()).toBe(501);
  await send(db, { text: '' }, 'variant 0');
  expect(writings()).toBe(502);
});

test('gives the rows that Drizzle gives, with what is missing as null', async () => {
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
  const send = statement((_, { ids }: Asked<{ ids: readonly string[] }>) => query(ids));
  const rows = await send(db, { ids: [ada, bob] });
  expect(rows).toEqual(await query([ada, bob]));
  expect(rows.map((row) => row.project?.id ?? null)).toEqual([project, null]);
});

test('fails as Drizzle does, with the cause', async () => {
  const send = statement((_, { text }: Asked<{ text: string }>) =>
    written<{ number: number }>(sql`select ${text}::text::int`, ['number']),
  );
  const failed = send(db, { text: 'no number' });
  expect(failed).rejects.toMatchObject({ cause: { errno: '22P02' } });
  await failed.catch(() => undefined);
});
