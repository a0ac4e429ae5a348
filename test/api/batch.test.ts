/** Many changes of tasks in one request: all or none. */
import { describe, expect, test } from 'bun:test';
import { type Persona, useApi } from '../support/api.ts';
import { openTransaction, waitForBlockedQuery } from '../support/locks.ts';

const api = useApi();

const batch = (who: Persona, operations: object[], headers: Record<string, string> = {}) =>
  who.post('/tasks/batch', { operations }, { headers });

async function placeWithTasks(count = 3) {
  const ada = await api.person();
  const project = await ada.createProject();
  const tasks = [];
  for (let n = 0; n < count; n += 1)
    tasks.push(await ada.createTask(project.id, { title: `Task ${n}`, labels: ['a'] }));
  return { ada, project, tasks };
}

const allOf = async (who: Persona) => (await who.get('/tasks?limit=200')).body.items;

test('a batch creates, updates and deletes, and returns one result for each operation in order', async () => {
  const { ada, project, tasks } = await placeWithTasks();
  const { status, body } = await batch(ada, [
    {
      op: 'update',
      task_id: tasks[0].id,
      status: 'done',
      labels: ['b'],
      due_at: '2026-12-24T18:00:00+01:00',
    },
    { op: 'create', project_id: project.id, title: 'New', priority: 4, assignee_id: ada.id },
    { op: 'delete', task_id: tasks[1].id, version: 1 },
    { op: 'create', project_id: project.id, title: 'Done', status: 'done' },
    {
      op: 'update',
      task_id: tasks[2].id.toUpperCase(),
      version: 1,
      title: 'Third',
      description: 'd',
    },
  ]);
  expect(status).toBe(200);
  expect(body.results.map(({ op }: { op: string }) => op)).toEqual([
    'update',
    'create',
    'delete',
    'create',
    'update',
  ]);
  const [updated, created, deleted, done, third] = body.results.map(
    ({ task }: { task: object }) => task,
  );
  expect(updated).toEqual({
    ...tasks[0],
    status: 'done',
    labels: ['b'],
    due_at: '2026-12-24T17:00:00.000Z',
    version: 2,
    completed_at: updated.updated_at,
    updated_at: expect.stringMatching(/Z$/),
  });
  expect(created).toEqual({
    ...tasks[0],
    id: expect.any(String),
    title: 'New',
    priority: 4,
    assignee_id: ada.id,
    labels: [],
    created_at: expect.any(String),
    updated_at: created.created_at,
  });
  expect(deleted).toEqual(tasks[1]);
  expect(done).toMatchObject({ title: 'Done', completed_at: done.created_at, version: 1 });
  expect(third).toMatchObject({ title: 'Third', description: 'd', labels: ['a'], version: 2 });
  const now = await allOf(ada);
  expect(now).toHaveLength(4);
  for (const task of [updated, created, done, third]) expect(now).toContainEqual(task);
});

test('search and sorting find tasks that a batch wrote', async () => {
  const { ada, project, tasks } = await placeWithTasks();
  await batch(ada, [
    { op: 'create', project_id: project.id, title: 'Éclair', labels: ["it's"] },
    { op: 'update', task_id: tasks[0].id, title: '任务管理', labels: ['x\\y'] },
  ]);
  const titles = async (query: string) =>
    (await ada.get(`/tasks?${query}`)).body.items.map(({ title }: { title: string }) => title);
  expect(await titles('q=ecl')).toEqual(['Éclair']);
  expect(await titles('q=务管')).toEqual(['任务管理']);
  expect(await titles("label=it's")).toEqual(['Éclair']);
  expect(await titles('label=x%5Cy')).toEqual(['任务管理']);
  expect(await titles('label=a&sort=title')).toEqual(['Task 1', 'Task 2']);
  expect(await titles('sort=title')).toEqual(['Éclair', 'Task 1', 'Task 2', '任务管理']);
});

