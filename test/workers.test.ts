/** WORKERS: several processes at one port, as an operator and a client meet them. */
import { describe, expect, test } from 'bun:test';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { cp, rename, symlink } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { bunPasswords } from '../src/passwords/bun.ts';
import type { Siblings } from '../src/platform.ts';
import { serve } from '../src/serve.ts';
import { readSettings } from '../src/settings.ts';
import { refuseElsewhere } from '../src/supervisor.ts';
import { logIn, registerAt } from './support/accounts.ts';
import { JWT_SECRET } from './support/api.ts';
import { useDatabase } from './support/cluster.ts';
import { countWaiting, isWaiting, whileTableIsLocked } from './support/locks.ts';
import {
  findPostmaster,
  isRunning,
  killPostmaster,
  makeFolder,
  type Process,
  refusalOf,
  start,
  statusOf,
  until,
  useProcesses,
} from './support/process.ts';

useProcesses();

const root = join(import.meta.dir, '..');
/** What an address and a user may send at once. */
const USER_QUOTA = 1000;
const STREAMS_MAX = 20;

const { url: DATABASE_URL, sql } = await useDatabase();

const startTwo = (environment: Record<string, string> = {}) =>
  start({ DATABASE_URL, JWT_SECRET, WORKERS: '2', LOG_LEVEL: 'info', ...environment });

