/** A viewer sets the status of the tasks that are assigned to them, and nothing else. */
import { describe, expect, test } from 'bun:test';
import { Client, type Persona, useApi } from '../support/api.ts';
import { openTransaction, waitForBlockedQuery } from '../support/locks.ts';

const api = useApi();

async function sharedProject() {
  const [owner, editor, viewer] = [await api.person(), await api.person(), await api.person()];
  const project = await owner.createProject();
  await api.addMember(project.id, editor, 'editor');
  await api.addMember(project.id, viewer, 'viewer');
  const [own, other] = [
    await owner.createTask(project.id, { assignee_id: viewer.id }),
    await owner.createTask(project.id, { assignee_id: editor.id }),
  ];
  return { owner, editor, viewer, project, own, other };
}

/** What would change, other than the status of one's own task. */
const refusedPatches = [
  {},
  { title: 'x' },
  { status: 'done', title: 'x' },
  { status: 'done', description: null },
  { status: 'done', priority: 4 },
  { status: 'done', due_on: '2026-12-24' },
  { status: 'done', due_at: null },
  { status: 'done', assignee_id: null },
  { status: 'done', assignee_id: 'me' },
  { status: 'done', labels: [] },
];

/** Sends the patch of a task alone, and in a batch. */
const ways = {
  alone: (who: Client, { id }: { id: string }, patch: object) => who.patch(`/tasks/${id}`, patch),
  'in a batch': (who: Client, { id }: { id: string }, patch: object) =>
    who.post('/tasks/batch', { operations: [{ op: 'update', task_id: id, ...patch }] }),
};

describe.each(Object.entries(ways))('%s', (_, send) => {
  const taskOf = (body: { results?: { task: object }[] }) => body.results?.[0]?.task ?? body;

  test('the status of an own task follows, with what comes of it', async () => {
    const { owner, viewer, own, project } = await sharedProject();
    const done = await send(viewer, own, { status: 'done' });
    expect([done.status, taskOf(done.body)]).toMatchObject([
      200,
      { status: 'done', completed_at: expect.stringMatching(/Z$/), version: 2 },
    ]);
    const reopened = await send(viewer, own, { status: 'in_progress', version: 2 });
    const expected = { ...own, status: 'in_progress', version: 3, updated_at: expect.any(String) };
    expect(taskOf(reopened.body)).toEqual(expected);
    expect((await owner.get(`/tasks/${own.id}`)).body).toEqual(expected);
    expect(taskOf((await send(viewer, own, { status: 'in_progress' })).body)).toEqual(expected);
    const { body } = await owner.get(`/projects/${project.id}/events?limit=1`);
    expect(body.items).toMatchObject([
      { action: 'task.updated', actor_id: viewer.id, fields: { status: 'in_progress' } },
    ]);
  });

  test.each(refusedPatches)('%j of an own task is 403', async (patch) => {
    const { viewer, own } = await sharedProject();
    const { status, body } = await send(viewer, own, patch);
    expect([status, body.code]).toEqual([403, 'forbidden']);
    expect((await viewer.get(`/tasks/${own.id}`)).body).toEqual(own);
  });

  test('the status of the task of another, and of none, is 403', async () => {
    const { owner, viewer, project, other } = await sharedProject();
    for (const task of [other, await owner.createTask(project.id)]) {
      const { status, body } = await send(viewer, task, { status: 'done' });
      expect([status, body.code]).toEqual([403, 'forbidden']);
      expect((await viewer.get(`/tasks/${task.id}`)).body).toEqual(task);
    }
  });

  test('a stale version is 412, an archived project 409', async () => {
    const { owner, viewer, own, project } = await sharedProject();
    await owner.patch(`/tasks/${own.id}`, { title: 'Floor' });
    const stale = await send(viewer, own, { status: 'done', version: 1 });
    expect([stale.status, stale.body.version]).toEqual([412, 2]);
    await owner.patch(`/projects/${project.id}`, { archived: true });
    expect((await send(viewer, own, { status: 'done' })).body.code).toBe('conflict');
    expect((await send(viewer, own, { title: 'x' })).body.code).toBe('forbidden');
  });

  test('an API token that writes does it as well, one that reads does not', async () => {
    const { viewer, own } = await sharedProject();
    for (const [scopes, status] of [
      [['read', 'write'], 200],
      [['read'], 403],
    ] as const) {
      const { body } = await viewer.post('/users/me/tokens', { name: 'script', scopes });
      expect((await send(new Client(api, body.token), own, { status: 'done' })).status).toBe(
        status,
      );
    }
  });

  test('who is no member any more gets 404', async () => {
    const { owner, viewer, own, project } = await sharedProject();
    await owner.delete(`/projects/${project.id}/members/${viewer.id}`);
    expect((await send(viewer, own, { status: 'done' })).status).toBe(404);
  });

  test('a task that is assigned to another while the write waits is left as it is', async () => {
    const { viewer, editor, own } = await sharedProject();
    const commit = await openTransaction(
      api,
      (sql) => sql`update tasks set assignee_id = ${editor.id}, version = 2 where id = ${own.id}`,
    );
    const patched = send(viewer, own, { status: 'done' });
    await waitForBlockedQuery(api);
    await commit();
    expect((await patched).status).toBe(403);
    const { body } = await viewer.get(`/tasks/${own.id}`);
    expect(body).toMatchObject({ status: 'todo', assignee_id: editor.id, version: 2 });
  });
});

