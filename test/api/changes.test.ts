/** The history of a project, and the feed of a user's changes. */
import { describe, expect, test } from 'bun:test';
import { type Persona, useApi } from '../support/api.ts';
import { Follower } from '../support/follower.ts';
import { waitFor } from '../support/process.ts';

const api = useApi();

// biome-ignore lint/suspicious/noExplicitAny: answers are looked into freely.
type Json = any;

const now = async (who: Persona): Promise<string> => (await who.get('/changes')).body.next_cursor;

/** All that came after a cursor, page by page. */
async function changesSince(who: Persona, since: string, limit = 50): Promise<Json[]> {
  const items: Json[] = [];
  for (let cursor = since; ; ) {
    const { body } = await who.get(`/changes?limit=${limit}&since=${cursor}`);
    items.push(...body.items);
    cursor = body.next_cursor;
    if (body.items.length < limit) return items;
  }
}

const brief = (items: Json[]) =>
  items.map(({ action, subject_id, version, fields: { updated_at: _, ...fields } }) => ({
    action,
    subject_id,
    version,
    fields,
  }));

describe('each write adds an event', () => {
  test('task events name the actor and the fields that changed', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    const since = await now(ada);
    const task = await ada.createTask(project.id, {
      labels: ['a'],
      due_at: '2026-12-24T18:00:00+01:00',
    });
    await ada.patch(`/tasks/${task.id}`, { status: 'done', title: task.title });
    const { body: put } = await ada.put(`/tasks/${task.id}`, { title: 'Slate' });
    await ada.delete(`/tasks/${task.id}`);
    const items = await changesSince(ada, since);
    const fieldsOf = ({ id: _, project_id: __, version: ___, ...fields }: Json) => fields;
    const { id, project_id } = task;
    const fields = fieldsOf(task);
    expect(brief(items)).toEqual([
      { action: 'task.created', subject_id: id, version: 1, fields: without(fields, 'updated_at') },
      {
        action: 'task.updated',
        subject_id: id,
        version: 2,
        fields: { status: 'done', completed_at: expect.any(String) },
      },
      {
        action: 'task.updated',
        subject_id: id,
        version: 3,
        fields: { title: 'Slate', status: 'todo', completed_at: null, due_at: null, labels: [] },
      },
      {
        action: 'task.deleted',
        subject_id: id,
        version: 0,
        fields: without(fieldsOf(put), 'updated_at'),
      },
    ]);
    expect(items[2].fields.updated_at).toBe(put.updated_at);
    for (const item of items)
      expect(item).toMatchObject({ actor_id: ada.id, project_id, subject: 'task' });
  });

  test('project and member events name the actor and the fields that changed', async () => {
    const [ada, bob] = [await api.person('ada'), await api.person('bob')];
    const since = await now(ada);
    const project = await ada.createProject('Kitchen');
    await ada.patch(`/projects/${project.id}`, { archived: true });
    await ada.patch(`/projects/${project.id}`, { archived: false, name: 'Küche' });
    await ada.post(`/projects/${project.id}/members`, { username: bob.username, role: 'viewer' });
    await ada.patch(`/projects/${project.id}/members/${bob.id}`, { role: 'editor' });
    await ada.delete(`/projects/${project.id}/members/${bob.id}`);
    const { body } = await ada.get(`/projects/${project.id}/events`);
    expect(brief(body.items.toReversed())).toEqual([
      {
        action: 'project.created',
        subject_id: project.id,
        version: 1,
        fields: {
          name: 'Kitchen',
          description: null,
          archived_at: null,
          created_at: project.created_at,
          viewers_may_comment: false,
        },
      },
      { action: 'member.added', subject_id: ada.id, version: 1, fields: { role: 'owner' } },
      {
        action: 'project.updated',
        subject_id: project.id,
        version: 2,
        fields: { archived_at: expect.any(String) },
      },
      {
        action: 'project.updated',
        subject_id: project.id,
        version: 3,
        fields: { archived_at: null, name: 'Küche' },
      },
      { action: 'member.added', subject_id: bob.id, version: 4, fields: { role: 'viewer' } },
      { action: 'project.updated', subject_id: project.id, version: 4, fields: {} },
      { action: 'member.updated', subject_id: bob.id, version: 5, fields: { role: 'editor' } },
      { action: 'project.updated', subject_id: project.id, version: 5, fields: {} },
      { action: 'member.removed', subject_id: bob.id, version: 6, fields: {} },
      { action: 'project.updated', subject_id: project.id, version: 6, fields: {} },
    ]);
    expect((await changesSince(ada, since))[0].action).toBe('access.granted');
  });
});

