/** Several hosts in DATABASE_URL: a primary and a standby that replicates from it, promoted, killed, paused and taken back. */
import {
  afterAll,
  beforeAll,
  beforeEach,
  describe,
  expect,
  setDefaultTimeout,
  test,
} from 'bun:test';
import { join } from 'node:path';
import { SQL } from 'bun';
import { createPrimaryFinder } from '../../src/postgres/hosts.ts';
import { type Cluster, createCluster } from '../faults/cluster.ts';
import { Api, JWT_SECRET, type Persona, TEST_TIMEOUT_MS } from '../support/api.ts';
import { runCommand } from '../support/command.ts';
import { Follower } from '../support/follower.ts';
import {
  freePort,
  makeFolder,
  refusalOf,
  start,
  useProcesses,
  waitFor,
} from '../support/process.ts';
import { openProxy } from '../support/proxy.ts';

useProcesses();
setDefaultTimeout(TEST_TIMEOUT_MS * 2);

/** In one connection string, as libpq takes it. */
const severalOf = (...ports: number[]) =>
  `postgres://mantou:hunter2@${ports.map((port) => `127.0.0.1:${port}`).join(',')}/faults`;

let primary: Cluster;
let standby: Cluster;

beforeAll(async () => {
  primary = await createCluster();
  standby = await primary.createStandby();
});

afterAll(() =>
  Promise.all([primary, standby].map((one) => one.stop('immediate').catch(() => undefined))),
);

/** The standby becomes the primary, and the former primary a standby of it. */
async function switchOver() {
  await standby.caughtUpWith(primary);
  await primary.stop('fast');
  await standby.promote();
  await primary.follow(standby);
  [primary, standby] = [standby, primary];
}

/** After a promotion: makes a standby at the port of the former primary, which has ended. */
async function replaceFormerPrimary() {
  const { port } = primary;
  primary = standby;
  standby = await primary.createStandby(port);
}

describe('the search for the primary', () => {
  test('takes the primary, wherever it stands', async () => {
    for (const ports of [
      [primary.port, standby.port],
      [standby.port, primary.port],
      [freePort(), standby.port, primary.port],
    ]) {
      const url = await createPrimaryFinder(severalOf(...ports), 'DATABASE_URL').find();
      expect(new URL(url).port).toBe(String(primary.port));
    }
  });

  test('without a primary says what each host is', async () => {
    const closed = freePort();
    const finder = createPrimaryFinder(severalOf(standby.port, closed), 'DATABASE_URL');
    expect(finder.find()).rejects.toThrow(
      `no host of the database/faults at 127.0.0.1:${standby.port}, 127.0.0.1:${closed} is the primary: 127.0.0.1:${standby.port} is a standby, 127.0.0.1:${closed} cannot be reached: start or promote the primary, or correct DATABASE_URL`,
    );
  });

  test('does not wait for a host that takes a connection and says nothing', async () => {
    using silent = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } });
    const finder = createPrimaryFinder(severalOf(silent.port, primary.port), 'DATABASE_URL');
    expect(new URL(await finder.find()).port).toBe(String(primary.port));
    const missing = Promise.withResolvers<string>();
    const searching = createPrimaryFinder(severalOf(silent.port, standby.port), 'DATABASE_URL');
    void searching.wait(missing.resolve);
    expect(await missing.promise).toContain(`127.0.0.1:${silent.port} does not answer`);
    searching.close();
  });

  test('of two primaries takes the one on the highest timeline, and none on a lower one afterwards', async () => {
    const former = await createCluster();
    const promoted = await former.createStandby();
    const finder = createPrimaryFinder(severalOf(former.port, promoted.port), 'DATABASE_URL');
    expect(new URL(await finder.find()).port).toBe(String(former.port));
    await promoted.promote();
    expect(new URL(await finder.find()).port).toBe(String(promoted.port));
    await promoted.stop('immediate');
    expect(finder.find()).rejects.toThrow(
      `127.0.0.1:${former.port} is a former primary, on an earlier timeline`,
    );
    await former.stop('immediate');
  });
});