test('PUT, a move and a deletion of an own task are 403', async () => {
  const { viewer, own } = await sharedProject();
  const mine = await viewer.createProject();
  const { id, title, description, assignee_id } = own;
  for (const { status } of [
    await viewer.put(`/tasks/${id}`, { title, description, assignee_id, status: 'done' }),
    await viewer.patch(`/tasks/${id}`, { status: 'done', project_id: mine.id }),
    await viewer.patch(`/tasks/${id}`, { status: 'done', project_id: own.project_id }),
    await viewer.delete(`/tasks/${id}`),
  ])
    expect(status).toBe(403);
  expect((await viewer.get(`/tasks/${id}`)).body).toEqual(own);
});

describe('in a batch', () => {
  const batch = (who: Persona, operations: object[]) => who.post('/tasks/batch', { operations });

  test('own tasks of several projects change beside work in a project of their own', async () => {
    const [one, two] = [await sharedProject(), await sharedProject()];
    await api.addMember(two.project.id, one.viewer, 'viewer');
    const task = await two.owner.createTask(two.project.id, { assignee_id: one.viewer.id });
    const mine = await one.viewer.createProject();
    const { status, body } = await batch(one.viewer, [
      { op: 'update', task_id: one.own.id, status: 'done' },
      { op: 'create', project_id: mine.id, title: 'Next' },
      { op: 'update', task_id: task.id.toUpperCase(), status: 'cancelled', version: 1 },
    ]);
    expect(status).toBe(200);
    expect(body.results.map(({ task }: { task: { status: string } }) => task.status)).toEqual([
      'done',
      'todo',
      'cancelled',
    ]);
  });

  test.each([
    ['another field', () => ({ op: 'update', status: 'done', title: 'x' })],
    ['a deletion', () => ({ op: 'delete' })],
  ])('%s of another own task undoes all, and the problem names it', async (_, operation) => {
    const { owner, viewer, own, project } = await sharedProject();
    const second = await owner.createTask(project.id, { assignee_id: viewer.id });
    const { status, body } = await batch(viewer, [
      { op: 'update', task_id: own.id, status: 'done' },
      { task_id: second.id, ...operation() },
    ]);
    expect([status, body.code, body.errors[0].location]).toEqual([
      403,
      'forbidden',
      'body.operations.1',
    ]);
    expect((await viewer.get(`/tasks/${own.id}`)).body).toEqual(own);
  });

  test('a new task, the task of another, and a move into the project undo all', async () => {
    const { viewer, own, other, project } = await sharedProject();
    const mine = await viewer.createProject();
    const task = await viewer.createTask(mine.id);
    for (const operation of [
      { op: 'create', project_id: project.id, title: 'x' },
      { op: 'update', task_id: other.id, status: 'done' },
      { op: 'update', task_id: task.id, project_id: project.id },
    ]) {
      const status = { op: 'update', task_id: own.id, status: 'done' };
      const { status: answered, body } = await batch(viewer, [status, operation]);
      expect([answered, body.code]).toEqual([403, 'forbidden']);
      expect(body.errors[0].location).toStartWith('body.operations.1');
    }
    expect((await viewer.get(`/tasks/${own.id}`)).body).toEqual(own);
  });

  test('what is refused locks nothing', async () => {
    const { viewer, own, other } = await sharedProject();
    const commit = await openTransaction(
      api,
      (sql) => sql`select from tasks where id in (${own.id}, ${other.id}) for update`,
    );
    const { status } = await batch(viewer, [
      { op: 'update', task_id: own.id, status: 'done' },
      { op: 'update', task_id: other.id, status: 'done' },
    ]);
    expect(status).toBe(403);
    await commit();
  });
});

test('64 patches at the same time each have the rights of their own user', async () => {
  const { owner, editor, viewer, project, other } = await sharedProject();
  const tasks = await Promise.all(
    Array.from({ length: 32 }, (_, n) =>
      owner.createTask(project.id, { assignee_id: n % 2 === 0 ? viewer.id : editor.id }),
    ),
  );
  const sent = await Promise.all(
    tasks.flatMap(({ id }, n) => [
      viewer.patch(`/tasks/${id}`, { status: 'in_progress' }),
      (n % 3 === 0 ? editor : viewer).patch(`/tasks/${id}`, { title: `Tile ${n}` }),
    ]),
  );
  expect(sent.map(({ status }) => status)).toEqual(
    tasks.flatMap((_, n) => [n % 2 === 0 ? 200 : 403, n % 3 === 0 ? 200 : 403]),
  );
  for (const [n, { id }] of tasks.entries()) {
    const { body } = await owner.get(`/tasks/${id}`);
    expect([body.status, body.title]).toEqual([
      n % 2 === 0 ? 'in_progress' : 'todo',
      n % 3 === 0 ? `Tile ${n}` : 'Tiles',
    ]);
  }
  expect((await owner.get(`/tasks/${other.id}`)).body).toEqual(other);
});
