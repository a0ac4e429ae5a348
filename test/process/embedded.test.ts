/** The embedded PostgreSQL below processes that start, share it, crash and leave. */

import { Database as SQLite } from 'bun:sqlite';
import { beforeAll, describe, expect, test } from 'bun:test';
import {
  appendFile,
  chmod,
  cp,
  mkdir,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
} from 'node:fs/promises';
import { join } from 'node:path';
import { SQL } from 'bun';
import {
  copyDataFolder,
  findPostmaster,
  isRunning,
  killPostmaster,
  makeFolder,
  type Process,
  refusalOf,
  start,
  statusOf,
  useProcesses,
  waitFor,
} from '../support/process.ts';

useProcesses();

const WRITES_BEFORE_STRIKE = 50;
const isRoot = process.getuid?.() === 0;

/** A data folder after its first run. A copy of it saves making one. */
let made: string;
let firstRun: Process;
/** What the start says on settings of PostgreSQL that it does not take. It tries for seconds, beside the tests. */
let wordsOnSettings: Promise<string>;

beforeAll(async () => {
  made = join(makeFolder(), 'some where', 'data');
  firstRun = start({ DATA_DIR: made });
  await firstRun.url();
  await firstRun.stop();
  // What is killed here are processes, so what they have written is safe with the kernel.
  await appendFile(join(made, 'postgres/postgresql.conf'), '\nfsync = off\n');

  const DATA_DIR = copyDataFolder(made);
  await appendFile(join(DATA_DIR, 'postgres/postgresql.conf'), '\nno_such_setting = on\n');
  wordsOnSettings = refusalOf({ DATA_DIR });
  wordsOnSettings.catch(() => undefined);
});

describe('the first start', () => {
  test('creates a data folder and a cluster that only their owner can read', async () => {
    expect((await stat(made)).mode & 0o777).toBe(0o700);
    expect((await stat(join(made, 'postgres'))).mode & 0o777).toBe(0o700);
    expect((await readFile(join(made, 'postgres/PG_VERSION'), 'utf8')).trim()).toBe('18');
    expect((await readdir(made)).sort()).toEqual(
      ['jwt-secret', 'lock.sqlite', 'postgres', 'postgres-password', 'presence.sqlite'].sort(),
    );
  });

  test('creates a password that only its owner can read, and prints it nowhere', async () => {
    const file = join(made, 'postgres-password');
    const password = await readFile(file, 'utf8');
    expect(password).toMatch(/^[\w-]{43}$/);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const log = await readFile(join(made, 'postgres/server.log'), 'utf8');
    expect(firstRun.stdout + firstRun.stderr + log).not.toContain(password);
  });

  test('of two processes at the same time creates one cluster, also beside an unfinished one', async () => {
    const DATA_DIR = makeFolder();
    const half = join(DATA_DIR, 'postgres.new-123');
    await mkdir(half);
    await cp(join(made, 'postgres/PG_VERSION'), join(half, 'PG_VERSION'));
    const [a, b] = [start({ DATA_DIR }), start({ DATA_DIR })];
    const ada = await signUp(await a.url());
    expect((await ada.request(await b.url(), '/users/me')).status).toBe(200);
    expect((await readdir(DATA_DIR)).filter((name) => name.startsWith('postgres.'))).toEqual([]);
  });
});

