/** Comments on tasks: who may write them, what they hold, and that they go where their task goes. */
import { beforeAll, describe, expect, test } from 'bun:test';
import { v7 as uuidv7 } from 'uuid';
import { type Client, type Persona, useApi } from '../support/api.ts';
import { Copy, seenBy } from '../support/copy.ts';
import { openTransaction, waitForBlockedQuery } from '../support/locks.ts';

const api = useApi();

// biome-ignore lint/suspicious/noExplicitAny: answers are looked into freely.
type Json = any;

const BODY = 'Slate, *please*.\n\n- it hides everything';

async function kitchen() {
  const [owner, editor, viewer, stranger] = [
    await api.person('owner'),
    await api.person('editor'),
    await api.person('viewer'),
    await api.person('stranger'),
  ];
  const project = await owner.createProject();
  await api.addMember(project.id, editor, 'editor');
  await api.addMember(project.id, viewer, 'viewer');
  const task = await owner.createTask(project.id);
  return { owner, editor, viewer, stranger, project, task, path: `/tasks/${task.id}/comments` };
}

async function comment(who: Client, taskId: string, body = BODY): Promise<Json> {
  const answer = await who.post(`/tasks/${taskId}/comments`, { body });
  expect(answer.status).toBe(201);
  return answer.body;
}

const outcome = ({ status, body }: { status: number; body: Json }) => [status, body?.code];
const countOf = async (who: Client, taskId: string) =>
  (await who.get(`/tasks/${taskId}`)).body.comment_count;

async function changesSince(who: Client, since: string): Promise<Json[]> {
  return (await who.get(`/changes?limit=200&since=${since}`)).body.items;
}
const now = async (who: Client) => (await who.get('/changes')).body.next_cursor as string;

describe('a comment', () => {
  test('is created with its fields, a Location and an ETag, and is read with the same', async () => {
    const { owner, task, path } = await kitchen();
    const { status, body, headers } = await owner.post(path, { body: BODY });
    expect(status).toBe(201);
    expect(body).toEqual({
      id: expect.any(String),
      task_id: task.id,
      author_id: owner.id,
      body: BODY,
      created_at: expect.any(String),
      edited_at: null,
      version: 1,
    });
    expect(headers.get('location')).toBe(`/comments/${body.id}`);
    expect(headers.get('etag')).toBe('"1"');
    const read = await owner.get(`/comments/${body.id}`);
    expect([read.status, read.body, read.headers.get('etag')]).toEqual([200, body, '"1"']);
    const known = await owner.get(`/comments/${body.id}`, { headers: { 'if-none-match': '"1"' } });
    expect(known.status).toBe(304);
    const [row] = await api.sql`select * from comments where id = ${body.id}`;
    expect(row).toMatchObject({ project_id: task.project_id, body: BODY, words_version: -1 });
  });

  test.each([
    ['without a text', {}, 'required'],
    ['with an empty text', { body: '' }, 'too_short'],
    ['of white space', { body: ' \n' }, 'blank'],
    ['with a long text', { body: '🍞'.repeat(20_001) }, 'too_long'],
    ['with an unknown field', { body: 'x', author_id: uuidv7() }, 'unknown_field'],
  ])('%s is refused', async (_, given, code) => {
    const { owner, path, task } = await kitchen();
    const { status, body } = await owner.post(path, given);
    expect([status, body.errors[0].code]).toEqual([422, code]);
    expect(await countOf(owner, task.id)).toBe(0);
  });

  test('has up to 20,000 characters, kept exactly', async () => {
    const { owner, task } = await kitchen();
    const text = `${'🍞'.repeat(19_998)}\r\n`;
    const { id } = await comment(owner, task.id, text);
    expect((await owner.get(`/comments/${id}`)).body.body).toBe(text);
  });

  test('is made once with an Idempotency-Key, and the response is the same again', async () => {
    const { owner, task, path } = await kitchen();
    const make = (body = BODY) =>
      owner.post(path, { body }, { headers: { 'idempotency-key': 'once' } });
    const first = await make();
    const again = await make();
    expect([again.status, again.text]).toEqual([201, first.text]);
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    expect(again.headers.get('location')).toBe(first.headers.get('location'));
    expect(outcome(await make('Other'))).toEqual([422, 'idempotency_key_reused']);
    expect(await countOf(owner, task.id)).toBe(1);
  });

  test('with a key in flight gets 409 at once, and waits for nothing', async () => {
    const { owner, project, path } = await kitchen();
    const make = () => owner.post(path, { body: BODY }, { headers: { 'idempotency-key': 'twin' } });
    const letGo = await openTransaction(
      api,
      (sql) => sql`select from projects where id = ${project.id} for update`,
    );
    const first = make();
    await waitForBlockedQuery(api);
    expect(outcome(await make())).toEqual([409, 'idempotency_in_flight']);
    await letGo();
    const { text } = await first;
    expect((await make()).text).toBe(text);
  });
});