describe('the API', () => {
  let api: Api;
  let ada: Persona;

  beforeAll(async () => {
    api = await Api.start({
      databaseUrl: severalOf(primary.port, standby.port),
      databaseStatementTimeoutSeconds: 2,
    });
  });

  beforeEach(async () => {
    ada ??= await api.person();
  });

  afterAll(() => api.stop());

  const writes = (name: string) =>
    waitFor('a write is done', async () => (await ada.post('/projects', { name })).status === 201);

  async function projectsOf(): Promise<string[]> {
    const { body } = await ada.get('/projects?limit=100');
    return body.items.map(({ name }: { name: string }) => name);
  }

  test('follows a switchover, without a line that shows the password', async () => {
    await writes('before');
    await switchOver();
    await writes('after');
    await waitFor('it is ready', async () => (await ada.get('/health/ready')).status === 200);
    expect(await projectsOf()).toEqual(expect.arrayContaining(['before', 'after']));
    expect(api.log).toContainEqual({
      level: 'warn',
      event: 'database_moved',
      fields: { database: `the database/faults at 127.0.0.1:${primary.port}` },
    });
    expect(JSON.stringify(api.log)).not.toContain('hunter2');
  });

  test('refuses reads and writes while no host is the primary, and says so once', async () => {
    await standby.caughtUpWith(primary);
    await primary.kill();
    await waitFor('the log says what each host is', () =>
      ada
        .get('/projects')
        .then(() =>
          api.log.some(
            ({ event, fields }) =>
              event === 'database_without_primary' &&
              String(fields.reason).includes(`127.0.0.1:${standby.port} is a standby`),
          ),
        ),
    );
    expect((await ada.get('/projects')).status).toBe(503);
    expect((await ada.post('/projects', { name: 'refused' })).status).toBe(503);
    await standby.promote();
    await writes('promoted');
    expect(api.log.filter(({ event }) => event === 'database_without_primary')).toHaveLength(1);
    await replaceFormerPrimary();
  });

  test('leaves a primary that has gone silent for the promoted standby, with its streams', async () => {
    const moves = () => api.log.filter(({ event }) => event === 'database_moved').length;
    const before = moves();
    const follower = await Follower.follow(ada);
    await writes('heard');
    await standby.caughtUpWith(primary);
    const pids = await treeOf(await primary.postmaster());
    for (const pid of pids) process.kill(pid, 'SIGSTOP');
    try {
      const silent = ada.post('/projects', { name: 'silent' });
      await standby.promote();
      await writes('spoken');
      expect([503, 201]).toContain((await silent).status);
      await waitFor('the stream goes on', () => follower.items.length >= 2);
      follower.close();
    } finally {
      for (const pid of pids) process.kill(pid, 'SIGCONT');
    }
    await waitFor('no connection to the former primary is left', async () => {
      const sql = new SQL(primary.admin_url, { max: 1 });
      const left = await sql`select from pg_stat_activity where application_name = 'mantou'`;
      await sql.close();
      return left.length === 0;
    });
    // The former primary believes that it is one still. It is on a lower timeline.
    await writes('once more');
    expect(moves()).toBe(before + 1);
    await primary.stop('immediate');
    await replaceFormerPrimary();
  });
});

describe('every command', () => {
  test('works on the primary, and names no password', async () => {
    const { port } = primary;
    const backup = join(makeFolder(), 'backup');
    const environment = {
      DATABASE_URL: `${severalOf(standby.port, port)}?target_session_attrs=read-write`,
      JWT_SECRET: Buffer.from(crypto.getRandomValues(new Uint8Array(48))).toString('base64'),
      DATA_DIR: makeFolder(),
    };
    const commands: [string, string[]][] = [
      ['migrate', []],
      ['users', ['create', 'grace', 'grace@example.org']],
      ['backup', [backup]],
      ['doctor', []],
    ];
    for (const [name, args] of commands) {
      const { code, stdout, stderr } = await runCommand(environment, name, args);
      expect([name, code === 0 || stdout, stderr.replaceAll(/^(Made|Backed).*\n/gm, '')]).toEqual([
        name,
        true,
        '',
      ]);
      expect(stdout + stderr).not.toContain('hunter2');
    }
  });

  test('and the start say that there is no primary', async () => {
    const environment = { DATABASE_URL: severalOf(standby.port, freePort()), JWT_SECRET };
    const said = [await refusalOf(environment)];
    for (const name of ['migrate', 'doctor']) {
      const { code, stdout, stderr } = await runCommand(environment, name, []);
      expect([name, code]).toEqual([name, 1]);
      said.push(stdout + stderr);
    }
    for (const text of said) {
      expect(text).toMatch(/no host of .* is the primary: .* is a standby, .* cannot be reached/);
      expect(text).not.toContain('hunter2');
    }
  });

  test('bun run doctor names a host that fails', async () => {
    const port = freePort();
    const environment = {
      DATABASE_URL: severalOf(primary.port, port),
      JWT_SECRET,
      DATA_DIR: makeFolder(),
    };
    const { code, stdout } = await runCommand(environment, 'doctor', []);
    expect(code).toBe(1);
    expect(stdout).toContain(`FIX   database: the host 127.0.0.1:${port} cannot be reached`);
  });

  test('the start and DATABASE_SESSION_URL take several hosts, beside a pooler at one', async () => {
    const proxy = await openProxy(primary.url);
    const server = start({
      DATABASE_URL: proxy.url,
      DATABASE_SESSION_URL: severalOf(standby.port, primary.port),
      JWT_SECRET,
      LOG_LEVEL: 'info',
    });
    await server.url();
    await server.stop();
    expect(server.stderr).not.toContain('hunter2');
    const both = start({
      DATABASE_URL: severalOf(standby.port, primary.port),
      JWT_SECRET,
      LOG_LEVEL: 'info',
    });
    await both.url();
    await both.stop();
    expect(both.stderr).toContain(
      `the database/faults at 127.0.0.1:${standby.port}, 127.0.0.1:${primary.port}`,
    );
    expect(both.stderr).not.toContain('hunter2');
  });
});

/** A process and its children. */
async function treeOf(pid: number): Promise<number[]> {
  const children = await Bun.file(`/proc/${pid}/task/${pid}/children`).text();
  return [pid, ...children.split(' ').filter(Boolean).map(Number)];
}
