/** The order by hand: tasks are put after or before others, by several people at once. */
import { beforeAll, describe, expect, test } from 'bun:test';
import { v7 as uuidv7 } from 'uuid';
import { type Persona, useApi } from '../support/api.ts';
import { casesOf } from '../support/generated.ts';
import { openTransaction, waitForBlockedQuery } from '../support/locks.ts';

// biome-ignore lint/suspicious/noExplicitAny: rows are kept as they come.
type Json = any;

const api = useApi();
let ada: Persona;

beforeAll(async () => {
  ada = await api.person();
});

/** A project with tasks that are named by letters. */
async function projectOf(titles: string) {
  const project = await ada.createProject();
  const tasks: Record<string, Json> = {};
  for (const title of titles) tasks[title] = await ada.createTask(project.id, { title });
  const put = (title: string, place: object, who = ada) =>
    who.patch(`/tasks/${tasks[title].id}`, place);
  const id = (title: string): string => tasks[title].id;
  return { project, tasks, put, id, order: () => orderOf(project.id) };
}

/** The titles in the order by hand, read page by page. */
async function orderOf(projectId: string, query = 'sort=position', limit = 2) {
  const titles: string[] = [];
  for (let cursor = ''; ; ) {
    const { body } = await ada.get(`/tasks/projects/${projectId}?${query}&limit=${limit}${cursor}`);
    titles.push(...body.items.map(({ title }: Json) => title));
    if (body.next_cursor === null) return titles.join('');
    cursor = `&cursor=${body.next_cursor}`;
  }
}

const longest = async (projectId: string) => {
  const [{ length }] = await api.sql`
    select max(length(position))::int as length from tasks where project_id = ${projectId}`;
  return length;
};

test('new tasks go last, and each is put after or before another, first or last', async () => {
  const { project, put, id, order } = await projectOf('abcd');
  expect(await order()).toBe('abcd');
  const moved = await put('a', { after: id('c') });
  expect([moved.status, moved.body.version]).toEqual([200, 2]);
  expect(moved.body).not.toHaveProperty('position');
  expect(await order()).toBe('bcad');
  await put('d', { before: id('b').toUpperCase() });
  expect(await order()).toBe('dbca');
  await put('a', { after: null });
  expect(await order()).toBe('adbc');
  await put('a', { before: null });
  expect(await order()).toBe('dbca');
  await ada.createTask(project.id, { title: 'e' });
  expect(await order()).toBe('dbcae');
  expect(await orderOf(project.id, 'sort=-position')).toBe('eacbd');
  await put('b', { after: id('d') });
  expect(await order()).toBe('dbcae');
  await ada.delete(`/tasks/${id('c')}`);
  await ada.post(`/trash/${id('c')}/restore`);
  expect(await order()).toBe('dbcae');
});

test('a place with other fields is one change, and other tasks keep their versions', async () => {
  const { tasks, put, id, order } = await projectOf('abc');
  const { body } = await put('c', { after: null, title: 'z', version: 1 });
  expect(body).toMatchObject({ title: 'z', version: 2 });
  expect((await put('c', { after: null, version: 1 })).status).toBe(412);
  expect(await order()).toBe('zab');
  for (const title of ['a', 'b'])
    expect((await ada.get(`/tasks/${id(title)}`)).body).toEqual(tasks[title]);
});

test('a place that is none is refused, and nothing moves', async () => {
  const { put, id, order } = await projectOf('abc');
  const other = await ada.createTask((await ada.createProject()).id);
  const refused = async (place: object) => {
    const { status, body } = await put('a', place);
    return [status, ...body.errors.map(({ location, code }: Json) => `${location} ${code}`)];
  };
  for (const anchor of [id('a'), other.id, uuidv7()]) {
    expect(await refused({ after: anchor })).toEqual([422, 'body.after not_in_project']);
    expect(await refused({ before: anchor })).toEqual([422, 'body.before not_in_project']);
  }
  expect(await refused({ after: id('b'), before: id('c') })).toEqual([
    422,
    'body.before contradiction',
  ]);
  expect(await refused({ after: 'b' })).toEqual([422, 'body.after invalid_id']);
  expect((await ada.get(`/tasks?sort=position`)).status).toBe(422);
  expect(await order()).toBe('abc');
});