describe('the list', () => {
  test('has the comments of the task, newest first or oldest first, in pages', async () => {
    const { owner, viewer, task, path, project } = await kitchen();
    expect((await owner.get(path)).body).toEqual({ items: [], next_cursor: null });
    const made: Json[] = [];
    for (let n = 0; n < 5; n += 1) made.push(await comment(owner, task.id, `Comment ${n}`));
    await comment(owner, (await owner.createTask(project.id)).id, 'Elsewhere');
    for (const [sort, wanted] of [
      ['', made.toReversed()],
      ['sort=-created_at', made.toReversed()],
      ['sort=created_at', made],
    ] as const) {
      const items: Json[] = [];
      for (let cursor = ''; ; ) {
        const { body } = await viewer.get(`${path}?limit=2&${sort}${cursor}`);
        items.push(...body.items);
        if (body.next_cursor === null) break;
        cursor = `&cursor=${body.next_cursor}`;
      }
      expect(items).toEqual([...wanted]);
    }
    const { body } = await owner.get(`${path}?limit=2`);
    for (const other of ['sort=created_at&', ''])
      if (other)
        expect(outcome(await owner.get(`${path}?${other}cursor=${body.next_cursor}`))).toEqual([
          422,
          'invalid_cursor',
        ]);
    const elsewhere = await owner.createTask(project.id);
    const foreign = `/tasks/${elsewhere.id}/comments?cursor=${body.next_cursor}`;
    expect(outcome(await owner.get(foreign))).toEqual([422, 'invalid_cursor']);
    expect((await owner.get(`${path}?sort=body`)).status).toBe(422);
  });
});