function without<T extends object>(value: T, name: keyof T) {
  const { [name]: _, ...rest } = value;
  return rest;
}

test('an import adds one event for its owner, and none when it fails', async () => {
  const ada = await api.person('ada');
  const project = await ada.createProject('Kitchen');
  for (const title of ['One', 'Two']) await ada.createTask(project.id, { title });
  const { text } = await ada.get(`/projects/${project.id}/export`);
  const since = await now(ada);
  const send = (raw: string) =>
    ada.post('/projects/import', undefined, {
      raw,
      headers: { 'content-type': 'application/json' },
    });
  expect((await send(text.replace('"todo"', '"never"'))).status).toBe(422);
  const { rows } = await countEvents();
  expect(await changesSince(ada, since)).toEqual([]);
  const { status, body } = await send(text);
  expect(status).toBe(201);
  const { id } = body.project;
  expect(
    (await changesSince(ada, since)).map(({ action, project_id }) => [action, project_id]),
  ).toEqual([['access.granted', id]]);
  const { body: history } = await ada.get(`/projects/${id}/events`);
  expect(brief(history.items.toReversed())).toMatchObject([
    { action: 'project.created', fields: { name: 'Kitchen' } },
    { action: 'member.added', subject_id: ada.id },
  ]);
  expect(history.items[0].actor_id).toBe(ada.id);
  expect((await countEvents()).rows).toBe(rows + 3);
});

async function countEvents() {
  const [{ rows }] = (await api.sql`select count(*)::int as rows from events`) as [
    { rows: number },
  ];
  return { rows };
}

describe('access to a project', () => {
  test('limits the feed of a member to the events between grant and loss', async () => {
    const [ada, bob] = [await api.person('ada'), await api.person('bob')];
    const project = await ada.createProject();
    await ada.createTask(project.id);
    const since = await now(bob);
    const members = `/projects/${project.id}/members`;
    await ada.post(members, { username: bob.username, role: 'editor' });
    const task = await bob.createTask(project.id);
    expect(
      brief(await changesSince(bob, since)).map(({ action, subject_id }) => [action, subject_id]),
    ).toEqual([
      ['access.granted', project.id],
      ['project.updated', project.id],
      ['task.created', task.id],
    ]);
    await ada.delete(`${members}/${bob.id}`);
    await ada.patch(`/tasks/${task.id}`, { title: 'After' });
    const gone = [['access.lost', project.id]];
    const items = await changesSince(bob, since);
    expect(items.slice(-1).map(({ action, subject_id }) => [action, subject_id])).toEqual(gone);
    expect(JSON.stringify(items)).not.toContain('After');
    expect((await bob.get(`/projects/${project.id}/events`)).status).toBe(404);
    // The owner gets the event of the member, not the one for the member alone.
    expect(JSON.stringify(await changesSince(ada, await now(ada)))).not.toContain('access.lost');
  });

  test('ends for all members when the project is deleted, and so does that to its history', async () => {
    const [ada, bob] = [await api.person('ada'), await api.person('bob')];
    const project = await ada.createProject();
    await api.addMember(project.id, bob, 'viewer');
    await ada.createTask(project.id);
    const [ofAda, ofBob] = [await now(ada), await now(bob)];
    await ada.delete(`/projects/${project.id}`);
    for (const items of [await changesSince(ada, ofAda), await changesSince(bob, ofBob)])
      expect(items).toMatchObject([
        { action: 'access.lost', subject_id: project.id, actor_id: ada.id, version: 0, fields: {} },
      ]);
    for (const who of [ada, bob])
      expect((await who.get(`/projects/${project.id}/events`)).status).toBe(404);
  });

  test('ends with the account, and the events that only it received are deleted', async () => {
    const [ada, bob] = [await api.person('ada'), await api.person('bob')];
    const project = await ada.createProject();
    await api.addMember(project.id, bob, 'editor');
    await bob.createTask(project.id, { assignee_id: bob.id });
    const since = await now(ada);
    await bob.request('DELETE', '/users/me', { password: bob.password });
    expect((await changesSince(ada, since)).map(({ action }) => action).sort()).toEqual([
      'member.removed',
      'task.updated',
    ]);
    const rows = await api.sql`select from events where recipient_id = ${bob.id}`;
    expect(rows.length).toBe(0);
  });

  test('of a viewer shows the same members as GET members does', async () => {
    const [ada, bob, cid] = [
      await api.person('ada'),
      await api.person('bob'),
      await api.person('cid'),
    ];
    const project = await ada.createProject();
    await api.addMember(project.id, bob, 'viewer');
    const since = await now(bob);
    const stream = await Follower.follow(bob);
    await ada.post(`/projects/${project.id}/members`, { username: cid.username, role: 'viewer' });
    await waitFor('the member is told', () => stream.items.length > 1);
    stream.close();
    const { body: history } = await bob.get(`/projects/${project.id}/events`);
    const isOfCid = ({ subject, subject_id }: Json) =>
      subject === 'member' && subject_id === cid.id;
    for (const told of [stream.items, history.items, await changesSince(bob, since)])
      expect(told.filter(isOfCid).length).toBe(1);
    const { body: members } = await bob.get(`/projects/${project.id}/members`);
    expect(members.items.length).toBe(3);
  });
});

