/** WORKERS: starts of several processes at one port, and their restarts after a crash. */
import { describe, expect, test } from 'bun:test';
import { cp, rename, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { bunPasswords } from '../../src/passwords/bun.ts';
import { assertLinux } from '../../src/server/cluster-supervisor.ts';
import { JWT_SECRET } from '../support/api.ts';
import { useDatabase } from '../support/cluster.ts';
import { isWaiting, whileTableIsLocked } from '../support/locks.ts';
import {
  freePort,
  isRunning,
  makeFolder,
  refusalOf,
  start,
  statusOf,
  useProcesses,
  useServer,
  waitFor,
} from '../support/process.ts';
import {
  converseWith,
  kill,
  linesOf,
  numberOf,
  startedBy,
  startTwoAt,
  workersOf,
} from '../support/workers.ts';

useProcesses();

const root = join(import.meta.dir, '../..');

const { url: DATABASE_URL, sql } = await useDatabase();
const startTwo = startTwoAt(DATABASE_URL);

describe('a start with WORKERS', () => {
  test('prints one line once all workers accept requests', async () => {
    const service = start({ DATABASE_URL, JWT_SECRET, WORKERS: '3' });
    const url = await service.url();
    const pids = workersOf(service);
    expect(pids).toHaveLength(3);
    for (const pid of pids) expect((await converseWith(url, pid)).pid).toBe(pid);
    expect(await service.stop()).toBe(0);
    expect(service.stdout).toBe(`mantou listening on ${url}\n`);
    expect(service.stderr).toBe('');
    for (const pid of pids) expect(await isRunning(pid)).toBeFalse();
  });

  const one = useServer(() => start({ DATABASE_URL, JWT_SECRET, WORKERS: '1' }));
  const two = useServer(() => startTwo({ NODE_CHANNEL_FD: '77', METRICS_PORT: '0' }));

  test('does not pass the IPC channel of its parent on to the workers', () => {
    expect(workersOf(two)).toHaveLength(2);
  });

  test('with WORKERS=1 runs one process', () => {
    expect(workersOf(one)).toEqual([]);
  });

  test('shares METRICS_PORT among the workers too', async () => {
    const url = await two.url();
    const [, metricsUrl = ''] = await waitFor('it says where', () =>
      /"metrics_listening","url":"([^"]+)"/.exec(two.stderr),
    );
    expect(two.stderr.match(/metrics_listening/g)).toHaveLength(1);
    for (const pid of workersOf(two)) {
      const { text } = await (await converseWith(metricsUrl, pid)).get('/metrics');
      expect(numberOf('mantou_processes', text)).toBe(2);
      expect((await (await converseWith(url, pid)).get('/metrics')).status).toBe(404);
    }
  });

  test.each([
    ['1', one],
    ['2', two],
  ])('fails when a server with WORKERS=%s has the port', async (_, server) => {
    const { port: PORT } = new URL(await server.url());
    expect(await refusalOf({ DATABASE_URL, JWT_SECRET, PORT, WORKERS: '2' })).toBe(
      `port ${PORT} on 127.0.0.1 is in use: stop what listens there, or set PORT`,
    );
  });

  test('of one process fails when workers have the port', async () => {
    const { port: PORT } = new URL(await two.url());
    expect(await refusalOf({ DATABASE_URL, JWT_SECRET, PORT })).toContain('is in use');
  });

  test('succeeds for one of four servers that start at one port at the same moment', async () => {
    const PORT = String(freePort());
    const all = [1, 2, 3, 4].map(() => startTwo({ PORT }));
    const outcomes = await Promise.all(all.map((one) => one.url().catch(String)));
    expect(outcomes.filter((outcome) => outcome.startsWith('http'))).toHaveLength(1);
    expect(outcomes.filter((outcome) => outcome.includes('is in use'))).toHaveLength(3);
  });

  test('fails when PORT and METRICS_PORT are equal', async () => {
    const PORT = String(freePort());
    const line = await refusalOf({
      DATABASE_URL,
      JWT_SECRET,
      PORT,
      METRICS_PORT: PORT,
      WORKERS: '2',
    });
    expect(line).toBe(
      `port ${PORT} on 127.0.0.1 is in use: stop what listens there, or set METRICS_PORT`,
    );
  });

  test('that fails prints the reason in one line and leaves no process', async () => {
    const nowhere = Object.assign(new URL(DATABASE_URL), { pathname: '/nowhere' }).href;
    const line = await refusalOf({ DATABASE_URL: nowhere, JWT_SECRET, WORKERS: '3' });
    expect(line).toMatch(/^the database\/nowhere at \S+ does not exist: create it/);
  });

  test('that is stopped at once exits with 0', async () => {
    const service = startTwo();
    await waitFor('the first worker is there', () => workersOf(service).length > 0);
    expect(await service.stop()).toBe(0);
    expect(service.stdout).toBe('');
  });

  test('that is stopped by a signal to the group exits with 0 when a worker that still loads dies of it', async () => {
    const project = join(makeFolder(), 'project');
    for (const name of ['src', 'drizzle', 'package.json'])
      await cp(join(root, name), join(project, name), { recursive: true });
    await symlink(join(root, 'node_modules'), join(project, 'node_modules'));
    // The worker halts its supervisor, then dies as one whose handlers are not installed yet.
    const main = join(project, 'src/server/main.ts');
    await Bun.write(
      main,
      `if (process.argv.includes('--supervised')) {
        process.kill(process.ppid, 'SIGSTOP');
        process.kill(process.pid, 'SIGINT');
      }
      ${await Bun.file(main).text()}`,
    );
    const environment = { DATABASE_URL, JWT_SECRET, WORKERS: '2' };
    const service = start(environment, { project });
    await waitFor('the worker is dead', async () => {
      const [pid] = workersOf(service);
      return pid !== undefined && !(await isRunning(pid));
    });
    service.kill('SIGINT');
    service.kill('SIGCONT');
    expect([await service.ended, service.stdout]).toEqual([0, '']);
  });

  test('fails on systems where processes cannot share a port', () => {
    expect(() => assertLinux('darwin')).toThrow('WORKERS must be 1 on darwin: ');
    expect(() => assertLinux('linux')).not.toThrow();
  });
});

