import { expect, test } from 'bun:test';
import { useApi } from '../support/api.ts';

const api = useApi();

test('a new project has its defaults, its owner, a Location and an ETag', async () => {
  const ada = await api.person();
  const { status, body, headers } = await ada.post('/projects/', { name: 'Kitchen' });
  expect(status).toBe(201);
  expect(body).toEqual({
    id: expect.stringMatching(
      /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    ),
    name: 'Kitchen',
    description: null,
    archived_at: null,
    role: 'owner',
    created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    updated_at: body.created_at,
    version: 1,
    viewers_may_comment: false,
  });
  expect(headers.get('location')).toBe(`/projects/${body.id}`);
  expect(headers.get('etag')).toBe('"1"');
  expect(headers.get('cache-control')).toBe('private, no-cache');
  const members =
    await api.sql`select user_id, role from project_members where project_id = ${body.id}`;
  expect([...members]).toEqual([{ user_id: ada.id, role: 'owner' }]);
});

test('a trailing slash is optional', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  expect((await ada.get('/projects')).body).toEqual((await ada.get('/projects/')).body);
  expect((await ada.get(`/projects/${project.id}/`)).body).toEqual(project);
  expect((await ada.post('/projects', { name: 'Bath' })).status).toBe(201);
});

test('text is stored exactly', async () => {
  const ada = await api.person();
  const name = '  Küche ﬁne 厨房 👩‍🍳 e\u0301\n';
  const description = '"; drop table users; -- \\ \' $1 %s \u{10ffff}';
  const { body } = await ada.post('/projects/', { name, description });
  expect((await ada.get(`/projects/${body.id}`)).body).toMatchObject({ name, description });
});

test('lengths are counted in code points', async () => {
  const ada = await api.person();
  expect((await ada.post('/projects/', { name: '🎉'.repeat(120) })).status).toBe(201);
  const { status, body } = await ada.post('/projects/', { name: '🎉'.repeat(121) });
  expect(status).toBe(422);
  expect(body.errors).toEqual([
    { location: 'body.name', code: 'too_long', message: 'at most 120 characters' },
  ]);
});

test.each(['', ' ', '\n\t', '\u200b', '\u3164', '\u2800', '\u00ad\u2060'])(
  'a name that shows nothing is refused: %j',
  async (name) => {
    const ada = await api.person();
    const { status, body } = await ada.post('/projects/', { name });
    expect(status).toBe(422);
    expect(body.errors[0]).toMatchObject({ location: 'body.name' });
  },
);

test('a patch changes the fields given, and null clears', async () => {
  const ada = await api.person();
  const { body: project } = await ada.post('/projects/', { name: 'Kitchen', description: 'tiles' });
  const renamed = await ada.patch(`/projects/${project.id}`, { name: 'Bath' });
  expect(renamed.body).toEqual({
    ...project,
    name: 'Bath',
    version: 2,
    updated_at: renamed.body.updated_at,
  });
  expect(renamed.body.updated_at > project.updated_at).toBe(true);
  expect(renamed.headers.get('etag')).toBe('"2"');
  const cleared = await ada.patch(
    `/projects/${project.id}`,
    { description: null },
    { headers: { 'content-type': 'application/merge-patch+json' } },
  );
  expect(cleared.body).toMatchObject({ name: 'Bath', description: null, version: 3 });
});

test('an empty patch changes nothing', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  expect((await ada.patch(`/projects/${project.id}`, {})).body).toEqual(project);
});

test('an archived project is read-only until it is unarchived', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  const task = await ada.createTask(project.id);
  const archived = await ada.patch(`/projects/${project.id}`, { archived: true });
  expect(archived.body.archived_at).toBe(archived.body.updated_at);

  const writes = [
    await ada.patch(`/projects/${project.id}`, { name: 'Bath' }),
    await ada.post(`/tasks/projects/${project.id}`, { title: 'More' }),
    await ada.put(`/tasks/${task.id}`, { title: 'Other' }),
    await ada.patch(`/tasks/${task.id}`, { title: 'Other' }),
    await ada.delete(`/tasks/${task.id}`),
  ];
  expect(writes.map(({ status, body }) => [status, body.code])).toEqual(
    Array(5).fill([409, 'conflict']),
  );
  expect((await ada.get(`/tasks/${task.id}`)).body).toEqual(task);

  const renamed = await ada.patch(`/projects/${project.id}`, { archived: true, name: 'Bath' });
  expect(renamed.status).toBe(409);
  const again = await ada.patch(`/projects/${project.id}`, { archived: true });
  expect(again.body.archived_at).toBe(archived.body.archived_at);
  const unarchived = await ada.patch(`/projects/${project.id}`, { archived: false, name: 'Bath' });
  expect(unarchived.body).toMatchObject({ archived_at: null, name: 'Bath' });
  expect((await ada.patch(`/tasks/${task.id}`, { title: 'Other' })).status).toBe(200);
});

