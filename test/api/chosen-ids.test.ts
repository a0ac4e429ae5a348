/** Ids that clients choose: UUIDv7, for projects, tasks and comments, alone, in batches and in imports. */
import { describe, expect, test } from 'bun:test';
import { SQL } from 'bun';
import { v4 as uuidv4, v6 as uuidv6, v7 as uuidv7 } from 'uuid';
import { type Answer, type Persona, useApi } from '../support/api.ts';
import { exportedProject } from '../support/exported-project.ts';
import { countWaiting } from '../support/locks.ts';
import { waitFor } from '../support/process.ts';

const api = useApi();
const DAY_MS = 24 * 60 * 60_000;

/** Each way to create something, with the path of what it creates and the location of the id in a problem. */
const ways: Record<
  string,
  {
    create: (who: Persona, projectId: string, id: string) => Promise<Answer>;
    read: (id: string) => string;
    location: string;
    taken?: string;
  }
> = {
  'a project': {
    create: (who, _, id) => who.post('/projects/', { id, name: 'Kitchen' }),
    read: (id) => `/projects/${id}`,
    location: 'body.id',
  },
  'a task': {
    create: (who, projectId, id) =>
      who.post(`/tasks/projects/${projectId}`, { id, title: 'Tiles' }),
    read: (id) => `/tasks/${id}`,
    location: 'body.id',
  },
  'a task in a batch': {
    create: (who, projectId, id) =>
      who.post('/tasks/batch', {
        operations: [
          { op: 'create', project_id: projectId, title: 'First' },
          { op: 'create', project_id: projectId, id, title: 'Tiles' },
        ],
      }),
    read: (id) => `/tasks/${id}`,
    location: 'body.operations.1.id',
  },
  'a comment': {
    create: (who, projectId, id) => who.post(`/tasks/${projectId}/comments`, { id, body: 'Slate' }),
    read: (id) => `/comments/${id}`,
    location: 'body.id',
  },
  'an imported project': {
    create: (who, _, id) => who.post('/projects/import', exportedProject({ id }, [{}])),
    read: (id) => `/projects/${id}`,
    location: 'body.project.id',
  },
  'an imported task': {
    create: (who, _, id) => who.post('/projects/import', exportedProject({}, [{}, { id }])),
    read: (id) => `/tasks/${id}`,
    location: 'body.tasks.1.id',
    taken: 'body.tasks',
  },
};

const later = (ms: number) => uuidv7({ msecs: Date.now() + ms });

describe.each(Object.entries(ways))('%s', (_, { create, read, location, taken = location }) => {
  /** Returns the id of a new project, and of a task in it. */
  const makeProject = async (who: Persona): Promise<string> => {
    const { id } = await who.createProject();
    await who.createTask(id, { id });
    return id;
  };
  const setUp = async () => {
    const ada = await api.person('ada');
    return { ada, projectId: await makeProject(ada) };
  };

  test('gets the id that the client has chosen, in lower case', async () => {
    const { ada, projectId } = await setUp();
    const id = uuidv7();
    expect([200, 201]).toContain((await create(ada, projectId, id.toUpperCase())).status);
    const { status, body } = await ada.get(read(id));
    expect([status, body.id, body.version]).toEqual([200, id, 1]);
  });

  test('with an id of its own user or of another gets the same 409, and nothing is changed', async () => {
    const { ada, projectId } = await setUp();
    const bob = await api.person('bob');
    const theirs = await makeProject(bob);
    const id = uuidv7();
    await create(bob, theirs, id);
    const before = await bob.get(read(id));
    const rows = await api.countRows();
    const [own, foreign] = [await create(bob, theirs, id), await create(ada, projectId, id)];
    expect([own.status, own.body.code]).toEqual([409, 'id_taken']);
    expect(own.body.errors).toEqual([
      { location: taken, code: 'id_taken', message: expect.any(String) },
    ]);
    const withoutId = ({ body: { request_id: _, ...problem } }: Answer) => problem;
    expect(withoutId(foreign)).toEqual(withoutId(own));
    expect(await api.countRows()).toEqual(rows);
    expect((await bob.get(read(id))).text).toBe(before.text);
    expect((await ada.get(read(id))).status).toBe(404);
  });

  test.each<[string, string, string]>([
    ['a UUIDv4', uuidv4(), 'invalid_id'],
    ['a UUIDv6', uuidv6(), 'invalid_id'],
    ['a UUIDv7 with another variant', '0199d3a0-5f3c-7cc4-cf0e-6d4f0a2b9c11', 'invalid_id'],
    ['a UUIDv7 without hyphens', uuidv7().replaceAll('-', ''), 'invalid_id'],
    ['a URN', `urn:uuid:${uuidv7()}`, 'invalid_id'],
    ['the nil UUID', '00000000-0000-0000-0000-000000000000', 'invalid_id'],
    ['of the year 2100', uuidv7({ msecs: Date.UTC(2100) }), 'in_future'],
    ['more than a day ahead', later(DAY_MS + 60_000), 'in_future'],
  ])('with an id that is %s is refused', async (_, id, code) => {
    const { ada, projectId } = await setUp();
    const rows = await api.countRows();
    const { status, body } = await create(ada, projectId, id);
    expect([status, body.code]).toEqual([422, 'validation_failed']);
    expect(body.errors).toMatchObject([{ location, code }]);
    expect(await api.countRows()).toEqual(rows);
  });

  test.each([0, -40 * 365 * DAY_MS, DAY_MS - 60_000])(
    'with an id that is %d ms ahead is created',
    async (ms) => {
      const { ada, projectId } = await setUp();
      expect([200, 201]).toContain((await create(ada, projectId, later(ms))).status);
    },
  );

  test('is created once by many requests at once', async () => {
    const { ada, projectId } = await setUp();
    const id = uuidv7();
    const answers = await Promise.all(Array.from({ length: 8 }, () => create(ada, projectId, id)));
    const statuses = answers.map(({ status }) => status);
    expect(statuses.filter((status) => status < 300).length).toBe(1);
    expect(statuses.filter((status) => status === 409).length).toBe(7);
  });
});

