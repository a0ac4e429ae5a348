/** `Idempotency-Key`: a request that is sent again runs once and gets the stored response. */
import { describe, expect, test } from 'bun:test';
import { type Persona, useApi } from '../support/api.ts';
import { openTransaction, waitForBlockedQuery } from '../support/locks.ts';

const api = useApi();

const withKey = (key: string) => ({ headers: { 'idempotency-key': key } });
const newKey = () => crypto.randomUUID();

/** Something that can be made, and how many of it there are. */
interface Maker {
  make(who: Persona, key: string, name: string): Promise<Awaited<ReturnType<Persona['post']>>>;
  count(): Promise<number>;
}

async function makers(who: Persona): Promise<Record<string, Maker>> {
  const project = await who.createProject();
  const count = async (rows: Promise<{ count: number }[]>) => (await rows)[0]?.count ?? 0;
  const tasks = () =>
    count(api.sql`select count(*)::int from tasks where project_id = ${project.id}`);
  return {
    project: {
      make: (who, key, name) => who.post('/projects', { name, description: 'd' }, withKey(key)),
      count: () =>
        count(api.sql`select count(*)::int from project_members
          where user_id = ${who.id} and importing_since is null`),
    },
    task: {
      make: (who, key, title) =>
        who.post(
          `/tasks/projects/${project.id}`,
          { title, labels: ['a', 'b'], due_at: '2026-12-24T18:00:00+01:00', status: 'done' },
          withKey(key),
        ),
      count: tasks,
    },
  };
}

describe.each(['project', 'task'])('a %s with an idempotency key', (what) => {
  async function setUp() {
    const who = await api.person();
    const maker = (await makers(who))[what] as Maker;
    return { who, ...maker, before: await maker.count() };
  }

  test('that is sent again gets the same bytes and creates one row', async () => {
    const { who, make, count, before } = await setUp();
    const key = newKey();
    const first = await make(who, key, 'Étoile');
    const again = await make(who, key, 'Étoile');
    expect([first.status, again.status]).toEqual([201, 201]);
    expect(again.text).toBe(first.text);
    for (const name of ['etag', 'location', 'content-type', 'cache-control'])
      expect(again.headers.get(name)).toBe(first.headers.get(name));
    expect(first.headers.get('idempotency-replayed')).toBeNull();
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    expect(await count()).toBe(before + 1);
  });

  test('gets its first response again after it was changed or deleted', async () => {
    const { who, make, count, before } = await setUp();
    const key = newKey();
    const first = await make(who, key, 'Tiles');
    const path = first.headers.get('location') as string;
    await who.patch(path, what === 'task' ? { title: 'Other' } : { name: 'Other' });
    expect((await make(who, key, 'Tiles')).text).toBe(first.text);
    await who.delete(path);
    expect((await make(who, key, 'Tiles')).text).toBe(first.text);
    expect(await count()).toBe(before);
  });

  test('with another body under the same key gets 422 and creates no row', async () => {
    const { who, make, count, before } = await setUp();
    const key = newKey();
    await make(who, key, 'Tiles');
    const { status, body } = await make(who, key, 'Other');
    expect([status, body.code]).toEqual([422, 'idempotency_key_reused']);
    expect(await count()).toBe(before + 1);
  });

  test('of another user under the same key is created', async () => {
    const [ada, bob] = [await setUp(), await setUp()];
    const key = newKey();
    expect((await ada.make(ada.who, key, 'Tiles')).status).toBe(201);
    const { status, headers } = await bob.make(bob.who, key, 'Tiles');
    expect([status, headers.get('idempotency-replayed')]).toEqual([201, null]);
  });

  test('that 50 concurrent requests send creates one row; the others get the same response or 409', async () => {
    const { who, make, count, before } = await setUp();
    const key = newKey();
    const answers = await Promise.all(Array.from({ length: 50 }, () => make(who, key, 'Tiles')));
    const made = answers.filter(({ status }) => status === 201);
    expect(made.length).toBeGreaterThan(0);
    expect(new Set(made.map(({ text }) => text)).size).toBe(1);
    for (const { status, body } of answers)
      if (status !== 201) expect([status, body.code]).toEqual([409, 'idempotency_in_flight']);
    expect(made.filter(({ headers }) => !headers.has('idempotency-replayed')).length).toBe(1);
    expect(await count()).toBe(before + 1);
  });

  test('is created again once the key is 24 hours old, and the old key is deleted', async () => {
    const { who, make, count, before } = await setUp();
    const key = newKey();
    const first = await make(who, key, 'Tiles');
    await api.sql`update idempotency_keys set created_at = now() - interval '24 hours' where key = ${key}`;
    const again = await make(who, key, 'Other');
    expect([again.status, again.headers.get('idempotency-replayed')]).toEqual([201, null]);
    expect(again.text).not.toBe(first.text);
    expect(await count()).toBe(before + 2);
    const rows = await api.sql`select from idempotency_keys where key = ${key}`;
    expect(rows.length).toBe(1);
  });
});

