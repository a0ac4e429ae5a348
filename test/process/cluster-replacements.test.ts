/** WORKERS: SIGHUP replaces the processes while they serve. */
import { describe, expect, test } from 'bun:test';
import { readlinkSync } from 'node:fs';
import { cp, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { registerAt } from '../support/accounts.ts';
import { JWT_SECRET } from '../support/api.ts';
import { useDatabase } from '../support/cluster.ts';
import { isWaiting, whileTableIsLocked } from '../support/locks.ts';
import {
  makeFolder,
  start,
  statusOf,
  useProcesses,
  useServer,
  waitFor,
} from '../support/process.ts';
import {
  askWithoutRetry,
  converseWith,
  linesOf,
  listenersOf,
  startedBy,
  startTwoAt,
  workersOf,
} from '../support/workers.ts';

useProcesses();

const root = join(import.meta.dir, '../..');

const { url: DATABASE_URL, sql } = await useDatabase();
const startTwo = startTwoAt(DATABASE_URL);

describe('SIGHUP', () => {
  const service = useServer(() => startTwo({ RATE_LIMIT: 'off' }));
  const finished = () => linesOf(service, 'replacement_finished').length;

  test('replaces every worker, and clients with kept connections lose no request', async () => {
    const url = await service.url();
    const done = finished();
    const before = workersOf(service);
    let asking = true;
    const clients = Array.from({ length: 8 }, () => askWithoutRetry(url, () => asking));
    service.kill('SIGHUP');
    await waitFor('all are replaced', () => finished() === done + 1);
    asking = false;
    const outcomes = await Promise.all(clients);
    expect(outcomes.map(({ failures }) => failures)).toEqual(outcomes.map(() => []));
    // Each was told to leave a connection, so there was something to lose.
    for (const { connections } of outcomes) expect(connections).toBeGreaterThan(1);
    const after = workersOf(service);
    expect(after).toHaveLength(2);
    for (const pid of before) expect(after).not.toContain(pid);
    for (const { level } of linesOf(service, 'worker_exited')) expect(level).toBe('info');
  });

  test('lets a request in flight finish, however long it takes', async () => {
    const url = await service.url();
    const [done, started] = [finished(), startedBy(service).length];
    const [pid = 0] = workersOf(service);
    const connection = await converseWith(url, pid);
    await whileTableIsLocked(sql, async (unlock) => {
      const answer = connection.register();
      await waitFor('the request waits for the table', () => isWaiting(sql));
      service.kill('SIGHUP');
      await waitFor('its worker has a successor', () => startedBy(service).length === started + 1);
      await waitFor('the worker listens no more', () => !listenersOf(pid, url).length);
      await unlock();
      expect((await answer).status).toBe(201);
    });
    await waitFor('all are replaced', () => finished() === done + 1);
  });

  test('during a replacement starts another one after it', async () => {
    const [done, started] = [finished(), startedBy(service).length];
    const begun = () => linesOf(service, 'replacement_started').length;
    const before = begun();
    service.kill('SIGHUP');
    await waitFor('it is under way', () => begun() === before + 1);
    service.kill('SIGHUP');
    for (const more of [1, 2]) await waitFor('it is done', () => finished() === done + more);
    expect(startedBy(service)).toHaveLength(started + 4);
    expect(workersOf(service)).toHaveLength(2);
  });

  test('rereads the settings, except those that all workers must have alike', async () => {
    const script = `printf 'HOST=127.0.0.1\nPORT=0\nWORKERS=2\nREGISTRATION=open\n' >.env; unset HOST PORT; exec "$@"`;
    const prefix = ['bash', '-c', script, 'bash'];
    const service = start({ DATABASE_URL, JWT_SECRET, LOG_LEVEL: 'info' }, { prefix });
    const url = await service.url();
    expect((await registerAt(url)).status).toBe(201);
    const file = join(readlinkSync(`/proc/${service.pid}/cwd`), '.env');
    await Bun.write(file, 'REGISTRATION=closed\nHOST=203.0.113.1\nPORT=1\nWORKERS=0\n');
    service.kill('SIGHUP');
    await waitFor('all are replaced', () => linesOf(service, 'replacement_finished').length === 1);
    expect((await registerAt(url)).status).toBe(403);
  });

  test('starts the code that is on disk by then; workers that cannot start replace none', async () => {
    const project = join(makeFolder(), 'project');
    for (const name of ['src', 'drizzle', 'package.json'])
      await cp(join(root, name), join(project, name), { recursive: true });
    await symlink(join(root, 'node_modules'), join(project, 'node_modules'));
    const environment = { DATABASE_URL, JWT_SECRET, WORKERS: '2', LOG_LEVEL: 'info' };
    const service = start(environment, { project });
    const url = await service.url();
    const before = workersOf(service);

    const file = join(project, 'src/server/serve.ts');
    const text = await Bun.file(file).text();
    const broken = "throw new StartupError('this version is broken');";
    await Bun.write(file, `${text}\n${broken}\n`);
    service.kill('SIGHUP');
    const [line] = await waitFor('it stops', () => {
      const lines = linesOf(service, 'replacement_stopped');
      return lines.length > 0 && lines;
    });
    expect(line).toMatchObject({ level: 'error', reason: 'this version is broken' });
    expect(workersOf(service)).toEqual(before);
    expect(await statusOf(`${url}/health/ready`)).toBe(200);

    await Bun.write(file, text);
    service.kill('SIGHUP');
    await waitFor('all are replaced', () => linesOf(service, 'replacement_finished').length === 1);
    for (const pid of workersOf(service)) expect(before).not.toContain(pid);
    expect(await service.stop()).toBe(0);
  });
});