test('a batch update keeps absent fields and clears null fields; an empty update changes nothing', async () => {
  const { ada, project, tasks } = await placeWithTasks(1);
  const whole = {
    title: 'Whole',
    description: 'd',
    status: 'done',
    priority: 2,
    due_at: '2026-12-24T18:00:00Z',
    assignee_id: ada.id,
    labels: ['x', 'y'],
  };
  const { body } = await ada.put(`/tasks/${tasks[0].id}`, whole);
  const empty = await batch(ada, [{ op: 'update', task_id: body.id }]);
  expect(empty.body.results[0].task).toEqual(body);
  const cleared = await batch(ada, [
    { op: 'update', task_id: body.id, description: null, due_at: null, assignee_id: null },
  ]);
  expect(cleared.body.results[0].task).toEqual({
    ...body,
    description: null,
    due_at: null,
    assignee_id: null,
    version: 3,
    updated_at: expect.any(String),
  });
  const reopened = await batch(ada, [{ op: 'update', task_id: body.id, status: 'todo' }]);
  expect(reopened.body.results[0].task).toMatchObject({ completed_at: null, version: 4 });
  expect(project.id).toBe(reopened.body.results[0].task.project_id);
});

describe('a batch writes nothing, and its problem names the first operation that', () => {
  interface Case {
    operation(place: Awaited<ReturnType<typeof somebodyElses>>): object;
    status: number;
    code: string;
    /** Below the operation. */
    at?: string;
    fault?: string;
  }

  async function somebodyElses() {
    const place = await placeWithTasks();
    const eve = await api.person('eve');
    const [foreign, read, archived] = [
      await eve.createProject(),
      await eve.createProject(),
      await place.ada.createProject(),
    ];
    await api.addMember(read.id, place.ada, 'viewer');
    const ids = {
      foreign: (await eve.createTask(foreign.id)).id,
      read: (await eve.createTask(read.id)).id,
      archived: (await place.ada.createTask(archived.id)).id,
    };
    await place.ada.patch(`/projects/${archived.id}`, { archived: true });
    return { ...place, eve, ids, foreign, read, archived };
  }

  const cases: Record<string, Case> = {
    'is of a task that is not there': {
      operation: () => ({ op: 'update', task_id: crypto.randomUUID(), title: 'x' }),
      status: 404,
      code: 'not_found',
    },
    'is of a task that is not seen': {
      operation: ({ ids }) => ({ op: 'delete', task_id: ids.foreign }),
      status: 404,
      code: 'not_found',
    },
    'is of a project that is not seen': {
      operation: ({ foreign }) => ({ op: 'create', project_id: foreign.id, title: 'x' }),
      status: 404,
      code: 'not_found',
    },
    'is of a task that may only be read': {
      operation: ({ ids }) => ({ op: 'update', task_id: ids.read, title: 'x' }),
      status: 403,
      code: 'forbidden',
    },
    'is of a project that may only be read': {
      operation: ({ read }) => ({ op: 'create', project_id: read.id, title: 'x' }),
      status: 403,
      code: 'forbidden',
    },
    'is of an archived project': {
      operation: ({ ids }) => ({ op: 'delete', task_id: ids.archived }),
      status: 409,
      code: 'conflict',
    },
    'is of a stale version': {
      operation: ({ tasks }) => ({ op: 'update', task_id: tasks[2].id, version: 7, title: 'x' }),
      status: 412,
      code: 'precondition_failed',
    },
    'deletes a stale version': {
      operation: ({ tasks }) => ({ op: 'delete', task_id: tasks[2].id, version: 7 }),
      status: 412,
      code: 'precondition_failed',
    },
    'assigns who is no member': {
      operation: ({ project, eve }) => ({
        op: 'create',
        project_id: project.id,
        title: 'x',
        assignee_id: eve.id,
      }),
      status: 422,
      code: 'validation_failed',
      at: '.assignee_id',
      fault: 'not_a_member',
    },
    'assigns a user who does not exist': {
      operation: ({ tasks }) => ({
        op: 'update',
        task_id: tasks[2].id,
        assignee_id: crypto.randomUUID(),
      }),
      status: 422,
      code: 'validation_failed',
      at: '.assignee_id',
      fault: 'not_a_member',
    },
    'names a task again': {
      operation: ({ tasks }) => ({ op: 'delete', task_id: tasks[0].id.toUpperCase() }),
      status: 422,
      code: 'validation_failed',
      at: '.task_id',
      fault: 'repeated',
    },
    'has a title that is too long': {
      operation: ({ project }) => ({
        op: 'create',
        project_id: project.id,
        title: 'x'.repeat(501),
      }),
      status: 422,
      code: 'validation_failed',
      at: '.title',
      fault: 'too_long',
    },
    'has no title': {
      operation: ({ project }) => ({ op: 'create', project_id: project.id }),
      status: 422,
      code: 'validation_failed',
      at: '.title',
      fault: 'required',
    },
    'has a field that is unknown': {
      operation: ({ tasks }) => ({ op: 'update', task_id: tasks[2].id, created_by: tasks[2].id }),
      status: 422,
      code: 'validation_failed',
      at: '.created_by',
      fault: 'unknown_field',
    },
    'does something unknown': {
      operation: ({ tasks }) => ({ op: 'move', task_id: tasks[2].id }),
      status: 422,
      code: 'validation_failed',
      at: '.op',
      fault: 'not_allowed',
    },
    'is no object': {
      operation: () => 'delete' as unknown as object,
      status: 422,
      code: 'validation_failed',
      at: '',
      fault: 'wrong_type',
    },
  };

  test.each(Object.entries(cases))('%s', async (_, { operation, status, code, at, fault }) => {
    const place = await somebodyElses();
    const { ada, project, tasks } = place;
    const answer = await batch(ada, [
      { op: 'update', task_id: tasks[0].id, title: 'Changed' },
      { op: 'create', project_id: project.id, title: 'New' },
      { op: 'delete', task_id: tasks[1].id },
      operation(place),
    ]);
    expect([answer.status, answer.body.code]).toEqual([status, code]);
    expect(answer.body.errors).toEqual([
      {
        location: `body.operations.3${at ?? ''}`,
        code: fault ?? code,
        message: expect.any(String),
      },
    ]);
    // A client that was too late need not read the task to learn its version.
    expect(answer.body.version).toBe(status === 412 ? 1 : undefined);
    const left =
      await api.sql`select id, title, version from tasks where project_id = ${project.id} order by title`;
    expect([...left]).toEqual(tasks.map(({ id, title }) => ({ id, title, version: 1 })));
  });
});

