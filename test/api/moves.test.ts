/** Moving a task to another project: who may, what goes along, and what members of either project learn of it. */
import { describe, expect, test } from 'bun:test';
import { v7 as uuidv7 } from 'uuid';
import { type Persona, useApi } from '../support/api.ts';

const api = useApi();

// biome-ignore lint/suspicious/noExplicitAny: answers are looked into freely.
type Json = any;

/** A project of ada and one of bob, each with the other as a member with this role. */
async function twoProjects(role = 'editor') {
  const [ada, bob] = [await api.person(), await api.person()];
  const [from, to] = [await ada.createProject('From'), await bob.createProject('To')];
  if (role !== '') await api.addMember(to.id, ada, role as 'editor');
  return { ada, bob, from, to };
}

const idsIn = async (who: Persona, path: string) =>
  (await who.get(path)).body.items.map(({ id }: Json) => id);

/** Moves a task by a patch, or by a batch. */
const moves = {
  PATCH: (who: Persona, id: string, fields: object, headers = {}) =>
    who.patch(`/tasks/${id}`, fields, { headers }),
  batch: async (who: Persona, id: string, fields: object) => {
    const operations = [{ op: 'update', task_id: id, ...fields }];
    const answer = await who.post('/tasks/batch', { operations });
    return { ...answer, body: answer.body.results?.[0].task ?? answer.body };
  },
};

describe.each(['PATCH', 'batch'] as const)('by %s', (by) => {
  test('a task keeps all its fields in the other project, and a search finds it there', async () => {
    const { ada, bob, from, to } = await twoProjects();
    const task = await ada.createTask(from.id, {
      title: 'Slate tiles',
      description: 'Fliesen 任务管理',
      labels: ['shopping', "it's"],
      due_on: '2026-12-24',
      status: 'done',
      assignee_id: ada.id,
    });
    const answer = await moves[by](ada, task.id, { project_id: to.id.toUpperCase(), priority: 3 });
    expect(answer.status).toBe(200);
    const moved = {
      ...task,
      ...{ project_id: to.id, priority: 3, version: 2, updated_at: expect.stringMatching(/Z$/) },
    };
    expect(answer.body).toEqual(moved);
    expect((await bob.get(`/tasks/${task.id}`)).body).toEqual(moved);
    for (const query of [
      '',
      'q=slate',
      'q=任务',
      'label=shopping',
      'label_all=it%27s',
      'sort=title',
    ]) {
      expect(await idsIn(bob, `/tasks/projects/${to.id}?${query}`)).toEqual([task.id]);
      expect(await idsIn(ada, `/tasks/projects/${from.id}?${query}`)).toEqual([]);
      expect(await idsIn(ada, `/tasks?${query}`)).toEqual([task.id]);
    }
  });

  test('the assignee is kept if they are a member of the target', async () => {
    const { ada, bob, from, to } = await twoProjects();
    const cid = await api.person();
    await api.addMember(from.id, cid, 'viewer');
    await api.addMember(from.id, bob, 'viewer');
    for (const [assignee, kept] of [
      [bob, bob.id],
      [cid, null],
    ] as const) {
      const task = await ada.createTask(from.id, { assignee_id: assignee.id });
      const { body } = await moves[by](ada, task.id, { project_id: to.id });
      expect(body.assignee_id).toBe(kept);
    }
    const task = await ada.createTask(from.id, { assignee_id: cid.id });
    const assigned = await moves[by](ada, task.id, { project_id: to.id, assignee_id: cid.id });
    expect([assigned.status, assigned.body.errors[0].code]).toEqual([422, 'not_a_member']);
    const other = await moves[by](ada, task.id, { project_id: to.id, assignee_id: bob.id });
    expect([other.status, other.body.assignee_id]).toEqual([200, bob.id]);
  });

  test('a target that may not be written is refused, and nothing is written', async () => {
    const { ada, bob, from, to } = await twoProjects('viewer');
    const task = await ada.createTask(from.id);
    const hidden = await bob.createProject();
    const archived = await ada.createProject();
    await ada.patch(`/projects/${archived.id}`, { archived: true });
    const { next_cursor: since } = (await ada.get('/changes')).body;
    const location = by === 'batch' ? 'body.operations.0.project_id' : 'body.project_id';
    const refused = async (projectId: string) => {
      const { status, body } = await moves[by](ada, task.id, { project_id: projectId, title: 'x' });
      const { request_id: _, ...problem } = body;
      expect(problem.errors).toMatchObject([{ location, code: problem.code }]);
      return { status, problem };
    };
    expect((await refused(to.id)).status).toBe(403);
    expect((await refused(archived.id)).status).toBe(409);
    const unknown = await refused(uuidv7());
    expect(unknown.status).toBe(404);
    expect(await refused(hidden.id)).toEqual(unknown);
    expect((await ada.get(`/tasks/${task.id}`)).body).toEqual(task);
    expect((await ada.get(`/changes?since=${since}`)).body.items).toEqual([]);
  });

  test('a task that may not be written does not move', async () => {
    const { ada, bob, from, to } = await twoProjects();
    const task = await ada.createTask(from.id);
    expect((await moves[by](bob, task.id, { project_id: to.id })).status).toBe(404);
    await api.addMember(from.id, bob, 'viewer');
    expect((await moves[by](bob, task.id, { project_id: to.id })).status).toBe(403);
    expect((await moves[by](ada, task.id, { project_id: to.id, version: 2 })).status).toBe(412);
    await ada.patch(`/projects/${from.id}`, { archived: true });
    expect((await moves[by](ada, task.id, { project_id: to.id })).status).toBe(409);
    expect((await ada.get(`/tasks/${task.id}`)).body).toEqual(task);
  });

  test('to its own project a task does not move, and nothing changes', async () => {
    const { ada, from } = await twoProjects();
    const task = await ada.createTask(from.id, { assignee_id: ada.id });
    expect((await moves[by](ada, task.id, { project_id: from.id })).body).toEqual(task);
  });

  test('the histories and feeds have a deletion in the one project, and a creation in the other', async () => {
    const { ada, bob, from, to } = await twoProjects();
    const cid = await api.person();
    await api.addMember(from.id, cid, 'viewer');
    const task = await ada.createTask(from.id, { labels: ['a'] });
    const people = [ada, bob, cid];
    const cursors = await Promise.all(
      people.map(async (who) => (await who.get('/changes')).body.next_cursor),
    );
    const { body: moved } = await moves[by](ada, task.id, { project_id: to.id, priority: 1 });
    const { id, project_id, version, ...fields } = moved;
    const gone = {
      ...{ action: 'task.deleted', project_id: from.id, subject_id: id, actor_id: ada.id },
      ...{ version: 0, fields: {} },
    };
    const there = { ...gone, action: 'task.created', project_id, version, fields };
    for (const [n, expected] of [[gone, there], [there], [gone]].entries()) {
      const { body } = await (people[n] as Persona).get(`/changes?since=${cursors[n]}`);
      expect(body.items).toMatchObject(expected);
      expect(body.items.length).toBe(expected.length);
    }
    expect((await cid.get(`/projects/${from.id}/events`)).body.items[0]).toMatchObject(gone);
    expect((await bob.get(`/projects/${to.id}/events`)).body.items[0]).toMatchObject(there);
  });
});

