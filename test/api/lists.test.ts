import { describe, expect, test } from 'bun:test';
import type { Persona } from '../support/api.ts';
import { useApi } from '../support/api.ts';

const api = useApi();

/** Walks a list from its start to its end. @returns the ids in the order seen. */
async function walk(
  who: Persona,
  path: string,
  limit: number,
  between?: () => Promise<void>,
  parameters = '',
) {
  const ids: string[] = [];
  let cursor: string | null = '';
  while (cursor !== null) {
    const { status, body } = await who.get(
      `${path}?limit=${limit}${parameters}${cursor && `&cursor=${cursor}`}`,
    );
    expect(status).toBe(200);
    expect(body.items.length).toBeLessThanOrEqual(limit);
    ids.push(...body.items.map(({ id }: { id: string }) => id));
    cursor = body.next_cursor;
    await between?.();
  }
  return ids;
}

/** Rows of one statement share their created_at, so the id has to break the tie. */
async function insertTasks(projectId: string, count: number) {
  await api.sql`insert into tasks (id, project_id, title)
    select gen_random_uuid(), ${projectId}, 'Task ' || n from generate_series(1, ${count}::int) n`;
}

test('pages are newest first and contain each row once, ties included', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  await insertTasks(project.id, 23);
  await insertTasks(project.id, 22);
  const path = `/tasks/projects/${project.id}`;
  const whole = (await ada.get(`${path}?limit=200`)).body;
  expect(whole.next_cursor).toBeNull();
  const keys = whole.items.map(
    (task: { created_at: string; id: string }) => task.created_at + task.id,
  );
  expect(keys).toEqual(keys.toSorted().reverse());
  const ids = whole.items.map(({ id }: { id: string }) => id);
  expect(new Set(ids).size).toBe(45);
  for (const limit of [1, 7, 44, 45, 46]) expect(await walk(ada, path, limit)).toEqual(ids);
});

describe('a traversal returns each row that stays exactly once while others are inserted, deleted and changed', () => {
  const sorts = ['created_at', 'updated_at', 'due_at', 'priority', 'title'].flatMap((field) => [
    field,
    `-${field}`,
  ]);

  test.each(sorts)('by %s', async (sort) => {
    const [ada, bob] = [await api.person(), await api.person()];
    const projects = [await ada.createProject(), await ada.createProject()];
    for (const { id } of projects) await api.addMember(id, bob, 'editor');
    // Few values, so that most keys tie, and some are null.
    const fields = (n: number) => ({
      title: `Task ${n % 3}`,
      priority: n % 3,
      due_at: n % 3 ? `2026-01-0${n % 3}T00:00:00Z` : null,
    });
    const made: string[] = [];
    for (let n = 0; n < 60; n += 1)
      made.push((await ada.createTask(projects[n % 2].id, fields(n))).id);
    const stable = new Set(made.filter((_, index) => index % 3 !== 0));
    const doomed = made.filter((id) => !stable.has(id));

    let done = false;
    /** Each step changes what the walk may or may not meet, never what stays. */
    async function disturb(step: number) {
      const project = projects[step % 2];
      const { body } = await bob.post(`/tasks/projects/${project.id}`, fields(step));
      if (step % 2) await bob.delete(`/tasks/${doomed.pop() ?? body.id}`);
      else await bob.patch(`/tasks/${doomed.at(-1) ?? body.id}`, fields(step + 1));
    }
    const others = Array.from({ length: 3 }, async (_, first) => {
      for (let step = first; !done; step += 1) await disturb(step);
    });
    for (const path of ['/tasks', `/tasks/projects/${projects[0].id}`]) {
      const here = new Set(
        path === '/tasks' ? stable : made.filter((id, n) => n % 2 === 0 && stable.has(id)),
      );
      const seen = await walk(ada, path, 3, undefined, `&sort=${sort}`);
      const met = seen.filter((id) => here.has(id));
      expect(new Set(met).size).toBe(met.length);
      expect(new Set(met)).toEqual(here);
    }
    done = true;
    await Promise.all(others);
  });
});

test('lists of projects are paged, and each user sees their own', async () => {
  const [ada, eve] = [await api.person(), await api.person()];
  const made: string[] = [];
  for (let n = 0; n < 7; n += 1) made.push((await ada.createProject(`Project ${n}`)).id);
  await eve.createProject();
  expect(await walk(ada, '/projects', 3)).toEqual(made.toReversed());
});

