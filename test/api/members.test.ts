/** Sharing: who may bring whom into a project, with which role, and what follows. */
import { describe, expect, test } from 'bun:test';
import { Client, type Persona, useApi } from '../support/api.ts';
import { countWaiting, openTransaction, waitForBlockedQuery } from '../support/locks.ts';
import { waitFor } from '../support/process.ts';

const api = useApi();

async function sharedProject() {
  const [owner, editor, viewer, stranger] = [
    await api.person('owner'),
    await api.person('editor'),
    await api.person('viewer'),
    await api.person('stranger'),
  ];
  const project = await owner.createProject();
  await owner.post(`/projects/${project.id}/members`, {
    username: editor.username,
    role: 'editor',
  });
  await owner.post(`/projects/${project.id}/members`, {
    username: viewer.username,
    role: 'viewer',
  });
  const path = `/projects/${project.id}/members`;
  return { owner, editor, viewer, stranger, project, path };
}

const versionOf = async (id: string) =>
  (await api.sql`select version from projects where id = ${id}`)[0].version;

const rolesOf = async (projectId: string) =>
  Object.fromEntries(
    (await api.sql`select user_id, role from project_members where project_id = ${projectId}`).map(
      ({ user_id, role }: { user_id: string; role: string }) => [user_id, role],
    ),
  );

describe('adding a member', () => {
  test('the owner adds a member by username, in any case, and the member sees the project', async () => {
    const [owner, bob] = [await api.person('owner'), await api.person('bob')];
    const project = await owner.createProject();
    expect((await bob.get(`/projects/${project.id}`)).status).toBe(404);
    const { status, body } = await owner.post(`/projects/${project.id}/members`, {
      username: bob.username.toUpperCase(),
      role: 'editor',
    });
    expect([status, body]).toEqual([
      201,
      {
        user_id: bob.id,
        username: bob.username,
        role: 'editor',
        created_at: expect.stringMatching(/Z$/),
      },
    ]);
    expect((await bob.get(`/projects/${project.id}`)).body).toMatchObject({ role: 'editor' });
    expect((await bob.get('/projects')).body.items.map(({ id }: { id: string }) => id)).toEqual([
      project.id,
    ]);
    expect(await versionOf(project.id)).toBe(2);
  });

  test('an unknown username gets 422', async () => {
    const { owner, path, project } = await sharedProject();
    const before = await versionOf(project.id);
    const { status, body } = await owner.post(path, { username: 'nobody-at-all', role: 'viewer' });
    expect([status, body.errors]).toEqual([
      422,
      [{ location: 'body.username', code: 'not_found', message: 'must be the name of a user' }],
    ]);
    expect(await versionOf(project.id)).toBe(before);
  });

  test('a disabled user cannot be added', async () => {
    const { owner, stranger, path } = await sharedProject();
    await api.sql`update users set disabled_at = now() where id = ${stranger.id}`;
    const { status } = await owner.post(path, { username: stranger.username, role: 'viewer' });
    expect(status).toBe(422);
  });

  test('adding a member again gets 409 and keeps their role', async () => {
    const { owner, editor, project, path } = await sharedProject();
    for (const who of [editor, owner]) {
      const { status, body } = await owner.post(path, { username: who.username, role: 'viewer' });
      expect([status, body.code]).toEqual([409, 'conflict']);
    }
    expect(await rolesOf(project.id)).toMatchObject({ [editor.id]: 'editor', [owner.id]: 'owner' });
  });

  test('a member cannot be added as a second owner', async () => {
    const { owner, stranger, path } = await sharedProject();
    const { status, body } = await owner.post(path, { username: stranger.username, role: 'owner' });
    expect([status, body.errors[0].location]).toEqual([422, 'body.role']);
  });

  test('20 concurrent requests that add one user create one membership', async () => {
    const { owner, stranger, project, path } = await sharedProject();
    const before = await versionOf(project.id);
    const add = () => owner.post(path, { username: stranger.username, role: 'viewer' });
    const statuses = (await Promise.all(Array.from({ length: 20 }, add))).map((one) => one.status);
    expect(statuses.toSorted()).toEqual([201, ...Array(19).fill(409)]);
    expect(await versionOf(project.id)).toBe(before + 1);
  });
});