describe('who may', () => {
  test('a stranger sees 404, the same as for an id that nothing has', async () => {
    const { owner, stranger, task, path } = await kitchen();
    const { id } = await comment(owner, task.id);
    for (const place of [path, `/tasks/${uuidv7()}/comments`]) {
      expect(outcome(await stranger.get(place))).toEqual([404, 'not_found']);
      expect(outcome(await stranger.post(place, { body: 'x' }))).toEqual([404, 'not_found']);
    }
    for (const place of [`/comments/${id}`, `/comments/${uuidv7()}`, '/comments/x']) {
      expect(outcome(await stranger.get(place))).toEqual([404, 'not_found']);
      expect(outcome(await stranger.patch(place, { body: 'x' }))).toEqual([404, 'not_found']);
      expect(outcome(await stranger.delete(place))).toEqual([404, 'not_found']);
    }
    expect((await api.anonymous.get(`/comments/${id}`)).status).toBe(401);
    expect((await owner.get(`/comments/${id}`)).body.version).toBe(1);
  });

  test('a viewer reads, and comments only where the owner lets viewers comment', async () => {
    const { owner, editor, viewer, project, path, task } = await kitchen();
    expect(outcome(await viewer.post(path, { body: 'x' }))).toEqual([403, 'forbidden']);
    const setting = { viewers_may_comment: true };
    const place = `/projects/${project.id}`;
    expect(outcome(await editor.patch(place, setting))).toEqual([403, 'forbidden']);
    const since = await now(owner);
    const { body } = await owner.patch(place, setting);
    expect([body.viewers_may_comment, body.version]).toEqual([true, 2]);
    expect((await owner.patch(place, setting)).body).toEqual(body);
    expect((await viewer.get(place)).body.viewers_may_comment).toBe(true);
    expect((await changesSince(owner, since))[0]).toMatchObject({
      action: 'project.updated',
      fields: { viewers_may_comment: true },
    });

    const made = await comment(viewer, task.id);
    expect((await viewer.patch(`/comments/${made.id}`, { body: 'y' })).status).toBe(200);
    // Nothing else is theirs to write.
    expect((await viewer.patch(`/tasks/${task.id}`, { title: 'x' })).status).toBe(403);
    await owner.patch(place, { viewers_may_comment: false });
    for (const answer of [
      await viewer.post(path, { body: 'x' }),
      await viewer.patch(`/comments/${made.id}`, { body: 'z' }),
      await viewer.delete(`/comments/${made.id}`),
    ])
      expect(outcome(answer)).toEqual([403, 'forbidden']);
    expect((await viewer.get(`/comments/${made.id}`)).body.body).toBe('y');
  });

  test('the author edits, the author and the owner delete, and no other user', async () => {
    const { owner, editor, viewer, project, task } = await kitchen();
    await owner.patch(`/projects/${project.id}`, { viewers_may_comment: true });
    const place = async (who: Persona) => `/comments/${(await comment(who, task.id)).id}`;
    const [ofOwner, ofEditor, ofViewer] = [
      await place(owner),
      await place(editor),
      await place(viewer),
    ];
    for (const [who, one] of [
      [editor, ofOwner],
      [viewer, ofOwner],
      [editor, ofViewer],
    ] as const) {
      expect(outcome(await who.patch(one, { body: 'x' }))).toEqual([403, 'forbidden']);
      expect(outcome(await who.delete(one))).toEqual([403, 'forbidden']);
    }
    expect(outcome(await owner.patch(ofEditor, { body: 'x' }))).toEqual([403, 'forbidden']);
    expect(await countOf(owner, task.id)).toBe(3);
    for (const [who, one] of [
      [owner, ofEditor],
      [viewer, ofViewer],
      [owner, ofOwner],
    ] as const)
      expect((await who.delete(one)).status).toBe(204);
    expect((await owner.get(ofOwner)).status).toBe(404);
    expect(await countOf(owner, task.id)).toBe(0);
  });

  test('an archived project is read-only', async () => {
    const { owner, project, path, task } = await kitchen();
    const { id } = await comment(owner, task.id);
    await owner.patch(`/projects/${project.id}`, { archived: true });
    for (const answer of [
      await owner.post(path, { body: 'x' }),
      await owner.patch(`/comments/${id}`, { body: 'x' }),
      await owner.delete(`/comments/${id}`),
    ])
      expect(outcome(answer)).toEqual([409, 'conflict']);
    expect((await owner.get(path)).body.items.length).toBe(1);
  });
});

describe('an edit', () => {
  test('changes the text, sets edited_at and the next version, and leaves the task as it is', async () => {
    const { editor, task } = await kitchen();
    const made = await comment(editor, task.id);
    const before = (await editor.get(`/tasks/${task.id}`)).body;
    const { status, body, headers } = await editor.patch(`/comments/${made.id}`, { body: 'New' });
    expect([status, headers.get('etag')]).toEqual([200, '"2"']);
    expect(body).toEqual({ ...made, body: 'New', version: 2, edited_at: expect.any(String) });
    expect((await editor.get(`/tasks/${task.id}`)).body).toEqual(before);
  });

  test('that changes nothing leaves version and edited_at', async () => {
    const { editor, task } = await kitchen();
    const made = await comment(editor, task.id);
    const since = await now(editor);
    for (const patch of [{}, { body: BODY }, { version: 1 }])
      expect((await editor.patch(`/comments/${made.id}`, patch)).body).toEqual(made);
    expect(await changesSince(editor, since)).toEqual([]);
    expect((await editor.patch(`/comments/${made.id}`, { body: null })).status).toBe(422);
  });

  test('of an older version is refused with the present one, by header and by field', async () => {
    const { editor, task } = await kitchen();
    const { id } = await comment(editor, task.id);
    const stale = { headers: { 'if-match': '"1"' } };
    const { body } = await editor.patch(`/comments/${id}`, { body: 'Second' }, stale);
    for (const answer of [
      await editor.patch(`/comments/${id}`, { body: 'Third' }, stale),
      await editor.patch(`/comments/${id}`, { body: 'Third', version: 1 }),
      await editor.delete(`/comments/${id}`, stale),
    ]) {
      expect(outcome(answer)).toEqual([412, 'precondition_failed']);
      expect([answer.body.version, answer.headers.get('etag')]).toEqual([2, '"2"']);
    }
    expect((await editor.get(`/comments/${id}`)).body).toEqual(body);
    const fresh = { headers: { 'if-match': '"2"' } };
    expect((await editor.delete(`/comments/${id}`, fresh)).status).toBe(204);
  });
});

