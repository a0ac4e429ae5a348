/** Labels: which there are, and new names for them in every task that has them. */
import { beforeAll, describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { v7 as uuidv7 } from 'uuid';
import { type Persona, useApi } from '../support/api.ts';
import { casesOf } from '../support/generated.ts';

const api = useApi();

// biome-ignore lint/suspicious/noExplicitAny: answers are looked into freely.
type Json = any;

const pathOf = (projectId: string, label: string) =>
  `/projects/${projectId}/labels/${encodeURIComponent(label)}`;
const labelsOf = async (who: Persona, query = '') => {
  const { status, body } = await who.get(`/labels?${query}`);
  expect(status).toBe(200);
  return Object.fromEntries(body.items.map(({ name, count }: Json) => [name, count]));
};

describe('the list', () => {
  let ada: Persona;
  let bob: Persona;
  let [own, shared, archived]: string[] = [];

  beforeAll(async () => {
    [ada, bob] = [await api.person(), await api.person()];
    const project = async (who: Persona) => (await who.createProject()).id as string;
    [own, shared, archived] = [await project(ada), await project(bob), await project(ada)];
    await api.addMember(shared, ada, 'viewer');
    const tasks: [Persona, string, string[]][] = [
      [ada, own, ['b', 'a']],
      [ada, own, ['a', 'Ä', 'x/y']],
      [ada, own, []],
      [bob, shared, ['a', 'c']],
      [bob, await project(bob), ['hidden']],
      [ada, archived, ['old', 'a']],
    ];
    for (const [who, projectId, labels] of tasks) await who.createTask(projectId, { labels });
    await ada.patch(`/projects/${archived}`, { archived: true });
  });

  test('has every label that the user can see, by name, with the number of tasks', async () => {
    const { body } = await ada.get('/labels');
    expect(body).toEqual({
      items: [
        { name: 'a', count: 3 },
        { name: 'b', count: 1 },
        { name: 'c', count: 1 },
        { name: 'x/y', count: 1 },
        { name: 'Ä', count: 1 },
      ],
      next_cursor: null,
      more: false,
    });
    expect((await (await api.person()).get('/labels')).body.items).toEqual([]);
  });

  test('is paged', async () => {
    const names: string[] = [];
    for (let cursor = ''; ; ) {
      const { body } = await ada.get(`/labels?limit=2${cursor}`);
      names.push(...body.items.map(({ name }: Json) => name));
      if (body.next_cursor === null) break;
      cursor = `&cursor=${body.next_cursor}`;
      const elsewhere = await ada.get(`/labels?archived=any${cursor}`);
      expect([elsewhere.status, elsewhere.body.code]).toEqual([422, 'invalid_cursor']);
    }
    expect(names).toEqual(['a', 'b', 'c', 'x/y', 'Ä']);
  });

  test('takes projects and archived, as the list of tasks does', async () => {
    expect(await labelsOf(ada, `project_id=${shared}`)).toEqual({ a: 1, c: 1 });
    expect(await labelsOf(ada, `project_id=${shared},${own}`)).toMatchObject({ a: 3 });
    expect(await labelsOf(ada, 'archived=true')).toEqual({ a: 1, old: 1 });
    expect(await labelsOf(ada, 'archived=any')).toMatchObject({ a: 4, old: 1 });
    for (const id of [uuidv7(), (await bob.createProject()).id])
      expect((await ada.get(`/labels?project_id=${id}`)).status).toBe(404);
    expect((await ada.get('/labels?label=a')).status).toBe(422);
  });
});

test('of many tasks, the list reads the latest of each project, and says that there are more', async () => {
  const ada = await api.person();
  const [large, small] = [await ada.createProject(), await ada.createProject()];
  await ada.createTask(large.id, { labels: ['old'] });
  await ada.createTask(small.id, { labels: ['small'] });
  await api.sql`insert into tasks (id, project_id, title, title_words, words_version, labels, created_at)
    select gen_random_uuid(), ${large.id}, 'x', '', -1, '{new}', now() + interval '1 hour' from generate_series(1, 10001)`;
  const { body } = await ada.get('/labels');
  expect(body).toMatchObject({ more: true, items: [{ name: 'new' }, { name: 'small', count: 1 }] });
  expect((await ada.get(`/labels?project_id=${large.id}`)).body).toMatchObject({
    ...{
      more: false,
      items: [
        { name: 'new', count: 10001 },
        { name: 'old', count: 1 },
      ],
    },
  });
});

describe('a new name', () => {
  test('is in every task of the project, once, with a version and an event for each', async () => {
    const [ada, bob] = [await api.person(), await api.person()];
    const project = await ada.createProject();
    await api.addMember(project.id, bob, 'editor');
    const other = await ada.createProject();
    const rows = [['old'], ['a', 'old', 'b'], ['new', 'old'], ['new'], []];
    const tasks: Json[] = [];
    for (const labels of rows) tasks.push(await ada.createTask(project.id, { labels }));
    const elsewhere = await ada.createTask(other.id, { labels: ['old'] });
    const { next_cursor: since } = (await ada.get('/changes')).body;

    const { status, body } = await bob.patch(pathOf(project.id, 'old'), { name: 'new' });
    expect([status, body]).toEqual([200, { changed: 3, more: false }]);
    const wanted = [['new'], ['a', 'new', 'b'], ['new'], ['new'], []];
    for (const [n, task] of tasks.entries()) {
      const { body: now } = await ada.get(`/tasks/${task.id}`);
      expect([now.labels, now.version]).toEqual([wanted[n], n < 3 ? 2 : 1]);
    }
    expect((await ada.get(`/tasks/${elsewhere.id}`)).body).toEqual(elsewhere);
    const { items } = (await ada.get(`/changes?since=${since}`)).body;
    expect(items.map(({ subject_id }: Json) => subject_id).toSorted()).toEqual(
      tasks
        .slice(0, 3)
        .map(({ id }) => id)
        .toSorted(),
    );
    expect(items[0]).toMatchObject({ action: 'task.updated', actor_id: bob.id, version: 2 });
    // The index has it too.
    const found = async (label: string) =>
      (await ada.get(`/tasks/projects/${project.id}?label=${label}`)).body.items.length;
    expect([await found('new'), await found('old'), await found('a')]).toEqual([4, 0, 1]);

    const again = await bob.patch(pathOf(project.id, 'old'), { name: 'new' });
    expect([again.status, again.body]).toEqual([200, { changed: 0, more: false }]);
    const same = await bob.patch(pathOf(project.id, 'new'), { name: 'new' });
    expect(same.body).toEqual({ changed: 0, more: false });
    expect((await ada.get(`/changes?since=${since}`)).body.items.length).toBe(3);
  });

  test('is written in steps, up to a bound for each request, and a repetition goes on', async () => {
    const ada = await api.person();
    const project = await ada.createProject();
    const TASKS = 2100;
    const title = { title: 'Tiles', labels: ['old'] };
    const one = { op: 'create', project_id: project.id, ...title };
    for (let made = 0; made < TASKS; made += 100)
      await ada.post('/tasks/batch', { operations: Array(100).fill(one) });
    const path = pathOf(project.id, 'old');
    expect((await ada.patch(path, { name: 'new' })).body).toEqual({ changed: 2000, more: true });
    expect((await ada.patch(path, { name: 'new' })).body).toEqual({ changed: 100, more: false });
    expect(await labelsOf(ada)).toEqual({ new: TASKS });
  });

  test('reaches a task whose words an earlier release wrote', async () => {
    const ada = await api.person();
    const project = await ada.createProject();
    const { id } = await ada.createTask(project.id, { labels: ['old'] });
    await api.sql`update tasks set label_words = null, title_words = null where id = ${id}`;
    expect((await ada.patch(pathOf(project.id, 'old'), { name: 'new' })).body.changed).toBe(1);
    expect((await ada.get(`/tasks/${id}`)).body.labels).toEqual(['new']);
  });
});

test('a label that is deleted is gone from every task', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  const { id } = await ada.createTask(project.id, { labels: ['a', 'b'] });
  await ada.createTask(project.id, { labels: ['b'] });
  for (const changed of [2, 0]) {
    const { status, body } = await ada.delete(pathOf(project.id, 'b'));
    expect([status, body]).toEqual([200, { changed, more: false }]);
  }
  expect((await ada.get(`/tasks/${id}`)).body).toMatchObject({ labels: ['a'], version: 2 });
  expect((await ada.get('/tasks?label=b')).body.items).toEqual([]);
  expect(await labelsOf(ada)).toEqual({ a: 1 });
});

