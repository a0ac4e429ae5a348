/** DATABASE_REPLICA_URL: exports and backups are read from a standby that is up to date, or else from the primary. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { join } from 'node:path';
import { SQL } from 'bun';
import { type Cluster, createCluster } from '../faults/cluster.ts';
import { Api, JWT_SECRET, type Persona, TEST_TIMEOUT_MS } from '../support/api.ts';
import { createEmptyDatabase, dropDatabase } from '../support/cluster.ts';
import { runCommand } from '../support/command.ts';
import { freePort, makeFolder, useProcesses, waitFor } from '../support/process.ts';

useProcesses();
setDefaultTimeout(TEST_TIMEOUT_MS);

let primary: Cluster;
let standby: Cluster;
let api: Api;
let ada: Persona;
let projectId: string;

beforeAll(async () => {
  primary = await createCluster();
  standby = await primary.createStandby();
  await onStandby("alter system set log_statement = 'all'");
  await onStandby('select pg_reload_conf()');
  api = await Api.start({ databaseUrl: primary.url, databaseReplicaUrl: standby.url });
  ada = await api.person();
  projectId = (await ada.createProject()).id;
});

afterAll(async () => {
  await api.stop();
  await Promise.all([primary, standby].map((one) => one.stop('immediate').catch(() => undefined)));
});

async function onStandby(statement: string) {
  const sql = new SQL(standby.admin_url, { max: 1 });
  try {
    return await sql.unsafe(statement);
  } finally {
    await sql.close();
  }
}

/** The statements that the standby has run, as its log tells them. */
async function statementsOnStandby(): Promise<string> {
  const [row] = await onStandby("select pg_read_file('server.log') as log");
  return row.log;
}

const titlesIn = (body: { tasks: { title: string }[] }) => body.tasks.map(({ title }) => title);

async function exportedTitles(): Promise<string[]> {
  const { status, body } = await ada.get(`/projects/${projectId}/export`);
  expect(status).toBe(200);
  return titlesIn(body);
}

const linesOf = (event: string) => api.log.filter((line) => line.event === event);

describe('an export', () => {
  test.each(['project', 'account'])(
    'of a %s is read from the standby, with a write right before',
    async (kind) => {
      const title = `written before the export of the ${kind}`;
      await ada.createTask(projectId, { title });
      const before = (await statementsOnStandby()).length;
      if (kind === 'project') expect(await exportedTitles()).toContain(title);
      else {
        const { body } = await ada.get('/users/me/export');
        expect(body.projects.flatMap(titlesIn)).toContain(title);
      }
      expect((await statementsOnStandby()).slice(before)).toMatch(/from "tasks"/);
      expect(linesOf('replica_not_used')).toEqual([]);
    },
  );

  test('is read from the primary while the standby lags, with one line in the log', async () => {
    await onStandby('select pg_wal_replay_pause()');
    for (const title of ['not replayed', 'nor this']) {
      await ada.createTask(projectId, { title });
      expect(await exportedTitles()).toContain(title);
    }
    expect(linesOf('replica_not_used')).toEqual([
      {
        level: 'warn',
        event: 'replica_not_used',
        fields: { reason: expect.stringContaining('has not caught up with the primary') },
      },
    ]);
    await onStandby('select pg_wal_replay_resume()');
    await waitFor('the standby is used again', async () => {
      expect(await exportedTitles()).toContain('nor this');
      return linesOf('replica_used').length === 1;
    });
  });

  test('goes on while the standby is away, with one line in the log', async () => {
    await standby.stop('immediate');
    for (let round = 0; round < 3; round += 1) expect(await exportedTitles()).toContain('nor this');
    expect(linesOf('replica_not_used')).toHaveLength(2);
    // What a next read must see is read from the primary in any case.
    expect((await ada.get('/projects')).status).toBe(200);
    await standby.start();
    await waitFor('the standby is used again', async () => {
      await exportedTitles();
      return linesOf('replica_used').length === 2;
    });
    expect(linesOf('replica_not_used')).toHaveLength(2);
    expect(JSON.stringify(api.log)).not.toContain(standby.url);
  });
});

describe('bun run backup', () => {
  const backup = (replicaUrl: string, file: string) =>
    runCommand({ DATABASE_URL: primary.url, DATABASE_REPLICA_URL: replicaUrl }, 'backup', [file]);

  async function expectRestored(file: string, title: string) {
    const url = await createEmptyDatabase();
    expect((await runCommand({ DATABASE_URL: url }, 'restore', [file])).code).toBe(0);
    const sql = new SQL(url, { max: 1 });
    const rows = await sql`select from tasks where title = ${title}`;
    await sql.close();
    await dropDatabase(url);
    expect(rows).toHaveLength(1);
  }

  test('reads the standby, with everything that was written before', async () => {
    await ada.createTask(projectId, { title: 'before the backup' });
    const before = (await statementsOnStandby()).length;
    const file = join(makeFolder(), 'backup');
    const { code, stderr } = await backup(standby.url, file);
    expect([code, stderr]).toEqual([0, expect.stringMatching(/^Backed up .*\n$/)]);
    expect((await statementsOnStandby()).slice(before)).toContain('COPY "tasks"');
    await expectRestored(file, 'before the backup');
  });

  test('of several hosts reads the standby', async () => {
    const before = (await statementsOnStandby()).length;
    const hosts = `postgres://mantou@127.0.0.1:${freePort()},127.0.0.1:${primary.port},127.0.0.1:${standby.port}/faults`;
    expect((await backup(hosts, join(makeFolder(), 'backup'))).code).toBe(0);
    expect((await statementsOnStandby()).slice(before)).toContain('COPY "tasks"');
  });

  test('reads the primary where the standby cannot be reached, and says so', async () => {
    const port = freePort();
    const file = join(makeFolder(), 'backup');
    const { code, stderr } = await backup(`postgres://ada:hunter2@127.0.0.1:${port}/faults`, file);
    expect([code, stderr.split('\n')[0]]).toEqual([
      0,
      `The backup is read from the primary: the database/faults at 127.0.0.1:${port} cannot be reached: start PostgreSQL, or correct DATABASE_REPLICA_URL`,
    ]);
    await expectRestored(file, 'before the backup');
  });
});

test('bun run doctor says what is wrong with the replica', async () => {
  const said = async (replicaUrl: string) => {
    const environment = {
      DATABASE_URL: primary.url,
      DATABASE_REPLICA_URL: replicaUrl,
      JWT_SECRET,
      DATA_DIR: makeFolder(),
    };
    const { stdout } = await runCommand(environment, 'doctor', []);
    return stdout.match(/^.* replica.*$/gm);
  };
  expect(await said(standby.url)).toEqual(['ok    replica']);
  expect(await said(primary.url)).toEqual([
    'FIX   replica: DATABASE_REPLICA_URL leads to no standby: name one, or unset it',
  ]);
  expect(await said(`postgres://ada:hunter2@127.0.0.1:${freePort()}/faults`)).toEqual([
    expect.stringMatching(/^FIX {3}replica: .* cannot be reached.*correct DATABASE_REPLICA_URL$/),
  ]);
});