test('a batch puts tasks one after another, and none if one is refused', async () => {
  const { project, id, order } = await projectOf('abcde');
  const update = (title: string, place: object) => ({ op: 'update', task_id: id(title), ...place });
  const { status } = await ada.post('/tasks/batch', {
    operations: [
      update('e', { after: null }),
      update('c', { after: id('e') }),
      update('a', { before: null, title: 'A' }),
    ],
  });
  expect(status).toBe(200);
  expect(await order()).toBe('ecbdA');
  const refused = await ada.post('/tasks/batch', {
    operations: [update('b', { after: null }), update('c', { before: uuidv7() })],
  });
  expect([refused.status, refused.body.errors[0].location]).toEqual([
    422,
    'body.operations.1.before',
  ]);
  expect(await order()).toBe('ecbdA');
  // A task of another project comes last, or where it is put.
  const target = await projectOf('xy');
  await ada.patch(`/tasks/${id('e')}`, { project_id: target.project.id });
  expect(await target.order()).toBe('xye');
  await ada.patch(`/tasks/${id('c')}`, { project_id: target.project.id, after: target.id('x') });
  expect(await target.order()).toBe('xcye');
  expect(await orderOf(project.id)).toBe('bdA');
});

test('subtasks have the order of their project', async () => {
  const { project, put, id } = await projectOf('pabc');
  for (const title of 'abc') await put(title, { parent_id: id('p') });
  await put('c', { after: id('p') });
  const { items } = (await ada.get(`/tasks/${id('p')}/subtasks?sort=position`)).body;
  expect(items.map(({ title }: Json) => title).join('')).toBe('cab');
  expect(await orderOf(project.id, `sort=position&parent_id=${id('p')}`, 1)).toBe('cab');
});

describe('two people at once', () => {
  test('both put a task at the same place, and both stay there', async () => {
    const { put, id, order } = await projectOf('abcdefgh');
    const answers = await Promise.all([...'cdefgh'].map((title) => put(title, { after: id('a') })));
    expect(answers.map(({ status }) => status)).toEqual(Array(6).fill(200));
    const found = await order();
    expect([found[0], found.at(-1), [...found].sort().join('')]).toEqual(['a', 'b', 'abcdefgh']);
  });

  test('see what the other has put', async () => {
    const { put, id, order } = await projectOf('abcd');
    const commit = await openTransaction(
      api,
      (
        sql,
      ) => sql`update tasks set position = place_task(id, project_id, ${id('a')}, true), version = version + 1
        where id = ${id('c')}`,
    );
    const second = put('d', { after: id('a') });
    await waitForBlockedQuery(api);
    await commit();
    expect((await second).status).toBe(200);
    // The second is between the first and the anchor.
    expect(await order()).toBe('adcb');
  });
});

describe('the place', () => {
  test.each([
    ['after one task', (anchor: string) => ({ after: anchor })],
    ['before one task', (anchor: string) => ({ before: anchor })],
    ['first', () => ({ after: null })],
    ['last', () => ({ before: null })],
  ])(
    'of 1,000 tasks that are put %s stays short',
    async (_, placeOf) => {
      const { project, id } = await projectOf('abc');
      const [anchor, moved] = [id('b'), [id('a'), id('c')]];
      const place = placeOf(anchor) as { after?: string | null; before?: string | null };
      // As many requests would do, one after the other.
      const drops = casesOf(300, 1000);
      for (let n = 0; n < drops; n += 1)
        await api.sql`update tasks set position = place_task(id, project_id, ${place.after ?? place.before ?? null}::uuid, ${place.after !== undefined})
        where id = ${moved[n % 2]}`;
      expect(await longest(project.id)).toBeLessThanOrEqual(64);
      // Those that come to stay at one side narrow the room for the next.
      const inserted = Array.from({ length: drops }, () => uuidv7());
      for (const one of inserted)
        await api.sql`with made as (select place_task(${one}::uuid, ${project.id}::uuid, ${place.after ?? place.before ?? null}::uuid, ${place.after !== undefined}) as position)
        insert into tasks (id, project_id, title, position) select ${one}, ${project.id}, 't', position from made`;
      expect(await longest(project.id)).toBeLessThanOrEqual(64);
    },
    120_000,
  );

  test('of a task that is put last is before that of every new task', async () => {
    const { project, put, order } = await projectOf('ab');
    for (let round = 0; round < 20; round += 1) await put('a', { before: null });
    await ada.createTask(project.id, { title: 'c' });
    expect(await order()).toBe('bac');
  });
});

test('the feed says after which task one was put, and an export keeps the order', async () => {
  const { project, put, id, order } = await projectOf('abc');
  const since = (await ada.get('/changes')).body.next_cursor;
  await put('c', { after: id('a') });
  await put('b', { after: null, title: 'B' });
  await put('b', { title: 'b' });
  const { items } = (await ada.get(`/changes?since=${since}`)).body;
  expect(items.map(({ fields: { updated_at: _, ...fields } }: Json) => fields)).toEqual([
    { after: id('a') },
    { after: null, title: 'B' },
    { title: 'b' },
  ]);
  expect(await order()).toBe('bac');
  const document = (await ada.get(`/projects/${project.id}/export`)).body;
  const imported = await ada.post('/projects/import', document);
  expect(await orderOf(imported.body.project.id)).toBe('bac');
});