describe('a start', () => {
  test('says one line once as many as are asked for accept requests', async () => {
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

  test('by somebody who has a channel to it keeps that from the workers', async () => {
    const NODE_CHANNEL_FD = '77';
    const service = startTwo({ NODE_CHANNEL_FD });
    await service.url();
    expect(workersOf(service)).toHaveLength(2);
  });

  test('of one is one process', async () => {
    const service = start({ DATABASE_URL, JWT_SECRET, WORKERS: '1' });
    await service.url();
    expect(workersOf(service)).toEqual([]);
  });

  test('shares the port for metrics as well', async () => {
    const service = startTwo({ METRICS_PORT: '0' });
    const url = await service.url();
    const [, metrics_url = ''] = await until('it says where', () =>
      /"metrics_listening","url":"([^"]+)"/.exec(service.stderr),
    );
    expect(service.stderr.match(/metrics_listening/g)).toHaveLength(1);
    for (const pid of workersOf(service)) {
      const { text } = await (await converseWith(metrics_url, pid)).get('/metrics');
      expect(numberOf('mantou_processes', text)).toBe(2);
      expect((await (await converseWith(url, pid)).get('/metrics')).status).toBe(404);
    }
  });

  test.each(['1', '2'])('is refused where WORKERS=%s has the port', async (WORKERS) => {
    const { port: PORT } = new URL(await start({ DATABASE_URL, JWT_SECRET, WORKERS }).url());
    expect(await refusalOf({ DATABASE_URL, JWT_SECRET, PORT, WORKERS: '2' })).toBe(
      `port ${PORT} on 127.0.0.1 is in use: stop what listens there, or set PORT`,
    );
  });

  test('alone is refused where workers have the port', async () => {
    const { port: PORT } = new URL(await startTwo().url());
    expect(await refusalOf({ DATABASE_URL, JWT_SECRET, PORT })).toContain('is in use');
  });

  test('at one port at the same moment succeeds for one', async () => {
    const PORT = String(freePort());
    const all = [1, 2, 3, 4].map(() => startTwo({ PORT }));
    const outcomes = await Promise.all(all.map((one) => one.url().catch(String)));
    expect(outcomes.filter((outcome) => outcome.startsWith('http'))).toHaveLength(1);
    expect(outcomes.filter((outcome) => outcome.includes('is in use'))).toHaveLength(3);
  });

  test('at the port of the metrics is refused', async () => {
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

  test('that cannot be says why in one line, and leaves nobody', async () => {
    const nowhere = Object.assign(new URL(DATABASE_URL), { pathname: '/nowhere' }).href;
    const line = await refusalOf({ DATABASE_URL: nowhere, JWT_SECRET, WORKERS: '3' });
    expect(line).toMatch(/^the database\/nowhere at \S+ does not exist: create it/);
  });

  test('that is stopped at once ends with 0', async () => {
    const service = startTwo();
    await until('the first worker is there', () => workersOf(service).length > 0);
    expect(await service.stop()).toBe(0);
    expect(service.stdout).toBe('');
  });

  test('is refused where processes cannot share a port', () => {
    expect(() => refuseElsewhere('darwin')).toThrow('WORKERS must be 1 on darwin: ');
    expect(() => refuseElsewhere('linux')).not.toThrow();
  });
});

describe('a worker that falls', () => {
  test('is started again, while the others serve', async () => {
    const service = startTwo();
    const url = await service.url();
    const [killed = 0, other = 0] = workersOf(service);
    const connection = await converseWith(url, other);
    kill(killed, 'SIGKILL');
    expect((await connection.get('/health/ready')).status).toBe(200);
    const [pid = 0] = await until('there are two again', () => {
      const others = workersOf(service).filter((one) => one !== killed && one !== other);
      return startedBy(service).length === 3 && others;
    });
    expect((await converseWith(url, pid)).pid).toBe(pid);
    const [line] = linesOf(service, 'worker_exited');
    expect(line).toMatchObject({ level: 'error', pid: killed, signal: 'SIGKILL' });
    expect(await service.stop()).toBe(0);
  });

  test('again and again is started again each time', async () => {
    const service = startTwo();
    await service.url();
    await until('both say so', () => startedBy(service).length === 2);
    const [steady = 0] = workersOf(service);
    for (let falls = 1; falls <= 4; falls += 1) {
      const pid = startedBy(service).findLast((one) => one !== steady);
      kill(pid, 'SIGKILL');
      await until('another one has started', () => startedBy(service).length === 2 + falls);
    }
    expect(workersOf(service)).toHaveLength(2);
  });

  test('is started once there is a program to start', async () => {
    const program = join(makeFolder(), 'bun');
    await cp(process.execPath, program);
    const environment = { DATABASE_URL, JWT_SECRET, WORKERS: '2', LOG_LEVEL: 'info' };
    const service = start(environment, { prefix: ['bash', '-c', 'exec "$0" "$2"', program] });
    const url = await service.url();
    const [killed] = workersOf(service);
    await rename(program, `${program} in another place`);
    kill(killed, 'SIGKILL');
    await until('it was tried in vain', () => linesOf(service, 'worker_not_started').length > 1);
    expect(await statusOf(`${url}/health/ready`)).toBe(200);
    await rename(`${program} in another place`, program);
    await until('another one has started', () => startedBy(service).length === 3);
    expect(await service.stop()).toBe(0);
  });

  test('by a SIGTERM of its own finishes what is in flight', async () => {
    const service = startTwo();
    const url = await service.url();
    const [pid = 0] = workersOf(service);
    const connection = await converseWith(url, pid);
    await whileTableIsLocked(sql, async (unlock) => {
      const answer = connection.register();
      await until('the request waits for the table', () => isWaiting(sql));
      kill(pid, 'SIGTERM');
      await unlock();
      expect((await answer).status).toBe(201);
    });
    await until('another one has started', () => startedBy(service).length === 3);
  });
});

describe('SIGHUP', () => {
  test('replaces every worker, and nobody who keeps his connection loses a request', async () => {
    const service = startTwo({ RATE_LIMIT: 'off' });
    const url = await service.url();
    const before = workersOf(service);
    let asking = true;
    const clients = Array.from({ length: 8 }, () => askWithoutRetry(url, () => asking));
    service.kill('SIGHUP');
    await until('all are replaced', () => linesOf(service, 'replacement_finished').length === 1);
    asking = false;
    const outcomes = await Promise.all(clients);
    expect(outcomes.map(({ failures }) => failures)).toEqual(outcomes.map(() => []));
    // Each was told to leave a connection, so there was something to lose.
    for (const { connections } of outcomes) expect(connections).toBeGreaterThan(1);
    const after = workersOf(service);
    expect(after).toHaveLength(2);
    for (const pid of before) expect(after).not.toContain(pid);
    for (const { level } of linesOf(service, 'worker_exited')) expect(level).toBe('info');
    expect(await service.stop()).toBe(0);
  });

  test('lets a request in flight finish, however long it takes', async () => {
    const service = startTwo();
    const url = await service.url();
    const [pid = 0] = workersOf(service);
    const connection = await converseWith(url, pid);
    await whileTableIsLocked(sql, async (unlock) => {
      const answer = connection.register();
      await until('the request waits for the table', () => isWaiting(sql));
      service.kill('SIGHUP');
      await until('its worker has a successor', () => startedBy(service).length === 3);
      await until('nobody listens in it', () => !listenersOf(pid, url).length);
      await unlock();
      expect((await answer).status).toBe(201);
    });
    await until('all are replaced', () => linesOf(service, 'replacement_finished').length === 1);
  });

  test('during another is done after it', async () => {
    const service = startTwo();
    await service.url();
    service.kill('SIGHUP');
    await until('it is under way', () => linesOf(service, 'replacement_started').length === 1);
    service.kill('SIGHUP');
    for (const done of [1, 2])
      await until('it is done', () => linesOf(service, 'replacement_finished').length === done);
    expect(startedBy(service)).toHaveLength(6);
    expect(workersOf(service)).toHaveLength(2);
  });

  test('reads settings again, but for what all must have alike', async () => {
    const script = `printf 'HOST=127.0.0.1\nPORT=0\nWORKERS=2\nREGISTRATION=open\n' >.env; unset HOST PORT; exec "$@"`;
    const prefix = ['bash', '-c', script, 'bash'];
    const service = start({ DATABASE_URL, JWT_SECRET, LOG_LEVEL: 'info' }, { prefix });
    const url = await service.url();
    expect((await registerAt(url)).status).toBe(201);
    const file = join(readlinkSync(`/proc/${service.pid}/cwd`), '.env');
    await Bun.write(file, 'REGISTRATION=closed\nHOST=203.0.113.1\nPORT=1\nWORKERS=0\n');
    service.kill('SIGHUP');
    await until('all are replaced', () => linesOf(service, 'replacement_finished').length === 1);
    expect((await registerAt(url)).status).toBe(403);
  });

  test('starts what is on the disk by then; what cannot start replaces nobody', async () => {
    const project = join(makeFolder(), 'project');
    for (const name of ['src', 'drizzle', 'package.json'])
      await cp(join(root, name), join(project, name), { recursive: true });
    await symlink(join(root, 'node_modules'), join(project, 'node_modules'));
    const environment = { DATABASE_URL, JWT_SECRET, WORKERS: '2', LOG_LEVEL: 'info' };
    const service = start(environment, { project });
    const url = await service.url();
    const before = workersOf(service);

    const file = join(project, 'src/serve.ts');
    const text = await Bun.file(file).text();
    const broken = "throw new CannotStart('this version is broken');";
    await Bun.write(file, `${text}\n${broken}\n`);
    service.kill('SIGHUP');
    const [line] = await until('it stops', () => {
      const lines = linesOf(service, 'replacement_stopped');
      return lines.length > 0 && lines;
    });
    expect(line).toMatchObject({ level: 'error', reason: 'this version is broken' });
    expect(workersOf(service)).toEqual(before);
    expect(await statusOf(`${url}/health/ready`)).toBe(200);

    await Bun.write(file, text);
    service.kill('SIGHUP');
    await until('all are replaced', () => linesOf(service, 'replacement_finished').length === 1);
    for (const pid of workersOf(service)) expect(before).not.toContain(pid);
    expect(await service.stop()).toBe(0);
  });
});

describe('the end', () => {
  test.each(['SIGTERM', 'SIGINT'] as const)('by %s lets requests finish', async (signal) => {
    const service = startTwo();
    const url = await service.url();
    const pids = workersOf(service);
    await whileTableIsLocked(sql, async (unlock) => {
      const connections = await Promise.all(pids.map((pid) => converseWith(url, pid)));
      const answers = connections.map((one) => one.register());
      await until('both wait for the table', async () => (await countWaiting(sql)) === 2);
      service.kill(signal);
      await until('new requests are refused', async () => (await statusOf(url)) === 0);
      await unlock();
      for (const { status } of await Promise.all(answers)) expect(status).toBe(201);
    });
    expect(await service.ended).toBe(0);
    for (const pid of pids) expect(await isRunning(pid)).toBeFalse();
  });

  test('asked for twice comes at once, for all', async () => {
    const service = startTwo();
    const url = await service.url();
    const pids = workersOf(service);
    await whileTableIsLocked(sql, async () => {
      registerAt(url).catch(() => undefined);
      await until('the request waits for the table', () => isWaiting(sql));
      service.kill('SIGTERM');
      await until('new requests are refused', async () => (await statusOf(url)) === 0);
      const running = async () => {
        const run = await Promise.all(pids.map(isRunning));
        return pids.filter((_, n) => run[n]);
      };
      await until('the idle worker has ended', async () => (await running()).length === 1);
      // Now the other cannot end by itself.
      kill((await running())[0], 'SIGSTOP');
      expect(await service.stop('SIGINT')).toBe(1);
      for (const pid of pids) await until(`the end of ${pid}`, async () => !(await isRunning(pid)));
    });
  });

  test.each(['SIGINT', 'SIGTERM'] as const)(
    'by %s to the whole group, as from a terminal, lets a request finish',
    async (signal) => {
      const environment = { DATABASE_URL, JWT_SECRET, WORKERS: '2' };
      const service = start(environment, { prefix: ['setsid'] });
      const url = await service.url();
      await whileTableIsLocked(sql, async (unlock) => {
        const answer = registerAt(url);
        await until('the request waits for the table', () => isWaiting(sql));
        process.kill(-service.pid, signal);
        await until('new requests are refused', async () => (await statusOf(url)) === 0);
        await unlock();
        expect((await answer).status).toBe(201);
      });
      expect(await service.ended).toBe(0);
      expect(service.stderr).toBe('');
    },
  );

  test('of a supervisor that is killed is the end of all', async () => {
    const service = startTwo();
    const url = await service.url();
    const pids = workersOf(service);
    await whileTableIsLocked(sql, async (unlock) => {
      const answer = registerAt(url);
      await until('the request waits for the table', () => isWaiting(sql));
      service.kill('SIGKILL');
      await until('nobody listens', async () => (await statusOf(url)) === 0);
      await unlock();
      expect((await answer).status).toBe(201);
    });
    for (const pid of pids) await until(`the end of ${pid}`, async () => !(await isRunning(pid)));
    const again = startTwo({ PORT: new URL(url).port });
    expect(await again.url()).toBe(url);
  });

  test('as the first process of a container is the same', async () => {
    const as_user = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];
    const prefix = ['unshare', ...as_user, '--pid', '--fork', '--kill-child'];
    const environment = { DATABASE_URL, JWT_SECRET, WORKERS: '2' };
    const service = start(environment, { prefix });
    const url = await service.url();
    const [first = 0] = childrenOf(service.pid);
    const pids = childrenOf(first);
    expect(pids).toHaveLength(2);
    kill(pids[0], 'SIGKILL');
    await until('there are two others', () => {
      const now = childrenOf(first);
      return now.length === 2 && !now.includes(pids[0] ?? 0);
    });
    expect(await statusOf(`${url}/health/live`)).toBe(200);
    kill(first, 'SIGTERM');
    expect(await service.ended).toBe(0);
  });

  test('is told to whoever watches the readiness of any, before a socket closes', async () => {
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
    await until('the readiness fails', async () => {
      for (const pid of [asked, other]) expect(listenersOf(pid, url)).toHaveLength(1);
      expect(await statusOf(`${url}/problems/internal`)).toBe(200);
      return (await statusOf(`${url}/health/ready`)) === 503;
    });
    expect(await service.ended).toBe(0);
  });
});

test('the cores are shared: hashes in flight are no more than there are', async () => {
  const passwords = bunPasswords(navigator.hardwareConcurrency);
  const hashes = [1, 2, 3].map(() => passwords.hash('correct horse battery staple'));
  expect([passwords.in_flight, passwords.waiting]).toEqual([1, 2]);
  await Promise.all(hashes);
});

describe('across workers', () => {
  let service: Process;
  let url: string;

  /** A connection to each of the two. */
  async function both(): Promise<[Conversation, Conversation]> {
    service = startTwo();
    url = await service.url();
    const [a = 0, b = 0] = workersOf(service);
    return [await converseWith(url, a), await converseWith(url, b)];
  }

  test('a session that has ended in one has ended in all, before that is answered', async () => {
    const [one, other] = await both();
    const token = await logIn(url);
    for (const connection of [one, other])
      expect((await connection.get('/users/me', token)).status).toBe(200);
    expect((await one.ask('POST', '/users/logout', { token })).status).toBe(204);
    expect((await other.get('/users/me', token)).status).toBe(401);
  });

  test('an API token that is revoked in one is revoked in all', async () => {
    const [one, other] = await both();
    const token = await logIn(url);
    const made = await one.ask('POST', '/users/me/tokens', {
      token,
      body: { name: 'script', scopes: ['read'] },
    });
    const { id, token: api_token } = JSON.parse(made.text);
    expect((await other.get('/projects', api_token)).status).toBe(200);
    const path = `/users/me/tokens/${id}`;
    expect((await one.ask('DELETE', path, { token })).status).toBe(204);
    expect((await other.get('/projects', api_token)).status).toBe(401);
  });

  test('requests count together, and one worker gives all there is', async () => {
    const [one, other] = await both();
    const token = await logIn(url);
    let answered = 0;
    await until('one refuses', async () => {
      for (let n = 0; n < 100; n += 1) {
        const { status } = await one.get('/users/me', token);
        if (status === 429) return true;
        answered += 1;
      }
      return false;
    });
    expect(answered).toBeGreaterThanOrEqual(USER_QUOTA);
    // Asked as seldom as this, it gives back as much as is taken: it can only have heard.
    await until('the other has heard', async () => {
      const { headers } = await other.get('/users/me', token);
      const [, remaining] = /^"user";r=(\d+);/.exec(headers.get('ratelimit') ?? '') ?? [];
      return Number(remaining) < USER_QUOTA / 2;
    });
  });

  test('streams count together', async () => {
    const [one, other] = await both();
    const token = await logIn(url);
    const open = async ({ pid }: Conversation) =>
      (await (await converseWith(url, pid)).get('/changes/stream', token)).status;
    for (let n = 0; n < STREAMS_MAX; n += 2)
      expect([await open(one), await open(other)]).toEqual([200, 200]);
    expect([await open(one), await open(other)]).toEqual([429, 429]);
  });

  test('a request that is sent to both under one key is done once', async () => {
    const connections = await both();
    const token = await logIn(url);
    const headers = { 'idempotency-key': crypto.randomUUID() };
    const body = { name: 'Kitchen' };
    const send = (connection: Conversation) =>
      connection.ask('POST', '/projects/', { token, headers, body });
    const answers = await Promise.all(connections.map(send));
    for (const { status } of answers) expect([201, 409]).toContain(status);
    const again = await Promise.all(connections.map(send));
    const ids = again.map(({ text }) => JSON.parse(text).id);
    expect(again.map(({ status }) => status)).toEqual([201, 201]);
    expect(ids[0]).toBe(ids[1]);
    const [{ number }] =
      await sql`select count(*)::int as number from projects where id = ${ids[0]}`;
    const list = JSON.parse((await connections[1].get('/projects', token)).text);
    expect([number, list.items.length]).toEqual([1, 1]);
  });

  test('metrics are of all, whoever is asked, and never fall', async () => {
    const connections = await both();
    const series =
      'http_request_duration_seconds_count{method="GET",route="/problems/{code}",status="200"}';
    for (const [at, requests] of [5, 7].entries())
      for (let n = 0; n < requests; n += 1) await connections[at]?.get('/problems/internal');
    for (const connection of connections) {
      const { text } = await connection.get('/metrics');
      expect([numberOf(series, text), numberOf('mantou_processes', text)]).toEqual([12, 2]);
      expect(text.match(/^mantou_build_info.*$/gm)).toEqual([expect.stringMatching(/ 1$/)]);
      expect(text.match(/^process_start_time_seconds (.*)$/m)?.[1]).toStartWith('1');
    }
    // What is killed has told at the last scrape, what retires tells at its end.
    kill(connections[0].pid, 'SIGKILL');
    await until('another one has started', () => startedBy(service).length === 3);
    await connections[1].get('/problems/internal');
    service.kill('SIGHUP');
    await until('all are replaced', () => linesOf(service, 'replacement_finished').length === 1);
    const text = await (await fetch(`${url}/metrics`)).text();
    expect([numberOf(series, text), numberOf('mantou_processes', text)]).toEqual([13, 2]);
    expect(await service.stop()).toBe(0);
  });

  test('metrics leave out who does not answer, but for what he has told before', async () => {
    const [one, other] = await both();
    await other.get('/problems/internal');
    await one.get('/metrics');
    kill(other.pid, 'SIGSTOP');
    try {
      const { text } = await one.get('/metrics');
      const labels = 'method="GET",route="/problems/{code}",status="200"';
      expect(numberOf(`http_request_duration_seconds_count{${labels}}`, text)).toBe(1);
      expect(numberOf('mantou_processes', text)).toBe(1);
    } finally {
      kill(other.pid, 'SIGCONT');
    }
  });

  test('the lines of two who write to one pipe are whole, also for a slow reader', async () => {
    // The shell reads a character at a time.
    const script = `("$0" "$1" & "$0" "$1" & wait) 2>&1 | while IFS= read -r line; do echo "$line"; done`;
    const writing = join(import.meta.dir, 'support/writing-lines.ts');
    const child = Bun.spawn(['bash', '-c', script, process.execPath, writing]);
    const lines = (await child.stdout.text()).trim().split('\n');
    const numbers = Map.groupBy(
      lines.map((line) => JSON.parse(line)),
      ({ pid }) => pid,
    );
    expect(numbers.size).toBe(2);
    for (const [, own] of numbers)
      expect(own.map(({ line }) => line)).toEqual(own.map((_, place) => place));
  });

  test('the embedded PostgreSQL is one, is started again, and ends with the last', async () => {
    const DATA_DIR = join(makeFolder(), 'data');
    service = start({ DATA_DIR, WORKERS: '2' });
    url = await service.url();
    const pids = workersOf(service);
    const token = await logIn(url);
    const first = (await findPostmaster(DATA_DIR)) ?? 0;
    await killPostmaster(first, 'SIGKILL');
    for (const pid of pids)
      await until('it serves again', async () => {
        const { status } = await (await converseWith(url, pid)).get('/users/me/sessions', token);
        return status === 200;
      });
    expect(await findPostmaster(DATA_DIR)).not.toBe(first);
    expect(await service.stop()).toBe(0);
    expect(await findPostmaster(DATA_DIR)).toBeUndefined();
  });
});

test('what two processes give at the same moment is a debt of the client', async () => {
  let now_ms = Date.now();
  const { connect, mute, said } = siblingsByHand();
  const settings = readSettings({ JWT_SECRET, DATABASE_URL, PORT: '0' });
  const now = () => new Date(now_ms);
  const log = () => undefined;
  // They would share a port; here each is asked by its own.
  const servers = [
    await serve(settings, { log, now, siblings: connect() }),
    await serve(settings, { log, now, siblings: connect() }),
  ];
  const [one = '', other = ''] = servers.map((server) => server.url);
  const token = await logIn(one);
  const headers = { authorization: `Bearer ${token}` };
  const ask = async (url: string, times: number) => {
    const statuses: number[] = [];
    while (statuses.length < times)
      statuses.push((await fetch(`${url}/users/me`, { headers })).status);
    return statuses;
  };
  // So far each knows of its own alone.
  mute(true);
  const statuses = (await Promise.all([ask(one, 800), ask(other, 800)])).flat();
  expect(statuses.filter((status) => status === 200)).toHaveLength(1600);
  await until('all of it was said', () => said() === 1600);
  mute(false);
  // 600 too many are worked off in six seconds.
  now_ms += 5900;
  expect([await ask(one, 1), await ask(other, 1)].flat()).toEqual([429, 429]);
  now_ms += 200;
  expect([await ask(one, 1), await ask(other, 1)].flat()).toEqual([200, 200]);
  for (const server of servers) await server.stop();
});

/** Processes that hear each other without a supervisor, what was said meanwhile once they may. */
function siblingsByHand() {
  const all: Map<string, (message: unknown) => unknown>[] = [];
  let held: (() => void)[] | undefined;
  /** What users have taken. */
  let taken = 0;
  const connect = (): Siblings => {
    const mine = new Map<string, (message: unknown) => unknown>();
    all.push(mine);
    const ask = (topic: string, message?: unknown) =>
      Promise.all(
        all.filter((one) => one !== mine).map((one) => one.get(topic)?.(structuredClone(message))),
      );
    return {
      async tell(topic, message) {
        if (topic === 'requests_taken')
          for (const [, tokens] of (message as [string, number][][])[0] ?? []) taken += tokens;
        if (held) held.push(() => ask(topic, message));
        else await ask(topic, message);
      },
      ask,
      on: (topic, heard) => void mine.set(topic, heard),
    };
  };
  const mute = (is_muted: boolean) => {
    const due = held ?? [];
    held = is_muted ? [] : undefined;
    for (const say of due) say();
  };
  return { connect, mute, said: () => taken };
}

// --- Processes -----------------------------------------------------------------------------------------------------

function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return text === '' ? [] : text.split(' ').map(Number);
}