test('a batch moves tasks between several projects, beside other operations', async () => {
  const { ada, from, to } = await twoProjects();
  const [one, other] = [await ada.createTask(from.id), await ada.createTask(to.id)];
  const { status, body } = await ada.post('/tasks/batch', {
    operations: [
      { op: 'create', project_id: to.id, title: 'New' },
      { op: 'update', task_id: one.id, project_id: to.id },
      { op: 'update', task_id: other.id, project_id: from.id, version: 1 },
    ],
  });
  expect(status).toBe(200);
  const [made] = body.results;
  expect((await idsIn(ada, `/tasks/projects/${from.id}`)).toSorted()).toEqual([other.id]);
  expect((await idsIn(ada, `/tasks/projects/${to.id}`)).toSorted()).toEqual(
    [one.id, made.task.id].toSorted(),
  );
});

test('PUT refuses another project, and its problem names PATCH', async () => {
  const { ada, from, to } = await twoProjects();
  const task = await ada.createTask(from.id);
  const { status, body } = await ada.put(`/tasks/${task.id}`, { title: 'x', project_id: to.id });
  expect([status, body.errors[0].location, body.errors[0].code]).toEqual([
    422,
    'body.project_id',
    'read_only',
  ]);
  expect(body.errors[0].message).toContain('PATCH');
  expect((await ada.get(`/tasks/${task.id}`)).body).toEqual(task);
});

test('writes beside moves all succeed: none gets 404', async () => {
  const { ada, from, to } = await twoProjects();
  const { id } = await ada.createTask(from.id);
  const WRITERS = 4;
  /** As many moves as a write outlasts. */
  const ROUNDS = 10;
  const writers = Array.from({ length: WRITERS }, async (_, n) => {
    const statuses: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const path = `/tasks/${id}`;
      const title = `${n} ${round}`;
      const operations = [{ op: 'update', task_id: id, title }];
      const answer =
        n === 0
          ? await ada.patch(path, { title, project_id: round % 2 ? from.id : to.id })
          : n === 1
            ? await ada.post('/tasks/batch', { operations })
            : await ada.patch(path, { title });
      statuses.push(answer.status);
    }
    return statuses;
  });
  const statuses = (await Promise.all(writers)).flat();
  expect(statuses.filter((status) => status !== 200)).toEqual([]);
  expect((await ada.get(`/tasks/${id}`)).body.version).toBe(1 + WRITERS * ROUNDS);
});

test('a user of only the first project cannot delete a task once it has moved', async () => {
  const { ada, from, to } = await twoProjects();
  const bob = await api.person();
  await api.addMember(from.id, bob, 'editor');
  for (let round = 0; round < 15; round += 1) {
    const { id } = await ada.createTask(from.id);
    const [moved, deleted] = await Promise.all([
      ada.patch(`/tasks/${id}`, { project_id: to.id }),
      bob.delete(`/tasks/${id}`),
    ]);
    expect([
      [200, 404],
      [404, 204],
    ]).toContainEqual([moved.status, deleted.status]);
    expect((await ada.get(`/tasks/${id}`)).status).toBe(moved.status);
  }
});
