/** A process that is killed while it writes: what was acknowledged is there once, and what is sent again is done once. */
import { expect, test } from 'bun:test';
import { JWT_SECRET } from './support/api.ts';
import { useDatabase } from './support/cluster.ts';
import { start, until, useProcesses } from './support/process.ts';

useProcesses();

const ROUNDS = 4;
const WRITERS = 16;

const { url: DATABASE_URL, sql } = await useDatabase();

const account = { username: 'ada', password: 'correct horse battery staple' };

/** A write that its writer repeats under its key until it is answered. */
interface Write {
  key: string;
  path: string;
  body: object;
  /** The tasks that the answer names. */
  named?: string[];
}

interface Answer {
  id?: string;
  code?: string;
  results?: { task: { id: string } }[];
}

async function post(url: string, token: string, { key, path, body }: Omit<Write, 'named'>) {
  const answer = await fetch(url + path, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      authorization: `Bearer ${token}`,
      'idempotency-key': key,
    },
    body: JSON.stringify(body),
  });
  return { status: answer.status, body: (await answer.json()) as Answer };
}

test('kill -9 at any moment costs no acknowledged write and doubles none', async () => {
  const environment = { DATABASE_URL, JWT_SECRET, RATE_LIMIT: 'off' };
  let api = start(environment);
  let url = await api.url();
  const json = { 'content-type': 'application/json' };
  await fetch(`${url}/users/register`, {
    method: 'POST',
    headers: json,
    body: JSON.stringify({ ...account, email: 'ada@example.org' }),
  });
  const login = await fetch(`${url}/users/login`, {
    method: 'POST',
    headers: json,
    body: JSON.stringify(account),
  });
  const { access_token } = (await login.json()) as { access_token: string };
  const project = await post(url, access_token, {
    key: 'project',
    path: '/projects',
    body: { name: 'Kitchen' },
  });

  const writes: Write[] = [];
  const newWrite = (n: number): Write => {
    const key = crypto.randomUUID();
    if (n % 2)
      return { key, path: `/tasks/projects/${project.body.id}`, body: { title: `${key} 0` } };
    const operations = [0, 1].map((index) => ({
      op: 'create',
      project_id: project.body.id,
      title: `${key} ${index}`,
    }));
    return { key, path: '/tasks/batch', body: { operations } };
  };

  /** Writes until the process is gone; the last write of each writer is left without an answer. */
  async function keepWriting(first: number) {
    for (let n = first; ; n += 1) {
      const write = newWrite(n);
      writes.push(write);
      const answer = await post(url, access_token, write).catch(() => undefined);
      if (!answer) return;
      expect([200, 201]).toContain(answer.status);
      write.named = namedIn(answer.body);
    }
  }

  for (let round = 0; round < ROUNDS; round += 1) {
    const before = writes.filter(({ named }) => named).length;
    const writers = Array.from({ length: WRITERS }, (_, n) => keepWriting(n));
    // Each round is cut at another point of the writers' way.
    await until(
      'some writes',
      () => writes.filter(({ named }) => named).length > before + 5 * round,
    );
    api.kill('SIGKILL');
    await Promise.all(writers);
    await api.ended;
    api = start(environment);
    url = await api.url();
    for (const write of writes.filter(({ named }) => !named)) {
      // What the killed process has sent may still be at work in the database.
      const answer = await until('an answer', async () => {
        const answer = await post(url, access_token, write);
        return answer.body.code !== 'idempotency_in_flight' && answer;
      });
      expect([200, 201]).toContain(answer.status);
      write.named = namedIn(answer.body);
    }
  }

  const rows: { id: string; title: string }[] = await sql`select id, title from tasks`;
  const named = writes.flatMap(({ named }) => named ?? []);
  expect(rows.map(({ id }) => id).toSorted()).toEqual(named.toSorted());
  expect(new Set(rows.map(({ title }) => title)).size).toBe(rows.length);
  expect(writes.length).toBeGreaterThan(ROUNDS * WRITERS);
}, 120_000);

const namedIn = (body: Answer): string[] =>
  body.results?.map(({ task }) => task.id) ?? (body.id ? [body.id] : []);

test('kill -9 in the middle of an import leaves nothing to be seen; sent again, it is done once', async () => {
  const environment = { DATABASE_URL, JWT_SECRET, RATE_LIMIT: 'off' };
  const importer = { ...account, username: 'grace' };
  const json = { 'content-type': 'application/json' };
  let api = start(environment);
  let url = await api.url();
  const register = { ...importer, email: 'grace@example.org' };
  const asking = { method: 'POST', headers: json };
  await fetch(`${url}/users/register`, { ...asking, body: JSON.stringify(register) });
  const login = await fetch(`${url}/users/login`, { ...asking, body: JSON.stringify(importer) });
  const { access_token } = (await login.json()) as { access_token: string };
  const headers = { ...json, authorization: `Bearer ${access_token}` };
  const created_at = '2026-11-23T03:14:07.123Z';
  const times = { created_at, updated_at: created_at };
  const task = {
    title: 'Tiles',
    description: null,
    status: 'todo',
    priority: 0,
    due_at: null,
    assignee: null,
    labels: [],
    completed_at: null,
    created_by: null,
    ...times,
  };
  const text = JSON.stringify({
    format: 'mantou-project',
    format_version: 1,
    exported_at: created_at,
    project: { name: 'Imported', description: null, archived_at: null, ...times },
    tasks: Array(1200).fill(task),
  });
  const send = (body: string | ReadableStream<Uint8Array>) =>
    fetch(`${url}/projects/import`, {
      method: 'POST',
      headers: { ...headers, 'idempotency-key': 'import' },
      body,
    });
  const seen = async () => {
    const lists = ['/projects', '/tasks'].map(async (path) => {
      const answer = await fetch(url + path, { headers });
      return ((await answer.json()) as { items: unknown[] }).items.length;
    });
    return Promise.all(lists);
  };

  const half = new ReadableStream<Uint8Array>({
    // It never ends.
    start: (controller) => controller.enqueue(new TextEncoder().encode(text.slice(0, -50))),
  });
  const broken_off = send(half).catch(() => undefined);
  await until('some tasks are written', async () => {
    const [{ count }] = await sql`
      select count(*)::int from tasks join project_members m using (project_id) where m.importing_since is not null`;
    return count > 0;
  });
  api.kill('SIGKILL');
  expect(await broken_off).toBeUndefined();
  await api.ended;

  api = start(environment);
  url = await api.url();
  expect(await seen()).toEqual([0, 0]);
  const [first, again] = [await send(text), await send(text)];
  expect([first.status, again.status]).toEqual([201, 201]);
  expect(await again.text()).toBe(await first.text());
  expect(await seen()).toEqual([1, 50]);
});