describe('the number of comments', () => {
  test('is in the task and its lists, without a new version, time or entity tag', async () => {
    const { owner, project, task, path } = await kitchen();
    const since = await now(owner);
    await comment(owner, task.id);
    const second = await comment(owner, task.id);
    const { body, headers } = await owner.get(`/tasks/${task.id}`);
    expect(body).toEqual({ ...task, comment_count: 2 });
    expect(headers.get('etag')).toBe('"1"');
    for (const list of [`/tasks/projects/${project.id}`, '/tasks/'])
      expect((await owner.get(list)).body.items).toEqual([body]);
    await owner.delete(`/comments/${second.id}`);
    expect((await owner.get(path)).body.items.length).toBe(1);
    const written = await owner.patch(`/tasks/${task.id}`, { title: 'Grout' });
    expect(written.body).toMatchObject({ comment_count: 1, version: 2 });
    // PUT takes back what GET returned, whatever others have said since.
    const put = await owner.put(`/tasks/${task.id}`, { ...written.body, comment_count: 7 });
    expect([put.status, put.body.comment_count]).toEqual([200, 1]);
    expect((await changesSince(owner, since)).map(({ action }) => action)).toEqual([
      'comment.created',
      'comment.created',
      'comment.deleted',
      'task.updated',
    ]);
  });

  test('stands in a row that one statement rewrites, and is 0 in new tasks of every kind', async () => {
    const { owner, project } = await kitchen();
    const { body } = await owner.post('/tasks/batch', {
      operations: [{ op: 'create', project_id: project.id, title: 'x' }],
    });
    const [{ task }] = body.results;
    expect(task.comment_count).toBe(0);
    await comment(owner, task.id);
    const updated = await owner.post('/tasks/batch', {
      operations: [{ op: 'update', task_id: task.id, title: 'y' }],
    });
    expect(updated.body.results[0].task.comment_count).toBe(1);
  });

  test('has a bound: 1,000, also while several arrive at once', async () => {
    const { owner, editor, task, path } = await kitchen();
    await api.sql`insert into comments (id, project_id, task_id, body, words, words_version)
      select gen_random_uuid(), ${task.project_id}, ${task.id}, 'x', '', -1 from generate_series(1, 997)`;
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, n) => (n % 2 ? owner : editor).post(path, { body: `${n}` })),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([
      201, 201, 201, 409, 409, 409, 409, 409,
    ]);
    const refused = answers.find(({ status }) => status === 409);
    expect(refused?.body).toMatchObject({ code: 'conflict', detail: '1000 comments at most' });
    expect(await countOf(owner, task.id)).toBe(1000);
    const [{ id }] = (await owner.get(path)).body.items;
    await owner.delete(`/comments/${id}`);
    expect((await owner.post(path, { body: 'x' })).status).toBe(201);
  });
});