describe('listing', () => {
  test('every member sees the members, newest first; a stranger does not', async () => {
    const { owner, editor, viewer, stranger, path } = await sharedProject();
    for (const who of [owner, editor, viewer]) {
      const { body } = await who.get(path);
      expect(body.next_cursor).toBeNull();
      expect(body.items.map(({ user_id }: { user_id: string }) => user_id)).toEqual([
        viewer.id,
        editor.id,
        owner.id,
      ]);
    }
    expect((await stranger.get(path)).status).toBe(404);
  });

  test('members are paged, with cursors of this project alone', async () => {
    const { owner, editor, viewer, path } = await sharedProject();
    const seen: string[] = [];
    let cursor = '';
    do {
      const { body } = await owner.get(`${path}?limit=1${cursor}`);
      seen.push(...body.items.map(({ user_id }: { user_id: string }) => user_id));
      cursor = body.next_cursor && `&cursor=${body.next_cursor}`;
    } while (cursor);
    expect(seen).toEqual([viewer.id, editor.id, owner.id]);
    const { body } = await owner.get(`${path}?limit=1`);
    const other = await owner.createProject();
    const foreign = await owner.get(`/projects/${other.id}/members?cursor=${body.next_cursor}`);
    expect(foreign.body.code).toBe('invalid_cursor');
    const next = await viewer.get(`${path}?cursor=${body.next_cursor}`);
    expect(next.body.items.length).toBe(2);
  });
});

describe('changing a role', () => {
  test('takes effect at the next request and changes the ETag of the project', async () => {
    const { owner, editor, project, path } = await sharedProject();
    expect((await editor.post(`/tasks/projects/${project.id}`, { title: 'a' })).status).toBe(201);
    const tag = (await editor.get(`/projects/${project.id}`)).headers.get('etag') ?? '';
    const changed = await owner.patch(`${path}/${editor.id}`, { role: 'viewer' });
    expect([changed.status, changed.body.role, changed.body.username]).toEqual([
      200,
      'viewer',
      editor.username,
    ]);
    expect((await editor.post(`/tasks/projects/${project.id}`, { title: 'a' })).status).toBe(403);
    const again = await editor.get(`/projects/${project.id}`, {
      headers: { 'if-none-match': tag },
    });
    expect([again.status, again.body.role]).toEqual([200, 'viewer']);
    await owner.patch(`${path}/${editor.id}`, { role: 'editor' });
    expect((await editor.post(`/tasks/projects/${project.id}`, { title: 'a' })).status).toBe(201);
  });

  test.each([{}, { role: 'editor' }])('to what it is, by %j, changes nothing', async (patch) => {
    const { owner, editor, project, path } = await sharedProject();
    const before = await versionOf(project.id);
    const { status, body } = await owner.patch(`${path}/${editor.id}`, patch);
    expect([status, body.role]).toEqual([200, 'editor']);
    expect(await versionOf(project.id)).toBe(before);
  });

  test.each([{ role: 'admin' }, { role: null }, { role: 'viewer', username: 'x' }])(
    '%j is 422',
    async (patch) => {
      const { owner, editor, path } = await sharedProject();
      expect((await owner.patch(`${path}/${editor.id}`, patch)).status).toBe(422);
    },
  );

  test('of the owner needs a new owner', async () => {
    const { owner, project, path } = await sharedProject();
    for (const role of ['editor', 'viewer']) {
      const { status, body } = await owner.patch(`${path}/${owner.id}`, { role });
      expect([status, body.code]).toEqual([409, 'conflict']);
    }
    expect((await owner.patch(`${path}/${owner.id}`, { role: 'owner' })).status).toBe(200);
    expect((await owner.patch(`${path}/${owner.id}`, {})).body.role).toBe('owner');
    expect(await rolesOf(project.id)).toMatchObject({ [owner.id]: 'owner' });
  });

  test('of a user who is not a member gets 404', async () => {
    const { owner, stranger, path } = await sharedProject();
    for (const id of [stranger.id, crypto.randomUUID(), 'x'])
      for (const role of ['viewer', 'owner'])
        expect((await owner.patch(`${path}/${id}`, { role })).status).toBe(404);
  });
});

