/** The database slow, silent, gone or killed: answers stay bounded, and the process serves again by itself. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { SQL } from 'bun';
import { sql } from 'drizzle-orm';
import { shareReadiness } from '../../src/handlers/health.ts';
import { parseDatabaseError } from '../../src/lib/database-error.ts';
import { createPool } from '../../src/postgres/pool.ts';
import { Api, type Persona, TEST_TIMEOUT_MS } from '../support/api.ts';
import { createDatabase } from '../support/cluster.ts';
import { waitFor } from '../support/process.ts';
import { type DatabaseProxy, openProxy } from '../support/proxy.ts';

setDefaultTimeout(TEST_TIMEOUT_MS);

const POOL_SIZE = 2;
const STATEMENT_TIMEOUT_SECONDS = 1;

let proxy: DatabaseProxy;
let directUrl: string;
let api: Api;
let ada: Persona;

beforeAll(async () => {
  directUrl = await createDatabase();
  proxy = await openProxy(directUrl);
  api = await Api.start({
    databaseUrl: proxy.url,
    databasePoolSize: POOL_SIZE,
    databaseStatementTimeoutSeconds: STATEMENT_TIMEOUT_SECONDS,
  });
  ada = await api.person();
});

afterAll(() => api.stop());

const statuses = (answers: { status: number }[]) => answers.map(({ status }) => status);

/** Holds a row that others want to write, until it is let go. */
async function lockProjects() {
  const sql = new SQL({ url: directUrl, max: 1 });
  await sql.unsafe('begin');
  await sql.unsafe('lock table projects in access exclusive mode');
  return async () => {
    await sql.unsafe('rollback');
    await sql.close();
  };
}

test('a statement that hangs gets 503, and /health/live stays 200', async () => {
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

test('requests beyond the connections and the bounded queue are refused at once', async () => {
  // Its statements wait as long as the lock lasts.
  const patient = await Api.start({ databaseUrl: directUrl, databasePoolSize: POOL_SIZE });
  const eve = await patient.person('eve');
  const project = await eve.createProject();
  // The known credential lasts, so that each request needs one statement and no other.
  patient.stoppedAtMs = Date.now();
  const unlock = await lockProjects();
  const beyond = POOL_SIZE * 9;
  let refused = 0;
  const requests = Array.from({ length: POOL_SIZE * 21 + beyond }, async () => {
    // Each is a statement of its own.
    const { status, body } = await eve.patch(`/projects/${project.id}`, { name: 'Waits' });
    if (body.code === 'overloaded') refused += 1;
    return status;
  });
  await waitFor('those beyond are refused', async () => refused >= beyond);
  await unlock();
  const answers = await Promise.all(requests);
  // Background work takes places in the line.
  expect(answers.filter((status) => status === 200)).not.toBeEmpty();
  expect((await eve.get('/projects')).status).toBe(200);
  await patient.stop();
});

test('every request is answered while the network is silent, and all succeed when it is back', async () => {
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
  await waitFor(
    'the database answers again',
    async () => (await ada.get('/health/ready')).status === 200,
  );
  expect((await ada.get(`/projects/${project.id}`)).status).toBe(200);
});

test('a transaction behind a silent network is aborted, and the server releases its locks', async () => {
  const pool = createPool(proxy.url, {
    databasePoolSize: POOL_SIZE,
    databasePrepare: true,
    databaseStatementTimeoutSeconds: STATEMENT_TIMEOUT_SECONDS,
  });
  const name = 'half a transaction';
  const transaction = pool.database.transaction(async (tx) => {
    await tx.execute(sql`lock table projects in exclusive mode`);
    await tx.execute(sql`insert into projects (id, name) values (${crypto.randomUUID()}, ${name})`);
    proxy.stall();
    await tx.execute(sql`select 1`);
  });
  const error = await transaction.catch((thrown: unknown) => thrown);
  expect(parseDatabaseError(error)?.unavailable).toBeTrue();
  // Its end has not reached the server, which has to see for itself.
  const direct = new SQL({ url: directUrl, max: 1 });
  await waitFor('the locks are gone', async () => {
    const locks = await direct`select from pg_locks
      where relation = 'projects'::regclass and mode = 'ExclusiveLock'`;
    return locks.length === 0;
  });
  expect(await direct`select from projects where name = ${name}`).toBeEmpty();
  await direct.close();
  proxy.flow();
  await pool.close();
});

test('a read whose connection was killed succeeds', async () => {
  for (let round = 0; round < 5; round += 1) {
    await Promise.all(Array.from({ length: POOL_SIZE * 2 }, () => ada.get('/projects')));
    const sql = new SQL({ url: directUrl, max: 1 });
    await sql`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'mantou'`;
    await sql.close();
    const answers = await Promise.all(
      Array.from({ length: POOL_SIZE * 2 }, () => ada.get('/projects')),
    );
    expect(statuses(answers)).toEqual(Array(POOL_SIZE * 2).fill(200));
  }
});

test('a readiness that was checked before the loss of a connection is not returned after it', async () => {
  const pool = createPool(proxy.url, {
    databasePoolSize: POOL_SIZE,
    databasePrepare: true,
    databaseStatementTimeoutSeconds: STATEMENT_TIMEOUT_SECONDS,
  });
  const check = shareReadiness(pool.probe, pool.countLosses);
  const before = check();
  await before;
  expect(check()).toBe(before);
  proxy.reset();
  await waitFor('the loss is noticed', () => pool.countLosses() === 1);
  const after = check();
  expect(after).not.toBe(before);
  await after.catch(() => undefined);
  await pool.close();
});

test('requests get 503 while the database refuses connections', async () => {
  await proxy.cut();
  expect(statuses([await ada.get('/projects'), await ada.get('/health/ready')])).toEqual([
    503, 503,
  ]);
  expect((await api.anonymous.get('/health/live')).status).toBe(200);
  await proxy.mend();
  await waitFor(
    'the database answers again',
    async () => (await ada.get('/projects')).status === 200,
  );
});
