import { expect, test } from 'bun:test';
import type { Persona } from './support/api.ts';
import { useApi } from './support/api.ts';

const api = useApi();

/** Walks a list from its start to its end. @returns the ids in the order seen. */
async function walk(who: Persona, path: string, limit: number, between?: () => Promise<void>) {
  const ids: string[] = [];
  let cursor: string | null = '';
  while (cursor !== null) {
    const { status, body } = await who.get(
      `${path}?limit=${limit}${cursor && `&cursor=${cursor}`}`,
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
async function insertTasks(project_id: string, count: number) {
  await api.sql`insert into tasks (id, project_id, title)
    select gen_random_uuid(), ${project_id}, 'Task ' || n from generate_series(1, ${count}::int) n`;
}

test('pages join without a gap or a double, newest first, ties included', async () => {
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

test('a walk meets each row that stays exactly once, whatever else comes and goes', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  await insertTasks(project.id, 40);
  const path = `/tasks/projects/${project.id}`;
  const before: string[] = (await ada.get(`${path}?limit=200`)).body.items.map(
    ({ id }: { id: string }) => id,
  );
  const doomed = before.filter((_, index) => index % 4 === 3);
  const stable = before.filter((id) => !doomed.includes(id));
  const seen = await walk(ada, path, 3, async () => {
    await insertTasks(project.id, 2);
    const id = doomed.pop();
    if (id) await ada.delete(`/tasks/${id}`);
  });
  expect(seen.filter((id) => stable.includes(id))).toEqual(stable);
  expect(new Set(seen).size).toBe(seen.length);
});

test('projects are paged too, and each user sees his own', async () => {
  const [ada, eve] = [await api.person(), await api.person()];
  const made: string[] = [];
  for (let n = 0; n < 7; n += 1) made.push((await ada.createProject(`Project ${n}`)).id);
  await eve.createProject();
  expect(await walk(ada, '/projects', 3)).toEqual(made.toReversed());
});

test('a page holds 50 items unless told otherwise, and 200 at most', async () => {
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
])('a limit of %j is refused, not capped', async (limit) => {
  const ada = await api.person();
  const { status, body } = await ada.get(
    `/projects?limit=${limit.includes('%') ? limit : encodeURIComponent(limit)}`,
  );
  expect(status).toBe(422);
  expect(body.errors).toMatchObject([{ location: 'query.limit', code: 'out_of_range' }]);
});

test('a cursor of another list, a foreign or a broken one is refused', async () => {
  const ada = await api.person();
  const [one, other] = [await ada.createProject(), await ada.createProject()];
  await insertTasks(one.id, 3);
  const { next_cursor } = (await ada.get(`/tasks/projects/${one.id}?limit=1`)).body;
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const list = `tasks of ${one.id}`;
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
    ].map((cursor): [string, string] => [`/tasks/projects/${one.id}`, cursor]),
  ];
  for (const [path, cursor] of cursors) {
    const { status, body } = await ada.get(`${path}?cursor=${cursor}`);
    expect([cursor, status]).toEqual([cursor, 422]);
    expect(['invalid_cursor', 'validation_failed']).toContain(body.code);
  }
});

test('a cursor opens nothing to another user', async () => {
  const [ada, eve] = [await api.person(), await api.person()];
  const project = await ada.createProject();
  await insertTasks(project.id, 3);
  const { next_cursor } = (await ada.get(`/tasks/projects/${project.id}?limit=1`)).body;
  expect((await eve.get(`/tasks/projects/${project.id}?cursor=${next_cursor}`)).status).toBe(404);
});
