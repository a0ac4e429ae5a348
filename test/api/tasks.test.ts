import { describe, expect, test } from 'bun:test';
import { useApi } from '../support/api.ts';

const api = useApi();

async function adaWithProject() {
  const ada = await api.person();
  const project = await ada.createProject();
  return { ada, project };
}

const full = (assigneeId: string) => ({
  title: 'Choose the tiles',
  description: 'Slate or terracotta?',
  status: 'in_progress',
  priority: 3,
  due_at: '2026-12-24T17:00:00.123Z',
  assignee_id: assigneeId,
  labels: ['shopping', 'a "b"', 'c\\d', '{e}', 'NULL', ' f '],
});

test('a new task has its defaults', async () => {
  const { ada, project } = await adaWithProject();
  const { status, body, headers } = await ada.post(`/tasks/projects/${project.id}`, {
    title: 'Tiles',
  });
  expect(status).toBe(201);
  expect(body).toEqual({
    id: expect.any(String),
    project_id: project.id,
    title: 'Tiles',
    description: null,
    status: 'todo',
    priority: 0,
    due_at: null,
    due_on: null,
    assignee_id: null,
    labels: [],
    parent_id: null,
    blocked_by: [],
    completed_at: null,
    created_at: body.updated_at,
    updated_at: body.created_at,
    created_by: ada.id,
    version: 1,
    comment_count: 0,
  });
  expect(headers.get('location')).toBe(`/tasks/${body.id}`);
  expect(headers.get('etag')).toBe('"1"');
});

test('a new task stores a value of every type of column exactly', async () => {
  const { ada, project } = await adaWithProject();
  const { body } = await ada.post(`/tasks/projects/${project.id}`, full(ada.id));
  expect(body).toMatchObject(full(ada.id));
  expect((await ada.get(`/tasks/${body.id}`)).body).toEqual(body);
  expect((await ada.get(`/tasks/projects/${project.id}`)).body.items).toEqual([body]);
});

test('an update stores a value of every type of column exactly', async () => {
  const { ada, project } = await adaWithProject();
  const task = await ada.createTask(project.id);
  const replaced = await ada.put(`/tasks/${task.id}`, full(ada.id));
  expect(replaced.body).toMatchObject({ ...full(ada.id), version: 2 });
  const other = await ada.createTask(project.id);
  expect((await ada.patch(`/tasks/${other.id}`, full(ada.id))).body).toMatchObject(full(ada.id));
});

test('PUT resets absent fields to their defaults', async () => {
  const { ada, project } = await adaWithProject();
  const task = await ada.createTask(project.id, { ...full(ada.id), status: 'done' });
  const { body } = await ada.put(`/tasks/${task.id}`, { title: 'Choose the tiles' });
  expect(body).toEqual({
    ...task,
    description: null,
    status: 'todo',
    priority: 0,
    due_at: null,
    assignee_id: null,
    labels: [],
    completed_at: null,
    version: 2,
    updated_at: body.updated_at,
  });
});

test('PATCH changes one field alone; null clears it', async () => {
  const { ada, project } = await adaWithProject();
  let expected = await ada.createTask(project.id, full(ada.id));
  const patches = [
    { title: 'New title' },
    { description: null },
    { status: 'cancelled' },
    { priority: 0 },
    { due_at: null },
    { assignee_id: null },
    { labels: [] },
    { description: '', labels: ['x'], due_at: '1970-01-01T00:00:00.000Z', assignee_id: ada.id },
  ];
  for (const patch of patches) {
    const { body } = await ada.patch(`/tasks/${expected.id}`, patch);
    expected = {
      ...expected,
      ...patch,
      version: expected.version + 1,
      updated_at: body.updated_at,
    };
    expect(body).toEqual(expected);
  }
  expect((await ada.patch(`/tasks/${expected.id}`, {})).body).toEqual(expected);
});

test('completed_at is set with status done, kept while it stays done, and cleared after', async () => {
  const { ada, project } = await adaWithProject();
  const made = await ada.createTask(project.id, { status: 'done' });
  expect(made.completed_at).toBe(made.created_at);
  const { body: stayed } = await ada.patch(`/tasks/${made.id}`, { status: 'done', title: 'Same' });
  expect(stayed.completed_at).toBe(made.completed_at);
  const { body: replaced } = await ada.put(`/tasks/${made.id}`, { title: 'Same', status: 'done' });
  expect(replaced.completed_at).toBe(made.completed_at);
  const { body: left } = await ada.patch(`/tasks/${made.id}`, { status: 'cancelled' });
  expect(left.completed_at).toBeNull();
  const { body: entered } = await ada.patch(`/tasks/${made.id}`, { status: 'done' });
  expect(entered.completed_at).toBe(entered.updated_at);
});

test('a deleted task gets 404', async () => {
  const { ada, project } = await adaWithProject();
  const task = await ada.createTask(project.id);
  expect((await ada.delete(`/tasks/${task.id}`)).status).toBe(204);
  expect((await ada.delete(`/tasks/${task.id}`)).status).toBe(404);
  expect((await ada.get(`/tasks/projects/${project.id}`)).body).toEqual({
    items: [],
    next_cursor: null,
  });
});

