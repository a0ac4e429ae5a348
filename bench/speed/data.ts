/**
 * The fixed data of the bench: people with twenty projects of twenty tasks each, who are logged in. Each turn of a server
 * begins with a fresh copy of it.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SQL } from 'bun';
import { SignJWT } from 'jose';
import { bunPasswords } from '../../src/passwords/bun.ts';
import { connectEmbeddedPostgres } from '../../src/postgres/embedded.ts';
import { migrate } from '../../src/postgres/migrate.ts';
import { readSettings } from '../../src/settings.ts';

/** A user may send 100 requests a second, so the load needs many. */
export const PEOPLE = 256;
export const PROJECTS_PER_PERSON = 20;
export const TASKS_PER_PROJECT = 20;
export const PASSWORD = 'correct horse battery staple';
export const JWT_SECRET = 'a secret of the bench, which guards nothing'.padEnd(48, '.');
const TOKEN_TTL_SECONDS = 86_400;

export interface Person {
  id: string;
  username: string;
  access_token: string;
  /** The address that a proxy would name. */
  address: string;
  /** The projects, each with some of its tasks. */
  projects: { id: string; task_ids: string[] }[];
}

/** Returns the fixed data on a PostgreSQL of its own, which ends with the data. */
export async function openFixedData() {
  const folder = await mkdtemp(join(tmpdir(), 'mantou-bench-'));
  const postgres = await connectEmbeddedPostgres(folder);
  const admin = new SQL({ url: postgres.url, max: 1 });
  const close = async () => {
    await admin.close();
    await postgres.leave();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await admin.unsafe('create database fixed');
    const url = new URL(postgres.url);
    url.pathname = '/fixed';
    await makeFixedData(url.href);
    return {
      url: url.href,
      admin,
      people: await readPeople(url.href),
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Fills the database that is copied for each turn. @param migrateFirst how another checkout migrates it. */
export async function makeFixedData(
  url: string,
  migrateFirst: (url: string) => Promise<unknown> = migrate,
): Promise<void> {
  await migrateFirst(url);
  const sql = new SQL({ url, max: 1 });
  try {
    const hash = await bunPasswords().hash(PASSWORD);
    await sql`insert into users (id, username, email, password_hash)
      select uuidv7(), 'person-' || n, 'person-' || n || '@example.org', ${hash} from generate_series(1, ${PEOPLE}::int) n`;
    await sql`insert into sessions (id, user_id, expires_at)
      select uuidv7(), id, now() + interval '90 days' from users`;
    await sql`create temp table place as
      select uuidv7() as project_id, id as user_id, n
      from users, generate_series(1, ${PROJECTS_PER_PERSON}::int) n`;
    const words = (...list: string[]) => `array_to_tsvector(array[${list.join(', ')}])`;
    const scoped = (...list: string[]) => words(...list.map((word) => `scope || ${word}`));
    await insert(sql, 'projects', 'place', {
      id: 'project_id',
      name: `'Project ' || n`,
      name_key: `'project ' || length(n::text) || n`,
      name_words: words(`'project'`, 'n::text'),
      description: `'What project ' || n || ' is about'`,
      description_words: words(`'what'`, `'project'`, 'n::text', `'is'`, `'about'`),
      name_runs: `''`,
      description_runs: `''`,
      created_at: `now() - n * interval '1 hour'`,
      words_version: '-1',
    });
    await sql`insert into project_members (project_id, user_id, role) select project_id, user_id, 'owner' from place`;
    const tasks = `(select *, right(project_id::text, 6) as scope from place) place, generate_series(1, ${TASKS_PER_PROJECT}) task`;
    await insert(sql, 'tasks', tasks, {
      id: 'uuidv7()',
      project_id: 'project_id',
      created_by: 'user_id',
      title: `'Task ' || task`,
      title_key: `'task ' || length(task::text) || task`,
      title_words: scoped(`'task'`, 'task'),
      description: `'Do the thing number ' || task`,
      description_words: scoped(`'do'`, `'the'`, `'thing'`, `'number'`, 'task'),
      label_words: `''`,
      title_runs: `''`,
      description_runs: `''`,
      created_at: `now() - task * interval '1 minute'`,
      words_version: '-1',
    });
    // Each event has its position, as after a while of service: statistics from before mislead the planner.
    for (let more = true; more; ) [{ more }] = await sql`select sequence_events('90 days') as more`;
    await sql.unsafe('vacuum (analyze)');
  } finally {
    await sql.close();
  }
}

/** Inserts rows with these values in SQL, as far as the table has the columns: another checkout may lack some. */
async function insert(sql: SQL, table: string, from: string, values: Record<string, string>) {
  const rows: { name: string }[] =
    await sql`select column_name as name from information_schema.columns where table_name = ${table}`;
  const columns = Object.keys(values).filter((column) => rows.some(({ name }) => name === column));
  await sql.unsafe(
    `insert into ${table} (${columns.join(', ')}) select ${columns.map((column) => values[column]).join(', ')} from ${from}`,
  );
}

/** Returns all people, each with an access token of their session. */
export async function readPeople(url: string): Promise<Person[]> {
  const sql = new SQL({ url, max: 1 });
  try {
    const rows = await sql`select users.id, username, session.id as session_id, projects
      from users
        join sessions session on session.user_id = users.id
        cross join lateral (
          select json_agg(json_build_object('id', member.project_id, 'task_ids',
            (select json_agg(tasks.id) from tasks where tasks.project_id = member.project_id))) as projects
          from project_members member where member.user_id = users.id) of_his
      order by username`;
    return Promise.all(
      rows.map(
        async (
          {
            session_id,
            ...person
          }: Omit<Person, 'access_token' | 'address'> & { session_id: string },
          n: number,
        ) => ({
          ...person,
          access_token: await signToken(person, session_id),
          address: addressOf(n),
        }),
      ),
    );
  } finally {
    await sql.close();
  }
}

/** Returns the n-th address. */
export const addressOf = (n: number) => `10.0.${n >> 8}.${n & 255}`;

/** Returns an access token like the API's. */
function signToken({ id, username }: { id: string; username: string }, sessionId: string) {
  const { jwtIssuer, jwtAudience } = readSettings({});
  return new SignJWT({ sid: sessionId, username })
    .setProtectedHeader({ alg: 'HS256', typ: 'at+jwt' })
    .setSubject(id)
    .setIssuer(jwtIssuer)
    .setAudience(jwtAudience)
    .setIssuedAt()
    .setExpirationTime(`${TOKEN_TTL_SECONDS}s`)
    .setJti(crypto.randomUUID())
    .sign(new TextEncoder().encode(JWT_SECRET));
}