test('a request gets 409 while another with its key is in flight, and one row is created', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  const make = () => ada.post(`/tasks/projects/${project.id}`, { title: 'Tiles' }, withKey('twin'));
  const letGo = await openTransaction(
    api,
    (sql) => sql`select from projects where id = ${project.id} for update`,
  );
  const first = make();
  await waitForBlockedQuery(api);
  const twin = await make();
  expect([twin.status, twin.body.code]).toEqual([409, 'idempotency_in_flight']);
  await letGo();
  expect((await first).status).toBe(201);
  expect((await make()).text).toBe((await first).text);
});

test('a request whose snapshot misses a key that has just committed gets 409, then the stored response', async () => {
  const ada = await api.person();
  const make = () => ada.post('/projects', { name: 'Kitchen' }, withKey('just-now'));
  // The key of another process that has not committed yet: the database makes us wait for it.
  const commit = await openTransaction(
    api,
    (sql) =>
      sql`insert into idempotency_keys (user_id, key, fingerprint, answer) values (${ada.id}, 'just-now', 'other', '{}')`,
  );
  const answer = make();
  await waitForBlockedQuery(api);
  await commit();
  expect((await answer).body.code).toBe('idempotency_in_flight');
  expect((await ada.get('/projects')).body.items).toEqual([]);
});

test('a refused request does not use up its key', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  await ada.patch(`/projects/${project.id}`, { archived: true });
  const make = () => ada.post(`/tasks/projects/${project.id}`, { title: 'Tiles' }, withKey('free'));
  expect((await make()).status).toBe(409);
  await ada.patch(`/projects/${project.id}`, { archived: false });
  expect((await make()).status).toBe(201);
});

test.each(['', 'a b', 'é', 'x'.repeat(256)])('the key %j is malformed', async (key) => {
  const ada = await api.person();
  // A client that sends what HTTP forbids is refused before it is heard.
  const bytes = new TextEncoder().encode(key);
  const header = String.fromCharCode(...bytes);
  const { status, body } = await ada.post('/projects', { name: 'Kitchen' }, withKey(header));
  expect([status, body.code]).toEqual([400, 'malformed_request']);
});

test.each(['x', '!~', 'x'.repeat(255)])('the key %j is well formed', async (key) => {
  const ada = await api.person();
  expect((await ada.post('/projects', { name: 'Kitchen' }, withKey(key))).status).toBe(201);
});

test('each request with a key deletes a few expired keys of all users', async () => {
  const [ada, bob] = [await api.person(), await api.person()];
  await api.sql`insert into idempotency_keys (user_id, key, fingerprint, answer, created_at)
    select ${ada.id}, 'old ' || n, '', '{}', now() - interval '2 days' from generate_series(1, 25) n`;
  const left = async () =>
    (await api.sql`select from idempotency_keys where key like 'old %'`).length;
  await bob.post('/projects', { name: 'Kitchen' }, withKey(newKey()));
  expect(await left()).toBe(15);
  await bob.post('/projects', { name: 'Kitchen' }, withKey(newKey()));
  await bob.post('/projects', { name: 'Kitchen' }, withKey(newKey()));
  expect(await left()).toBe(0);
});
