/** Signals through `bun start`: `bun run` forwards them, and a terminal sends them to the whole process group. */
import { expect, test } from 'bun:test';
import { join } from 'node:path';
import { registerAt } from '../support/accounts.ts';
import { JWT_SECRET } from '../support/api.ts';
import { useDatabase } from '../support/cluster.ts';
import { casesOf } from '../support/generated.ts';
import { countWaiting, whileTableIsLocked } from '../support/locks.ts';
import {
  makeFolder,
  SECOND_SIGNAL_AFTER_MS,
  start,
  statusOf,
  useProcesses,
  waitFor,
} from '../support/process.ts';

useProcesses();

const root = join(import.meta.dir, '../..');
const ROUNDS = casesOf(2, 6);
const SERVERS = 4;

const { url: DATABASE_URL, sql } = await useDatabase();

/** What an operator types, as the leader of a process group. */
const bunStart = (environment: Record<string, string>) =>
  start(environment, { prefix: ['setsid', 'bash', '-c', 'cd "$0" && exec "$1" start', root] });

const signals = Array.from({ length: ROUNDS }, (_, round) =>
  round % 2 ? ('SIGTERM' as const) : ('SIGINT' as const),
);

test.each(signals)(
  '%s to the group of four "bun start" lets their requests in flight finish, and all exit with 0',
  async (signal) => {
    const servers = Array.from({ length: SERVERS }, () =>
      bunStart({ DATABASE_URL, JWT_SECRET, LOG_LEVEL: 'info' }),
    );
    const urls = await Promise.all(servers.map((one) => one.url()));
    await whileTableIsLocked(sql, async (unlock) => {
      const answers = urls.map((url) => registerAt(url));
      await waitFor('all wait for the table', async () => (await countWaiting(sql)) === SERVERS);
      for (const { pid } of servers) process.kill(-pid, signal);
      for (const url of urls)
        await waitFor('new requests are refused', async () => (await statusOf(url)) === 0);
      await unlock();
      for (const { status } of await Promise.all(answers)) expect(status).toBe(201);
    });
    for (const one of servers) {
      expect(await one.ended).toBe(0);
      const stops = one.stderr.match(/"event":"stop\w+"(?:,"signal":"\w+")?/g);
      expect(stops).toEqual([`"event":"stopping","signal":"${signal}"`, '"event":"stopped"']);
    }
  },
);

test.each(['1', '2'])(
  'a start with WORKERS=%s that is stopped at once exits with 0',
  async (WORKERS) => {
    for (const event of ['setting_unknown', 'starting', 'database_ready']) {
      // The misspelt name gives the first line of the log.
      const environment = {
        DATABASE_URL,
        JWT_SECRET,
        WORKERS,
        LOG_LEVEL: 'info',
        RATELIMIT: 'off',
      };
      const one = bunStart(environment);
      await waitFor(`its log says ${event}`, () => one.stderr.includes(`"event":"${event}`));
      process.kill(-one.pid, 'SIGINT');
      expect([event, await one.ended]).toEqual([event, 0]);
    }
  },
);

test('a first start that is stopped while it makes its database exits with 0, and the next one serves', async () => {
  const environment = { DATA_DIR: join(makeFolder(), 'data'), LOG_LEVEL: 'info' };
  const first = bunStart(environment);
  await waitFor('it makes the database', () =>
    first.stderr.includes('"event":"database_creating"'),
  );
  process.kill(-first.pid, 'SIGINT');
  expect(await first.ended).toBe(0);
  const next = bunStart(environment);
  expect(await statusOf(`${await next.url()}/health/ready`)).toBe(200);
  // `bun run` alone would leave the server behind.
  process.kill(-next.pid, 'SIGINT');
  expect(await next.ended).toBe(0);
});

test('two signals that arrive together count as one request, even if the event loop stands still between them', async () => {
  const script = `
    import { onStopRequest, receiveSignals } from ${JSON.stringify(join(import.meta.dir, '../../src/server/signals.ts'))};
    receiveSignals();
    onStopRequest(() => {
      process.kill(process.pid, 'SIGINT');
      Bun.sleepSync(${1.5 * SECOND_SIGNAL_AFTER_MS});
      setTimeout(() => process.exit(0), 50);
    }, () => process.exit(1));
    setInterval(() => undefined, 1000);
    process.kill(process.pid, 'SIGINT');`;
  expect(await Bun.spawn([process.execPath, '-e', script]).exited).toBe(0);
});