describe('changes', () => {
  test('have an event for each write, with the task and the number of comments', async () => {
    const { owner, editor, viewer, project, task } = await kitchen();
    const since = await now(viewer);
    const { id, ...made } = await comment(editor, task.id);
    const { body: edited } = await editor.patch(`/comments/${id}`, { body: 'New' });
    await owner.delete(`/comments/${id}`);
    const items = await changesSince(viewer, since);
    expect(
      items.map(({ action, actor_id, version, fields }) => ({ action, actor_id, version, fields })),
    ).toEqual([
      {
        action: 'comment.created',
        actor_id: editor.id,
        version: 1,
        fields: {
          task_id: task.id,
          body: made.body,
          author_id: editor.id,
          created_at: made.created_at,
          edited_at: null,
          comment_count: 1,
        },
      },
      {
        action: 'comment.updated',
        actor_id: editor.id,
        version: 2,
        fields: { task_id: task.id, body: 'New', edited_at: edited.edited_at },
      },
      {
        action: 'comment.deleted',
        actor_id: owner.id,
        version: 0,
        fields: { task_id: task.id, comment_count: 0 },
      },
    ]);
    for (const item of items)
      expect(item).toMatchObject({ project_id: project.id, subject: 'comment', subject_id: id });
    const { body: history } = await viewer.get(`/projects/${project.id}/events?limit=3`);
    expect(history.items.toReversed()).toEqual(items);
  });

  test('name the API token of a comment', async () => {
    const { owner, task } = await kitchen();
    const { body: token } = await owner.post('/users/me/tokens', {
      name: 'planner',
      scopes: ['read', 'write'],
    });
    const since = await now(owner);
    const script = { headers: { authorization: `Bearer ${token.token}` } };
    await owner.post(`/tasks/${task.id}/comments`, { body: 'x' }, script);
    const [item] = await changesSince(owner, since);
    expect(item).toMatchObject({ actor_id: owner.id, actor_token: 'planner' });
  });

  test('of a task that is deleted, or of its project, have no event for each comment', async () => {
    const { owner, project, task } = await kitchen();
    const { id } = await comment(owner, task.id);
    const other = await owner.createTask(project.id);
    await comment(owner, other.id);
    const since = await now(owner);
    await owner.delete(`/tasks/${task.id}`);
    expect((await owner.get(`/comments/${id}`)).status).toBe(404);
    await owner.delete(`/projects/${project.id}`);
    expect((await changesSince(owner, since)).map(({ action }) => action)).toEqual(['access.lost']);
  });

  test('a batch that deletes tasks deletes their comments', async () => {
    const { owner, project, task } = await kitchen();
    await comment(owner, task.id);
    const kept = await owner.createTask(project.id);
    await comment(owner, kept.id);
    await owner.post('/tasks/batch', { operations: [{ op: 'delete', task_id: task.id }] });
    await owner.delete('/trash');
    const rows = await api.sql`select task_id from comments where project_id = ${project.id}`;
    expect(rows.map(({ task_id }: Json) => task_id)).toEqual([kept.id]);
  });
});

describe('a task that moves', () => {
  let owner: Persona;
  let member: Persona;
  let from: string;
  let to: string;

  beforeAll(async () => {
    [owner, member] = [await api.person(), await api.person()];
    [from, to] = [(await owner.createProject('From')).id, (await owner.createProject('To')).id];
    await api.addMember(to, member, 'viewer');
  });

  test('takes its comments along; readers of the other project get each after the task', async () => {
    const task = await owner.createTask(from);
    const made = [await comment(owner, task.id, 'First'), await comment(owner, task.id, 'Second')];
    const { body: edited } = await owner.patch(`/comments/${made[0].id}`, { body: 'terracotta' });
    const since = await now(member);
    await owner.patch(`/tasks/${task.id}`, { project_id: to });
    const items = await changesSince(member, since);
    expect(items.map(({ action, subject_id, version }) => [action, subject_id, version])).toEqual([
      ['task.created', task.id, 2],
      ['comment.created', made[0].id, 2],
      ['comment.created', made[1].id, 1],
    ]);
    expect(items[0].fields.comment_count).toBe(2);
    expect(items[1]).toMatchObject({
      actor_id: owner.id,
      project_id: to,
      fields: { body: 'terracotta', edited_at: edited.edited_at, comment_count: 2 },
    });
    expect((await member.get(`/tasks/${task.id}/comments`)).body.items).toEqual([made[1], edited]);
    // The words have moved as well.
    for (const [project, found] of [
      [to, [task.id]],
      [from, []],
    ] as const) {
      const { body } = await owner.get(`/tasks/projects/${project}?q=terracotta&in=comments`);
      expect(body.items.map(({ id }: Json) => id)).toEqual([...found]);
    }
    const [row] = await api.sql`select words_version from comments where id = ${made[0].id}`;
    expect(row.words_version).toBe(-2);
    expect((await owner.patch(`/comments/${made[1].id}`, { body: 'grout' })).status).toBe(200);
    const { body } = await owner.get(`/tasks/projects/${to}?q=grout&in=comments`);
    expect(body.items.length).toBe(1);
  });

  test('in a batch does the same', async () => {
    const tasks = [await owner.createTask(from), await owner.createTask(from)];
    for (const { id } of tasks) await comment(owner, id);
    const since = await now(member);
    await owner.post('/tasks/batch', {
      operations: tasks.map(({ id }) => ({ op: 'update', task_id: id, project_id: to })),
    });
    expect((await changesSince(member, since)).map(({ action }) => action)).toEqual([
      'task.created',
      'task.created',
      'comment.created',
      'comment.created',
    ]);
  });
});

