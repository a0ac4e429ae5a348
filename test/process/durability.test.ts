/**
 * A primary that waits for a synchronous standby: what it has not replicated is not acknowledged, and connections that wait
 * stay bounded.
 */
import {
  afterAll,
  afterEach,
  beforeAll,
  describe,
  expect,
  setDefaultTimeout,
  test,
} from 'bun:test';
import { SQL } from 'bun';
import { isRead } from '../../src/postgres/retry.ts';
import { type Cluster, createCluster } from '../faults/cluster.ts';
import { Api, type Persona, TEST_TIMEOUT_MS } from '../support/api.ts';
import { useProcesses, waitFor } from '../support/process.ts';

useProcesses();
setDefaultTimeout(TEST_TIMEOUT_MS * 2);

const POOL_SIZE = 3;

let cluster: Cluster;
let admin: SQL;
let api: Api;
let ada: Persona;
let project: { id: string };

/** Makes commits wait for a standby of this name; none is there. An empty name ends that, and every wait. */
async function awaitStandby(name: string) {
  await admin.unsafe(`alter system set synchronous_standby_names = '${name}'`);
  await admin.unsafe('select pg_reload_conf()');
  await waitFor('the setting is in force', async () => {
    const [row] = await admin.unsafe('show synchronous_standby_names');
    return row.synchronous_standby_names === name;
  });
  // The checkpointer tells the other processes (SyncRepUpdateSyncStandbysDefined), which may be later.
  if (name !== '') await waitFor('commits wait', doesCommitWait);
}

async function doesCommitWait(): Promise<boolean> {
  const client = new SQL(cluster.admin_url, { max: 1 });
  const [{ pid }] = await client`select pg_backend_pid() as pid`;
  let isDone = false;
  const commit = client`select pg_logical_emit_message(true, 'probe', '')`.then(() => {
    isDone = true;
  });
  await waitFor('the commit waits or is done', async () => {
    const waits =
      await admin`select from pg_stat_activity where pid = ${pid} and wait_event = 'SyncRep'`;
    return isDone || waits.length > 0;
  });
  const waits = !isDone;
  if (waits) await admin`select pg_cancel_backend(${pid}::int)`;
  await commit;
  await client.close();
  return waits;
}

/** How many statements wait for the standby. What is done beside the requests gives events their positions, too. */
async function waitingFor(what: 'writes' | 'positions'): Promise<number> {
  const rows = await admin`select query like '%sequence_events%' as positions from pg_stat_activity
    where application_name = 'mantou' and wait_event = 'SyncRep'`;
  return rows.filter(
    ({ positions }: { positions: boolean }) => positions === (what === 'positions'),
  ).length;
}

const waiting = async () => (await waitingFor('writes')) + (await waitingFor('positions'));

/**
 * A cancel comes over a connection of its own, and the server takes connections in order: once it has answered on later
 * ones, a cancel that was sent before has had its effect.
 */
async function letCancelsArrive() {
  for (let connections = 0; connections < 5; connections += 1) {
    const later = new SQL(cluster.admin_url, { max: 1 });
    await later`select 1`;
    await later.close();
  }
}

const tasksNamed = async (title: string) =>
  (await admin`select from tasks where title = ${title}`).length;

const createTask = (title: string, key: string) =>
  ada.post(`/tasks/projects/${project.id}`, { title }, { headers: { 'idempotency-key': key } });