describe('handing a project over', () => {
  test('makes the member the owner and the owner an editor', async () => {
    const { owner, viewer, editor, project, path } = await sharedProject();
    const before = await versionOf(project.id);
    const { status, body } = await owner.patch(`${path}/${viewer.id}`, { role: 'owner' });
    expect([status, body.role]).toEqual([200, 'owner']);
    expect(await rolesOf(project.id)).toEqual({
      [owner.id]: 'editor',
      [viewer.id]: 'owner',
      [editor.id]: 'editor',
    });
    expect(await versionOf(project.id)).toBe(before + 1);
    expect((await owner.delete(`/projects/${project.id}`)).status).toBe(403);
    expect((await viewer.delete(`/projects/${project.id}`)).status).toBe(204);
  });

  test('to two members at the same time leaves one owner', async () => {
    for (let round = 0; round < 10; round += 1) {
      const { owner, editor, viewer, project, path } = await sharedProject();
      const answers = await Promise.all(
        [editor, viewer].map(({ id }) => owner.patch(`${path}/${id}`, { role: 'owner' })),
      );
      const [won] = answers.filter(({ status }) => status === 200);
      const owners = Object.entries(await rolesOf(project.id)).filter(
        ([, role]) => role === 'owner',
      );
      expect(owners).toEqual([[won?.body.user_id, 'owner']]);
      for (const { status } of answers) expect([200, 403, 409]).toContain(status);
    }
  });

  test.each(['remove', 'leave', 'demote'])(
    'to who would %s at the same time leaves one owner',
    async (way) => {
      for (let round = 0; round < 10; round += 1) {
        const { owner, editor, project, path } = await sharedProject();
        const other = {
          remove: () => owner.delete(`${path}/${editor.id}`),
          leave: () => editor.delete(`${path}/${editor.id}`),
          demote: () => owner.patch(`${path}/${editor.id}`, { role: 'viewer' }),
        }[way];
        const [handed] = await Promise.all([
          owner.patch(`${path}/${editor.id}`, { role: 'owner' }),
          other?.(),
        ]);
        expect([200, 403, 404]).toContain(handed.status);
        const owners = Object.values(await rolesOf(project.id)).filter((role) => role === 'owner');
        expect(owners).toEqual(['owner']);
      }
    },
  );

  test('to a user who deletes their account deletes the project or is refused', async () => {
    for (let round = 0; round < 5; round += 1) {
      const { owner, editor, project, path } = await sharedProject();
      const [handed, deleted] = await Promise.all([
        owner.patch(`${path}/${editor.id}`, { role: 'owner' }),
        editor.request('DELETE', '/users/me', { password: editor.password, projects: 'delete' }),
      ]);
      expect(deleted.status).toBe(204);
      const left = Object.values(await rolesOf(project.id));
      if (handed.status === 200) expect(left).toEqual([]);
      else expect(left.filter((role) => role === 'owner')).toEqual(['owner']);
    }
  });
});