test('a comment outlives its author, who is null then', async () => {
  const { owner, editor, task } = await kitchen();
  const made = await comment(editor, task.id);
  await editor.request('DELETE', '/users/me', { password: editor.password });
  const { body } = await owner.get(`/comments/${made.id}`);
  expect(body).toEqual({ ...made, author_id: null });
  expect(await countOf(owner, task.id)).toBe(1);
  expect(outcome(await owner.patch(`/comments/${made.id}`, { body: 'x' }))).toEqual([
    403,
    'forbidden',
  ]);
  expect((await owner.delete(`/comments/${made.id}`)).status).toBe(204);
});

describe('a task in the trash', () => {
  test('takes its comments out of sight, and brings them back', async () => {
    const { owner, viewer, project, task, path } = await kitchen();
    const made = await comment(owner, task.id);
    const copy = new Copy(viewer, viewer.id);
    await copy.readSnapshot(10);
    await owner.delete(`/tasks/${task.id}`);
    for (const answer of [
      await owner.get(`/comments/${made.id}`),
      await owner.get(path),
      await owner.post(path, { body: 'x' }),
      await owner.patch(`/comments/${made.id}`, { body: 'x' }),
      await owner.delete(`/comments/${made.id}`),
    ])
      expect(outcome(answer)).toEqual([404, 'not_found']);
    expect((await owner.get('/changes?snapshot=true')).body.snapshot.comments).toEqual([]);
    expect((await owner.get('/users/me/export')).body.projects[0].comments).toEqual([]);
    expect((await owner.get(`/projects/${project.id}/export`)).body.comments).toEqual([]);
    await copy.catchUp(10);
    expect(copy.projects).toEqual(await seenBy(viewer));

    const since = await now(viewer);
    expect((await owner.post(`/trash/${task.id}/restore`)).status).toBe(200);
    expect((await owner.get(path)).body.items).toEqual([made]);
    expect(await countOf(owner, task.id)).toBe(1);
    expect((await changesSince(viewer, since)).map(({ action }) => action)).toEqual([
      'task.restored',
      'comment.created',
    ]);
    await copy.catchUp(10);
    expect(copy.projects).toEqual(await seenBy(viewer));
    const found = await owner.get('/tasks/?q=slate&in=comments');
    expect(found.body.items.map(({ id }: Json) => id)).toEqual([task.id]);
  });

  test('that an earlier release has put there is restored', async () => {
    const { owner, task } = await kitchen();
    await owner.delete(`/tasks/${task.id}`);
    await api.sql`update trashed_tasks set task = task - 'comment_count' where id = ${task.id}`;
    const { status, body } = await owner.post(`/trash/${task.id}/restore`);
    expect([status, body.task.comment_count]).toEqual([200, 0]);
  });

  test('that is deleted for good takes its comments along', async () => {
    const { owner, task, project } = await kitchen();
    await comment(owner, task.id);
    await owner.delete(`/tasks/${task.id}`);
    expect((await api.sql`select from comments where task_id = ${task.id}`).length).toBe(1);
    await owner.delete(`/trash/${task.id}`);
    expect((await api.sql`select from comments where project_id = ${project.id}`).length).toBe(0);
  });

  test('of a project in the trash is there again with its comments', async () => {
    const { owner, task, project, path } = await kitchen();
    const made = await comment(owner, task.id);
    await owner.delete(`/projects/${project.id}`);
    expect((await owner.get(`/comments/${made.id}`)).status).toBe(404);
    await owner.post(`/trash/${project.id}/restore`);
    expect((await owner.get(path)).body.items).toEqual([made]);
  });
});

