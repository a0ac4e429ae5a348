/** What is deleted goes to the trash, and comes back whole. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { SQL } from 'bun';
import { drizzle } from 'drizzle-orm/bun-sql';
import { v7 as uuidv7 } from 'uuid';
import { purgeTrash } from '../../src/postgres/purge-trash.ts';
import { Client, type Persona, useApi } from '../support/api.ts';
import { Copy, seenBy } from '../support/copy.ts';

const api = useApi();
let ada: Persona;
let database: SQL;

beforeAll(async () => {
  database = new SQL(api.databaseUrl);
  ada = await api.person();
});

afterAll(() => database.close());

const restore = (who: Persona, id: string) => who.post(`/trash/${id}/restore`, undefined);

/** The ids in the trash of a user. */
async function trashOf(who: Persona): Promise<string[]> {
  const { status, body } = await who.get('/trash?limit=200');
  expect(status).toBe(200);
  return body.items.map(({ id }: { id: string }) => id);
}

/** Moves the deletion of something into the past. */
async function age(id: string, days: number) {
  await api.sql`update trashed_tasks set deleted_at = deleted_at - make_interval(days => ${days}) where id = ${id}`;
  await api.sql`update trashed_projects set deleted_at = deleted_at - make_interval(days => ${days}) where id = ${id}`;
}

const purge = () => purgeTrash(drizzle({ client: database }), 30 * 86_400);

/** A project of Ada's with an editor and a viewer. */
async function sharedProject() {
  const [editor, viewer, stranger] = [await api.person(), await api.person(), await api.person()];
  const project = await ada.createProject('Shared');
  await api.addMember(project.id, editor, 'editor');
  await api.addMember(project.id, viewer, 'viewer');
  return { project, editor, viewer, stranger };
}

/** A task as a document has it. */
async function taskOf(who: Persona) {
  const project = await who.createProject();
  await who.createTask(project.id);
  return (await who.get(`/projects/${project.id}/export`)).body.tasks[0];
}