describe('a worker that crashes', () => {
  const service = useServer(startTwo);

  test('finishes its requests in flight on a SIGTERM of its own, and is replaced', async () => {
    const url = await service.url();
    const started = startedBy(service).length;
    const [pid = 0] = workersOf(service);
    const connection = await converseWith(url, pid);
    await whileTableIsLocked(sql, async (unlock) => {
      const answer = connection.register();
      await waitFor('the request waits for the table', () => isWaiting(sql));
      kill(pid, 'SIGTERM');
      await unlock();
      expect((await answer).status).toBe(201);
    });
    await waitFor('another one has started', () => startedBy(service).length === started + 1);
  });

  test('restarts while the others serve', async () => {
    const url = await service.url();
    const started = startedBy(service).length;
    const [killed = 0, other = 0] = workersOf(service);
    const connection = await converseWith(url, other);
    kill(killed, 'SIGKILL');
    expect((await connection.get('/health/ready')).status).toBe(200);
    const [pid = 0] = await waitFor('there are two again', () => {
      const others = workersOf(service).filter((one) => one !== killed && one !== other);
      return startedBy(service).length === started + 1 && others;
    });
    expect((await converseWith(url, pid)).pid).toBe(pid);
    const line = linesOf(service, 'worker_exited').find((one) => one.pid === killed);
    expect(line).toMatchObject({ level: 'error', signal: 'SIGKILL' });
  });

  test('again and again restarts each time', async () => {
    const started = startedBy(service).length;
    const [steady = 0] = workersOf(service);
    for (let falls = 1; falls <= 4; falls += 1) {
      const pid = startedBy(service).findLast((one) => one !== steady);
      kill(pid, 'SIGKILL');
      await waitFor('another one has started', () => startedBy(service).length === started + falls);
    }
    expect(workersOf(service)).toHaveLength(2);
  });

  test('restarts once the missing program is back', async () => {
    const program = join(makeFolder(), 'bun');
    await cp(process.execPath, program);
    const environment = { DATABASE_URL, JWT_SECRET, WORKERS: '2', LOG_LEVEL: 'info' };
    const service = start(environment, { prefix: ['bash', '-c', 'exec "$0" "$2"', program] });
    const url = await service.url();
    const [killed] = workersOf(service);
    await rename(program, `${program} in another place`);
    kill(killed, 'SIGKILL');
    await waitFor('it was tried in vain', () => linesOf(service, 'worker_not_started').length > 1);
    expect(await statusOf(`${url}/health/ready`)).toBe(200);
    await rename(`${program} in another place`, program);
    await waitFor('another one has started', () => startedBy(service).length === 3);
    expect(await service.stop()).toBe(0);
  });
});

test('workers share the cores: each hashes on its part of them', async () => {
  const passwords = bunPasswords(navigator.hardwareConcurrency);
  const hashes = [1, 2, 3].map(() => passwords.hash('correct horse battery staple'));
  expect([passwords.inFlight, passwords.waiting]).toEqual([1, 2]);
  await Promise.all(hashes);
});