test('the problem of a batch is that of its first operation that fails', async () => {
  const { ada, tasks } = await placeWithTasks();
  const { status, body } = await batch(ada, [
    { op: 'delete', task_id: tasks[0].id },
    { op: 'delete', task_id: tasks[1].id, version: 3 },
    { op: 'delete', task_id: crypto.randomUUID() },
  ]);
  expect([status, body.errors[0].location]).toEqual([412, 'body.operations.1']);
});

test.each([0, 101])('a batch of %d operations gets 422', async (count) => {
  const { ada, project } = await placeWithTasks(0);
  const one = { op: 'create', project_id: project.id, title: 'x' };
  const { status, body } = await batch(ada, Array(count).fill(one));
  expect([status, body.errors[0].location]).toEqual([422, 'body.operations']);
  expect(await allOf(ada)).toEqual([]);
});

test('a batch of 100 operations succeeds', async () => {
  const { ada, project } = await placeWithTasks(0);
  const one = (n: number) => ({ op: 'create', project_id: project.id, title: `Task ${n}` });
  const made = await batch(
    ada,
    Array.from({ length: 100 }, (_, n) => one(n)),
  );
  expect(made.body.results.map(({ task }: { task: { title: string } }) => task.title)).toEqual(
    Array.from({ length: 100 }, (_, n) => `Task ${n}`),
  );
  const ids = made.body.results.map(({ task }: { task: { id: string } }) => task.id);
  const gone = await batch(
    ada,
    ids.map((taskId: string) => ({ op: 'delete', task_id: taskId })),
  );
  expect(gone.status).toBe(200);
  expect(await allOf(ada)).toEqual([]);
});

