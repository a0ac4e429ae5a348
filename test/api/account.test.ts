import { describe, expect, test } from 'bun:test';
import { Api, Client, useApi } from '../support/api.ts';
import { createDatabase } from '../support/cluster.ts';
import { casesOf } from '../support/generated.ts';
import { openProxy } from '../support/proxy.ts';

const api = useApi();

const deleteAccount = (who: Client, password: string) =>
  who.request('DELETE', '/users/me', { password });

describe('the profile', () => {
  test('a patch changes name and email, and the user logs in with the new ones', async () => {
    const ada = await api.person();
    const { body, status } = await ada.patch('/users/me', {
      username: 'countess',
      email: 'countess@example.org',
      password: ada.password,
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

  test('a patch to a name or email that another user has, in any case, gets 409; an empty patch changes nothing', async () => {
    const [ada, eve] = [await api.person(), await api.person()];
    const name = await ada.patch('/users/me', { username: eve.username.toUpperCase() });
    expect([name.status, name.body.code]).toEqual([409, 'username_taken']);
    const email = await ada.patch('/users/me', {
      email: `${eve.username}@EXAMPLE.org`,
      password: ada.password,
    });
    expect([email.status, email.body.code]).toEqual([409, 'email_taken']);
    const before = (await ada.get('/users/me')).body;
    expect((await ada.patch('/users/me', {})).body).toEqual(before);
    expect((await ada.patch('/users/me', { username: ada.username.toUpperCase() })).status).toBe(
      200,
    );
  });

  test('a new email needs the password, and nothing changes without it', async () => {
    const ada = await api.person();
    const { body: before } = await ada.get('/users/me');
    const email = 'taken-over@example.org';
    const without = await ada.patch('/users/me', { email, username: 'someone-else' });
    expect([without.status, without.body.errors[0].location]).toEqual([422, 'body.password']);
    const wrong = await ada.patch('/users/me', { email, password: 'not the password' });
    expect([wrong.status, wrong.body.code]).toEqual([401, 'invalid_credentials']);
    for (const empty of [{ email: before.email }, { username: before.username }])
      expect((await ada.patch('/users/me', empty)).body).toEqual(before);
    expect((await ada.get('/users/me')).body).toEqual(before);
    const { body } = await ada.patch('/users/me', { email, password: ada.password });
    expect(body.email).toBe(email);
  });
});

describe('the password', () => {
  const newPassword = 'an entirely different phrase';

  test('a change of password ends all other sessions', async () => {
    const ada = await api.person();
    const phone = await ada.startSession();
    expect((await phone.client.get('/users/me')).status).toBe(200);
    const { status } = await ada.put('/users/me/password', {
      current_password: ada.password,
      new_password: newPassword,
    });
    expect(status).toBe(204);
    expect((await phone.client.get('/users/me')).body.code).toBe('invalid_token');
    expect(
      (await api.anonymous.post('/users/refresh', { refresh_token: phone.refresh_token })).status,
    ).toBe(401);
    expect((await ada.get('/users/me')).status).toBe(200);
    expect((await ada.startSession()).status).toBe(401);
    expect((await ada.startSession(newPassword)).status).toBe(200);
  });

  test('a change with a wrong current or a short new password is refused', async () => {
    const ada = await api.person();
    const wrong = await ada.put('/users/me/password', {
      current_password: 'not this one',
      new_password: newPassword,
    });
    expect([wrong.status, wrong.body.code]).toEqual([401, 'invalid_credentials']);
    const short = await ada.put('/users/me/password', {
      current_password: ada.password,
      new_password: 'short',
    });
    expect(short.status).toBe(422);
    expect((await ada.startSession()).status).toBe(200);
  });

  test('log-ins that race with a change of password leave no session of the old password', async () => {
    for (let round = 0; round < casesOf(2, 5); round += 1) {
      const ada = await api.person();
      const [change, ...racers] = await Promise.all([
        ada.put('/users/me/password', {
          current_password: ada.password,
          new_password: newPassword,
        }),
        ...Array.from({ length: 6 }, () => ada.startSession()),
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
  test('deleting an account deletes all it owns and leaves its work in shared projects', async () => {
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
    expect((await ada.startSession()).status).toBe(401);
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

  test('deleting an account while it creates projects leaves no project without an owner', async () => {
    for (let round = 0; round < casesOf(2, 5); round += 1) {
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

test('an account export is one document with all that the user owns and nothing else', async () => {
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

test('an export is cut off when the database fails, and the log line holds no SQL', async () => {
  const proxy = await openProxy(await createDatabase());
  const there = await Api.start({ databaseUrl: proxy.url });
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
