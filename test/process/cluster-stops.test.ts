/** WORKERS: a stop ends all processes after their requests in flight. */
import { describe, expect, test } from 'bun:test';
import { registerAt } from '../support/accounts.ts';
import { JWT_SECRET } from '../support/api.ts';
import { useDatabase } from '../support/cluster.ts';
import { countWaiting, isWaiting, whileTableIsLocked } from '../support/locks.ts';
import {
  isRunning,
  signalAgain,
  start,
  statusOf,
  useProcesses,
  waitFor,
} from '../support/process.ts';
import {
  childrenOf,
  converseWith,
  kill,
  listenersOf,
  startTwoAt,
  workersOf,
} from '../support/workers.ts';

useProcesses();

/** A signal that comes earlier than this after the first one is the same request to stop. */

const { url: DATABASE_URL, sql } = await useDatabase();
const startTwo = startTwoAt(DATABASE_URL);

describe('a stop with WORKERS', () => {
  test.each(['SIGTERM', 'SIGINT'] as const)('by %s lets requests finish', async (signal) => {
    const service = startTwo();
    const url = await service.url();
    const pids = workersOf(service);
    await whileTableIsLocked(sql, async (unlock) => {
      const connections = await Promise.all(pids.map((pid) => converseWith(url, pid)));
      const answers = connections.map((one) => one.register());
      await waitFor('both wait for the table', async () => (await countWaiting(sql)) === 2);
      service.kill(signal);
      await waitFor('new requests are refused', async () => (await statusOf(url)) === 0);
      await unlock();
      for (const { status } of await Promise.all(answers)) expect(status).toBe(201);
    });
    expect(await service.ended).toBe(0);
    for (const pid of pids) expect(await isRunning(pid)).toBeFalse();
  });

  test('ends all processes at once on a second signal one second later', async () => {
    const service = startTwo();
    const url = await service.url();
    const pids = workersOf(service);
    await whileTableIsLocked(sql, async () => {
      registerAt(url).catch(() => undefined);
      await waitFor('the request waits for the table', () => isWaiting(sql));
      service.kill('SIGTERM');
      await waitFor('new requests are refused', async () => (await statusOf(url)) === 0);
      const running = async () => {
        const run = await Promise.all(pids.map(isRunning));
        return pids.filter((_, n) => run[n]);
      };
      await waitFor('the idle worker has ended', async () => (await running()).length === 1);
      // Now the other cannot end by itself.
      kill((await running())[0], 'SIGSTOP');
      expect(await signalAgain(() => service.kill('SIGINT'), service.ended)).toBe(1);
      for (const pid of pids)
        await waitFor(`the end of ${pid}`, async () => !(await isRunning(pid)));
    });
  });

  test.each(['SIGINT', 'SIGTERM'] as const)(
    'by %s to the process group, as from a terminal, lets a request finish',
    async (signal) => {
      const environment = { DATABASE_URL, JWT_SECRET, WORKERS: '2' };
      const service = start(environment, { prefix: ['setsid'] });
      const url = await service.url();
      await whileTableIsLocked(sql, async (unlock) => {
        const answer = registerAt(url);
        await waitFor('the request waits for the table', () => isWaiting(sql));
        process.kill(-service.pid, signal);
        await waitFor('new requests are refused', async () => (await statusOf(url)) === 0);
        await unlock();
        expect((await answer).status).toBe(201);
      });
      expect(await service.ended).toBe(0);
      expect(service.stderr).toBe('');
    },
  );

  test('of a killed supervisor stops the workers after their requests in flight', async () => {
    const service = startTwo();
    const url = await service.url();
    const pids = workersOf(service);
    await whileTableIsLocked(sql, async (unlock) => {
      const answer = registerAt(url);
      await waitFor('the request waits for the table', () => isWaiting(sql));
      service.kill('SIGKILL');
      await waitFor('the port is closed', async () => (await statusOf(url)) === 0);
      await unlock();
      expect((await answer).status).toBe(201);
    });
    for (const pid of pids) await waitFor(`the end of ${pid}`, async () => !(await isRunning(pid)));
    const again = startTwo({ PORT: new URL(url).port });
    expect(await again.url()).toBe(url);
  });

  test('works as PID 1 of a container', async () => {
    const asUser = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];
    const prefix = ['unshare', ...asUser, '--pid', '--fork', '--kill-child'];
    const environment = { DATABASE_URL, JWT_SECRET, WORKERS: '2' };
    const service = start(environment, { prefix });
    const url = await service.url();
    const [first = 0] = childrenOf(service.pid);
    const pids = childrenOf(first);
    expect(pids).toHaveLength(2);
    kill(pids[0], 'SIGKILL');
    await waitFor('there are two others', () => {
      const now = childrenOf(first);
      return now.length === 2 && !now.includes(pids[0] ?? 0);
    });
    expect(await statusOf(`${url}/health/live`)).toBe(200);
    kill(first, 'SIGTERM');
    expect(await service.ended).toBe(0);
  });

  test('fails the readiness check of every worker before a socket closes', async () => {
    const service = startTwo();
    const url = await service.url();
    const [asked = 0, other = 0] = workersOf(service);
    const watched = await converseWith(url, asked);
    const unwatched = await converseWith(url, other);
    expect((await watched.get('/health/ready')).status).toBe(200);
    // By this answer each has heard what the other has said before.
    await watched.get('/metrics');
    await unwatched.get('/metrics');
    service.kill('SIGTERM');
    // The workers wait for this check for two seconds, so nothing else is asked in between.
    const readiness = await waitFor('the readiness fails', async () => {
      const status = await statusOf(`${url}/health/ready`);
      return (
        status !== 200 && {
          status,
          sockets: [asked, other].map((pid) => listenersOf(pid, url).length),
        }
      );
    });
    expect(readiness).toEqual({ status: 503, sockets: [1, 1] });
    expect(await service.ended).toBe(0);
  });
});