describe('a batch that is sent again with its idempotency key', () => {
  test('gets the same response and runs once', async () => {
    const { ada, project, tasks } = await placeWithTasks();
    const operations = [
      { op: 'create', project_id: project.id, title: 'New' },
      { op: 'update', task_id: tasks[0].id, title: 'Changed', version: 1 },
      { op: 'delete', task_id: tasks[1].id },
    ];
    const first = await batch(ada, operations, { 'idempotency-key': 'again' });
    const again = await batch(ada, operations, { 'idempotency-key': 'again' });
    expect([first.status, again.status, again.text]).toEqual([200, 200, first.text]);
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    expect(await allOf(ada)).toHaveLength(3);
    const other = await batch(ada, operations.slice(1), { 'idempotency-key': 'again' });
    expect([other.status, other.body.code]).toEqual([422, 'idempotency_key_reused']);
  });

  test('runs once when 20 requests with the key arrive at the same time', async () => {
    const { ada, project } = await placeWithTasks(0);
    const operations = [{ op: 'create', project_id: project.id, title: 'New' }];
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => batch(ada, operations, { 'idempotency-key': 'twenty' })),
    );
    for (const { status, body } of answers)
      if (status !== 200) expect([status, body.code]).toEqual([409, 'idempotency_in_flight']);
    expect(await allOf(ada)).toHaveLength(1);
  });

  test('runs again after a refusal', async () => {
    const { ada, project } = await placeWithTasks(0);
    await ada.patch(`/projects/${project.id}`, { archived: true });
    const operations = [{ op: 'create', project_id: project.id, title: 'New' }];
    const send = () => batch(ada, operations, { 'idempotency-key': 'anew' });
    expect((await send()).status).toBe(409);
    await ada.patch(`/projects/${project.id}`, { archived: false });
    expect((await send()).status).toBe(200);
  });
});

test('two batches that name the same tasks in opposite orders both succeed without a deadlock', async () => {
  const { ada, tasks } = await placeWithTasks(20);
  const ids = tasks.map(({ id }) => id);
  const update = (order: string[], title: string) =>
    batch(
      ada,
      order.map((taskId) => ({ op: 'update', task_id: taskId, title })),
    );
  const answers = await Promise.all(
    Array.from({ length: 10 }, (_, n) =>
      update(n % 2 === 0 ? ids : ids.toReversed(), `Round ${n}`),
    ),
  );
  expect(answers.map(({ status }) => status)).toEqual(Array(10).fill(200));
  const now = await allOf(ada);
  expect(new Set(now.map(({ title }: { title: string }) => title)).size).toBe(1);
  expect(now.every(({ version }: { version: number }) => version === 11)).toBe(true);
});

test('a batch that waited for another sees its changes', async () => {
  const { ada, tasks } = await placeWithTasks(1);
  const commit = await openTransaction(
    api,
    (sql) => sql`update tasks set version = 2, priority = 3 where id = ${tasks[0].id}`,
  );
  const answer = batch(ada, [{ op: 'update', task_id: tasks[0].id, version: 1, title: 'x' }]);
  await waitForBlockedQuery(api);
  await commit();
  expect((await answer).status).toBe(412);
  const late = await batch(ada, [{ op: 'update', task_id: tasks[0].id, version: 2, title: 'x' }]);
  expect(late.body.results[0].task).toMatchObject({ title: 'x', priority: 3, version: 3 });
});