describe('a stop with the embedded server', () => {
  test.each(['SIGTERM', 'SIGINT'] as const)('by %s stops the server', async (signal) => {
    const DATA_DIR = copyDataFolder(made);
    const api = start({ DATA_DIR });
    await api.url();
    const postmaster = await postmasterOf(DATA_DIR);
    expect(await api.stop(signal)).toBe(0);
    expect(await isRunning(postmaster)).toBeFalse();
    expect(api.stderr).toBe('');
    // In order, so that the next start has nothing to recover.
    const log = await readFile(join(DATA_DIR, 'postgres/server.log'), 'utf8');
    expect(log).not.toContain('immediate shutdown');
  });

  test('exits with 0 when the server died before', async () => {
    const DATA_DIR = copyDataFolder(made);
    const api = start({ DATA_DIR });
    const url = await api.url();
    await killPostmaster(await postmasterOf(DATA_DIR), 'SIGKILL');
    expect(await statusOf(`${url}/health/live`)).toBe(200);
    expect(await statusOf(`${url}/health/ready`)).toBe(503);
    expect(await api.stop()).toBe(0);
  });

  test('that waits for another process ends at a second signal', async () => {
    const DATA_DIR = copyDataFolder(made);
    const api = start({ DATA_DIR });
    const url = await api.url();
    const sql = new SQL({ url: await databaseOf(DATA_DIR), max: 1 });
    const lock = new SQLite(join(DATA_DIR, 'lock.sqlite'));
    lock.run('begin exclusive');
    await statusOf(`${url}/health/ready`);
    api.kill('SIGTERM');
    // Closing the pool is the last thing before the server is left.
    await waitFor('the pool is closed', async () => {
      const rows = await sql`select from pg_stat_activity where application_name = 'mantou'`;
      return rows.length === 0;
    });
    await sql.close();
    expect(await api.stop('SIGTERM')).toBe(1);
    lock.close();
  });

  test('of the server follows a failed start', async () => {
    const DATA_DIR = copyDataFolder(made);
    using other = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } });
    const line = await refusalOf({ DATA_DIR, PORT: String(other.port) });
    expect(line).toContain('is in use');
    expect(await findPostmaster(DATA_DIR)).toBeUndefined();
  });
});

describe('kill -9', () => {
  test('of the API loses no acknowledged row, and the next start adopts the server', async () => {
    const DATA_DIR = copyDataFolder(made);
    const api = start({ DATA_DIR });
    const ada = await signUp(await api.url());
    const postmaster = await postmasterOf(DATA_DIR);
    const acknowledged = await writeUntil(await api.url(), ada, () => api.kill('SIGKILL'));

    const next = start({ DATA_DIR });
    expect(await ada.projectsAt(await next.url())).toEqual(expect.arrayContaining(acknowledged));
    expect(await postmasterOf(DATA_DIR)).toBe(postmaster);
    // The last process that leaves stops the server, also one that it has adopted.
    expect(await next.stop()).toBe(0);
    expect(await isRunning(postmaster)).toBeFalse();
  });

  test('of the API and the server loses no acknowledged row', async () => {
    const DATA_DIR = copyDataFolder(made);
    const api = start({ DATA_DIR });
    const ada = await signUp(await api.url());
    const postmaster = await postmasterOf(DATA_DIR);
    const acknowledged = await writeUntil(await api.url(), ada, () => {
      process.kill(postmaster, 'SIGKILL');
      api.kill('SIGKILL');
    });

    const next = start({ DATA_DIR });
    expect(await ada.projectsAt(await next.url())).toEqual(expect.arrayContaining(acknowledged));
    expect(await postmasterOf(DATA_DIR)).not.toBe(postmaster);
  });

  test('of the server loses no acknowledged row; a process that uses it restarts it', async () => {
    const DATA_DIR = copyDataFolder(made);
    const [a, b] = [start({ DATA_DIR }), start({ DATA_DIR })];
    const ada = await signUp(await a.url());
    const urls = [await a.url(), await b.url()] as const;
    for (let round = 1; round <= 3; round += 1) {
      const postmaster = await postmasterOf(DATA_DIR);
      const acknowledged = await writeUntil(urls[0], ada, () =>
        process.kill(postmaster, 'SIGKILL'),
      );
      // The processes of the server end one after another: for a moment the one that readiness asks is still there.
      await waitFor('another server runs', async () => {
        const pid = await findPostmaster(DATA_DIR);
        return pid !== undefined && pid !== postmaster;
      });
      // Readiness asks on a connection of its own: the pool finds the new server with its first request, which may get 503.
      for (const url of urls)
        await waitFor('it serves again', () =>
          ada.projectsAt(url).then(
            () => true,
            () => false,
          ),
        );
      // Either may have started it; both serve with the same one.
      expect(await ada.projectsAt(urls[1])).toEqual(expect.arrayContaining(acknowledged));
      expect((await ada.createProjectAt(urls[1], `round ${round}`)).status).toBe(201);
      expect(await ada.projectsAt(urls[0])).toContain(`round ${round}`);
    }
    const postmaster = await postmasterOf(DATA_DIR);
    expect((a.stderr + b.stderr).match(/"database_restarted"/g)).toHaveLength(3);
    expect(await a.stop()).toBe(0);
    expect(await isRunning(postmaster)).toBeTrue();
    expect(await b.stop()).toBe(0);
    expect(await isRunning(postmaster)).toBeFalse();
  });

  test('of the server starts no second server while a statement of the first still runs', async () => {
    const DATA_DIR = copyDataFolder(made);
    const api = start({ DATA_DIR });
    await api.url();
    const sql = new SQL({ url: await databaseOf(DATA_DIR), max: 2 });
    // It computes, so it does not look whether its server is there.
    const busy = sql`do $$ begin loop end loop; end $$`.catch(() => undefined);
    const backend = await waitFor('it computes', async () => {
      const [row] =
        await sql`select pid from pg_stat_activity where query like 'do %' and state = 'active'`;
      return row?.pid;
    });
    await killPostmaster(await postmasterOf(DATA_DIR), 'SIGKILL');
    await api.stop('SIGKILL');

    const next = start({ DATA_DIR });
    await waitFor('a second server is refused', async () =>
      (await readFile(join(DATA_DIR, 'postgres/server.log'), 'utf8')).includes(
        'pre-existing shared memory block',
      ),
    );
    expect([await isRunning(backend), next.stdout]).toEqual([true, '']);
    process.kill(backend, 'SIGTERM');
    expect(await statusOf(`${await next.url()}/health/ready`)).toBe(200);
    await busy;
    await sql.close();
  });
});

