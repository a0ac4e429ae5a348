/** Concurrent requests on the same rows: one waits for the other, no write is lost, and none deadlocks. */
import { expect, test } from 'bun:test';
import { Client, useApi } from '../support/api.ts';
import { openTransaction, waitForBlockedQuery } from '../support/locks.ts';

const api = useApi();

test('a log-in waits for a change of password under way, then refuses the old password', async () => {
  const ada = await api.person();
  const commit = await openTransaction(
    api,
    (sql) => sql`update users set password_hash = 'changed' where id = ${ada.id}`,
  );
  const answer = ada.startSession();
  await waitForBlockedQuery(api);
  await commit();
  expect((await answer).status).toBe(401);
  const [row] = await api.sql`select count(*)::int from sessions where user_id = ${ada.id}`;
  expect(row.count).toBe(1);
});

test('deleting an account also deletes the project that it is creating', async () => {
  const ada = await api.person();
  const id = crypto.randomUUID();
  const commit = await openTransaction(api, async (sql) => {
    await sql`insert into projects (id, name) values (${id}, 'New')`;
    await sql`insert into project_members (project_id, user_id, role) values (${id}, ${ada.id}, 'owner')`;
  });
  const answer = ada.request('DELETE', '/users/me', { password: ada.password });
  await waitForBlockedQuery(api);
  await commit();
  expect((await answer).status).toBe(204);
  expect((await api.sql`select from projects where id = ${id}`).length).toBe(0);
});

/** Repeats what may not fail while `done` is false. */
async function meanwhile(act: () => Promise<{ status: number }>, done: () => boolean) {
  const statuses = new Set<number>();
  while (!done()) statuses.add((await act()).status);
  return statuses;
}

const ROUNDS = 6;
const WRITERS = 6;

test('deleting an account while tasks are created in its projects does not deadlock', async () => {
  for (let round = 0; round < ROUNDS; round += 1) {
    const ada = await api.person();
    const project = await ada.createProject();
    let deleted = false;
    const writers = Array.from({ length: WRITERS }, () =>
      meanwhile(
        () => ada.post(`/tasks/projects/${project.id}`, { title: 'Tiles' }),
        () => deleted,
      ),
    );
    const { status } = await ada.request('DELETE', '/users/me', { password: ada.password });
    deleted = true;
    expect(status).toBe(204);
    for (const statuses of await Promise.all(writers))
      for (const one of statuses) expect([201, 401, 404]).toContain(one);
  }
});

/** Counts the rows that are not locked. */
const countFree = async (rows: Promise<unknown[]>) => (await rows).length;

test('a refresh locks the session before the token', async () => {
  const ada = await api.person();
  const { refresh_token } = await ada.startSession();
  const letGo = await openTransaction(
    api,
    (sql) => sql`select from sessions where user_id = ${ada.id} for update`,
  );
  const answer = api.anonymous.post('/users/refresh', { refresh_token });
  await waitForBlockedQuery(api);
  // Otherwise the other transaction, which deletes the tokens next, would wait for it: a deadlock.
  const free = api.sql`select from refresh_tokens where user_id = ${ada.id} for update skip locked`;
  expect(await countFree(free)).toBe(1);
  await letGo();
  expect((await answer).status).toBe(200);
});

test('an assignment locks the project before the task', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  const task = await ada.createTask(project.id);
  const letGo = await openTransaction(
    api,
    (sql) => sql`select from projects where id = ${project.id} for update`,
  );
  const answer = ada.patch(`/tasks/${task.id}`, { assignee_id: ada.id });
  await waitForBlockedQuery(api);
  const free = api.sql`select from tasks where id = ${task.id} for update skip locked`;
  expect(await countFree(free)).toBe(1);
  await letGo();
  expect((await answer).status).toBe(200);
});

test('reuse of a refresh token ends the session and its access token at once', async () => {
  const first = await (await api.person()).startSession();
  const { body: second } = await api.anonymous.post('/users/refresh', {
    refresh_token: first.refresh_token,
  });
  await api.anonymous.post('/users/refresh', { refresh_token: second.refresh_token });
  const client = new Client(api, second.access_token);
  expect((await client.get('/users/me')).status).toBe(200);
  expect(
    (await api.anonymous.post('/users/refresh', { refresh_token: first.refresh_token })).status,
  ).toBe(401);
  expect((await client.get('/users/me')).body.code).toBe('invalid_token');
});

test('a client that hangs up changes nothing for the requests that share a statement with its own', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  const path = `/tasks/projects/${project.id}`;
  const letGo = await openTransaction(
    api,
    (sql) => sql`select from projects where id = ${project.id} for update`,
  );
  const first = ada.post(path, { title: 'First' });
  await waitForBlockedQuery(api);
  const hangUp = new AbortController();
  const gone = fetch(api.url + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${ada.token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ title: 'Gone' }),
    signal: hangUp.signal,
  }).catch(({ name }) => name);
  const others = Array.from({ length: 10 }, (_, n) => ada.post(path, { title: `Other ${n}` }));
  hangUp.abort();
  expect(await gone).toBe('AbortError');
  await letGo();
  expect((await first).status).toBe(201);
  const created = await Promise.all(others);
  expect(created.map(({ status }) => status)).toEqual(Array(10).fill(201));
  const rows =
    await api.sql`select id from tasks where project_id = ${project.id} and title like 'Other%'`;
  expect(rows.map(({ id }: { id: string }) => id).toSorted()).toEqual(
    created.map(({ body }) => body.id).toSorted(),
  );
});
