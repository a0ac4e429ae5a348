import { describe, expect, test } from 'bun:test';
import { Api, Client, type Persona, useApi } from './support/api.ts';
import { createDatabase } from './support/cluster.ts';
import { openProxy } from './support/proxy.ts';

const api = useApi();

const deleteAccount = (who: Client, password: string) =>
  who.request('DELETE', '/users/me', { password });

async function anotherLogIn(who: Persona, password = who.password) {
  const { status, body } = await api.anonymous.post('/users/login', {
    username: who.username,
    password,
  });
  return { status, client: new Client(api, body.access_token), refresh_token: body.refresh_token };
}

describe('the profile', () => {
  test('changes name and email, and the new ones log in', async () => {
    const ada = await api.person();
    const { body, status } = await ada.patch('/users/me', {
      username: 'countess',
      email: 'countess@example.org',
    });
    expect(status).toBe(200);
    expect(body).toMatchObject({ id: ada.id, username: 'countess', email: 'countess@example.org' });
    expect(
      (await api.anonymous.post('/users/login', { username: 'countess', password: ada.password }))
        .status,
    ).toBe(200);
    expect(
      (await api.anonymous.post('/users/login', { username: ada.username, password: ada.password }))
        .status,
    ).toBe(401);
  });

  test('refuses what another has, whatever the case, and keeps an empty patch', async () => {
    const [ada, eve] = [await api.person(), await api.person()];
    const name = await ada.patch('/users/me', { username: eve.username.toUpperCase() });
    expect([name.status, name.body.code]).toEqual([409, 'username_taken']);
    const email = await ada.patch('/users/me', { email: `${eve.username}@EXAMPLE.org` });
    expect([email.status, email.body.code]).toEqual([409, 'email_taken']);
    const before = (await ada.get('/users/me')).body;
    expect((await ada.patch('/users/me', {})).body).toEqual(before);
    expect((await ada.patch('/users/me', { username: ada.username.toUpperCase() })).status).toBe(
      200,
    );
  });
});

describe('the password', () => {
  const new_password = 'an entirely different phrase';

  test('changes, and all other sessions end', async () => {
    const ada = await api.person();
    const phone = await anotherLogIn(ada);
    expect((await phone.client.get('/users/me')).status).toBe(200);
    const { status } = await ada.put('/users/me/password', {
      current_password: ada.password,
      new_password,
    });
    expect(status).toBe(204);
    expect((await phone.client.get('/users/me')).body.code).toBe('invalid_token');
    expect(
      (await api.anonymous.post('/users/refresh', { refresh_token: phone.refresh_token })).status,
    ).toBe(401);
    expect((await ada.get('/users/me')).status).toBe(200);
    expect((await anotherLogIn(ada)).status).toBe(401);
    expect((await anotherLogIn(ada, new_password)).status).toBe(200);
  });

  test('stays when the current one is wrong or the new one is too short', async () => {
    const ada = await api.person();
    const wrong = await ada.put('/users/me/password', {
      current_password: 'not this one',
      new_password,
    });
    expect([wrong.status, wrong.body.code]).toEqual([401, 'invalid_credentials']);
    const short = await ada.put('/users/me/password', {
      current_password: ada.password,
      new_password: 'short',
    });
    expect(short.status).toBe(422);
    expect((await anotherLogIn(ada)).status).toBe(200);
  });

  test('no session that began with the old one is left by log-ins that race with the change', async () => {
    for (let round = 0; round < 5; round += 1) {
      const ada = await api.person();
      const [change, ...racers] = await Promise.all([
        ada.put('/users/me/password', { current_password: ada.password, new_password }),
        ...Array.from({ length: 6 }, () => anotherLogIn(ada)),
      ]);
      expect(change.status).toBe(204);
      for (const { status, client } of racers)
        if (status === 200) expect((await client.get('/users/me')).status).toBe(401);
      const [row] = await api.sql`select count(*)::int from sessions where user_id = ${ada.id}`;
      expect(row.count).toBe(1);
    }
  });
});