describe('a deleted task', () => {
  test('is in the trash with who deleted it and when it is purged, and in no list', async () => {
    const project = await ada.createProject('Kitchen');
    const task = await ada.createTask(project.id, { title: 'Buy flour' });
    expect((await ada.delete(`/tasks/${task.id}`)).status).toBe(204);
    expect((await ada.get(`/tasks/${task.id}`)).status).toBe(404);
    expect((await ada.get(`/tasks/projects/${project.id}?q=flour`)).body.items).toEqual([]);
    expect((await ada.get(`/tasks/count?project_id=${project.id}`)).body.count).toBe(0);
    expect((await ada.get(`/projects/${project.id}/export`)).body.tasks).toEqual([]);
    const { items } = (await ada.get('/trash')).body;
    const [item] = items;
    expect(item).toEqual({
      id: task.id,
      type: 'task',
      name: 'Buy flour',
      project_id: project.id,
      project_name: 'Kitchen',
      deleted_at: item.deleted_at,
      deleted_by: ada.id,
      purge_at: new Date(Date.parse(item.deleted_at) + 30 * 86_400_000).toISOString(),
    });
  });

  test('comes back whole, with its next version', async () => {
    const project = await ada.createProject();
    const task = await ada.createTask(project.id, {
      title: 'Ördnung 漢字 "quoted" \\ back',
      description: 'Two\nlines, {braces} and\ttabs',
      status: 'done',
      priority: 3,
      due_on: '2026-12-24',
      labels: ['a b', '"c"', 'NULL', '\\d'],
      assignee_id: ada.id,
    });
    await ada.delete(`/tasks/${task.id}`);
    const { status, body } = await restore(ada, task.id);
    expect([status, body.type, body.project]).toEqual([200, 'task', null]);
    expect(body.task).toEqual({ ...task, version: 2, updated_at: body.task.updated_at });
    expect(body.task.updated_at >= task.updated_at).toBe(true);
    expect((await ada.get(`/tasks/${task.id}`)).body).toEqual(body.task);
    for (const query of ['q=Ördnung', 'q=漢字', 'label=NULL', 'q=lines'])
      expect((await ada.get(`/tasks/projects/${project.id}?${query}`)).body.items).toHaveLength(1);
    expect(await trashOf(ada)).not.toContain(task.id);
    // A change after it is a change as any other.
    const patched = await ada.patch(`/tasks/${task.id}`, { title: 'Later', version: 2 });
    expect([patched.status, patched.body.version]).toEqual([200, 3]);
  });

  test('has no assignee where that user is no member any more, and no creator where the account is deleted', async () => {
    const { project, editor } = await sharedProject();
    const task = (
      await editor.post(`/tasks/projects/${project.id}`, { title: 'Mine', assignee_id: 'me' })
    ).body;
    await ada.delete(`/tasks/${task.id}`);
    await ada.delete(`/projects/${project.id}/members/${editor.id}`);
    await editor.request('DELETE', '/users/me', { password: editor.password });
    const { body } = await restore(ada, task.id);
    expect(body.task).toMatchObject({ id: task.id, assignee_id: null, created_by: null });
  });

  test.each(['a batch', 'the version before'])('by %s is in the trash too', async (way) => {
    const project = await ada.createProject();
    const task = await ada.createTask(project.id);
    if (way === 'a batch')
      await ada.post('/tasks/batch', { operations: [{ op: 'delete', task_id: task.id }] });
    else await api.sql`delete from tasks where id = ${task.id}`;
    const { items } = (await ada.get('/trash')).body;
    const found = items.find(({ id }: { id: string }) => id === task.id);
    expect(found?.deleted_by).toBe(way === 'a batch' ? ada.id : null);
    expect((await restore(ada, task.id)).status).toBe(200);
  });

  test('is restored by owners and editors, and by them alone', async () => {
    const { project, editor, viewer, stranger } = await sharedProject();
    const task = await ada.createTask(project.id);
    await editor.delete(`/tasks/${task.id}`);
    expect(await trashOf(viewer)).toEqual([]);
    expect(await trashOf(stranger)).toEqual([]);
    expect(await trashOf(editor)).toEqual([task.id]);
    for (const send of [restore, (who: Persona, id: string) => who.delete(`/trash/${id}`)]) {
      expect((await send(viewer, task.id)).status).toBe(403);
      expect((await send(stranger, task.id)).status).toBe(404);
    }
    expect((await restore(editor, task.id)).status).toBe(200);
    expect((await restore(editor, task.id)).status).toBe(404);
  });

  test('is not restored into an archived project, nor into one in the trash', async () => {
    const project = await ada.createProject();
    const task = await ada.createTask(project.id);
    await ada.delete(`/tasks/${task.id}`);
    await ada.patch(`/projects/${project.id}`, { archived: true });
    expect(await trashOf(ada)).not.toContain(task.id);
    const archived = await restore(ada, task.id);
    expect([archived.status, archived.body.code]).toEqual([409, 'conflict']);
    await ada.delete(`/projects/${project.id}`);
    for (const send of [restore, (who: Persona, id: string) => who.delete(`/trash/${id}`)]) {
      const refused = await send(ada, task.id);
      expect([refused.status, refused.body.code]).toEqual([409, 'conflict']);
      expect(refused.body.detail).toContain('in the trash');
    }
    await restore(ada, project.id);
    await ada.patch(`/projects/${project.id}`, { archived: false });
    expect((await restore(ada, task.id)).body.task.id).toBe(task.id);
  });

  test('keeps its id: no new task takes it, in any project, by any user', async () => {
    const [project, eve] = [await ada.createProject(), await api.person()];
    const id = uuidv7();
    await ada.createTask(project.id, { id, title: 'First' });
    await ada.delete(`/tasks/${id}`);
    const own = await eve.createProject();
    const document = (await eve.get(`/projects/${own.id}/export`)).body;
    const task = { ...(await taskOf(eve)), id: id.toUpperCase() };
    for (const [who, target] of [
      [ada, project],
      [eve, own],
    ] as const) {
      const operation = { op: 'create', project_id: target.id, title: 'Second', id };
      const refusals = [
        await who.post(`/tasks/projects/${target.id}`, { id: id.toUpperCase(), title: 'Second' }),
        await who.post('/tasks/batch', { operations: [operation] }),
        await who.post('/projects/import', { ...document, tasks: [task] }),
      ];
      for (const { status, body } of refusals)
        expect([status, body.code]).toEqual([409, 'id_taken']);
    }
    expect((await restore(ada, id)).body.task.title).toBe('First');
  });

  test('is restored once by 20 requests at once, and is there once', async () => {
    const project = await ada.createProject();
    const task = await ada.createTask(project.id);
    await ada.delete(`/tasks/${task.id}`);
    const answers = await Promise.all(Array.from({ length: 20 }, () => restore(ada, task.id)));
    const statuses = answers.map(({ status }) => status);
    expect(statuses.filter((status) => status === 200)).toHaveLength(1);
    expect(statuses.filter((status) => status === 404)).toHaveLength(19);
    expect((await ada.get(`/tasks/${task.id}`)).body.version).toBe(2);
  });
});

