/** Comments in exports and imports: they come back with their tasks, or the document is refused as a whole. */
import { describe, expect, test } from 'bun:test';
import { type Persona, useApi } from '../support/api.ts';
import { exportedProject } from '../support/exported-project.ts';

const api = useApi();

// biome-ignore lint/suspicious/noExplicitAny: answers are looked into freely.
type Json = any;

const AT = '2026-11-23T03:14:07.123Z';
const refOf = (n: number) => `019ac0de-7a11-7c3e-9d2f-${String(n).padStart(12, '0')}`;
const exportedComment = {
  task: refOf(0),
  body: 'Slate',
  author: null,
  created_at: AT,
  edited_at: null,
};
const documentOf = (tasks: number, comments: object[], project: object = {}) => ({
  ...exportedProject(
    project,
    Array.from({ length: tasks }, (_, n) => ({ title: `Task ${n}`, ref: refOf(n) })),
  ),
  comments: comments.map((one) => ({ ...exportedComment, ...one })),
});

async function listComments(who: Persona, projectId: string): Promise<Json[]> {
  const { body } = await who.get(`/tasks/projects/${projectId}?sort=title`);
  const lists: Json[] = [];
  for (const { id, title, comment_count } of body.items) {
    const { items } = (await who.get(`/tasks/${id}/comments?sort=created_at&limit=200`)).body;
    expect(items.length).toBe(comment_count);
    for (const { body, author_id, created_at, edited_at } of items)
      lists.push({ title, body, author_id, created_at, edited_at });
  }
  return lists;
}

test('an export has the comments of its tasks, and its import has them again', async () => {
  const [ada, bob] = [await api.person('ada'), await api.person('bob')];
  const project = await ada.createProject();
  await api.addMember(project.id, bob, 'editor');
  await ada.patch(`/projects/${project.id}`, { viewers_may_comment: true });
  const tasks: Json[] = [];
  for (let n = 0; n < 3; n += 1)
    tasks.push(
      await ada.createTask(project.id, { title: `Task ${n}`, status: n ? 'todo' : 'done' }),
    );
  const say = async (who: Persona, n: number, body: string) =>
    (await who.post(`/tasks/${tasks[n].id}/comments`, { body })).body;
  await say(ada, 0, 'a "quoted"\n\\ text');
  const edited = await say(bob, 2, 'b');
  await bob.patch(`/comments/${edited.id}`, { body: 'b, edited' });
  await say(ada, 2, '🍞');
  const { body: exported, text } = await ada.get(`/projects/${project.id}/export`);
  expect(exported.project.viewers_may_comment).toBe(true);
  expect(exported.comments.map(({ task, body, author }: Json) => [task, body, author])).toEqual([
    [tasks[0].id, 'a "quoted"\n\\ text', ada.username],
    [tasks[2].id, 'b, edited', bob.username],
    [tasks[2].id, '🍞', ada.username],
  ]);
  // Each on a line of its own, after the tasks.
  expect(text.split('\n').map((line) => line.slice(0, 7))).toEqual([
    '{"forma',
    ...tasks.map(() => '{"title'),
    '],"comm',
    ...exported.comments.map(() => '{"task"'),
    ']}',
    '',
  ]);
  const { status, body } = await ada.post('/projects/import', exported);
  expect([status, body.tasks, body.comments]).toEqual([201, 3, 3]);
  expect(body.project.viewers_may_comment).toBe(true);
  // Of the people in it only the importer stays.
  const ofImporter = (await listComments(ada, project.id)).map((one) => ({
    ...one,
    author_id: one.author_id === ada.id ? ada.id : null,
  }));
  expect(await listComments(ada, body.project.id)).toEqual(ofImporter);
  // A task has a name in the document where a comment refers to it.
  expect(exported.tasks.map(({ ref }: Json) => ref)).toEqual([tasks[0].id, undefined, tasks[2].id]);
  const { body: found } = await ada.get(`/tasks/projects/${body.project.id}?q=edited&in=comments`);
  expect(found.items.map(({ title }: Json) => title)).toEqual(['Task 2']);

  const { body: filtered } = await ada.get(`/projects/${project.id}/export?status=todo`);
  expect(filtered.comments.map(({ task, body }: Json) => [task, body])).toEqual([
    [tasks[2].id, 'b, edited'],
    [tasks[2].id, '🍞'],
  ]);
  const { body: account } = await ada.get('/users/me/export');
  const own = account.projects.find(({ id }: Json) => id === project.id);
  expect(own.comments.map(({ task_id, body }: Json) => [task_id, body])).toEqual([
    [tasks[0].id, 'a "quoted"\n\\ text'],
    [tasks[2].id, 'b, edited'],
    [tasks[2].id, '🍞'],
  ]);
});