describe('leaving a project', () => {
  test('any member may leave, except the owner', async () => {
    const { owner, editor, viewer, project, path } = await sharedProject();
    for (const who of [editor, viewer]) {
      expect((await who.delete(`${path}/${who.id}`)).status).toBe(204);
      expect((await who.get(`/projects/${project.id}`)).status).toBe(404);
    }
    const { status, body } = await owner.delete(`${path}/${owner.id}`);
    expect([status, body.code]).toEqual([409, 'conflict']);
    expect(await rolesOf(project.id)).toEqual({ [owner.id]: 'owner' });
  });

  test('is not undone by the owner until the user allows it', async () => {
    const { owner, editor, viewer, project, path } = await sharedProject();
    await editor.delete(`${path}/${editor.id}`);
    const again = { username: editor.username, role: 'viewer' };
    const { status, body } = await owner.post(path, again);
    expect([status, body.code]).toEqual([409, 'conflict']);
    expect(body.detail).toContain('has left this project');
    expect(await rolesOf(project.id)).not.toHaveProperty(editor.id);

    await owner.patch(`/projects/${project.id}`, { name: 'Renamed' });
    const left = await editor.get('/users/me/left-projects');
    expect(left.body).toEqual({
      items: [{ project_id: project.id, name: project.name, left_at: expect.stringMatching(/Z$/) }],
      next_cursor: null,
    });
    // Others see and allow nothing for them.
    expect((await viewer.get('/users/me/left-projects')).body.items).toEqual([]);
    expect((await viewer.delete(`/users/me/left-projects/${project.id}`)).status).toBe(404);
    expect((await editor.delete(`/users/me/left-projects/${project.id}`)).status).toBe(204);
    expect((await editor.get(`/projects/${project.id}`)).status).toBe(404);
    expect((await owner.post(path, again)).status).toBe(201);
    expect((await editor.delete(`/users/me/left-projects/${project.id}`)).status).toBe(404);
  });

  test('a member whom the owner removed can be added again', async () => {
    const { owner, editor, path } = await sharedProject();
    await owner.delete(`${path}/${editor.id}`);
    expect((await editor.get('/users/me/left-projects')).body.items).toEqual([]);
    const { status } = await owner.post(path, { username: editor.username, role: 'viewer' });
    expect(status).toBe(201);
  });

  test('wins over an owner who adds the member at the same time', async () => {
    const { owner, editor, project, path } = await sharedProject();
    const unlock = await openTransaction(
      api,
      (sql) => sql`select from projects where id = ${project.id} for share`,
    );
    const left = editor.delete(`${path}/${editor.id}`);
    await waitForBlockedQuery(api);
    const added = owner.post(path, { username: editor.username, role: 'viewer' });
    await waitFor('both wait', async () => (await countWaiting(api.sql)) === 2);
    await unlock();
    expect((await left).status).toBe(204);
    expect((await added).body).toMatchObject({
      status: 409,
      detail: expect.stringContaining('has left this project'),
    });
    expect(await rolesOf(project.id)).not.toHaveProperty(editor.id);
  });

  test('left projects are paged, latest first', async () => {
    const [owner, bob] = [await api.person('owner'), await api.person('bob')];
    const ids: string[] = [];
    for (let n = 0; n < 3; n += 1) {
      const { id } = await owner.createProject();
      await owner.post(`/projects/${id}/members`, { username: bob.username, role: 'viewer' });
      await bob.delete(`/projects/${id}/members/${bob.id}`);
      ids.unshift(id);
    }
    const first = await bob.get('/users/me/left-projects?limit=2');
    const { next_cursor } = first.body;
    const second = await bob.get(`/users/me/left-projects?limit=2&cursor=${next_cursor}`);
    const items = [...first.body.items, ...second.body.items];
    expect(items.map(({ project_id }) => project_id)).toEqual(ids);
    expect(second.body.next_cursor).toBeNull();
    await owner.delete(`/projects/${ids[0]}`);
    expect((await bob.get('/users/me/left-projects')).body.items).toHaveLength(2);
  });

  test('only the owner removes other members', async () => {
    const { owner, editor, viewer, stranger, path } = await sharedProject();
    expect((await editor.delete(`${path}/${viewer.id}`)).status).toBe(403);
    expect((await viewer.delete(`${path}/${editor.id}`)).status).toBe(403);
    expect((await editor.delete(`${path}/${owner.id}`)).status).toBe(403);
    expect((await stranger.delete(`${path}/${stranger.id}`)).status).toBe(404);
    expect((await owner.delete(`${path}/${viewer.id}`)).status).toBe(204);
    expect((await owner.delete(`${path}/${viewer.id}`)).status).toBe(404);
    expect((await owner.delete(`${path}/${stranger.id}`)).status).toBe(404);
  });

  test('unassigns the tasks of the member and increases their versions', async () => {
    const { owner, editor, viewer, project, path } = await sharedProject();
    const [his, other] = [
      await owner.createTask(project.id, { assignee_id: editor.id }),
      await owner.createTask(project.id, { assignee_id: viewer.id }),
    ];
    const unshared = await editor.createProject();
    const own = await editor.createTask(unshared.id, { assignee_id: editor.id });
    const before = await versionOf(project.id);
    await owner.delete(`${path}/${editor.id}`);
    const { body } = await owner.get(`/tasks/${his.id}`);
    expect(body).toEqual({ ...his, assignee_id: null, version: 2, updated_at: expect.any(String) });
    expect(body.updated_at > his.updated_at).toBe(true);
    expect((await owner.get(`/tasks/${other.id}`)).body).toEqual(other);
    expect((await editor.get(`/tasks/${own.id}`)).body).toEqual(own);
    expect(await versionOf(project.id)).toBe(before + 1);
  });

  test('assigning a task to a member who is being removed is refused, or undone with a new version', async () => {
    for (let round = 0; round < 10; round += 1) {
      const { owner, editor, project, path } = await sharedProject();
      const task = await owner.createTask(project.id);
      const [assigned] = await Promise.all([
        owner.patch(`/tasks/${task.id}`, { assignee_id: editor.id }),
        owner.delete(`${path}/${editor.id}`),
      ]);
      const { body } = await owner.get(`/tasks/${task.id}`);
      expect(body.assignee_id).toBeNull();
      expect([assigned.status, body.version]).toEqual(
        assigned.status === 200 ? [200, 3] : [422, 1],
      );
    }
  });

  test('a removal waits for an assignment under way, then undoes it', async () => {
    const { owner, editor, project, path } = await sharedProject();
    const task = await owner.createTask(project.id);
    const commit = await openTransaction(api, async (sql) => {
      await sql`select from projects where id = ${project.id} for key share`;
      await sql`update tasks set assignee_id = ${editor.id}, version = 2 where id = ${task.id}`;
    });
    const removal = owner.delete(`${path}/${editor.id}`);
    await waitForBlockedQuery(api);
    await commit();
    expect((await removal).status).toBe(204);
    const { body } = await owner.get(`/tasks/${task.id}`);
    expect([body.assignee_id, body.version]).toEqual([null, 3]);
  });
});

