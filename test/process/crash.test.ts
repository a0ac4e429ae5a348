/** A process that is killed while it writes: what was acknowledged is there once, and what is sent again is done once. */
import { expect, test } from 'bun:test';
import { JWT_SECRET } from '../support/api.ts';
import { useDatabase } from '../support/cluster.ts';
import { exportedProject } from '../support/exported-project.ts';
import { start, useProcesses, waitFor } from '../support/process.ts';

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

test('kill -9 at any moment loses no acknowledged write and doubles none', async () => {
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
    await waitFor(
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
      const answer = await waitFor('an answer', async () => {
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
}, 300_000);

const namedIn = (body: Answer): string[] =>
  body.results?.map(({ task }) => task.id) ?? (body.id ? [body.id] : []);

/** A task of one writer, and what the writer knows of it: the last is what an answer never came for. */
interface KnownTask {
  id: string;
  titles: string[];
  isAnswered: boolean;
  deletion: 'none' | 'asked' | 'done';
}

test('kill -9 while statements for many requests are in flight leaves each write whole or absent', async () => {
  const environment = { DATABASE_URL, JWT_SECRET, RATE_LIMIT: 'off' };
  let api = start(environment);
  let url = await api.url();
  const send = async (token: string, method: string, path: string, body?: object, key?: string) => {
    const headers = {
      'content-type': 'application/json',
      ...(token && { authorization: `Bearer ${token}` }),
      ...(key && { 'idempotency-key': key }),
    };
    const answer = await fetch(url + path, {
      method,
      headers,
      ...(body && { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    return { status: answer.status, body: (text ? JSON.parse(text) : {}) as Answer };
  };
  const logIn = async (username: string) => {
    const { password } = account;
    await send('', 'POST', '/users/register', {
      username,
      password,
      email: `${username}@example.org`,
    });
    const { body } = await send('', 'POST', '/users/login', { username, password });
    const { access_token: token } = body as { access_token: string };
    const project = await send(token, 'POST', '/projects', { name: 'Batches' });
    return { token, projectId: project.body.id ?? '' };
  };
  const users = await Promise.all(['writer-0', 'writer-1', 'writer-2', 'writer-3'].map(logIn));

  const keyed: { key: string; path: string; token: string; body: object; id?: string }[] = [];
  const tasks: KnownTask[] = [];
  const unnamed = new Set<string>();
  let answered = 0;

  /** Writes in turn what each kind of statement does, until the process is gone. */
  async function keepWriting({ token, projectId }: (typeof users)[number]) {
    const path = `/tasks/projects/${projectId}`;
    for (let n = 0; ; n += 1) {
      const title = crypto.randomUUID();
      const write = { key: title, path: n % 2 ? path : '/projects', token };
      const once = { ...write, body: n % 2 ? { title } : { name: title } };
      keyed.push(once);
      const first = await send(token, 'POST', once.path, once.body, once.key).catch(
        () => undefined,
      );
      if (!first) return;
      expect(first.status).toBe(201);
      Object.assign(once, { id: first.body.id });
      const plain = `${title} without a key`;
      unnamed.add(plain);
      const created = await send(token, 'POST', path, { title: plain }).catch(() => undefined);
      if (!created) return;
      expect(created.status).toBe(201);
      unnamed.delete(plain);
      const task: KnownTask = {
        id: created.body.id ?? '',
        titles: [plain],
        isAnswered: true,
        deletion: 'none',
      };
      tasks.push(task);
      task.isAnswered = false;
      task.titles.push(`${plain}, changed`);
      const patch = { title: `${plain}, changed` };
      const changed = await send(token, 'PATCH', `/tasks/${task.id}`, patch).catch(() => undefined);
      if (!changed) return;
      expect(changed.status).toBe(200);
      task.isAnswered = true;
      answered += 1;
      if (n % 2) continue;
      task.deletion = 'asked';
      const gone = await send(token, 'DELETE', `/tasks/${task.id}`).catch(() => undefined);
      if (!gone) return;
      expect(gone.status).toBe(204);
      task.deletion = 'done';
    }
  }

  for (let round = 0; round < ROUNDS; round += 1) {
    const before = answered;
    const writers = Array.from({ length: WRITERS }, (_, n) =>
      keepWriting(users[n % users.length] as (typeof users)[number]),
    );
    await waitFor('some writes', () => answered > before + 5 * round + 1);
    api.kill('SIGKILL');
    await Promise.all(writers);
    await api.ended;
    api = start(environment);
    url = await api.url();
    for (const one of keyed.filter(({ id }) => !id)) {
      const answer = await waitFor('an answer', async () => {
        const answer = await send(one.token, 'POST', one.path, one.body, one.key);
        return answer.body.code !== 'idempotency_in_flight' && answer;
      });
      expect(answer.status).toBe(201);
      Object.assign(one, { id: answer.body.id });
    }
  }

  const named = new Map<string, string[]>();
  const rows: { id: string; name: string; version: number; kind: string }[] = await sql`
    select id, title as name, version, 'task' as kind from tasks
    union all select id, name, version, 'project' from projects`;
  for (const { id, name } of rows) named.set(name, [...(named.get(name) ?? []), id]);
  // Once, and it is the one that the answer named.
  for (const { key, id } of keyed) expect(named.get(key)).toEqual([id ?? '']);
  for (const title of unnamed) expect(named.get(title)?.length ?? 0).toBeLessThan(2);
  for (const { id, titles, isAnswered, deletion } of tasks) {
    const row = rows.find((one) => one.id === id);
    if (deletion !== 'asked') expect(row !== undefined).toBe(deletion === 'none');
    if (row) expect(isAnswered ? titles.slice(-1) : titles).toContain(row.name);
  }

  const events: { subject_id: string; actions: string[] }[] = await sql`
    select subject_id, array_agg(action order by number) as actions from events
    where subject in ('task', 'project') and recipient_id is null group by subject_id`;
  const actionsOf = new Map(events.map(({ subject_id, actions }) => [subject_id, actions]));
  for (const { id, version, kind } of rows)
    expect(actionsOf.get(id)).toEqual([
      `${kind}.created`,
      ...Array(version - 1).fill(`${kind}.updated`),
    ]);
  for (const [id, actions] of actionsOf)
    expect(actions.includes('task.deleted')).toBe(!rows.some((row) => row.id === id));
  const owners = await sql`select from projects p where (select count(*) from project_members m
    where m.project_id = p.id and role = 'owner') <> 1`;
  expect(owners).toHaveLength(0);
  // Rows of one transaction: some writes have shared a statement.
  const [{ most }] = await sql`select max(count)::int as most from (
    select count(*) from idempotency_keys where key in ${sql(keyed.map(({ key }) => key))}
    group by xmin::text) transactions`;
  expect(most).toBeGreaterThan(1);
}, 300_000);

test('kill -9 during an import leaves no visible project; the repeated import creates one', async () => {
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
  const text = JSON.stringify(exportedProject({}, Array(1200).fill({})));
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
  const brokenOff = send(half).catch(() => undefined);
  await waitFor('some tasks are written', async () => {
    const [{ count }] = await sql`
      select count(*)::int from tasks join project_members m using (project_id) where m.importing_since is not null`;
    return count > 0;
  });
  api.kill('SIGKILL');
  expect(await brokenOff).toBeUndefined();
  await api.ended;

  api = start(environment);
  url = await api.url();
  expect(await seen()).toEqual([0, 0]);
  const [first, again] = [await send(text), await send(text)];
  expect([first.status, again.status]).toEqual([201, 201]);
  expect(await again.text()).toBe(await first.text());
  expect(await seen()).toEqual([1, 50]);
});
