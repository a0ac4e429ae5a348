/** Two at the same rows: each waits for the other, none is lost, and none waits in a circle. */
import { expect, test } from 'bun:test';
import { Client, type Persona, useApi } from './support/api.ts';
import { elsewhere, somebodyWaits } from './support/locks.ts';

const api = useApi();

const logIn = ({ username, password }: Persona) =>
  api.anonymous.post('/users/login', { username, password });

test('a log-in that meets a change of password waits for it, and the old password is no longer right', async () => {
  const ada = await api.person();
  const commit = await elsewhere(
    api,
    (sql) => sql`update users set password_hash = 'changed' where id = ${ada.id}`,
  );
  const answer = logIn(ada);
  await somebodyWaits(api);
  await commit();
  expect((await answer).status).toBe(401);
  const [row] = await api.sql`select count(*)::int from sessions where user_id = ${ada.id}`;
  expect(row.count).toBe(1);
});

test('an account that is deleted while it makes a project takes the project along', async () => {
  const ada = await api.person();
  const id = crypto.randomUUID();
  const commit = await elsewhere(api, async (sql) => {
    await sql`insert into projects (id, name) values (${id}, 'New')`;
    await sql`insert into project_members (project_id, user_id, role) values (${id}, ${ada.id}, 'owner')`;
  });
  const answer = ada.request('DELETE', '/users/me', { password: ada.password });
  await somebodyWaits(api);
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

test('deleting an account while its projects get tasks ends in no circle', async () => {
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

/** How many of these rows nobody holds. */
const countFree = async (rows: Promise<unknown[]>) => (await rows).length;

test('a refresh waits for whoever ends the session before it holds the token', async () => {
  const ada = await api.person();
  const { body } = await logIn(ada);
  const letGo = await elsewhere(
    api,
    (sql) => sql`select from sessions where user_id = ${ada.id} for update`,
  );
  const answer = api.anonymous.post('/users/refresh', { refresh_token: body.refresh_token });
  await somebodyWaits(api);
  // Otherwise the other, whose deletion goes on to the tokens, would wait for it in turn.
  const free = api.sql`select from refresh_tokens where user_id = ${ada.id} for update skip locked`;
  expect(await countFree(free)).toBe(1);
  await letGo();
  expect((await answer).status).toBe(200);
});

test('an assignment waits for whoever deletes the project before it holds the task', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  const task = await ada.createTask(project.id);
  const letGo = await elsewhere(
    api,
    (sql) => sql`select from projects where id = ${project.id} for update`,
  );
  const answer = ada.patch(`/tasks/${task.id}`, { assignee_id: ada.id });
  await somebodyWaits(api);
  const free = api.sql`select from tasks where id = ${task.id} for update skip locked`;
  expect(await countFree(free)).toBe(1);
  await letGo();
  expect((await answer).status).toBe(200);
});

test('a stolen refresh token that is found out ends the session at once, access token included', async () => {
  const { body: first } = await logIn(await api.person());
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
