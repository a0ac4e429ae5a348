/** Due dates without a time: `due_on` beside `due_at`, of which a task has one at the most. */
import { describe, expect, test } from 'bun:test';
import { useApi } from '../support/api.ts';

const api = useApi();

const DAY = '2026-12-24';
const TIME = '2026-12-24T17:00:00.000Z';

const problem = (location: string) => ({
  code: 'validation_failed',
  errors: [{ location, code: 'contradiction' }],
});

test('a day is kept as it is, and comes back from every write and read', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  const task = await ada.createTask(project.id, { due_on: DAY });
  expect([task.due_on, task.due_at]).toEqual([DAY, null]);
  const path = `/tasks/${task.id}`;
  expect((await ada.get(path)).body).toEqual(task);
  for (const day of ['1970-01-01', '2028-02-29', '9999-12-31'])
    expect((await ada.patch(path, { due_on: day })).body.due_on).toBe(day);
  const { body: changed } = await ada.patch(path, { due_on: null, due_at: TIME });
  expect([changed.due_on, changed.due_at]).toEqual([null, TIME]);
  const { body: replaced } = await ada.put(path, { title: 'Tiles', due_on: DAY });
  expect([replaced.due_on, replaced.due_at]).toEqual([DAY, null]);
  expect((await ada.put(path, { title: 'Tiles' })).body.due_on).toBeNull();
  const key = { headers: { 'idempotency-key': 'k' } };
  const made = await ada.post(`/tasks/projects/${project.id}`, { title: 'x', due_on: DAY }, key);
  const again = await ada.post(`/tasks/projects/${project.id}`, { title: 'x', due_on: DAY }, key);
  expect([again.body, made.body.due_on]).toEqual([made.body, DAY]);
  const { body } = await ada.get(`/changes?since=${(await ada.get('/changes')).body.next_cursor}`);
  expect(body.items).toEqual([]);
});

test.each([
  '2026-02-29',
  '2026-13-01',
  '1969-12-31',
  '2026-1-1',
  TIME,
  '',
  ' 2026-12-24',
  '٢٠٢٦-12-24',
  20261224,
])('%p is no day', async (day) => {
  const ada = await api.person();
  const { status, body } = await ada.post(`/tasks/projects/${(await ada.createProject()).id}`, {
    title: 'Tiles',
    due_on: day,
  });
  expect([status, body.errors[0].location]).toEqual([422, 'body.due_on']);
});

describe('a second due date is refused, and nothing is written', () => {
  test('in one body', async () => {
    const ada = await api.person();
    const project = await ada.createProject();
    const task = await ada.createTask(project.id);
    const both = { title: 'Both', due_at: TIME, due_on: DAY };
    const operation = (one: object) => ({ operations: [{ ...one, ...both }] });
    for (const [{ status, body }, location] of [
      [await ada.post(`/tasks/projects/${project.id}`, both), 'body.due_on'],
      [await ada.put(`/tasks/${task.id}`, both), 'body.due_on'],
      [await ada.patch(`/tasks/${task.id}`, both), 'body.due_on'],
      [
        await ada.post('/tasks/batch', operation({ op: 'create', project_id: project.id })),
        'body.operations.0.due_on',
      ],
      [
        await ada.post('/tasks/batch', operation({ op: 'update', task_id: task.id })),
        'body.operations.0.due_on',
      ],
    ] as const) {
      expect(status).toBe(422);
      expect(body).toMatchObject(problem(location));
    }
    expect((await ada.get(`/tasks/projects/${project.id}`)).body.items).toEqual([task]);
  });

  test('beside the one that the task has', async () => {
    const ada = await api.person();
    const project = await ada.createProject();
    for (const [has, sets, location] of [
      [{ due_at: TIME }, { due_on: DAY }, 'due_on'],
      [{ due_on: DAY }, { due_at: TIME }, 'due_at'],
    ] as const) {
      const task = await ada.createTask(project.id, has);
      const path = `/tasks/${task.id}`;
      const patched = await ada.patch(path, { ...sets, title: 'Other' });
      expect(patched.status).toBe(422);
      expect(patched.body).toMatchObject(problem(`body.${location}`));
      const operations = [{ op: 'update', task_id: task.id, ...sets }];
      const batch = await ada.post('/tasks/batch', { operations });
      expect(batch.body).toMatchObject(problem(`body.operations.0.${location}`));
      const stale = await ada.patch(path, sets, { headers: { 'if-match': '"7"' } });
      expect(stale.status).toBe(412);
      expect((await ada.get(path)).body).toEqual(task);
    }
  });

  test('by two clients at once, of which one wins', async () => {
    const ada = await api.person();
    const project = await ada.createProject();
    for (let round = 0; round < 10; round += 1) {
      const { id } = await ada.createTask(project.id);
      const answers = await Promise.all([
        ada.patch(`/tasks/${id}`, { due_at: TIME }),
        ada.patch(`/tasks/${id}`, { due_on: DAY }),
        ada.post('/tasks/batch', { operations: [{ op: 'update', task_id: id, due_on: DAY }] }),
      ]);
      const { body } = await ada.get(`/tasks/${id}`);
      expect([body.due_at, body.due_on]).toContain(null);
      expect(answers.map(({ status }) => status).toSorted()).toEqual(
        body.due_at ? [200, 422, 422] : [200, 200, 422],
      );
    }
  });
});