test('the log of the server holds no submitted value', async () => {
  const DATA_DIR = copyDataFolder(made);
  const api = start({ DATA_DIR });
  const url = await api.url();
  const raw = JSON.stringify({
    username: 'logged-twice',
    email: 'secret@example.org',
    password: 'quite a long phrase',
  });
  const headers = { 'content-type': 'application/json' };
  for (const status of [201, 409]) {
    const answer = await fetch(`${url}/users/register`, { method: 'POST', headers, body: raw });
    expect(answer.status).toBe(status);
  }
  await api.stop();
  const log = await readFile(join(DATA_DIR, 'postgres/server.log'), 'utf8');
  expect(log).toContain('shut down');
  expect(log).not.toContain('secret@example.org');
});

describe('processes that share a data folder', () => {
  test('share its server, and the last one stops it', async () => {
    const DATA_DIR = copyDataFolder(made);
    const starter = start({ DATA_DIR });
    const ada = await signUp(await starter.url());
    const postmaster = await postmasterOf(DATA_DIR);
    const other = start({ DATA_DIR });
    const url = await other.url();
    expect(await postmasterOf(DATA_DIR)).toBe(postmaster);

    expect(await starter.stop()).toBe(0);
    expect(await isRunning(postmaster)).toBeTrue();
    expect((await ada.createProjectAt(url, 'Kitchen')).status).toBe(201);

    expect(await other.stop()).toBe(0);
    expect(await isRunning(postmaster)).toBeFalse();
  });

  test('do not wait for a process that was killed', async () => {
    const DATA_DIR = copyDataFolder(made);
    const [killed, other] = [start({ DATA_DIR }), start({ DATA_DIR })];
    await Promise.all([killed.url(), other.url()]);
    const postmaster = await postmasterOf(DATA_DIR);
    await killed.stop('SIGKILL');
    expect(await other.stop()).toBe(0);
    expect(await isRunning(postmaster)).toBeFalse();
  });

  test('share its server when they name the folder by different paths', async () => {
    const DATA_DIR = copyDataFolder(made);
    const path = join(makeFolder(), 'link');
    await symlink(DATA_DIR, path);
    const [a, b] = [start({ DATA_DIR }), start({ DATA_DIR: path })];
    const ada = await signUp(await a.url());
    expect((await ada.request(await b.url(), '/users/me')).status).toBe(200);
  });

  test('share its server without the right to inspect other processes', async () => {
    const DATA_DIR = copyDataFolder(made);
    // Root in a container has no CAP_SYS_PTRACE; an ordinary user has it nowhere.
    const drop = ['setpriv', '--inh-caps', '-sys_ptrace', '--bounding-set', '-sys_ptrace'];
    const prefix = isRoot ? drop : [];
    const a = start({ DATA_DIR }, { prefix });
    const ada = await signUp(await a.url());
    const b = start({ DATA_DIR }, { prefix });
    expect((await ada.request(await b.url(), '/users/me')).status).toBe(200);
    expect(await a.stop()).toBe(0);
    expect(await b.stop()).toBe(0);
    expect(await findPostmaster(DATA_DIR)).toBeUndefined();
  });
});