describe('while no synchronous standby answers', () => {
  beforeAll(async () => {
    cluster = await createCluster();
    admin = new SQL(cluster.admin_url, { max: 1 });
    api = await Api.start({
      databaseUrl: cluster.url,
      databasePoolSize: POOL_SIZE,
      databaseStatementTimeoutSeconds: 1,
    });
    ada = await api.person();
    project = await ada.createProject();
  });

  afterEach(() => awaitStandby(''));

  afterAll(async () => {
    await api.stop();
    await admin.close();
    await cluster.stop('fast');
  });

  test('a write gets 503 and is never cancelled: its row is invisible until the standby answers, and then committed', async () => {
    await awaitStandby('absent');
    const answer = await createTask('waits', 'waits');
    expect([answer.status, answer.body.code]).toEqual([503, 'database_unavailable']);
    await letCancelsArrive();
    expect(await waitingFor('writes')).toBe(1);
    expect(await tasksNamed('waits')).toBe(0);
    const repeated = await createTask('waits', 'waits');
    expect([repeated.status, repeated.body.code, repeated.headers.get('retry-after')]).toEqual([
      409,
      'idempotency_in_flight',
      '1',
    ]);
    await awaitStandby('');
    await waitFor('the write is done', async () => (await tasksNamed('waits')) === 1);
    const replayed = await createTask('waits', 'waits');
    expect([replayed.status, replayed.headers.get('idempotency-replayed')]).toEqual([201, 'true']);
  });

  test.each([
    ['a task', () => createTask('cut', 'cut'), () => createTask('cut', 'cut')],
    [
      'a project',
      () => ada.post('/projects', { name: 'Cut' }, { headers: { 'idempotency-key': 'p' } }),
      () => ada.post('/projects', { name: 'Cut' }, { headers: { 'idempotency-key': 'p' } }),
    ],
    [
      'a batch',
      () =>
        ada.post(
          '/tasks/batch',
          { operations: [{ op: 'create', project_id: project.id, title: 'cut in a batch' }] },
          { headers: { 'idempotency-key': 'b' } },
        ),
      () =>
        ada.post(
          '/tasks/batch',
          { operations: [{ op: 'create', project_id: project.id, title: 'cut in a batch' }] },
          { headers: { 'idempotency-key': 'b' } },
        ),
    ],
  ] as const)(
    'a replay of %s whose wait was cut short waits for the standby, too',
    async (_, write, repeat) => {
      await awaitStandby('absent');
      const written = write();
      await waitFor('the write waits', async () => (await waiting()) > 0);
      // What an operator, or a shutdown of the server, does to a backend that waits: its row is on the primary alone.
      await admin`select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'`;
      await written;
      const replayed = await repeat();
      expect([replayed.status, replayed.body.code]).toEqual([503, 'database_unavailable']);
      await awaitStandby('');
      await waitFor('no write waits', async () => (await waiting()) === 0);
      const acknowledged = await repeat();
      expect(acknowledged.headers.get('idempotency-replayed')).toBe('true');
    },
  );

  test('giving events their positions is a write, too', async () => {
    const { next_cursor: since } = (await ada.get('/changes')).body;
    await awaitStandby('absent');
    // Committed without a wait, by a process that has died before it gave its event a position.
    const direct = new SQL(cluster.url, { max: 1 });
    await direct.unsafe('set synchronous_commit = local');
    await direct`insert into projects (id, name) values (${crypto.randomUUID()}, 'unnumbered')`;
    await direct.close();
    expect((await ada.get(`/changes?since=${encodeURIComponent(since)}`)).status).toBe(503);
    await letCancelsArrive();
    expect(await waitingFor('positions')).toBeGreaterThan(0);
    await awaitStandby('');
    await waitFor('no write waits', async () => (await waiting()) === 0);
    expect((await ada.get(`/changes?since=${encodeURIComponent(since)}`)).status).toBe(200);
  });

  test('its connections stay within twice the pool, reads are answered, and the log says why, once', async () => {
    await awaitStandby('absent');
    api.log.length = 0;
    let most = 0;
    for (let round = 0; round < 4; round += 1) {
      const writes = await Promise.all(
        Array.from({ length: POOL_SIZE * 2 }, (_, n) => createTask('many', `many-${round}-${n}`)),
      );
      expect(new Set(writes.map(({ status }) => status))).toEqual(new Set([503]));
      const rows =
        await admin`select from pg_stat_activity where application_name = 'mantou' and datname = current_database()`;
      most = Math.max(most, rows.length);
      expect((await ada.get(`/projects/${project.id}`)).status).toBe(200);
    }
    // And one for the checks of the readiness.
    expect(most).toBeLessThanOrEqual(2 * POOL_SIZE + 1);
    await waitFor('the log says why', () => outages().length > 0);
    expect(outages().map(({ fields }) => fields.cause)).toEqual([
      'the database waits for a synchronous standby that does not answer',
    ]);
    await awaitStandby('');
    await waitFor('writes are answered', async () => (await ada.createProject()).id !== undefined);
    await waitFor('the log says that it is back', async () => {
      await ada.createProject();
      return api.log.some(({ event }) => event === 'database_available');
    });
    expect(outages()).toHaveLength(1);
  });

  test('every function of ours that writes makes a statement a write', async () => {
    const functions: { name: string }[] = await admin`
    select proname as name from pg_proc where pronamespace = 'public'::regnamespace
      and provolatile = 'v' and prorettype <> 'trigger'::regtype`;
    expect(functions.length).toBeGreaterThan(0);
    for (const { name } of functions) {
      const [row] = await admin`select prosrc from pg_proc where proname = ${name}`;
      const writes = /\b(insert|update|delete|pg_notify)\b/i.test(row.prosrc);
      expect([name, isRead(`select ${name}($1) as more`)]).toEqual([name, !writes]);
    }
  });
});

const outages = () => api.log.filter(({ event }) => event === 'database_unavailable');

test.each([
  ['select 1', true],
  ['  with a as (select 1) select * from a', true],
  ['select updated_at, deleted from tasks', true],
  ['with a as (insert into t values (1) returning *) select * from a', false],
  ['select * from t for update', false],
  ['select * from t for key share', false],
  ['select sequence_events($1) as more', false],
  ['select pg_notify($1, $2)', false],
  ['select pg_advisory_xact_lock(1)', false],
  ['select nextval($1)', false],
  ['merge into t using s on true when matched then do nothing', false],
  ['call work()', false],
])('%p only reads: %p', (text, reads) => {
  expect(isRead(text)).toBe(reads);
});