describe('deletion', () => {
  test('takes all that the account owns, and leaves the work in shared projects', async () => {
    const [ada, bob] = [await api.person(), await api.person()];
    const own = await ada.createProject();
    await ada.createTask(own.id);
    const shared = await bob.createProject();
    await api.addMember(shared.id, ada, 'editor');
    const work = await ada.createTask(shared.id, { assignee_id: ada.id });
    const { body: token } = await ada.post('/users/me/tokens', { name: 'x', scopes: ['read'] });

    const refused = await deleteAccount(ada, 'not this one');
    expect([refused.status, refused.body.code]).toEqual([401, 'invalid_credentials']);
    expect((await deleteAccount(ada, ada.password)).status).toBe(204);

    for (const client of [ada, new Client(api, token.token)])
      expect((await client.get('/projects')).status).toBe(401);
    expect((await anotherLogIn(ada)).status).toBe(401);
    expect((await bob.get(`/tasks/${work.id}`)).body).toMatchObject({
      title: work.title,
      created_by: null,
      assignee_id: null,
    });
    const left = await api.sql`
      select 'users' from users where id = ${ada.id} union all select 'projects' from projects where id = ${own.id}
      union all select 'tasks' from tasks where project_id = ${own.id} union all select 'sessions' from sessions where user_id = ${ada.id}
      union all select 'refresh_tokens' from refresh_tokens where user_id = ${ada.id} union all select 'api_tokens' from api_tokens where user_id = ${ada.id}
      union all select 'members' from project_members where user_id = ${ada.id}`;
    expect([...left]).toEqual([]);
  });

  test('leaves no project without an owner, however it races', async () => {
    for (let round = 0; round < 5; round += 1) {
      const ada = await api.person();
      await Promise.all([
        deleteAccount(ada, ada.password),
        ...Array.from({ length: 5 }, () => ada.createProject().catch(() => undefined)),
      ]);
    }
    const orphans =
      await api.sql`select id from projects p where not exists (select from project_members m where m.project_id = p.id and m.role = 'owner')`;
    expect([...orphans]).toEqual([]);
  });
});

test('the export is one document with all that is owned, and nothing of others', async () => {
  const [ada, bob] = [await api.person(), await api.person()];
  const own = await ada.createProject();
  await api.addMember(own.id, bob, 'viewer');
  await api.sql`insert into tasks (id, project_id, title) select gen_random_uuid(), ${own.id}, 'Task ' || n from generate_series(1, 450) n`;
  const empty = await ada.createProject('Empty');
  const foreign = await bob.createProject('Foreign');
  await api.addMember(foreign.id, ada, 'editor');

  const { status, body, headers, text } = await ada.get('/users/me/export');
  expect(status).toBe(200);
  expect(headers.get('content-disposition')).toContain('attachment');
  expect(body).toMatchObject({ format: 'mantou-account', format_version: 1, user: { id: ada.id } });
  expect(body.projects.map(({ id }: { id: string }) => id)).toEqual([own.id, empty.id]);
  expect(body.projects[0].members.length).toBe(2);
  expect(new Set(body.projects[0].tasks.map(({ id }: { id: string }) => id)).size).toBe(450);
  expect(text).not.toContain('argon2');
  expect((await bob.get('/users/me/export')).body.projects.length).toBe(1);
});

test('an export whose database goes away is cut, and the log says so without the statement', async () => {
  const proxy = await openProxy(await createDatabase());
  const there = await Api.start({ database_url: proxy.url });
  try {
    const ada = await there.person();
    const project = await ada.createProject();
    // Far more than the buffers between hold.
    await there.sql`insert into tasks (id, project_id, title, description)
      select gen_random_uuid(), ${project.id}, 'Task ' || n, repeat('x', 10000) from generate_series(1, 2000) n`;
    const response = await fetch(`${there.url}/users/me/export`, {
      headers: { authorization: `Bearer ${ada.token}` },
    });
    const reader = response.body?.getReader();
    await reader?.read();
    await proxy.cut();
    const rest = (async () => {
      while (!(await reader?.read())?.done);
    })();
    await expect(rest).rejects.toThrow();
    expect(there.log.filter(({ event }) => event === 'export_cut')).toMatchObject([
      { level: 'error', fields: { user_id: ada.id } },
    ]);
  } finally {
    await proxy.mend();
    await there.stop();
  }
});