test('a page has 50 items by default and up to 200', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  await insertTasks(project.id, 201);
  const sizes = await Promise.all(
    ['', '?limit=1', '?limit=200'].map(
      async (query) => (await ada.get(`/tasks/projects/${project.id}${query}`)).body.items.length,
    ),
  );
  expect(sizes).toEqual([50, 1, 200]);
});

test.each([
  '0',
  '201',
  '-1',
  '1.5',
  '1e1',
  '+5',
  ' 5',
  '5 ',
  '',
  'ten',
  '9999999999999999999',
  '%00',
  '٣',
])('limit=%j gets 422', async (limit) => {
  const ada = await api.person();
  const { status, body } = await ada.get(
    `/projects?limit=${limit.includes('%') ? limit : encodeURIComponent(limit)}`,
  );
  expect(status).toBe(422);
  expect(body.errors).toMatchObject([{ location: 'query.limit', code: 'out_of_range' }]);
});

test('a cursor of another list, a forged or a malformed one is refused', async () => {
  const ada = await api.person();
  const [one, other] = [await ada.createProject(), await ada.createProject()];
  await insertTasks(one.id, 3);
  const { next_cursor } = (await ada.get(`/tasks/projects/${one.id}?limit=1`)).body;
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const [list] = JSON.parse(Buffer.from(next_cursor, 'base64url').toString());
  const cursors: [string, string][] = [
    [`/tasks/projects/${other.id}`, next_cursor],
    ['/projects', next_cursor],
    ...[
      'x',
      '%00',
      'é',
      `${next_cursor}x`,
      next_cursor.slice(1),
      encode({}),
      encode([]),
      encode(null),
      encode([list, '2024-02-30T00:00:00.000Z', one.id]),
      encode([list, 1, 2]),
      encode([list, '2026-01-01T00:00:00.000Z', "' or true --"]),
      encode(['another list', '2026-01-01T00:00:00.000Z', one.id]),
    ].map((cursor): [string, string] => [`/tasks/projects/${one.id}`, cursor]),
  ];
  for (const [path, cursor] of cursors) {
    const { status, body } = await ada.get(`${path}?cursor=${cursor}`);
    expect([cursor, status]).toEqual([cursor, 422]);
    expect(['invalid_cursor', 'validation_failed']).toContain(body.code);
  }
});

test('a cursor is valid for its sort and filters with any limit', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  for (let n = 0; n < 3; n += 1) await ada.createTask(project.id, { title: 'Task' });
  const path = `/tasks/projects/${project.id}`;
  const { next_cursor } = (await ada.get(`${path}?limit=1&status=todo,done&q=task`)).body;
  const again = await ada.get(`${path}?limit=2&q=task&status=todo,done&cursor=${next_cursor}`);
  expect([again.status, again.body.next_cursor]).toEqual([200, null]);
  for (const other of [
    'status=todo,done',
    'status=todo&q=task',
    'status=todo,done&q=tasks',
    'status=todo,done&q=task&sort=title',
    'status=todo,done&q=task&priority_min=0',
  ]) {
    const { status, body } = await ada.get(`${path}?${other}&cursor=${next_cursor}`);
    expect([other, status, body.code]).toEqual([other, 422, 'invalid_cursor']);
  }
});

test.each([
  ['sort=title', ['a\0b', '\ud800', 1, null, []]],
  ['sort=priority', ['1', 1.5, 40_000, 1e21, null]],
  ['sort=due_at', ['Infinity', 'now', 0, null, '2024-02-30T00:00:00.000Z']],
])('a cursor of %s with an invalid key is refused', async (query, keys) => {
  const ada = await api.person();
  const project = await ada.createProject();
  await insertTasks(project.id, 2);
  const path = `/tasks/projects/${project.id}?limit=1&${query}`;
  const { next_cursor } = (await ada.get(path)).body;
  const [list, , id] = JSON.parse(Buffer.from(next_cursor, 'base64url').toString());
  for (const key of keys) {
    const cursor = Buffer.from(JSON.stringify([list, key, id])).toString('base64url');
    const { status, body } = await ada.get(`${path}&cursor=${cursor}`);
    expect([key, status, body.code]).toEqual([key, 422, 'invalid_cursor']);
  }
});

test('a cursor of another user is refused', async () => {
  const [ada, eve] = [await api.person(), await api.person()];
  const project = await ada.createProject();
  await insertTasks(project.id, 3);
  const { next_cursor } = (await ada.get(`/tasks/projects/${project.id}?limit=1`)).body;
  expect((await eve.get(`/tasks/projects/${project.id}?cursor=${next_cursor}`)).status).toBe(404);
});