describe('the history of a project', () => {
  test('is paged with the latest event first, and gets 404 for a non-member', async () => {
    const [ada, stranger] = [await api.person('ada'), await api.person('stranger')];
    const project = await ada.createProject();
    for (let n = 0; n < 5; n += 1) await ada.createTask(project.id, { title: `Task ${n}` });
    const path = `/projects/${project.id}/events`;
    const titles: string[] = [];
    for (let cursor = ''; ; ) {
      const { body } = await ada.get(`${path}?limit=2${cursor}`);
      expect(body.items.length).toBeLessThanOrEqual(2);
      titles.push(
        ...body.items.map(({ fields }: Json) => fields.title ?? fields.name ?? fields.role),
      );
      if (body.next_cursor === null) break;
      cursor = `&cursor=${body.next_cursor}`;
    }
    expect(titles).toEqual(['Task 4', 'Task 3', 'Task 2', 'Task 1', 'Task 0', 'owner', 'Kitchen']);
    expect((await stranger.get(path)).status).toBe(404);
    const { body } = await ada.get(`${path}?limit=2`);
    const elsewhere = await ada.createProject();
    const foreign = await ada.get(`/projects/${elsewhere.id}/events?cursor=${body.next_cursor}`);
    expect([foreign.status, foreign.body.code]).toEqual([422, 'invalid_cursor']);
  });
});

describe('a cursor of the feed', () => {
  const codeOf = async (who: Persona, since: string) => {
    const { status, body } = await who.get(`/changes?since=${encodeURIComponent(since)}`);
    const stream = await fetch(`${api.url}/changes/stream`, {
      headers: { authorization: `Bearer ${who.token}`, 'last-event-id': since },
    });
    expect(stream.status).toBe(status);
    expect(((await stream.json()) as Json).code).toBe(body.code);
    return body.code;
  };

  test.each(['x', 'W10', btoa('["a"]'), btoa('[1,2,3]'), btoa('["changes","",-1]')])(
    'that the server did not make is refused: %s',
    async (since) => {
      expect(await codeOf(await api.person(), since)).toBe('invalid_cursor');
    },
  );

  test('of another user or of another list is refused', async () => {
    const [ada, bob] = [await api.person('ada'), await api.person('bob')];
    const project = await ada.createProject();
    await ada.createTask(project.id);
    expect(await codeOf(bob, await now(ada))).toBe('invalid_cursor');
    const { body: history } = await ada.get(`/projects/${project.id}/events?limit=1`);
    expect(await codeOf(ada, history.next_cursor)).toBe('invalid_cursor');
    const { body: list } = await ada.get('/tasks?limit=1');
    expect(list.next_cursor).toBeNull();
  });

  test.each([1, 1000, 2 ** 53 - 1])(
    'beyond the end of the feed by %d has expired',
    async (ahead) => {
      const ada = await api.person('ada');
      const [name, timeline, position] = JSON.parse(atob(await now(ada)));
      const future = Math.min(position + ahead, Number.MAX_SAFE_INTEGER);
      const cursor = btoa(JSON.stringify([name, timeline, future]));
      expect(await codeOf(ada, cursor)).toBe('cursor_expired');
    },
  );

  test('older than the retention gets 410, and older events are deleted', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    const since = await now(ada);
    await ada.createTask(project.id);
    const later = await now(ada);
    await api.sql`update events set at = now() - interval '91 days' where project_id = ${project.id}`;
    const task = await ada.createTask(project.id);
    expect((await changesSince(ada, later)).map(({ subject_id }) => subject_id)).toEqual([task.id]);
    expect(await codeOf(ada, since)).toBe('cursor_expired');
    const { body } = await ada.get(`/projects/${project.id}/events`);
    expect(body.items.map(({ subject_id }: Json) => subject_id)).toEqual([task.id]);
  });

  test('from before a restore gets 410', async () => {
    const ada = await api.person('ada');
    const [name, , position] = JSON.parse(atob(await now(ada)));
    expect(await codeOf(ada, btoa(JSON.stringify([name, '00000000', position])))).toBe(
      'cursor_expired',
    );
  });
});