test('an account and a project that its user is a member of are deleted at the same time', async () => {
  const { owner, viewer, project } = await sharedProject();
  const task = await owner.createTask(project.id, { assignee_id: viewer.id });
  const unlock = await openTransaction(
    api,
    (sql) => sql`select from tasks where id = ${task.id} for update`,
  );
  const left = viewer.request('DELETE', '/users/me', { password: viewer.password });
  await waitForBlockedQuery(api);
  const deleted = owner.delete(`/projects/${project.id}`);
  await waitFor('both wait', async () => (await countWaiting(api.sql)) === 2);
  await unlock();
  expect([(await left).status, (await deleted).status]).toEqual([204, 204]);
});

test('in an archived project no member is added, changed or removed, but all may leave', async () => {
  const { owner, editor, viewer, stranger, project, path } = await sharedProject();
  await owner.patch(`/projects/${project.id}`, { archived: true });
  const before = await rolesOf(project.id);
  const attempts = [
    owner.post(path, { username: stranger.username, role: 'viewer' }),
    owner.patch(`${path}/${editor.id}`, { role: 'viewer' }),
    owner.patch(`${path}/${editor.id}`, { role: 'owner' }),
    owner.delete(`${path}/${editor.id}`),
    owner.delete(`${path}/${owner.id}`),
  ];
  for (const { status, body } of await Promise.all(attempts))
    expect([status, body.code]).toEqual([409, 'conflict']);
  expect(await rolesOf(project.id)).toEqual(before);
  const task = await owner.get(`/tasks/projects/${project.id}`);
  expect(task.status).toBe(200);
  for (const who of [editor, viewer])
    expect((await who.delete(`${path}/${who.id}`)).status).toBe(204);
  expect(await rolesOf(project.id)).toEqual({ [owner.id]: 'owner' });
});