/** Zero would be all of us. */
function kill(pid: number | undefined, signal: NodeJS.Signals) {
  if (!pid) throw new Error('there is no such process');
  process.kill(pid, signal);
}

const workersOf = ({ pid }: Process) => childrenOf(pid);

// biome-ignore lint/suspicious/noExplicitAny: lines are looked into freely.
function linesOf(service: Process, event: string): any[] {
  const whole = service.stderr.slice(0, service.stderr.lastIndexOf('\n') + 1);
  return whole
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
    .filter((line) => line.event === event);
}

const startedBy = (service: Process): number[] =>
  linesOf(service, 'worker_started').map(({ pid }) => pid);

/** The numbers of the sockets that a process has. */
function socketsOf(pid: number): Set<string> {
  const folder = `/proc/${pid}/fd`;
  const names = existsSync(folder) ? readdirSync(folder) : [];
  return new Set(
    names.flatMap((name) => {
      try {
        return /^socket:\[(\d+)\]$/.exec(readlinkSync(join(folder, name)))?.[1] ?? [];
      } catch {
        return [];
      }
    }),
  );
}

const inHex = (port: number) => port.toString(16).toUpperCase().padStart(4, '0');

/** Sockets at the port of the URL: `[remote port in hexadecimal, state, number]`. */
const socketsAt = (url: string) =>
  readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local]) => local?.endsWith(`:${inHex(Number(new URL(url).port))}`))
    .map(([, , remote = '', state, , , , , , number = '']) => [remote.slice(-4), state, number]);

