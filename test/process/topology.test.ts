/** Which server the pool uses: the one in DATABASE_URL, whatever the environment says, and only while it is the primary. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { SQL } from 'bun';
import { openClient } from '../../src/postgres/client.ts';
import { type Cluster, createCluster } from '../faults/cluster.ts';
import { Api, type Persona, TEST_TIMEOUT_MS } from '../support/api.ts';
import { createDatabase } from '../support/cluster.ts';
import { useProcesses, waitFor } from '../support/process.ts';

useProcesses();
setDefaultTimeout(TEST_TIMEOUT_MS * 2);

describe('a server that becomes a standby', () => {
  let cluster: Cluster;
  let api: Api;
  let ada: Persona;

  beforeAll(async () => {
    cluster = await createCluster();
    api = await Api.start({ databaseUrl: cluster.url, databaseStatementTimeoutSeconds: 2 });
    ada = await api.person();
  });

  afterAll(async () => {
    await api.stop();
    await cluster.stop('fast');
  });

  test('is not used, not even for reads, and is used again once it is the primary', async () => {
    await cluster.stop('fast');
    expect((await ada.get('/projects')).status).toBe(503);
    await waitFor('the log says that it is gone', () =>
      api.log.some(({ event }) => event === 'database_unavailable'),
    );
    await cluster.startAsStandby();
    const write = await ada.post('/projects', { name: 'Refused' });
    const read = await ada.get('/projects');
    expect([write.status, read.status, read.body.code]).toEqual([503, 503, 'database_unavailable']);
    await waitFor(
      'the readiness fails',
      async () => (await ada.get('/health/ready')).status === 503,
    );
    expect((await ada.get('/health/live')).status).toBe(200);
    await waitFor('the log says why', () =>
      api.log.some(({ fields }) => fields.cause === 'the database is read-only (a standby)'),
    );
    await promote(cluster);
    await waitFor(
      'a write is done',
      async () => (await ada.post('/projects', { name: 'Done' })).status === 201,
    );
    await waitFor('it is ready', async () => (await ada.get('/health/ready')).status === 200);
  });

  test('an SQLSTATE 25006 closes all connections', async () => {
    const pids = async () => {
      const admin = new SQL(cluster.admin_url, { max: 1 });
      const rows =
        await admin`select pid from pg_stat_activity where application_name = 'mantou' order by pid`;
      await admin.close();
      return rows.map(({ pid }: { pid: number }) => pid);
    };
    expect((await ada.post('/projects', { name: 'Warm' })).status).toBe(201);
    const before = await pids();
    const admin = new SQL(cluster.admin_url, { max: 1 });
    await admin.unsafe('alter system set default_transaction_read_only = on');
    await admin.unsafe('select pg_reload_conf()');
    await waitFor('a write is refused', async () => {
      const { status } = await ada.post('/projects', { name: 'Read-only' });
      return status === 503;
    });
    await admin.unsafe('alter system reset default_transaction_read_only');
    await admin.unsafe('select pg_reload_conf()');
    await admin.close();
    await waitFor(
      'a write is done',
      async () => (await ada.post('/projects', { name: 'Again' })).status === 201,
    );
    const after = await pids();
    expect(after.filter((pid: number) => before.includes(pid))).toEqual([]);
  });
});

async function promote(cluster: Cluster) {
  const admin = new SQL(cluster.admin_url, { max: 1 });
  await admin`select pg_promote()`;
  await admin.close();
}

test.each([
  'PGHOST',
  'PGPORT',
  'PGUSER',
  'PGUSERNAME',
  'PGPASSWORD',
  'PGDATABASE',
  'PGOPTIONS',
  'PGAPPNAME',
  'PGCONNECT_TIMEOUT',
  'PGCHANNELBINDING',
  'PG_HOST',
  'PG_PORT',
  'PG_USER',
  'PG_PASSWORD',
  'PG_DATABASE',
  'PGURL',
  'TLS_DATABASE_URL',
])('%s does not redirect a connection', async (name) => {
  const values: Record<string, string> = {
    PGPORT: '1',
    PG_PORT: '1',
    PGOPTIONS: '-c search_path=elsewhere',
    PGCONNECT_TIMEOUT: '0',
    PGCHANNELBINDING: 'require',
    PGURL: 'postgres://elsewhere:1/elsewhere',
    TLS_DATABASE_URL: 'postgres://elsewhere:1/elsewhere',
  };
  const url = await createDatabase();
  process.env[name] = values[name] ?? 'elsewhere';
  const client = openClient(url, { purpose: 'test' });
  const [row] =
    await client`select current_database() as database, current_user as role, inet_server_port() as port,
      current_setting('search_path') as path, current_setting('application_name') as application`;
  await client.close();
  delete process.env[name];
  const { pathname, port, username } = new URL(url);
  expect(row).toEqual({
    database: pathname.slice(1),
    role: username,
    port: Number(port),
    path: '"$user", public',
    application: 'mantou test',
  });
});

test.each([true, false])(
  "times do not depend on the role's DateStyle and TimeZone: prepared %p",
  async (prepare) => {
    const url = await createDatabase();
    const admin = new SQL(url, { max: 1 });
    const database = new URL(url).pathname.slice(1);
    await admin.unsafe(`alter database ${database} set datestyle = 'SQL, DMY'`);
    await admin.unsafe(`alter database ${database} set timezone = 'Asia/Kathmandu'`);
    await admin.close();
    const client = openClient(url, { prepare });
    const instant = '2024-02-03T04:05:06.789Z';
    const rows = await client.unsafe('select $1::timestamptz as at', [instant]);
    expect(rows[0].at.toISOString()).toBe(instant);
    await client.close();
  },
);