describe('a deleted project', () => {
  test('comes back whole ten days later, with members, tasks, assignees and history', async () => {
    const { project, editor, viewer } = await sharedProject();
    const task = await ada.createTask(project.id, { assignee_id: editor.id, labels: ['a'] });
    const [before, seenByViewer] = [await seenBy(ada), await seenBy(viewer)];
    expect((await ada.delete(`/projects/${project.id}`)).status).toBe(204);
    for (const who of [ada, editor, viewer]) {
      expect((await who.get(`/projects/${project.id}`)).status).toBe(404);
      expect((await who.get(`/tasks/${task.id}`)).status).toBe(404);
      expect((await who.get(`/projects/${project.id}/members`)).status).toBe(404);
      expect((await who.get(`/projects/${project.id}/events`)).status).toBe(404);
      expect((await who.post(`/tasks/projects/${project.id}`, { title: 'x' })).status).toBe(404);
    }
    expect((await ada.delete(`/projects/${project.id}`)).status).toBe(404);
    const item = (await ada.get('/trash')).body.items[0];
    expect(item).toMatchObject({ id: project.id, type: 'project', name: 'Shared' });
    await age(project.id, 10);
    await purge();
    expect(await trashOf(editor)).not.toContain(project.id);
    expect((await restore(editor, project.id)).status).toBe(404);
    const restored = await restore(ada, project.id);
    expect([restored.status, restored.body.task]).toEqual([200, null]);
    expect(restored.body.project).toEqual(project);
    expect(await seenBy(ada)).toEqual(before);
    expect(await seenBy(viewer)).toEqual(seenByViewer);
    const history = (await ada.get(`/projects/${project.id}/events?limit=200`)).body.items;
    const actions = history.map(({ action }: { action: string }) => action);
    expect(actions.slice(0, 2)).toEqual(['project.restored', 'project.deleted']);
    expect(actions).toContain('task.created');
    expect(history[0].actor_id).toBe(ada.id);
    expect(await trashOf(ada)).not.toContain(project.id);
  });

  test('is deleted only in the version that the client expects', async () => {
    const project = await ada.createProject();
    await ada.patch(`/projects/${project.id}`, { name: 'New' });
    const options = { headers: { 'if-match': '"1"' } };
    expect((await ada.delete(`/projects/${project.id}`, options)).status).toBe(412);
    expect((await ada.get(`/projects/${project.id}`)).status).toBe(200);
  });

  test('is deleted once and restored once by requests at once', async () => {
    const project = await ada.createProject();
    const deletions = await Promise.all(
      Array.from({ length: 10 }, () => ada.delete(`/projects/${project.id}`)),
    );
    expect(deletions.filter(({ status }) => status === 204)).toHaveLength(1);
    expect(deletions.filter(({ status }) => status === 404)).toHaveLength(9);
    const restores = await Promise.all(Array.from({ length: 10 }, () => restore(ada, project.id)));
    expect(restores.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(restores.filter(({ status }) => status === 404)).toHaveLength(9);
    const lost = await api.sql`select action from events where project_id = ${project.id}
      and recipient_id is not null order by number`;
    expect(lost.map(({ action }: { action: string }) => action)).toEqual([
      'access.granted',
      'access.lost',
      'access.granted',
    ]);
  });

  test('is not swept as the rest of an import', async () => {
    const project = await ada.createProject();
    const task = await ada.createTask(project.id);
    await ada.delete(`/projects/${project.id}`);
    await age(project.id, 1);
    const document = (await ada.get(`/projects/${(await ada.createProject()).id}/export`)).body;
    expect((await ada.post('/projects/import', document)).status).toBe(201);
    await restore(ada, project.id);
    expect((await ada.get(`/tasks/${task.id}`)).body).toEqual(task);
  });

  test('has an id that no other project can take', async () => {
    const id = uuidv7();
    await ada.post('/projects/', { id, name: 'First' });
    await ada.delete(`/projects/${id}`);
    expect((await ada.post('/projects/', { id, name: 'Second' })).body.code).toBe('id_taken');
  });
});

describe('the feed', () => {
  test('has what undoes a deletion, and rebuilds an equal copy', async () => {
    const { project, editor } = await sharedProject();
    const task = await ada.createTask(project.id, { labels: ['a'], due_on: '2026-12-24' });
    const other = await ada.createTask(project.id);
    const copy = new Copy(editor, editor.id);
    await copy.readSnapshot(50);
    const since = copy.cursor;
    await ada.delete(`/tasks/${task.id}`);
    await restore(ada, task.id);
    await ada.delete(`/tasks/${other.id}`);
    const { items } = (await editor.get(`/changes?since=${since}`)).body;
    const { id, project_id, version, ...fields } = task;
    expect(items[0]).toMatchObject({ action: 'task.deleted', subject_id: task.id, fields });
    expect(items[1]).toMatchObject({
      action: 'task.restored',
      subject_id: task.id,
      version: 2,
      fields: { ...fields, updated_at: items[1].fields.updated_at },
    });
    await copy.catchUp(50);
    expect(copy.projects).toEqual(await seenBy(editor));
    await ada.delete(`/projects/${project.id}`);
    await copy.catchUp(50);
    expect(Object.keys(copy.projects)).toEqual([]);
    await restore(ada, project.id);
    await copy.catchUp(50);
    expect(copy.projects).toEqual(await seenBy(editor));
    expect(Object.keys(copy.projects)).toEqual([project.id]);
  });
});

describe('the trash', () => {
  test('lists tasks and projects together, latest first, page by page', async () => {
    const user = await api.person();
    const project = await user.createProject('One');
    const gone: string[] = [];
    for (let n = 0; n < 4; n += 1) {
      const task = await user.createTask(project.id);
      const other = await user.createProject(`Other ${n}`);
      await user.delete(`/tasks/${task.id}`);
      await user.delete(`/projects/${other.id}`);
      gone.unshift(other.id, task.id);
    }
    // Times that are equal to the millisecond are told apart by the id.
    const ids = `{${gone.join()}}`;
    const moment = new Date(Date.now() - 60_000).toISOString();
    for (const table of ['trashed_tasks', 'trashed_projects'])
      await database.unsafe(`update ${table} set deleted_at = $1 where id = any($2::uuid[])`, [
        moment,
        ids,
      ]);
    const pages: string[] = [];
    for (let cursor = ''; ; ) {
      const { body } = await user.get(`/trash?limit=3${cursor}`);
      pages.push(...body.items.map(({ id }: { id: string }) => id));
      if (body.next_cursor === null) break;
      cursor = `&cursor=${body.next_cursor}`;
    }
    expect(pages).toEqual([...gone].sort().reverse());
  });

  test('forgets what is deleted from it, and what is older than the retention time', async () => {
    const user = await api.person();
    const project = await user.createProject();
    const [one, two, three] = [
      await user.createTask(project.id),
      await user.createTask(project.id),
      await user.createTask(project.id),
    ];
    const old = await user.createProject('Old');
    const inOld = await user.createTask(old.id);
    await user.delete(`/tasks/${inOld.id}`);
    for (const { id } of [one, two, three]) await user.delete(`/tasks/${id}`);
    await user.delete(`/projects/${old.id}`);
    expect((await user.delete(`/trash/${one.id}`)).status).toBe(204);
    expect((await user.delete(`/trash/${one.id}`)).status).toBe(404);
    await age(two.id, 31);
    await age(old.id, 31);
    expect(await trashOf(user)).toEqual([three.id]);
    // Before the purge as after it.
    for (let round = 0; round < 2; round += 1) {
      expect((await restore(user, two.id)).status).toBe(404);
      expect((await restore(user, old.id)).status).toBe(404);
      await purge();
    }
    const left =
      await api.sql`select id from trashed_tasks where project_id in (${project.id}, ${old.id})
      union all select id from projects where id = ${old.id} union all select id from tasks where project_id = ${old.id}
      union all select id from events where project_id = ${old.id} and recipient_id is null`;
    expect(left.map(({ id }: { id: string }) => id)).toEqual([three.id]);
    expect(await trashOf(user)).toEqual([three.id]);
  });

  test('is emptied by its user, and only of what that user can restore', async () => {
    const { project, editor } = await sharedProject();
    const task = await ada.createTask(project.id);
    const own = await editor.createProject();
    await ada.delete(`/tasks/${task.id}`);
    await editor.delete(`/projects/${own.id}`);
    await ada.delete(`/projects/${(await ada.createProject()).id}`);
    const before = await trashOf(ada);
    expect(await trashOf(editor)).toEqual([own.id, task.id]);
    expect((await editor.delete('/trash')).status).toBe(204);
    expect(await trashOf(editor)).toEqual([]);
    expect((await restore(editor, own.id)).status).toBe(404);
    expect(await trashOf(ada)).toEqual(before.filter((id) => id !== task.id));
    await purge();
    expect(await api.sql`select id from projects where id = ${own.id}`).toHaveLength(0);
  });

  test('is closed to a token that only reads, but for its list', async () => {
    const { body } = await ada.post('/users/me/tokens', { name: 'reads', scopes: ['read'] });
    const reader = new Client(api, body.token);
    expect((await reader.get('/trash')).status).toBe(200);
    expect((await reader.delete('/trash')).body.code).toBe('insufficient_scope');
    expect((await reader.post(`/trash/${uuidv7()}/restore`, undefined)).status).toBe(403);
  });
});

describe('deleting an account', () => {
  test('with shared projects is refused, and names them', async () => {
    const { project, editor } = await sharedProject();
    const owner = await api.person();
    const shared = await owner.createProject('Garden');
    await owner.createProject('Own');
    await api.addMember(shared.id, editor, 'editor');
    const trashed = await owner.createProject('In the trash');
    await api.addMember(trashed.id, editor, 'viewer');
    await owner.delete(`/projects/${trashed.id}`);
    const leave = (body: object) =>
      owner.request('DELETE', '/users/me', { password: owner.password, ...body });
    const refused = await leave({});
    expect([refused.status, refused.body.code]).toEqual([409, 'shared_projects']);
    expect(refused.body.errors).toEqual([
      {
        location: 'body.projects',
        code: 'shared_project',
        message: `Garden (${shared.id}) has other members`,
      },
    ]);
    expect((await owner.get('/users/me')).status).toBe(200);
    expect((await leave({ projects: 'keep' })).status).toBe(422);
    expect((await leave({ projects: 'delete' })).status).toBe(204);
    expect((await editor.get(`/projects/${shared.id}`)).status).toBe(404);
    expect((await editor.get(`/projects/${project.id}`)).status).toBe(200);
    expect(await api.sql`select id from projects where id = ${trashed.id}`).toHaveLength(0);
    const lost = await api.sql`select project_id from events where action = 'access.lost'
      and recipient_id = ${editor.id} and project_id in (${shared.id}, ${trashed.id})`;
    expect(lost).toHaveLength(2);
  });

  test('is possible once they are handed over', async () => {
    const [owner, heir] = [await api.person(), await api.person()];
    const shared = await owner.createProject();
    await api.addMember(shared.id, heir, 'editor');
    await owner.patch(`/projects/${shared.id}/members/${heir.id}`, { role: 'owner' });
    const { status } = await owner.request('DELETE', '/users/me', { password: owner.password });
    expect(status).toBe(204);
    expect((await heir.get(`/projects/${shared.id}`)).body.role).toBe('owner');
  });
});