test('a write of the previous version, which knows due_at alone, leaves one due date', async () => {
  const ada = await api.person();
  const task = await ada.createTask((await ada.createProject()).id, { due_on: DAY });
  await api.sql`update tasks set due_at = ${TIME}, version = version + 1 where id = ${task.id}`;
  const { body } = await ada.get(`/tasks/${task.id}`);
  expect([body.due_at, body.due_on]).toEqual([TIME, null]);
});

test('the history has the day', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  const task = await ada.createTask(project.id, { due_on: DAY });
  await ada.patch(`/tasks/${task.id}`, { due_on: null, due_at: TIME });
  const { body } = await ada.get(`/projects/${project.id}/events`);
  const [updated, created] = body.items;
  expect([created.fields.due_on, created.fields.due_at]).toEqual([DAY, null]);
  expect(updated.fields).toMatchObject({ due_on: null, due_at: TIME });
});

test('an export has the day, the import takes it, and a document without it as well', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  await ada.createTask(project.id, { due_on: DAY });
  const { text } = await ada.get(`/projects/${project.id}/export`);
  const document = JSON.parse(text);
  expect([document.tasks[0].due_on, document.tasks[0].due_at]).toEqual([DAY, null]);
  const csv = (await ada.get(`/projects/${project.id}/export?format=csv`)).text;
  const [names = '', cells = ''] = csv.split('\r\n');
  expect(cells.split(',')[names.split(',').indexOf('"due_on"')]).toBe(`"${DAY}"`);
  const send = async () => {
    const { status, body } = await ada.post('/projects/import', document);
    expect(status).toBe(201);
    return (await ada.get(`/tasks/projects/${body.project.id}`)).body.items[0];
  };
  expect(await send()).toMatchObject({ due_on: DAY, due_at: null });
  document.tasks[0].due_at = TIME;
  const { status, body } = await ada.post('/projects/import', document);
  expect([status, body.errors[0].location]).toEqual([422, 'body.tasks.0.due_on']);
  delete document.tasks[0].due_on;
  expect(await send()).toMatchObject({ due_on: null, due_at: TIME });
});

test('a calendar writes a day without a time', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  await ada.createTask(project.id, { due_on: DAY });
  await ada.createTask(project.id, { due_at: TIME });
  const { text } = await ada.get('/tasks/calendar.ics');
  expect(text.match(/^DUE.*$/gm)?.toSorted()).toEqual([
    'DUE:20261224T170000Z',
    'DUE;VALUE=DATE:20261224',
  ]);
});

test('a list walks days and times in one order, in both directions', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  const dues = [
    { due_at: '2026-12-24T23:59:59.998Z' },
    { due_on: DAY },
    { due_at: '2026-12-24T23:59:59.999Z' },
    { due_at: '2026-12-25T00:00:00.000Z' },
    { due_on: '9999-12-31' },
    {},
  ];
  const ids: string[] = [];
  for (const due of dues) ids.push((await ada.createTask(project.id, due)).id);
  for (const sort of ['due_at', '-due_at']) {
    const walked: string[] = [];
    for (let cursor = ''; ; ) {
      const { body } = await ada.get(`/tasks?limit=1&sort=${sort}${cursor}`);
      walked.push(body.items[0].id);
      if (body.next_cursor === null) break;
      cursor = `&cursor=${body.next_cursor}`;
    }
    const [last = '', ...dated] = ids.toReversed();
    expect(walked).toEqual(sort === 'due_at' ? ids : [...dated, last]);
  }
});

test('a response that an earlier release stored for a key has the field as null', async () => {
  const ada = await api.person();
  const { id } = await ada.createProject();
  const operations = [{ op: 'create', project_id: id, title: 'Tiles' }];
  const sends = [
    () => ada.post(`/tasks/projects/${id}`, { title: 'Tiles' }, key('one')),
    () => ada.post('/tasks/batch', { operations }, key('many')),
  ];
  const key = (name: string) => ({ headers: { 'idempotency-key': name } });
  const first = [];
  for (const send of sends) first.push(await send());
  await api.sql`update idempotency_keys set answer = regexp_replace(answer::text, '"due_on" ?: ?null,', '')::json
    where user_id = ${ada.id}`;
  for (const [n, send] of sends.entries()) {
    const { status, body, headers } = await send();
    expect([status, headers.get('idempotency-replayed')]).toEqual([first[n]?.status ?? 0, 'true']);
    expect(body).toEqual(first[n]?.body);
  }
});
