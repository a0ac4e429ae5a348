/** The end that an operator asks for: told first, then drained, then the database, then exit 0. */
import { describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { sleep } from '../../src/lib/sleep.ts';
import { type BeginnableShutdown, createShutdown } from '../../src/server/shutdown.ts';
import { registerAt, signUpAt } from '../support/accounts.ts';
import { JWT_SECRET } from '../support/api.ts';
import { useDatabase } from '../support/cluster.ts';
import { isWaiting } from '../support/locks.ts';
import {
  isRunning,
  type Process,
  signalAgain,
  start,
  statusOf,
  useProcesses,
  waitFor,
} from '../support/process.ts';

useProcesses();

/** A signal that comes earlier than this after the first one is the same request to stop. */

const { url: DATABASE_URL, sql } = await useDatabase();

test('the readiness check answers 503 before the socket closes, and requests are served until then', async () => {
  const api = start({ DATABASE_URL, JWT_SECRET });
  const url = await api.url();
  const states: number[] = [await statusOf(`${url}/health/ready`)];
  api.kill('SIGTERM');
  await waitFor('the readiness fails', async () => {
    // Before he asks, he may send requests.
    expect(await statusOf(`${url}/problems/internal`)).toBe(200);
    states.push(await statusOf(`${url}/health/ready`));
    return states.at(-1) !== 200;
  });
  expect(states.at(-1)).toBe(503);
  expect(await api.ended).toBe(0);
});

test('a stop does not wait when no client checks the readiness', async () => {
  const waits = (shutdown: BeginnableShutdown) =>
    Promise.race([shutdown.begin().then(() => false), sleep().then(() => true)]);
  const shutdown = createShutdown();
  expect(await waits(shutdown)).toBe(false);
  const watched = createShutdown();
  watched.noteReadinessCheck();
  expect(await waits(watched)).toBe(true);

  const api = start({ DATABASE_URL, JWT_SECRET });
  await statusOf(`${await api.url()}/health/live`);
  expect(await api.stop()).toBe(0);
});

test('the last answer on a kept connection has Connection: close', async () => {
  const api = start({ DATABASE_URL, JWT_SECRET });
  const url = await api.url();
  const [socket, received] = await converse(url);
  const ask = (path: string) => {
    socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  };
  ask('/health/ready');
  await waitFor('the first answer', () => received().includes('{"status":"ok"}'));
  expect(received().toLowerCase()).not.toContain('connection: close');
  api.kill('SIGTERM');
  await waitFor('the connection ends', () => socket.destroyed || ask('/health/live'));
  expect(
    received()
      .toLowerCase()
      .match(/connection: close/g),
  ).toHaveLength(1);
  expect(await api.ended).toBe(0);
});

test('an export in flight arrives whole', async () => {
  const api = start({ DATABASE_URL, JWT_SECRET });
  const url = await api.url();
  const token = await signUpAt(url);
  const tasks = 500;
  await fillProject(token, tasks);
  const lock = await sql.reserve();
  await lock`begin`;
  await lock`lock table tasks in access exclusive mode`;
  const answer = fetch(`${url}/users/me/export`, {
    headers: { authorization: `Bearer ${token}` },
  });
  await waitFor('the export waits for the table', () => isWaiting(sql));
  api.kill('SIGTERM');
  await waitFor(
    'new connections are refused',
    async () => (await statusOf(`${url}/health/live`)) === 0,
  );
  // All of it is still to come.
  await lock`rollback`;
  lock.release();
  const text = await (await answer).text();
  const document = JSON.parse(text);
  expect(document.projects[0].tasks.length).toBe(tasks);
  expect(await api.ended).toBe(0);
});

test('an event stream ends cleanly and at once', async () => {
  const api = start({ DATABASE_URL, JWT_SECRET });
  const url = await api.url();
  const { body } = await fetch(`${url}/changes/stream`, {
    headers: { authorization: `Bearer ${await signUpAt(url)}` },
  });
  const reader = body?.getReader();
  expect((await reader?.read())?.done).toBe(false);
  const ended = reader?.read();
  expect(await api.stop()).toBe(0);
  expect(await ended).toEqual({ done: true, value: undefined });
});

test('a request that does not end is cut, and the process exits with 0', async () => {
  const api = start({ DATABASE_URL, JWT_SECRET });
  const url = await api.url();
  const lock = await sql.reserve();
  await lock`begin`;
  await lock`lock table users in access exclusive mode`;
  const answer = registerAt(url).then(
    () => 'answered',
    () => 'cut',
  );
  await waitFor('it waits for the table', () => isWaiting(sql));
  // The table stays locked, so only the limit of the stop can end this.
  expect(await api.stop()).toBe(0);
  expect(await answer).toBe('cut');
  await lock`rollback`;
  lock.release();
});

describe('as PID 1 of a container', () => {
  test.each(['SIGTERM', 'SIGINT'] as const)(
    '%s stops the server with exit code 0',
    async (signal) => {
      const [api, pid] = await startAsFirst();
      const url = await api.url();
      expect(await statusOf(`${url}/health/live`)).toBe(200);
      process.kill(pid, signal);
      expect(await api.ended).toBe(0);
    },
  );

  test('a second signal one second later ends the process at once', async () => {
    const [api, pid] = await startAsFirst();
    const url = await api.url();
    const lock = await sql.reserve();
    await lock`begin`;
    await lock`lock table users in access exclusive mode`;
    registerAt(url).catch(() => undefined);
    await waitFor('the request waits for the table', () => isWaiting(sql));
    process.kill(pid, 'SIGTERM');
    // The same request to stop, sent twice as a terminal does, is one.
    process.kill(pid, 'SIGINT');
    // The second counts from the moment when the process has handled the first signal.
    await waitFor('new requests are refused', async () => (await statusOf(url)) === 0);
    expect(await signalAgain(() => process.kill(pid, 'SIGINT'), api.ended)).toBe(1);
    await lock`rollback`;
    lock.release();
  });

  /** In a namespace of its own. @returns it, and its number out here. */
  async function startAsFirst(): Promise<[Process, number]> {
    // An ordinary user may, inside a namespace of users.
    const asUser = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];
    const prefix = ['unshare', ...asUser, '--pid', '--fork', '--kill-child'];
    const api = start({ DATABASE_URL, JWT_SECRET }, { prefix });
    const children = `/proc/${api.pid}/task/${api.pid}/children`;
    const pid = await waitFor('unshare has forked', () =>
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

/** Gives the user of the token a project with tasks of 5 KB each. */
async function fillProject(token: string, tasks: number) {
  const { sub } = JSON.parse(atob(token.split('.')[1] ?? ''));
  const projectId = crypto.randomUUID();
  await sql`with project as (insert into projects (id, name) values (${projectId}, 'Large') returning id)
    insert into project_members (project_id, user_id, role) select id, ${sub}, 'owner' from project`;
  await sql`insert into tasks (id, project_id, title, description, created_by)
    select gen_random_uuid(), ${projectId}, 'Task', repeat('x', 5000), ${sub} from generate_series(1, ${tasks})`;
}