test('a repeat with an Idempotency-Key gets the first response, and without one learns that it is done', async () => {
  const ada = await api.person('ada');
  const project = await ada.createProject();
  const [path, task] = [`/tasks/projects/${project.id}`, { id: uuidv7(), title: 'Tiles' }];
  const headers = { 'idempotency-key': uuidv4() };
  const first = await ada.post(path, task, { headers });
  const again = await ada.post(path, task, { headers });
  expect([first.status, again.status, again.text]).toEqual([201, 201, first.text]);
  expect((await ada.post(path, task)).body.code).toBe('id_taken');
  const fresh = { headers: { 'idempotency-key': uuidv4() } };
  expect((await ada.post(path, task, fresh)).body.code).toBe('id_taken');
  expect((await ada.post(path, task, fresh)).body.code).toBe('id_taken');
});

describe('in a batch', () => {
  test('an id that two operations name is refused', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    const task = await ada.createTask(project.id);
    const id = uuidv7();
    const create = (id: string) => ({ op: 'create', project_id: project.id, title: 'Tiles', id });
    for (const operations of [
      [create(id), create(id.toUpperCase())],
      [{ op: 'update', task_id: task.id, title: 'Slate' }, create(task.id)],
    ]) {
      const { status, body } = await ada.post('/tasks/batch', { operations });
      expect([status, body.errors]).toMatchObject([
        422,
        [{ location: 'body.operations.1.id', code: 'repeated' }],
      ]);
    }
    expect((await ada.get(`/tasks/${task.id}`)).body.title).toBe('Tiles');
  });

  test('many batches that choose the same ids in different orders all end, and one of them writes', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    const ids = Array.from({ length: 20 }, () => uuidv7());
    const batches = await Promise.all(
      Array.from({ length: 6 }, (_, n) =>
        ada.post('/tasks/batch', {
          operations: (n % 2 ? ids : ids.toReversed()).map((id) => ({
            op: 'create',
            project_id: project.id,
            title: `By ${n}`,
            id,
          })),
        }),
      ),
    );
    expect(batches.map(({ status }) => status).sort()).toEqual([200, 409, 409, 409, 409, 409]);
  });

  test('two batches that choose the same ids in different orders do not deadlock', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    const ids = [uuidv7(), uuidv7()].sort();
    // A transaction holds the first id until both batches wait.
    const sql = new SQL({ url: api.databaseUrl, max: 1 });
    await sql.unsafe('begin');
    await sql`insert into tasks (id, project_id, title) values (${ids[0]}, ${project.id}, 'Held')`;
    const batches = [ids, ids.toReversed()].map((order) =>
      ada.post('/tasks/batch', {
        operations: order.map((id) => ({
          op: 'create',
          project_id: project.id,
          title: 'Tiles',
          id,
        })),
      }),
    );
    await waitFor('both wait', async () => (await countWaiting(api.sql)) === 2);
    await sql.unsafe('rollback');
    await sql.close();
    expect((await Promise.all(batches)).map(({ status }) => status).sort()).toEqual([200, 409]);
  });

  test('a task with a chosen id can be read by another operation only in a later batch', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    const id = uuidv7();
    await ada.post('/tasks/batch', {
      operations: [{ op: 'create', project_id: project.id, title: 'Tiles', id }],
    });
    const { body } = await ada.post('/tasks/batch', {
      operations: [{ op: 'update', task_id: id, title: 'Slate' }],
    });
    expect(body.results).toMatchObject([
      { op: 'update', task: { id, title: 'Slate', version: 2 } },
    ]);
  });
});

describe('in an import', () => {
  test('the id of the project has to come before the tasks', async () => {
    const ada = await api.person('ada');
    const { project, ...rest } = exportedProject({ id: uuidv7() }, [{}]);
    const rows = await api.countRows();
    const { status, body } = await ada.post('/projects/import', { ...rest, project });
    expect([status, body.errors]).toMatchObject([
      422,
      [{ location: 'body.project.id', code: 'misplaced' }],
    ]);
    expect(await api.countRows()).toEqual(rows);
  });

  test('an id that occurs twice is taken, and an export has none', async () => {
    const ada = await api.person('ada');
    const id = uuidv7();
    const rows = await api.countRows();
    const twice = await ada.post('/projects/import', exportedProject({}, [{ id }, { id }]));
    expect([twice.status, twice.body.code]).toEqual([409, 'id_taken']);
    expect(await api.countRows()).toEqual(rows);
    const projectId = uuidv7();
    await ada.post('/projects/import', exportedProject({ id: projectId }, [{ id }]));
    const { body } = await ada.get(`/projects/${projectId}/export`);
    expect([body.project.id, body.tasks[0].id]).toEqual([undefined, undefined]);
  });
});
