/** The end that an operator asks for: told first, then drained, then the database, then exit 0. */
import { describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { logIn, registerAt } from './support/accounts.ts';
import { JWT_SECRET } from './support/api.ts';
import { useDatabase } from './support/cluster.ts';
import { isWaiting } from './support/locks.ts';
import {
  isRunning,
  type Process,
  start,
  statusOf,
  until,
  useProcesses,
} from './support/process.ts';

useProcesses();

/** What the contract gives a stop. */
const STOP_MS_MAX = 10_000;

const { url: DATABASE_URL, sql } = await useDatabase();

test('whoever watches the readiness hears 503 before the socket closes, and is served until then', async () => {
  const api = start({ DATABASE_URL, JWT_SECRET });
  const url = await api.url();
  const states: number[] = [await statusOf(`${url}/health/ready`)];
  api.kill('SIGTERM');
  await until('the readiness fails', async () => {
    // Before he asks, he may send requests.
    expect(await statusOf(`${url}/problems/internal`)).toBe(200);
    states.push(await statusOf(`${url}/health/ready`));
    return states.at(-1) !== 200;
  });
  expect(states.at(-1)).toBe(503);
  expect(await api.ended).toBe(0);
});

test('nobody waits where nobody watches', async () => {
  const api = start({ DATABASE_URL, JWT_SECRET });
  const url = await api.url();
  await statusOf(`${url}/health/live`);
  const begun = performance.now();
  expect(await api.stop()).toBe(0);
  expect(performance.now() - begun).toBeLessThan(STOP_MS_MAX);
});

test('the last answer on a connection closes it, so that nobody sends more on it', async () => {
  const api = start({ DATABASE_URL, JWT_SECRET });
  const url = await api.url();
  const [socket, received] = await converse(url);
  const ask = (path: string) => {
    socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  };
  ask('/health/ready');
  await until('the first answer', () => received().includes('{"status":"ok"}'));
  expect(received().toLowerCase()).not.toContain('connection: close');
  api.kill('SIGTERM');
  await until('the connection ends', () => socket.destroyed || ask('/health/live'));
  expect(
    received()
      .toLowerCase()
      .match(/connection: close/g),
  ).toHaveLength(1);
  expect(await api.ended).toBe(0);
});

test('a stream that is being read ends whole', async () => {
  const api = start({ DATABASE_URL, JWT_SECRET });
  const url = await api.url();
  const token = await logIn(url);
  const tasks = 4000;
  await fillProject(token, tasks);
  const answer = await fetch(`${url}/users/me/export`, {
    headers: { authorization: `Bearer ${token}` },
  });
  const reader = answer.body?.getReader();
  const decoder = new TextDecoder();
  let text = decoder.decode((await reader?.read())?.value, { stream: true });
  api.kill('SIGTERM');
  await until(
    'new connections are refused',
    async () => (await statusOf(`${url}/health/live`)) === 0,
  );
  for (;;) {
    const piece = await reader?.read();
    if (!piece || piece.done) break;
    text += decoder.decode(piece.value, { stream: true });
  }
  const document = JSON.parse(text);
  expect(document.projects[0].tasks.length).toBe(tasks);
  expect(await api.ended).toBe(0);
});

test('a stream without an end ends cleanly, at once', async () => {
  const api = start({ DATABASE_URL, JWT_SECRET });
  const url = await api.url();
  const { body } = await fetch(`${url}/changes/stream`, {
    headers: { authorization: `Bearer ${await logIn(url)}` },
  });
  const reader = body?.getReader();
  expect((await reader?.read())?.done).toBe(false);
  const ended = reader?.read();
  const begun = performance.now();
  expect(await api.stop()).toBe(0);
  expect(performance.now() - begun).toBeLessThan(STOP_MS_MAX);
  expect(await ended).toEqual({ done: true, value: undefined });
});

test('a request that does not end is cut, and the process ends with 0 in time', async () => {
  const api = start({ DATABASE_URL, JWT_SECRET });
  const url = await api.url();
  const lock = await sql.reserve();
  await lock`begin`;
  await lock`lock table users in access exclusive mode`;
  const answer = registerAt(url).then(
    () => 'answered',
    () => 'cut',
  );
  await until('it waits for the table', () => isWaiting(sql));
  const begun = performance.now();
  expect(await api.stop()).toBe(0);
  expect(performance.now() - begun).toBeLessThan(STOP_MS_MAX);
  expect(await answer).toBe('cut');
  await lock`rollback`;
  lock.release();
});

describe('as the first process of a container', () => {
  test.each(['SIGTERM', 'SIGINT'] as const)('%s ends it with 0', async (signal) => {
    const [api, pid] = await startAsFirst();
    const url = await api.url();
    expect(await statusOf(`${url}/health/live`)).toBe(200);
    process.kill(pid, signal);
    expect(await api.ended).toBe(0);
  });

  test('a second signal ends it at once', async () => {
    const [api, pid] = await startAsFirst();
    const url = await api.url();
    // Who watches is waited for, and does not ask again.
    expect(await statusOf(`${url}/health/ready`)).toBe(200);
    process.kill(pid, 'SIGTERM');
    process.kill(pid, 'SIGINT');
    expect(await api.ended).toBe(1);
  });

  /** In a namespace of its own. @returns it, and its number out here. */
  async function startAsFirst(): Promise<[Process, number]> {
    // An ordinary user may, inside a namespace of users.
    const as_user = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];
    const prefix = ['unshare', ...as_user, '--pid', '--fork', '--kill-child'];
    const api = start({ DATABASE_URL, JWT_SECRET }, { prefix });
    const children = `/proc/${api.pid}/task/${api.pid}/children`;
    const pid = await until('unshare has forked', () =>
      Number(readFileSync(children, 'utf8').trim()),
    );
    await api.url();
    // The last of its numbers is the one that it has inside.
    expect(readFileSync(`/proc/${pid}/status`, 'utf8')).toMatch(/^NSpid:.*\t1$/m);
    expect(await isRunning(pid)).toBeTrue();
    return [api, pid];
  }
});

/** A connection by hand. @returns it, and what it has received. */
async function converse(url: string) {
  const { hostname, port } = new URL(url);
  let text = '';
  const socket = connect(Number(port), hostname);
  socket.setEncoding('latin1');
  socket.on('data', (piece) => {
    text += piece;
  });
  socket.on('end', () => socket.destroy());
  await new Promise((ready) => socket.once('connect', ready));
  return [socket, () => text] as const;
}

/** So much that it cannot lie in the buffers of a socket. */
async function fillProject(token: string, tasks: number) {
  const { sub } = JSON.parse(atob(token.split('.')[1] ?? ''));
  const project_id = crypto.randomUUID();
  await sql`with project as (insert into projects (id, name) values (${project_id}, 'Large') returning id)
    insert into project_members (project_id, user_id, role) select id, ${sub}, 'owner' from project`;
  await sql`insert into tasks (id, project_id, title, description, created_by)
    select gen_random_uuid(), ${project_id}, 'Task', repeat('x', 5000), ${sub} from generate_series(1, ${tasks})`;
}