test('a label with any characters is percent-encoded in the path', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  const special = ['50%', 'a/b', '%2F', 'a b+c', '?x#y', "it's", 'back\\slash', '"', '標籤', '...'];
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.constantFrom(...special),
        fc
          .string({ unit: 'binary', minLength: 1, maxLength: 10 })
          .map((text) => `x${text.replaceAll(/[,\0]/g, '')}`),
      ),
      async (label) => {
        const task = await ada.createTask(project.id, { labels: [label] });
        const renamed = await ada.patch(pathOf(project.id, label), { name: `${label}!` });
        expect([renamed.status, renamed.body.changed]).toEqual([200, 1]);
        const { body } = await ada.get(`/tasks/${task.id}`);
        expect(body.labels).toEqual([`${label}!`]);
        const found = await ada.get(
          `/tasks/projects/${project.id}?label_all=${encodeURIComponent(`${label}!`)}`,
        );
        expect(found.body.items.length).toBe(1);
        const removed = await ada.delete(pathOf(project.id, `${label}!`));
        expect([removed.status, removed.body.changed]).toEqual([200, 1]);
      },
    ),
    { numRuns: casesOf(20, 200), examples: special.map((label) => [label]) },
  );
});

test('users who may not write and texts that are no label are refused, and nothing is written', async () => {
  const [ada, bob, cid] = [await api.person(), await api.person(), await api.person()];
  const project = await ada.createProject();
  await api.addMember(project.id, bob, 'viewer');
  const task = await ada.createTask(project.id, { labels: ['a'] });
  const both = async (who: Persona, path: string) => [
    (await who.patch(path, { name: 'b' })).status,
    (await who.delete(path)).status,
  ];
  expect(await both(bob, pathOf(project.id, 'a'))).toEqual([403, 403]);
  expect(await both(cid, pathOf(project.id, 'a'))).toEqual([404, 404]);
  expect(await both(ada, pathOf(uuidv7(), 'a'))).toEqual([404, 404]);
  // What no label can be equal to is not there.
  for (const label of ['x'.repeat(51), 'a,b', ' ', '\0'])
    expect(await both(ada, pathOf(project.id, label))).toEqual([404, 404]);
  expect(await both(ada, `/projects/${project.id}/labels/%ff`)).toEqual([404, 404]);
  for (const name of ['', ' ', 'a,b', 'x'.repeat(51), '\0', null, 7, undefined]) {
    const { status, body } = await ada.patch(pathOf(project.id, 'a'), { name });
    expect([status, body.errors[0].location]).toEqual([422, 'body.name']);
  }
  await ada.patch(`/projects/${project.id}`, { archived: true });
  expect(await both(ada, pathOf(project.id, 'a'))).toEqual([409, 409]);
  expect((await ada.patch(pathOf(project.id, 'a'), { name: 'a' })).status).toBe(409);
  expect((await ada.get(`/tasks/${task.id}`)).body).toEqual(task);
});