describe('a stale postmaster.pid', () => {
  test('is ignored when its number is another process', async () => {
    const DATA_DIR = copyDataFolder(made);
    await writePidFile(DATA_DIR, process.pid);
    const api = start({ DATA_DIR });
    expect(await statusOf(`${await api.url()}/health/ready`)).toBe(200);
    expect(await findPostmaster(DATA_DIR)).toBeNumber();
  });

  test('is ignored when its number is the server of another folder', async () => {
    const [other, DATA_DIR] = [copyDataFolder(made), copyDataFolder(made)];
    const neighbour = start({ DATA_DIR: other });
    const ada = await signUp(await neighbour.url());
    const foreign = await postmasterOf(other);
    await cp(join(other, 'postgres/postmaster.pid'), join(DATA_DIR, 'postgres/postmaster.pid'));
    const api = start({ DATA_DIR });
    await signUp(await api.url());
    expect(await postmasterOf(DATA_DIR)).not.toBe(foreign);
    expect(await api.stop()).toBe(0);
    expect((await ada.request(await neighbour.url(), '/users/me')).status).toBe(200);
  });
});

describe('a data folder', () => {
  test.each([
    ['its owner alone', 0o700],
    ['every user', 0o755],
  ])('that %s can enter works, also as root', async (_, mode) => {
    const parent = makeFolder();
    await chmod(parent, mode);
    const DATA_DIR = copyDataFolder(made, parent);
    await chmod(DATA_DIR, mode);
    const api = start({ DATA_DIR });
    expect(await statusOf(`${await api.url()}/health/ready`)).toBe(200);
    // PostgreSQL refuses to run as root, so root hands it to another user; an ordinary user runs it.
    const { uid } = await stat(join(DATA_DIR, 'postgres/postmaster.pid'));
    expect(uid === process.getuid?.()).toBe(!isRoot);
  });
});

describe('a start that fails prints the reason in one line:', () => {
  test('a cluster of another major version', async () => {
    const DATA_DIR = makeFolder();
    await mkdir(join(DATA_DIR, 'postgres'));
    await Bun.write(join(DATA_DIR, 'postgres/PG_VERSION'), '15\n');
    expect(await refusalOf({ DATA_DIR })).toBe(
      `${DATA_DIR}/postgres was made by PostgreSQL 15, this is 18: restore a backup into a new DATA_DIR`,
    );
  });

  test('a cluster whose password is lost; its server is stopped again', async () => {
    const DATA_DIR = copyDataFolder(made);
    await rm(join(DATA_DIR, 'postgres-password'));
    expect(await refusalOf({ DATA_DIR })).toBe(
      `the cluster in ${DATA_DIR} has another password than its file postgres-password: restore both together`,
    );
    expect(await findPostmaster(DATA_DIR)).toBeUndefined();
  });

  test('a server that does not start, with the reason that PostgreSQL logs', async () => {
    expect(await wordsOnSettings).toMatch(
      /^the embedded PostgreSQL does not start: configuration file ".+" contains errors; .+\/server\.log says more$/,
    );
  });

  test('a lock file that is not a SQLite database', async () => {
    const DATA_DIR = makeFolder();
    await Bun.write(join(DATA_DIR, 'lock.sqlite'), 'not a database'.repeat(100));
    expect(await refusalOf({ DATA_DIR })).toStartWith(
      `${DATA_DIR}/lock.sqlite cannot be written (SQLITE_NOTADB)`,
    );
  });
});

