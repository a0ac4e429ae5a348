/** WORKERS: what the processes know of each other: revocations, limits, streams, keys and metrics. */
import { beforeAll, describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import type { PeerChannel } from '../../src/platform.ts';
import { serve } from '../../src/server/serve.ts';
import { readSettings } from '../../src/settings.ts';
import { signUpAt } from '../support/accounts.ts';
import { JWT_SECRET } from '../support/api.ts';
import { useDatabase } from '../support/cluster.ts';
import {
  findPostmaster,
  killPostmaster,
  makeFolder,
  start,
  useProcesses,
  useServer,
  waitFor,
} from '../support/process.ts';
import {
  type Conversation,
  converseWith,
  kill,
  linesOf,
  numberOf,
  startedBy,
  startTwoAt,
  workersOf,
} from '../support/workers.ts';

useProcesses();

/** How many requests a user may send at once. */
const USER_QUOTA = 1000;
const STREAMS_MAX = 20;

const { url: DATABASE_URL, sql } = await useDatabase();
const startTwo = startTwoAt(DATABASE_URL);

describe('across workers', () => {
  const service = useServer(startTwo);
  let url: string;
  beforeAll(async () => {
    url = await service.url();
  });

  /** A connection to each of the two workers. */
  async function both(server = service): Promise<[Conversation, Conversation]> {
    const at = await server.url();
    const [a = 0, b = 0] = workersOf(server);
    return [await converseWith(at, a), await converseWith(at, b)];
  }

  test('a log-out at one worker holds at all workers before it is answered', async () => {
    const [one, other] = await both();
    const token = await signUpAt(url);
    for (const connection of [one, other])
      expect((await connection.get('/users/me', token)).status).toBe(200);
    expect((await one.ask('POST', '/users/logout', { token })).status).toBe(204);
    expect((await other.get('/users/me', token)).status).toBe(401);
  });

  test('an API token that one worker revokes is refused by all', async () => {
    const [one, other] = await both();
    const token = await signUpAt(url);
    const made = await one.ask('POST', '/users/me/tokens', {
      token,
      body: { name: 'script', scopes: ['read'] },
    });
    const { id, token: apiToken } = JSON.parse(made.text);
    expect((await other.get('/projects', apiToken)).status).toBe(200);
    const path = `/users/me/tokens/${id}`;
    expect((await one.ask('DELETE', path, { token })).status).toBe(204);
    expect((await other.get('/projects', apiToken)).status).toBe(401);
  });

  test('all workers count open streams together', async () => {
    const [one, other] = await both();
    const token = await signUpAt(url);
    const open = async ({ pid }: Conversation) =>
      (await (await converseWith(url, pid)).get('/changes/stream', token)).status;
    for (let n = 0; n < STREAMS_MAX; n += 2)
      expect([await open(one), await open(other)]).toEqual([200, 200]);
    expect([await open(one), await open(other)]).toEqual([429, 429]);
  });

  test('of 100 streams that are opened at once, 20 open', async () => {
    await both();
    const token = await signUpAt(url);
    const abort = new AbortController();
    const statuses = await Promise.all(
      Array.from({ length: 100 }, async () => {
        const { status } = await fetch(`${url}/changes/stream`, {
          headers: { authorization: `Bearer ${token}` },
          // Each has a connection of its own, which the kernel gives to one of the workers.
          keepalive: false,
          signal: abort.signal,
        });
        return status;
      }),
    );
    abort.abort();
    expect(statuses.filter((status) => status === 200).length).toBe(STREAMS_MAX);
    expect(statuses.filter((status) => status === 429).length).toBe(100 - STREAMS_MAX);
  });

  test('two requests with one key, one to each worker, create one row', async () => {
    const connections = await both();
    const token = await signUpAt(url);
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

  test('metrics leave out a worker that does not answer, except its last counters', async () => {
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

  test('all workers count requests together, and one worker grants the whole quota', async () => {
    // The last one, because it uses up what this address may send.
    const [one, other] = await both();
    const token = await signUpAt(url);
    let answered = 0;
    await waitFor('one refuses', async () => {
      for (let n = 0; n < 100; n += 1) {
        const { status } = await one.get('/users/me', token);
        if (status === 429) return true;
        answered += 1;
      }
      return false;
    });
    expect(answered).toBeGreaterThanOrEqual(USER_QUOTA);
    // Asked as seldom as this, it gives back as much as is taken: it can only have heard.
    await waitFor('the other has heard', async () => {
      const { headers } = await other.get('/users/me', token);
      const [, remaining] = /^"user";r=(\d+);/.exec(headers.get('ratelimit') ?? '') ?? [];
      return Number(remaining) < USER_QUOTA / 2;
    });
  });

  test('each worker shows the metrics of all, and counters never fall', async () => {
    // Its counters begin at zero.
    const fresh = startTwo();
    const connections = await both(fresh);
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
    await waitFor('another one has started', () => startedBy(fresh).length === 3);
    await connections[1].get('/problems/internal');
    fresh.kill('SIGHUP');
    await waitFor('all are replaced', () => linesOf(fresh, 'replacement_finished').length === 1);
    const text = await (await fetch(`${await fresh.url()}/metrics`)).text();
    expect([numberOf(series, text), numberOf('mantou_processes', text)]).toEqual([13, 2]);
    expect(await fresh.stop()).toBe(0);
  });

  test('lines of two processes in one pipe stay whole, also with a slow reader', async () => {
    // The shell reads a character at a time.
    const script = `("$0" "$1" & "$0" "$1" & wait) 2>&1 | while IFS= read -r line; do echo "$line"; done`;
    const writing = join(import.meta.dir, '../support/writing-lines.ts');
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

  test('workers share one embedded PostgreSQL, restart it after a crash, and stop it at the end', async () => {
    const DATA_DIR = join(makeFolder(), 'data');
    const embedded = start({ DATA_DIR, WORKERS: '2' });
    const at = await embedded.url();
    const pids = workersOf(embedded);
    const token = await signUpAt(at);
    const first = (await findPostmaster(DATA_DIR)) ?? 0;
    await killPostmaster(first, 'SIGKILL');
    for (const pid of pids)
      await waitFor('it serves again', async () => {
        const { status } = await (await converseWith(at, pid)).get('/users/me/sessions', token);
        return status === 200;
      });
    expect(await findPostmaster(DATA_DIR)).not.toBe(first);
    expect(await embedded.stop()).toBe(0);
    expect(await findPostmaster(DATA_DIR)).toBeUndefined();
  });
});

test('requests that two workers grant beyond the quota at the same moment are deducted afterwards', async () => {
  let nowMs = Date.now();
  const { connect, mute, said } = peersByHand();
  const settings = readSettings({ JWT_SECRET, DATABASE_URL, PORT: '0' });
  const now = () => new Date(nowMs);
  const log = () => undefined;
  // They would share a port; here each is asked by its own.
  const servers = [
    await serve(settings, { log, now, peers: connect() }),
    await serve(settings, { log, now, peers: connect() }),
  ];
  const [one = '', other = ''] = servers.map((server) => server.url);
  const token = await signUpAt(one);
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
  await waitFor('all of it was said', () => said() === 1600);
  mute(false);
  // 600 too many are worked off in six seconds.
  nowMs += 5900;
  expect([await ask(one, 1), await ask(other, 1)].flat()).toEqual([429, 429]);
  nowMs += 200;
  expect([await ask(one, 1), await ask(other, 1)].flat()).toEqual([200, 200]);
  for (const server of servers) await server.stop();
});

/** Processes that hear each other without a supervisor, what was said meanwhile once they may. */
function peersByHand() {
  const all: Map<string, (message: unknown) => unknown>[] = [];
  let held: (() => void)[] | undefined;
  /** What users have taken. */
  let taken = 0;
  const connect = (): PeerChannel => {
    const mine = new Map<string, (message: unknown) => unknown>();
    all.push(mine);
    const request = (topic: string, message?: unknown) =>
      Promise.all(
        all.filter((one) => one !== mine).map((one) => one.get(topic)?.(structuredClone(message))),
      );
    return {
      async broadcast(topic, message) {
        if (topic === 'requests_taken')
          for (const [, tokens] of (message as [string, number][][])[0] ?? []) taken += tokens;
        if (held) held.push(() => request(topic, message));
        else await request(topic, message);
      },
      request,
      on: (topic, heard) => void mine.set(topic, heard),
    };
  };
  const mute = (isMuted: boolean) => {
    const due = held ?? [];
    held = isMuted ? [] : undefined;
    for (const say of due) say();
  };
  return { connect, mute, said: () => taken };
}
