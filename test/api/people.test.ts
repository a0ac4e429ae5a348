/** Who is who in tasks: names beside ids where a client asks for them, and `me` where a client sends an id. */
import { expect, test } from 'bun:test';
import { useApi } from '../support/api.ts';

const api = useApi();

test('expand=people adds the assignee and the creator, to every member and in every list', async () => {
  const [ada, bob] = [await api.person('ada'), await api.person('bob')];
  const project = await ada.createProject();
  await api.addMember(project.id, bob, 'viewer');
  const task = await ada.createTask(project.id, { assignee_id: bob.id });
  const [adaNamed, bobNamed] = [ada, bob].map(({ id, username }) => ({ id, username }));
  const expanded = { ...task, assignee: bobNamed, creator: adaNamed };
  for (const who of [ada, bob]) {
    for (const path of ['/tasks', `/tasks/projects/${project.id}`]) {
      expect((await who.get(`${path}?expand=people`)).body.items).toEqual([expanded]);
      expect((await who.get(path)).body.items).toEqual([task]);
    }
    const one = await who.get(`/tasks/${task.id}?expand=people`);
    expect(one.body).toEqual(expanded);
    expect(one.headers.get('etag')).toBe('"1"');
  }
  const renamed = `${bob.username}-2`;
  await bob.patch('/users/me', { username: renamed });
  const headers = { 'if-none-match': '"1"' };
  const again = await ada.get(`/tasks/${task.id}?expand=people`, { headers });
  expect(again.body.assignee.username).toBe(renamed);
  expect((await ada.get(`/tasks/${task.id}`, { headers })).status).toBe(304);
  for (const query of ['expand=', 'expand=all', 'expand=people,people'])
    expect((await ada.get(`/tasks?${query}`)).status).toBe(422);
});

test('people who are gone or missing are null', async () => {
  const [ada, bob] = [await api.person('ada'), await api.person('bob')];
  const project = await ada.createProject();
  await api.addMember(project.id, bob, 'editor');
  await bob.createTask(project.id);
  await bob.request('DELETE', '/users/me', { password: bob.password });
  const { body } = await ada.get('/tasks?expand=people');
  expect(body.items).toMatchObject([{ assignee: null, creator: null, created_by: null }]);
});

test('a cursor is valid with and without expand', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  for (let n = 0; n < 2; n += 1) await ada.createTask(project.id);
  const { body } = await ada.get('/tasks?limit=1&expand=people');
  expect((await ada.get(`/tasks?limit=1&cursor=${body.next_cursor}`)).body.items.length).toBe(1);
});

test('me is the sender, in every body with an assignee', async () => {
  const [ada, bob] = [await api.person('ada'), await api.person('bob')];
  const project = await ada.createProject();
  await api.addMember(project.id, bob, 'editor');
  const task = await ada.createTask(project.id, { assignee_id: 'me' });
  expect(task.assignee_id).toBe(ada.id);
  const path = `/tasks/${task.id}`;
  expect((await bob.patch(path, { assignee_id: 'me' })).body.assignee_id).toBe(bob.id);
  const put = await ada.put(path, { title: 'Tiles', assignee_id: 'me' });
  expect(put.body.assignee_id).toBe(ada.id);
  const operations = [
    { op: 'update', task_id: task.id, assignee_id: 'me' },
    { op: 'create', project_id: project.id, title: 'Grout', assignee_id: 'me' },
  ];
  const { body } = await bob.post('/tasks/batch', { operations });
  for (const { task } of body.results) expect(task.assignee_id).toBe(bob.id);
  for (const assigneeId of ['none', 'ME', '', bob.username])
    expect((await ada.patch(path, { assignee_id: assigneeId })).status).toBe(422);
});