test('a project is deleted with its tasks, archived or not', async () => {
  const ada = await api.person();
  const [plain, archived] = [await ada.createProject(), await ada.createProject()];
  await ada.createTask(plain.id, { assignee_id: ada.id });
  await ada.createTask(archived.id);
  await ada.patch(`/projects/${archived.id}`, { archived: true });
  for (const { id } of [plain, archived]) {
    const { status, text, headers } = await ada.delete(`/projects/${id}`);
    expect([status, text, headers.get('content-type')]).toEqual([204, '', null]);
    expect((await ada.get(`/projects/${id}`)).status).toBe(404);
    expect((await ada.get(`/tasks?project_id=${id}`)).status).toBe(404);
    expect((await ada.get('/projects?archived=any')).body.items).not.toContainEqual(
      expect.objectContaining({ id }),
    );
  }
});

test('a user who is not a member gets 404 on every route, the same as for a random id', async () => {
  const [ada, eve] = [await api.person(), await api.person()];
  const project = await ada.createProject();
  const random = crypto.randomUUID();
  const requests = (id: string) => [
    eve.get(`/projects/${id}`),
    eve.patch(`/projects/${id}`, { name: 'Mine' }),
    eve.delete(`/projects/${id}`),
    eve.get(`/tasks/projects/${id}`),
    eve.post(`/tasks/projects/${id}`, { title: 'Mine' }),
  ];
  const withoutId = ({ text }: { text: string }) => text.replace(/"request_id":"[^"]*"/, '');
  const seen = await Promise.all(requests(project.id));
  const missing = await Promise.all(requests(random));
  expect(seen.map(({ status }) => status)).toEqual([404, 404, 404, 404, 404]);
  expect(seen.map(withoutId)).toEqual(missing.map(withoutId));
  expect((await eve.get('/projects/')).body.items).toEqual([]);
  expect((await ada.get(`/projects/${project.id}`)).body).toEqual(project);
});

test('a viewer reads, an editor writes tasks, an owner may do everything', async () => {
  const [owner, editor, viewer] = [await api.person(), await api.person(), await api.person()];
  const project = await owner.createProject();
  await api.addMember(project.id, editor, 'editor');
  await api.addMember(project.id, viewer, 'viewer');
  const task = await owner.createTask(project.id);

  const attempts = async (who: typeof owner) => [
    (await who.get(`/projects/${project.id}`)).status,
    (await who.get(`/tasks/projects/${project.id}`)).status,
    (await who.get(`/tasks/${task.id}`)).status,
    (await who.post(`/tasks/projects/${project.id}`, { title: 'More' })).status,
    (await who.put(`/tasks/${task.id}`, { title: 'Other' })).status,
    (await who.patch(`/tasks/${task.id}`, { title: 'Tiles' })).status,
    (await who.patch(`/projects/${project.id}`, { name: 'Bath' })).status,
  ];
  expect(await attempts(viewer)).toEqual([200, 200, 200, 403, 403, 403, 403]);
  expect(await attempts(editor)).toEqual([200, 200, 200, 201, 200, 200, 403]);
  expect(await attempts(owner)).toEqual([200, 200, 200, 201, 200, 200, 200]);

  expect((await viewer.delete(`/tasks/${task.id}`)).status).toBe(403);
  expect((await editor.delete(`/tasks/${task.id}`)).status).toBe(204);
  expect((await editor.delete(`/projects/${project.id}`)).status).toBe(403);
  expect((await viewer.get(`/projects/${project.id}`)).body.role).toBe('viewer');
  expect((await editor.get('/projects/')).body.items[0]).toMatchObject({
    id: project.id,
    role: 'editor',
  });
  expect((await owner.delete(`/projects/${project.id}`)).status).toBe(204);
});

test('a unique index allows one owner for each project', async () => {
  const [ada, eve] = [await api.person(), await api.person()];
  const project = await ada.createProject();
  const second = api.sql`insert into project_members (project_id, user_id, role) values (${project.id}, ${eve.id}, 'owner')`;
  await expect(second.execute()).rejects.toThrow('project_members_one_owner_key');
});