/** The sockets of the process that wait for connections. */
function listenersOf(pid: number, url: string) {
  const LISTEN = '0A';
  const sockets = socketsOf(pid);
  return socketsAt(url).filter(([, state, number = '']) => state === LISTEN && sockets.has(number));
}

// --- Connections ---------------------------------------------------------------------------------------------------

interface Reply {
  status: number;
  headers: Headers;
  text: string;
}

interface Request {
  token?: string;
  headers?: Record<string, string>;
  body?: unknown;
}

/** One connection, which is to one worker for as long as it lasts. */
interface Conversation {
  readonly pid: number;
  ask(method: string, path: string, request?: Request): Promise<Reply>;
  get(path: string, token?: string): Promise<Reply>;
  register(): Promise<Reply>;
  close(): void;
}

/** Connects until the kernel gives the connection to this worker. */
const converseWith = (url: string, pid: number): Promise<Conversation> =>
  until(`a connection to ${pid}`, async () => {
    const connection = await converse(url, pid);
    if (connection.pid === pid) return connection;
    connection.close();
    return undefined;
  });

async function converse(url: string, wanted: number): Promise<Conversation> {
  const socket = await openSocket(url);
  const remote = inHex(socket.localPort ?? 0);
  let answer = (_: Reply | Error) => undefined as undefined | unknown;
  readReplies(socket, (reply) => answer(reply));
  const ask = (method: string, path: string, request: Request = {}) =>
    new Promise<Reply>((done, fail) => {
      answer = (reply) => (reply instanceof Error ? fail(reply) : done(reply));
      socket.write(written(method, path, request));
    });
  // The kernel hands a connection over with its first bytes.
  await ask('GET', '/health/live');
  const [, , number = ''] = socketsAt(url).find(([port]) => port === remote) ?? [];
  return {
    pid: socketsOf(wanted).has(number) ? wanted : 0,
    ask,
    get: (path, token) => ask('GET', path, { token }),
    register() {
      const username = `somebody-${crypto.randomUUID().slice(0, 8)}`;
      const body = { username, email: `${username}@example.org`, password: 'the password' };
      return ask('POST', '/users/register', { body });
    },
    close: () => socket.destroy(),
  };
}