describe('the change stream', () => {
  test('sends a change by another user at once, and resumes at the last event id', async () => {
    const [ada, bob] = [await api.person('ada'), await api.person('bob')];
    const project = await ada.createProject();
    await api.addMember(project.id, bob, 'viewer');
    const first = await Follower.follow(bob);
    const one = await ada.createTask(project.id, { title: 'One' });
    await waitFor('it is told', () => first.items.length > 0);
    expect(first.items).toMatchObject([
      { action: 'task.created', subject_id: one.id, cursor: first.lastId },
    ]);
    first.close();
    await waitFor('it has ended', () => first.ended);
    const two = await ada.createTask(project.id, { title: 'Two' });
    const again = await Follower.follow(bob, { 'last-event-id': first.lastId ?? '' });
    const three = await ada.createTask(project.id, { title: 'Three' });
    await waitFor('both are told', () => again.items.length === 2);
    expect(again.items.map(({ subject_id }) => subject_id)).toEqual([two.id, three.id]);
    again.close();
  });

  test('ends soon after a log-out and sends no later event', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    const stream = await Follower.follow(ada);
    await ada.post('/users/logout');
    await waitFor('it has ended', () => stream.ended);
    expect(project.id).toBeString();
    expect(stream.items).toEqual([]);
  });

  test('sends a removed member the event of the removal and nothing after it', async () => {
    const [ada, bob] = [await api.person('ada'), await api.person('bob')];
    const project = await ada.createProject();
    await api.addMember(project.id, bob, 'viewer');
    const stream = await Follower.follow(bob);
    await ada.delete(`/projects/${project.id}/members/${bob.id}`);
    await ada.createTask(project.id, { title: 'Not for him' });
    const other = await bob.createProject('His own');
    await waitFor('the change in the other project is told', () =>
      stream.items.some(({ project_id }) => project_id === other.id),
    );
    expect(stream.items.map(({ action }) => action)).toEqual(['access.lost', 'access.granted']);
    stream.close();
  });

  test('is limited to 20 for each user', async () => {
    const ada = await api.person('ada');
    const streams = await Promise.all(Array.from({ length: 20 }, () => Follower.follow(ada)));
    const more = await Follower.follow(ada);
    expect(more.status).toBe(429);
    for (const stream of streams) stream.close();
    await waitFor('they have ended', () => streams.every(({ ended }) => ended));
    await waitFor('there is room', async () => {
      const again = await Follower.follow(ada);
      again.close();
      return again.status === 200;
    });
  });

  test('of a client that does not read is cut off and does not delay other clients', async () => {
    const [ada, bob] = [await api.person('ada'), await api.person('bob')];
    const project = await ada.createProject();
    await api.addMember(project.id, bob, 'editor');
    const { port } = new URL(api.url);
    const silent = await Bun.connect({
      hostname: '127.0.0.1',
      port: Number(port),
      socket: { data() {} },
    });
    silent.write(
      `GET /changes/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${bob.token}\r\n\r\n`,
    );
    silent.pause();
    const stream = await Follower.follow(ada);
    const description = 'long '.repeat(4000);
    for (let n = 0; n < 10; n += 1) {
      const operations = Array.from({ length: 40 }, () => ({
        op: 'create',
        project_id: project.id,
        title: 'Long',
        description,
      }));
      expect((await ada.post('/tasks/batch', { operations })).status).toBe(200);
    }
    await waitFor('the reader has all', () => stream.items.length === 400);
    stream.close();
    // With this stream open there is room for nineteen more.
    const others = await Promise.all(Array.from({ length: 19 }, () => Follower.follow(bob)));
    await waitFor('the client that reads nothing is cut off', async () => {
      const one = await Follower.follow(bob);
      one.close();
      return one.status === 200;
    });
    for (const other of others) other.close();
    silent.end();
  });
});