async function postmasterOf(dataDir: string): Promise<number> {
  const pid = await findPostmaster(dataDir);
  if (pid === undefined) throw new Error(`no server runs in ${dataDir}`);
  return pid;
}

/** The URL of the database in a data folder whose server runs. */
async function databaseOf(dataDir: string): Promise<string> {
  const password = await readFile(join(dataDir, 'postgres-password'), 'utf8');
  const port = (await readFile(join(dataDir, 'postgres/postmaster.pid'), 'utf8')).split('\n')[3];
  return `postgres://postgres:${password}@127.0.0.1:${port}/mantou`;
}

interface Account {
  request(url: string, path: string, body?: object): Promise<Response>;
  createProjectAt(url: string, name: string): Promise<Response>;
  /** The names of all projects. */
  projectsAt(url: string): Promise<string[]>;
}

/** Makes an account and logs in. What is given can be asked of any process on the same database and secret. */
async function signUp(url: string): Promise<Account> {
  let token = '';
  const request = (at: string, path: string, body?: object) =>
    fetch(at + path, {
      method: body ? 'POST' : 'GET',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      body: body && JSON.stringify(body),
    });
  const account = { username: 'ada', password: 'the password of ada' };
  const registered = await request(url, '/users/register', {
    ...account,
    email: 'ada@example.org',
  });
  expect(registered.status).toBe(201);
  token = (await read(await request(url, '/users/login', account))).access_token;
  return {
    request,
    createProjectAt: (at, name) => request(at, '/projects/', { name }),
    async projectsAt(at) {
      const names: string[] = [];
      for (let query = ''; ; ) {
        const page = await read(await request(at, `/projects/?limit=200${query}`));
        names.push(...page.items.map(({ name }: { name: string }) => name));
        if (page.next_cursor === null) return names;
        query = `&cursor=${encodeURIComponent(page.next_cursor)}`;
      }
    },
  };
}

// biome-ignore lint/suspicious/noExplicitAny: what the test does not find in it fails the test.
async function read(response: Response): Promise<any> {
  return response.json();
}

/** Writes from several sides and strikes in the middle. @returns the names of what was acknowledged. */
async function writeUntil(url: string, who: Account, strike: () => void): Promise<string[]> {
  const acknowledged: string[] = [];
  let count = 0;
  const write = async () => {
    for (;;) {
      count += 1;
      const name = `project ${count} of ${crypto.randomUUID()}`;
      const answer = await who.createProjectAt(url, name).catch(() => undefined);
      if (answer?.status !== 201) return;
      acknowledged.push(name);
      if (acknowledged.length === WRITES_BEFORE_STRIKE) strike();
    }
  };
  await Promise.all([write(), write(), write(), write()]);
  expect(acknowledged.length).toBeGreaterThanOrEqual(WRITES_BEFORE_STRIKE);
  return acknowledged;
}

/** Eight lines, as a ready server writes them. */
async function writePidFile(dataDir: string, pid: number) {
  const cluster = join(dataDir, 'postgres');
  const lines = [pid, cluster, Date.now(), 1, '', '127.0.0.1', '', 'ready   ', ''];
  await Bun.write(join(cluster, 'postmaster.pid'), lines.join('\n'));
}