async function openSocket(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  await new Promise<void>((ready, fail) => {
    socket.once('connect', ready);
    socket.once('error', fail);
  });
  return socket;
}

function written(method: string, path: string, { token, headers, body }: Request): string {
  const text = body === undefined ? '' : JSON.stringify(body);
  const fields = {
    host: 'localhost',
    ...(token && { authorization: `Bearer ${token}` }),
    ...(text && { 'content-type': 'application/json', 'content-length': String(text.length) }),
    ...headers,
  };
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n${text}`;
}

/** Answers of known length, or the head of one without an end; the end of the connection is an error. */
function readReplies(socket: Socket, onReply: (reply: Reply | Error) => void) {
  let received = '';
  let is_endless = false;
  socket.setEncoding('latin1');
  socket.on('data', (piece) => {
    received += piece;
    const head = received.indexOf('\r\n\r\n');
    if (head === -1 || is_endless) return;
    const [start = '', ...lines] = received.slice(0, head).split('\r\n');
    const headers = new Headers(
      lines.map((line) => line.split(/:\s*(.*)/s).slice(0, 2) as [string, string]),
    );
    is_endless = headers.has('transfer-encoding');
    const length = Number(headers.get('content-length') ?? 0);
    if (received.length < head + 4 + length) return;
    const text = received.slice(head + 4, head + 4 + length);
    received = received.slice(head + 4 + length);
    onReply({ status: Number(start.split(' ')[1]), headers, text });
  });
  socket.on('error', onReply);
  socket.on('close', () => onReply(new Error('the connection was closed')));
}

/** Asks again and again on a connection that is kept, and makes another one only when told to. */
async function askWithoutRetry(url: string, goesOn: () => boolean) {
  const failures: string[] = [];
  let connections = 0;
  while (goesOn()) {
    const socket = await openSocket(url);
    connections += 1;
    let answer = (_: Reply | Error) => undefined as undefined | unknown;
    readReplies(socket, (reply) => answer(reply));
    for (let kept = true; kept && goesOn(); ) {
      const reply = await new Promise<Reply | Error>((done) => {
        answer = done;
        socket.write(written('GET', '/problems/internal', {}));
      });
      if (reply instanceof Error) failures.push(reply.message);
      else if (reply.status !== 200) failures.push(String(reply.status));
      kept = !(reply instanceof Error) && reply.headers.get('connection') !== 'close';
    }
    socket.destroy();
  }
  return { failures, connections };
}

const numberOf = (series: string, text: string) =>
  Number(
    text
      .split('\n')
      .find((line) => line.startsWith(`${series} `))
      ?.slice(series.length + 1),
  );

// --- The database --------------------------------------------------------------------------------------------------

function freePort(): number {
  using listener = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } });
  return listener.port;
}