test('many comments on many tasks come back, each on its task', async () => {
  const ada = await api.person();
  const tasks = 450;
  // More than a page and more than a batch, in no order of their tasks.
  const comments = Array.from({ length: 1300 }, (_, n) => ({
    task: refOf((n * 7) % tasks),
    body: `${(n * 7) % tasks}`,
    created_at: new Date(Date.parse(AT) + n).toISOString(),
  }));
  const { status, body } = await ada.post('/projects/import', documentOf(tasks, comments));
  expect([status, body.comments]).toEqual([201, 1300]);
  const rows = await api.sql`select comments.body, tasks.title, comment_count from comments
    join tasks on tasks.id = task_id where comments.project_id = ${body.project.id}`;
  expect(rows.length).toBe(1300);
  expect(rows.filter((one: Json) => one.title !== `Task ${one.body}`)).toEqual([]);
  const { body: exported } = await ada.get(`/projects/${body.project.id}/export`);
  const titles = new Map(exported.tasks.map(({ ref, title }: Json) => [ref, title]));
  const said = exported.comments.map(({ task, body }: Json) => [titles.get(task), `Task ${body}`]);
  expect(said.length).toBe(1300);
  expect(said.filter(([title, wanted]: string[]) => title !== wanted)).toEqual([]);
});

test('an import chooses ids of comments; a taken one is refused, and nothing is left', async () => {
  const ada = await api.person();
  const id = Bun.randomUUIDv7();
  const document = documentOf(1, [{ id: id.toUpperCase() }]);
  expect((await ada.post('/projects/import', document)).status).toBe(201);
  expect((await ada.get(`/comments/${id}`)).body).toMatchObject({ body: 'Slate', version: 1 });
  const before = await api.countRows();
  const { status, body } = await ada.post('/projects/import', document);
  expect([status, body.errors[0].location]).toEqual([409, 'body.comments']);
  expect(await api.countRows()).toEqual(before);
});

test('a comment is left out where its task is not in the document before it', async () => {
  const ada = await api.person();
  const { tasks, comments, ...head } = documentOf(2, [{}, { task: refOf(7) }, { task: refOf(1) }]);
  const late = await ada.post('/projects/import', { ...head, tasks, comments });
  expect([late.status, late.body.comments]).toEqual([201, 2]);
  const early = await ada.post('/projects/import', { ...head, comments, tasks });
  expect([early.status, early.body.comments]).toEqual([201, 0]);
});

test('a document without comments is valid, and so is one without the setting of the project', async () => {
  const ada = await api.person();
  const { status, body } = await ada.post('/projects/import', exportedProject({}, [{}]));
  expect([status, body.comments, body.project.viewers_may_comment]).toEqual([201, 0, false]);
});

describe('an invalid document is refused, and no row is written', () => {
  const many = Array.from({ length: 1001 }, () => ({}));
  test.each([
    ['no ref of a task', documentOf(1, [{ task: 'x' }]), 'body.comments.0.task', 'invalid_id'],
    ['a blank text', documentOf(1, [{}, { body: '' }]), 'body.comments.1.body', 'too_short'],
    ['an unknown field', documentOf(1, [{ likes: 1 }]), 'body.comments.0.likes', 'unknown_field'],
    ['no author', documentOf(1, [{ author: undefined }]), 'body.comments.0.author', 'required'],
    ['no list', { ...documentOf(1, []), comments: {} }, 'body.comments', 'wrong_type'],
    ['too many on a task', documentOf(1, many), 'body.comments.1000.task', 'too_many'],
  ])('%s', async (_, document, location, code) => {
    const ada = await api.person();
    const before = await api.countRows();
    const { status, body } = await ada.post('/projects/import', document);
    expect([status, body.errors[0].location, body.errors[0].code]).toEqual([422, location, code]);
    expect(await api.countRows()).toEqual(before);
  });

  test('comments twice', async () => {
    const ada = await api.person();
    const { tasks, comments, ...head } = documentOf(1, [{}]);
    const send = (raw: string) =>
      ada.post('/projects/import', undefined, {
        raw,
        headers: { 'content-type': 'application/json' },
      });
    const list = JSON.stringify(comments);
    const text = JSON.stringify({ ...head, tasks, comments }).slice(0, -1);
    const twice = await send(`${text},"comments":${list}}`);
    expect([twice.status, twice.body.errors[0]]).toMatchObject([
      422,
      { location: 'body.comments', code: 'repeated' },
    ]);
  });
});

test('an import with a key is stored with its comments, and of others is told apart', async () => {
  const ada = await api.person();
  const send = (document: object) =>
    ada.post('/projects/import', document, { headers: { 'idempotency-key': 'import' } });
  const first = await send(documentOf(1, [{}]));
  expect((await send(documentOf(1, [{ created_at: '2026-11-23T04:14:07.123+01:00' }]))).text).toBe(
    first.text,
  );
  const other = await send(documentOf(1, [{ body: 'Other' }]));
  expect([other.status, other.body.code]).toEqual([422, 'idempotency_key_reused']);
  expect((await send(documentOf(1, []))).status).toBe(422);
});