test('a new name beside other writes reaches every task, and no write is lost', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  const TASKS = 20;
  const tasks: Json[] = [];
  for (let n = 0; n < TASKS; n += 1)
    tasks.push(await ada.createTask(project.id, { labels: ['old', 'keep'] }));
  const [renamed, ...patched] = await Promise.all([
    ada.patch(pathOf(project.id, 'old'), { name: 'new' }),
    ...tasks.map(({ id }, n) => ada.patch(`/tasks/${id}`, { title: `Title ${n}` })),
    ...tasks.map(({ id }) =>
      ada.post('/tasks/batch', { operations: [{ op: 'update', task_id: id, priority: 3 }] }),
    ),
  ]);
  for (const { status } of [renamed, ...patched]) expect(status).toBe(200);
  expect(renamed?.body).toEqual({ changed: TASKS, more: false });
  for (const [n, { id }] of tasks.entries())
    expect((await ada.get(`/tasks/${id}`)).body).toMatchObject({
      ...{ labels: ['new', 'keep'], title: `Title ${n}`, priority: 3, version: 4 },
    });
});

test('while an upgrade fills in more words than a step reads, more tasks may have the label', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  await ada.createTask(project.id, { labels: ['old'] });
  await api.sql`insert into tasks (id, project_id, title)
    select gen_random_uuid(), ${project.id}, 'x' from generate_series(1, 10000)`;
  const { body } = await ada.patch(pathOf(project.id, 'old'), { name: 'new' });
  expect(body).toEqual({ changed: 1, more: true });
});