test('a user who is not a member gets 404 for a task, the same as for a random id, and changes nothing', async () => {
  const { ada, project } = await adaWithProject();
  const eve = await api.person();
  const task = await ada.createTask(project.id);
  const requests = (id: string) => [
    eve.get(`/tasks/${id}`),
    eve.put(`/tasks/${id}`, { title: 'Mine' }),
    eve.patch(`/tasks/${id}`, { title: 'Mine' }),
    eve.delete(`/tasks/${id}`),
  ];
  const withoutId = ({ text }: { text: string }) => text.replace(/"request_id":"[^"]*"/, '');
  const seen = await Promise.all(requests(task.id));
  const missing = await Promise.all(requests(crypto.randomUUID()));
  expect(seen.map(({ status }) => status)).toEqual([404, 404, 404, 404]);
  expect(seen.map(withoutId)).toEqual(missing.map(withoutId));
  expect((await ada.get(`/tasks/${task.id}`)).body).toEqual(task);
});

describe('the assignee', () => {
  test('must be a member, when a task is created, replaced and patched', async () => {
    const { ada, project } = await adaWithProject();
    const eve = await api.person();
    const task = await ada.createTask(project.id);
    for (const assigneeId of [eve.id, crypto.randomUUID()]) {
      const answers = [
        await ada.post(`/tasks/projects/${project.id}`, {
          title: 'Tiles',
          assignee_id: assigneeId,
        }),
        await ada.put(`/tasks/${task.id}`, { title: 'Tiles', assignee_id: assigneeId }),
        await ada.patch(`/tasks/${task.id}`, { assignee_id: assigneeId }),
      ];
      for (const { status, body } of answers) {
        expect(status).toBe(422);
        expect(body.errors).toEqual([
          {
            location: 'body.assignee_id',
            code: 'not_a_member',
            message: 'must be a member of the project',
          },
        ]);
      }
    }
    expect((await ada.get(`/tasks/projects/${project.id}`)).body.items).toEqual([task]);
  });

  test('is cleared when the membership ends, and the task stays', async () => {
    const { ada, project } = await adaWithProject();
    const bob = await api.person();
    await api.addMember(project.id, bob, 'viewer');
    const task = await ada.createTask(project.id, { assignee_id: bob.id });
    await api.sql`delete from project_members where user_id = ${bob.id}`;
    expect((await ada.get(`/tasks/${task.id}`)).body).toEqual({ ...task, assignee_id: null });
  });
});

describe('instants', () => {
  test.each([
    ['2026-12-24T18:00:00+01:00', '2026-12-24T17:00:00.000Z'],
    ['2026-12-24t18:00:00.5z', '2026-12-24T18:00:00.500Z'],
    ['2024-02-29T23:59:59.999-23:59', '2024-03-01T23:58:59.999Z'],
    ['2026-12-24T18:00:00.123000Z', '2026-12-24T18:00:00.123Z'],
    ['1970-01-01T00:00:00Z', '1970-01-01T00:00:00.000Z'],
    ['9999-12-31T23:59:59.999Z', '9999-12-31T23:59:59.999Z'],
  ])('%s is returned as %s', async (dueAt, expected) => {
    const { ada, project } = await adaWithProject();
    expect((await ada.createTask(project.id, { due_at: dueAt })).due_at).toBe(expected);
  });

  test.each([
    '2024-02-30T00:00:00Z',
    '2023-02-29T00:00:00Z',
    '2024-13-01T00:00:00Z',
    '2024-00-01T00:00:00Z',
    '2024-01-00T00:00:00Z',
    '2024-01-01T24:00:00Z',
    '2024-01-01T23:59:60Z',
    '2024-01-01T00:00:00+24:00',
    '2024-01-01T00:00:00',
    '2024-01-01',
    '2024-01-01 00:00:00Z',
    '2024-01-01T00:00:00.1234Z',
    '1969-12-31T23:59:59.999Z',
    '1970-01-01T00:00:00+00:01',
    '9999-12-31T23:59:59-00:01',
    '10000-01-01T00:00:00Z',
    '+002024-01-01T00:00:00Z',
    'tomorrow',
    '',
  ])('%j is refused', async (dueAt) => {
    const { ada, project } = await adaWithProject();
    const { status, body } = await ada.post(`/tasks/projects/${project.id}`, {
      title: 'Tiles',
      due_at: dueAt,
    });
    expect(status).toBe(422);
    expect(body.errors).toMatchObject([{ location: 'body.due_at', code: 'invalid_instant' }]);
  });
});

describe('labels', () => {
  test.each([
    [['a', 'a'], 'body.labels', 'repeated'],
    [['a,b'], 'body.labels.0', 'invalid_format'],
    [['a', ''], 'body.labels.1', 'too_short'],
    [['x'.repeat(51)], 'body.labels.0', 'too_long'],
    [Array.from({ length: 21 }, (_, n) => `l${n}`), 'body.labels', 'too_many'],
    [[1], 'body.labels.0', 'wrong_type'],
    ['shopping', 'body.labels', 'wrong_type'],
  ])('%j are refused', async (labels, location, code) => {
    const { ada, project } = await adaWithProject();
    const { status, body } = await ada.post(`/tasks/projects/${project.id}`, {
      title: 'Tiles',
      labels,
    });
    expect(status).toBe(422);
    expect(body.errors[0]).toMatchObject({ location, code });
  });

  test('20 labels of 50 code points are stored', async () => {
    const { ada, project } = await adaWithProject();
    const labels = Array.from({ length: 20 }, (_, n) => '🎉'.repeat(48) + n);
    expect((await ada.createTask(project.id, { labels })).labels).toEqual(labels);
  });
});