describe('races', () => {
  test('of two edits of one version, one wins', async () => {
    const { editor, task } = await kitchen();
    const { id } = await comment(editor, task.id);
    const answers = await Promise.all(
      ['a', 'b', 'c', 'd'].map((body) =>
        editor.patch(`/comments/${id}`, { body }, { headers: { 'if-match': '"1"' } }),
      ),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 412, 412, 412]);
    const won = answers.find(({ status }) => status === 200);
    expect((await editor.get(`/comments/${id}`)).body).toEqual(won?.body);
  });

  test('an edit that waits for a deletion finds nothing', async () => {
    const { editor, task } = await kitchen();
    const { id } = await comment(editor, task.id);
    const commit = await openTransaction(api, (sql) => sql`delete from comments where id = ${id}`);
    const edit = editor.patch(`/comments/${id}`, { body: 'x' });
    await waitForBlockedQuery(api);
    await commit();
    expect(outcome(await edit)).toEqual([404, 'not_found']);
    expect(await countOf(editor, task.id)).toBe(0);
  });

  test('a comment that waits for the deletion of its task is refused', async () => {
    const { editor, task, path } = await kitchen();
    await comment(editor, task.id);
    const commit = await openTransaction(
      api,
      (sql) => sql`delete from tasks where id = ${task.id}`,
    );
    const made = editor.post(path, { body: 'x' });
    await waitForBlockedQuery(api);
    await commit();
    expect(outcome(await made)).toEqual([404, 'not_found']);
    expect((await api.sql`select from comments where task_id = ${task.id}`).length).toBe(1);
  });

  test('a deletion of a task waits for the comment before it, and deletes it', async () => {
    const { editor, project, task } = await kitchen();
    const commit = await openTransaction(api, async (sql) => {
      await sql`select from tasks where id = ${task.id} for no key update`;
      await sql`insert into comments (id, project_id, task_id, body) values (${uuidv7()}, ${project.id}, ${task.id}, 'x')`;
    });
    const deleted = editor.delete(`/tasks/${task.id}`);
    await waitForBlockedQuery(api);
    await commit();
    expect((await deleted).status).toBe(204);
    await editor.delete(`/trash/${task.id}`);
    expect((await api.sql`select from comments where task_id = ${task.id}`).length).toBe(0);
  });

  test('comments, deletions of comments and of tasks, and moves side by side lose none and do not deadlock', async () => {
    const { owner, editor, project } = await kitchen();
    const other = await owner.createProject();
    await api.addMember(other.id, editor, 'editor');
    const tasks = [await owner.createTask(project.id), await owner.createTask(project.id)];
    const statuses = new Set<number>();
    const write = async (who: Persona, n: number) => {
      const task = tasks[n % 2];
      const made = await who.post(`/tasks/${task.id}/comments`, { body: `${n}` });
      statuses.add(made.status);
      if (n % 3 === 0) statuses.add((await who.delete(`/comments/${made.body.id}`)).status);
      if (n % 4 === 0) {
        const target = n % 8 === 0 ? other.id : project.id;
        statuses.add((await who.patch(`/tasks/${task.id}`, { project_id: target })).status);
      }
    };
    await Promise.all(Array.from({ length: 40 }, (_, n) => write(n % 2 ? owner : editor, n)));
    expect([...statuses].sort()).toEqual([200, 201, 204]);
    for (const { id } of tasks) {
      const { items } = (await owner.get(`/tasks/${id}/comments?limit=200`)).body;
      expect([items.length, await countOf(owner, id)]).toEqual([13, 13]);
      const { body } = await owner.get(`/tasks/${id}`);
      const rows = await api.sql`select distinct project_id from comments where task_id = ${id}`;
      expect(rows.map(({ project_id }: Json) => project_id)).toEqual([body.project_id]);
    }
    const deleted = Promise.all(tasks.map(({ id }) => owner.delete(`/tasks/${id}`)));
    await Promise.all(
      tasks.map(({ id }) => editor.post(`/tasks/${id}/comments`, { body: 'late' })),
    );
    await deleted;
    await owner.delete('/trash');
    const left =
      await api.sql`select from comments where task_id in (${tasks[0].id}, ${tasks[1].id})`;
    expect(left.length).toBe(0);
  });

  test('deleting accounts while they comment does not deadlock', async () => {
    const { owner, task, project } = await kitchen();
    const people = [await api.person(), await api.person(), await api.person()];
    for (const one of people) await api.addMember(project.id, one, 'editor');
    await Promise.all(
      people.map(async (who) => {
        const made = await comment(who, task.id);
        const writes = [1, 2, 3].map(() => who.post(`/tasks/${task.id}/comments`, { body: 'x' }));
        const gone = who.request('DELETE', '/users/me', { password: who.password });
        for (const { status } of await Promise.all(writes))
          expect([201, 401, 404]).toContain(status);
        expect((await gone).status).toBe(204);
        expect((await owner.get(`/comments/${made.id}`)).body.author_id).toBe(null);
      }),
    );
    const { items } = (await owner.get(`/tasks/${task.id}/comments`)).body;
    expect(await countOf(owner, task.id)).toBe(items.length);
  });
});
