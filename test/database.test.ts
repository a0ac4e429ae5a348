/** The database slow, silent, gone or killed: answers stay bounded, and the process serves again by itself. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { SQL } from 'bun';
import { sql } from 'drizzle-orm';
import { openPool } from '../src/db/client.ts';
import { findFailure } from '../src/db/failure.ts';
import { Api, type Persona, TEST_TIMEOUT_MS } from './support/api.ts';
import { createDatabase } from './support/cluster.ts';
import { until } from './support/process.ts';
import { type DatabaseProxy, openProxy } from './support/proxy.ts';

setDefaultTimeout(TEST_TIMEOUT_MS);

const POOL_SIZE = 2;
const STATEMENT_TIMEOUT_SECONDS = 1;

let proxy: DatabaseProxy;
let direct_url: string;
let api: Api;
let ada: Persona;

beforeAll(async () => {
  direct_url = await createDatabase();
  proxy = await openProxy(direct_url);
  api = await Api.start({
    database_url: proxy.url,
    database_pool_size: POOL_SIZE,
    database_statement_timeout_seconds: STATEMENT_TIMEOUT_SECONDS,
  });
  ada = await api.person();
});

afterAll(() => api.stop());

const statuses = (answers: { status: number }[]) => answers.map(({ status }) => status);

/** Holds a row that others want to write, until it is let go. */
async function lockProjects() {
  const sql = new SQL({ url: direct_url, max: 1 });
  await sql.unsafe('begin');
  await sql.unsafe('lock table projects in access exclusive mode');
  return async () => {
    await sql.unsafe('rollback');
    await sql.close();
  };
}

test('a statement that hangs is given up with 503, and the liveness stays', async () => {
  const unlock = await lockProjects();
  const [read, live] = await Promise.all([ada.get('/projects'), api.anonymous.get('/health/live')]);
  expect([read.status, read.body.code, read.headers.get('retry-after')]).toEqual([
    503,
    'database_unavailable',
    '1',
  ]);
  expect(live.status).toBe(200);
  await unlock();
  expect((await ada.get('/projects')).status).toBe(200);
});

test('beyond the connections and a bounded line, requests are refused at once', async () => {
  const unlock = await lockProjects();
  // All that are more than the slots and the line hold, whichever they are.
  const beyond = POOL_SIZE * 9;
  let refused = 0;
  const requests = Array.from({ length: POOL_SIZE * 21 + beyond }, async () => {
    const { body } = await ada.get('/projects');
    if (body.code === 'overloaded') refused += 1;
  });
  await until('those beyond are refused', async () => refused >= beyond);
  await unlock();
  await Promise.all(requests);
  expect(refused).toBe(beyond);
  expect((await ada.get('/projects')).status).toBe(200);
});

test('behind a silent network every request is answered, and all is well when it is back', async () => {
  const project = await ada.createProject();
  proxy.stall();
  const answers = await Promise.all([
    ada.get(`/projects/${project.id}`),
    ada.post('/projects', { name: 'Lost?' }),
    ada.get('/health/ready'),
    ada.get('/health/live'),
  ]);
  expect(statuses(answers)).toEqual([503, 503, 503, 200]);
  proxy.flow();
  await until(
    'the database answers again',
    async () => (await ada.get('/health/ready')).status === 200,
  );
  expect((await ada.get(`/projects/${project.id}`)).status).toBe(200);
});

test('a transaction behind a silent network is given up, and the server ends it with its locks', async () => {
  const pool = openPool(proxy.url, {
    database_pool_size: POOL_SIZE,
    database_prepare: true,
    database_statement_timeout_seconds: STATEMENT_TIMEOUT_SECONDS,
  });
  const name = 'half a transaction';
  const transaction = pool.database.transaction(async (tx) => {
    await tx.execute(sql`lock table projects in exclusive mode`);
    await tx.execute(sql`insert into projects (id, name) values (${crypto.randomUUID()}, ${name})`);
    proxy.stall();
    await tx.execute(sql`select 1`);
  });
  const error = await transaction.catch((thrown: unknown) => thrown);
  expect(findFailure(error)?.unavailable).toBeTrue();
  // Its end has not reached the server, which has to see for itself.
  const direct = new SQL({ url: direct_url, max: 1 });
  await until('the locks are gone', async () => {
    const locks = await direct`select from pg_locks
      where relation = 'projects'::regclass and mode = 'ExclusiveLock'`;
    return locks.length === 0;
  });
  expect(await direct`select from projects where name = ${name}`).toBeEmpty();
  await direct.close();
  proxy.flow();
  await pool.close();
});

test('a read does not notice that its connection was killed', async () => {
  for (let round = 0; round < 5; round += 1) {
    await Promise.all(Array.from({ length: POOL_SIZE * 2 }, () => ada.get('/projects')));
    const sql = new SQL({ url: direct_url, max: 1 });
    await sql`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'mantou'`;
    await sql.close();
    const answers = await Promise.all(
      Array.from({ length: POOL_SIZE * 2 }, () => ada.get('/projects')),
    );
    expect(statuses(answers)).toEqual(Array(POOL_SIZE * 2).fill(200));
  }
});

test('a database that refuses is a 503 until it is back', async () => {
  await proxy.cut();
  expect(statuses([await ada.get('/projects'), await ada.get('/health/ready')])).toEqual([
    503, 503,
  ]);
  expect((await api.anonymous.get('/health/live')).status).toBe(200);
  await proxy.mend();
  await until(
    'the database answers again',
    async () => (await ada.get('/projects')).status === 200,
  );
});