describe('a request that may do nothing', () => {
  test('waits for no lock, in any operation', async () => {
    const { owner, viewer, stranger, editor, project, path } = await sharedProject();
    const task = await owner.createTask(project.id);
    const commit = await openTransaction(api, async (sql) => {
      await sql`select from projects where id = ${project.id} for update`;
      await sql`select from tasks where id = ${task.id} for update`;
    });
    const operations = [{ op: 'update', task_id: task.id, title: 'x' }];
    for (const who of [viewer, stranger]) {
      const answers = await Promise.all([
        who.post(path, { username: stranger.username, role: 'editor' }),
        who.patch(`${path}/${editor.id}`, { role: 'viewer' }),
        who.delete(`${path}/${editor.id}`),
        who.patch(`/tasks/${task.id}`, { title: 'x' }),
        who.delete(`/tasks/${task.id}`),
        who.post(`/tasks/projects/${project.id}`, { title: 'x' }),
        who.post('/tasks/batch', { operations }),
        who.patch(`/projects/${project.id}`, { name: 'x' }),
        who.delete(`/projects/${project.id}`),
      ]);
      const expected = who === viewer ? 403 : 404;
      expect(answers.map(({ status }) => status)).toEqual(answers.map(() => expected));
    }
    await commit();
  });
});

test('a removal waits for the writes that have begun, and for none that come later', async () => {
  const { owner, editor, project, path } = await sharedProject();
  const begun = await openTransaction(api, async (sql) => {
    await sql`select pg_advisory_xact_lock_shared(hashtextextended('members of ' || ${project.id}, 0))`;
  });
  const removal = owner.delete(`${path}/${editor.id}`);
  await waitForBlockedQuery(api);
  const later = [1, 2, 3].map((n) => editor.createTask(project.id, { title: `Task ${n}` }));
  await begun();
  expect((await removal).status).toBe(204);
  await Promise.all(later);
  expect(await rolesOf(project.id)).toEqual(
    expect.not.objectContaining({ [editor.id]: expect.anything() }),
  );
});

test('deleting an account keeps its work and increases the version of each task that named it', async () => {
  const { owner, editor, project } = await sharedProject();
  const made = await editor.createTask(project.id);
  const assigned = await owner.createTask(project.id, { assignee_id: editor.id });
  const other = await owner.createTask(project.id);
  await editor.request('DELETE', '/users/me', { password: editor.password });
  const read = async (id: string) => (await owner.get(`/tasks/${id}`)).body;
  expect(await read(made.id)).toMatchObject({ created_by: null, version: 2 });
  expect(await read(assigned.id)).toMatchObject({ assignee_id: null, version: 2 });
  expect(await read(other.id)).toEqual(other);
});

test('two users work in one shared project', async () => {
  const [ada, bob] = [await api.person('ada'), await api.person('bob')];
  const project = await ada.createProject();
  await ada.post(`/projects/${project.id}/members`, { username: bob.username, role: 'editor' });
  const task = await ada.createTask(project.id, { title: 'Tiles', assignee_id: bob.id });
  const mine = (who: Persona) => who.get('/tasks?assignee_id=me&status=todo,in_progress');
  expect((await mine(bob)).body.items).toEqual([task]);
  await bob.patch(`/tasks/${task.id}`, { status: 'done' });
  expect((await mine(bob)).body.items).toEqual([]);
  expect((await ada.get(`/tasks/${task.id}`)).body.status).toBe('done');
});

describe('a credential that has ended in another process', () => {
  /** The process still has the credential in its memory; the rows are gone. */
  const ended = {
    session: async (owner: Persona) => {
      await owner.get('/users/me');
      await api.sql`delete from sessions where user_id = ${owner.id}`;
      return owner;
    },
    'API token': async (owner: Persona) => {
      const scopes = ['read', 'write'];
      const { body } = await owner.post('/users/me/tokens', { name: 'script', scopes });
      const script = new Client(api, body.token);
      await script.get('/users/me');
      await api.sql`delete from api_tokens where user_id = ${owner.id}`;
      return script;
    },
  };

  test.each(Object.entries(ended))('%s: changes no member', async (_, end) => {
    const { owner, editor, viewer, stranger, project, path } = await sharedProject();
    const before = await rolesOf(project.id);
    const client = await end(owner);
    const answers = await Promise.all([
      client.post(path, { username: stranger.username, role: 'viewer' }),
      client.patch(`${path}/${editor.id}`, { role: 'viewer' }),
      client.patch(`${path}/${editor.id}`, { role: 'owner' }),
      client.delete(`${path}/${viewer.id}`),
    ]);
    expect(answers.map(({ status, body }) => [status, body.code])).toEqual(
      Array(4).fill([401, 'invalid_token']),
    );
    expect(await rolesOf(project.id)).toEqual(before);
  });
});
