/** Subtasks and blockers. PostgreSQL keeps the tree, whatever is written at once. */
import { beforeAll, describe, expect, test } from 'bun:test';
import { v7 as uuidv7 } from 'uuid';
import { type Persona, useApi } from '../support/api.ts';
import { Copy, seenBy } from '../support/copy.ts';
import { countWaiting, openTransaction, waitForBlockedQuery } from '../support/locks.ts';
import { waitFor } from '../support/process.ts';

// biome-ignore lint/suspicious/noExplicitAny: rows are kept as they come.
type Json = any;

const api = useApi();
let ada: Persona;
let project: Json;

beforeAll(async () => {
  ada = await api.person();
  project = await ada.createProject();
});

const subtaskOf = (parent: Json, fields: object = {}) =>
  ada.createTask(parent.project_id, { parent_id: parent.id, ...fields });

/** A task, its subtask, and so on, down to a level. */
async function chain(levels: number): Promise<Json[]> {
  const tasks = [await ada.createTask(project.id, { title: 'Level 1' })];
  while (tasks.length < levels)
    tasks.push(await subtaskOf(tasks.at(-1), { title: `Level ${tasks.length + 1}` }));
  return tasks;
}

const setParent = (task: Json, parent: Json | null) =>
  ada.patch(`/tasks/${task.id}`, { parent_id: parent?.id ?? null });

const refusal = ({ status, body }: { status: number; body: Json }) => [
  status,
  body.errors?.map(({ location, code }: Json) => `${location} ${code}`),
];

/** Every tree in the database is whole: parents in the same project, and up to five levels. */
async function assertForest() {
  const rows = await api.sql`
    with recursive up as (
      select id, project_id, parent_id, 1 as level from tasks
      union all
      select up.id, case when t.project_id = up.project_id then up.project_id end, t.parent_id, level + 1
      from up join tasks t on t.id = up.parent_id where level <= 6
    ) select max(level) as deepest, count(*) filter (where project_id is null) as elsewhere from up`;
  expect(Number(rows[0].elsewhere)).toBe(0);
  expect(Number(rows[0].deepest)).toBeLessThanOrEqual(5);
}

describe('a subtask', () => {
  test('has a parent, is listed below it, and counts there', async () => {
    const parent = await ada.createTask(project.id, { title: 'Paint' });
    const [one, two, three] = [
      await subtaskOf(parent, { title: 'Sand' }),
      await subtaskOf(parent, { title: 'Prime', status: 'done' }),
      await subtaskOf(parent, { title: 'Wait', status: 'cancelled' }),
    ];
    expect(one.parent_id).toBe(parent.id);
    const { body } = await ada.get(`/tasks/${parent.id}/subtasks?sort=created_at`);
    expect(body.items).toEqual([one, two, three]);
    const inList = await ada.get(
      `/tasks/projects/${project.id}?parent_id=${parent.id}&status=todo`,
    );
    expect(inList.body.items).toEqual([one]);
    const all = await ada.get(`/tasks?parent_id=${parent.id.toUpperCase()}`);
    expect(all.body.items).toHaveLength(3);
    const top = await ada.get(`/tasks/projects/${project.id}?parent_id=none&q=Paint`);
    expect(top.body.items).toEqual([parent]);
    expect((await ada.get(`/tasks/count?parent_id=${parent.id}`)).body.count).toBe(3);
    const progress = await ada.get(`/tasks/${parent.id}?expand=progress,people`);
    expect(progress.body).toMatchObject({
      subtask_counts: { open: 1, done: 1 },
      is_blocked: false,
      creator: { id: ada.id },
    });
    expect((await ada.get(`/tasks/${one.id}?expand=progress`)).body.subtask_counts).toEqual({
      open: 0,
      done: 0,
    });
    // A parent is finished alone, and says so by its counts.
    await ada.patch(`/tasks/${parent.id}`, { status: 'done' });
    expect((await ada.get(`/tasks/${one.id}`)).body.status).toBe('todo');
  });

  test('is refused below itself, below its own subtasks, in another project and on a sixth level', async () => {
    const [first, second, , , fifth] = await chain(5);
    const other = await ada.createTask((await ada.createProject()).id);
    const invisible = await (async () => {
      const eve = await api.person();
      return eve.createTask((await eve.createProject()).id);
    })();
    expect(refusal(await setParent(first, first))).toEqual([422, ['body.parent_id cycle']]);
    expect(refusal(await setParent(first, fifth))).toEqual([422, ['body.parent_id cycle']]);
    for (const parent of [other, invisible, { id: uuidv7() }])
      expect(refusal(await setParent(second, parent))).toEqual([
        422,
        ['body.parent_id not_in_project'],
      ]);
    const path = `/tasks/projects/${project.id}`;
    const sixth = await ada.post(path, { title: 'x', parent_id: fifth.id });
    expect(refusal(sixth)).toEqual([422, ['body.parent_id too_deep']]);
    // A tree of two levels does not fit below the fourth.
    const [top] = await chain(2);
    expect(refusal(await setParent(top, (await chain(4))[3]))).toEqual([
      422,
      ['body.parent_id too_deep'],
    ]);
    const batch = await ada.post('/tasks/batch', {
      operations: [
        { op: 'create', project_id: project.id, title: 'y' },
        { op: 'update', task_id: first.id, parent_id: fifth.id },
      ],
    });
    expect(refusal(batch)).toEqual([422, ['body.operations.1.parent_id cycle']]);
    const missing = await ada.post('/tasks/batch', {
      operations: [
        { op: 'create', project_id: project.id, title: 'y' },
        { op: 'create', project_id: project.id, title: 'z', parent_id: uuidv7() },
      ],
    });
    expect(refusal(missing)).toEqual([422, ['body.operations.1.parent_id not_in_project']]);
    await assertForest();
  });

  test('is created with its parent in one batch', async () => {
    const [a, b] = [uuidv7(), uuidv7()];
    const { status, body } = await ada.post('/tasks/batch', {
      operations: [
        {
          op: 'create',
          project_id: project.id,
          id: b,
          title: 'Below',
          parent_id: a,
          blocked_by: [a],
        },
        { op: 'create', project_id: project.id, id: a, title: 'Above' },
      ],
    });
    expect(status).toBe(200);
    expect(body.results[0].task).toMatchObject({ parent_id: a, blocked_by: [a] });
  });

  test('keeps its version while its parent changes', async () => {
    const parent = await ada.createTask(project.id);
    const child = await subtaskOf(parent);
    await ada.patch(`/tasks/${parent.id}`, { title: 'Other' });
    expect((await ada.get(`/tasks/${child.id}`)).body).toEqual(child);
    const replaced = await ada.put(`/tasks/${child.id}`, { title: 'Alone' });
    expect(replaced.body).toMatchObject({ parent_id: null, version: 2 });
  });
});

describe('a tree', () => {
  test('goes to the trash with its top, with the actor of the deletion, and comes back whole', async () => {
    const [first, second, third] = await chain(3);
    const sibling = await subtaskOf(first);
    const since = (await ada.get('/changes')).body.next_cursor;
    // Others are deleted in the same statement.
    const others = await Promise.all([1, 2, 3, 4].map(() => ada.createTask(project.id)));
    const deleted = await Promise.all(
      [...others, first].map(({ id }) => ada.delete(`/tasks/${id}`)),
    );
    expect(deleted.map(({ status }) => status)).toEqual([204, 204, 204, 204, 204]);
    for (const { id } of [first, second, third, sibling])
      expect((await ada.get(`/tasks/${id}`)).status).toBe(404);
    const events = (await ada.get(`/changes?since=${since}&limit=200`)).body.items.filter(
      ({ action }: Json) => action === 'task.deleted',
    );
    expect(events).toHaveLength(8);
    for (const event of events) expect(event.actor_id).toBe(ada.id);
    const listed = (await ada.get('/trash')).body.items.map(({ id }: Json) => id);
    expect(listed).toContain(first.id);
    for (const { id } of [second, third, sibling]) expect(listed).not.toContain(id);
    expect((await ada.post(`/trash/${first.id}/restore`)).body.task.id).toBe(first.id);
    for (const task of [second, third, sibling])
      expect((await ada.get(`/tasks/${task.id}`)).body).toMatchObject({
        parent_id: task.parent_id,
        version: 2,
      });
    const left =
      await api.sql`select id from trashed_tasks where id in (${second.id}, ${third.id})`;
    expect(left).toHaveLength(0);
  });

  test('loses a subtask that was deleted by itself, which comes back without a parent that is gone', async () => {
    const [first, second] = await chain(2);
    await ada.delete(`/tasks/${second.id}`);
    await ada.delete(`/tasks/${first.id}`);
    expect((await ada.post(`/trash/${second.id}/restore`)).body.task.parent_id).toBeNull();
    await ada.post(`/trash/${first.id}/restore`);
    expect((await ada.get(`/tasks/${first.id}/subtasks`)).body.items).toEqual([]);
  });

  test('is deleted from the trash with its top', async () => {
    const [first, second] = await chain(2);
    await ada.delete(`/tasks/${first.id}`);
    await ada.delete(`/trash/${first.id}`);
    expect((await ada.post(`/trash/${second.id}/restore`)).status).toBe(404);
  });

  test('is not deleted in another version than the client expects', async () => {
    const [first] = await chain(2);
    const options = { headers: { 'if-match': '"7"' } };
    expect((await ada.delete(`/tasks/${first.id}`, options)).status).toBe(412);
    expect(
      (await ada.delete(`/tasks/${first.id}`, { headers: { 'if-match': '"1"' } })).status,
    ).toBe(204);
  });

  test.each(['PATCH', 'a batch'])('moves to another project as a whole, by %s', async (way) => {
    const bob = await api.person();
    const target = await ada.createProject('Target');
    await api.addMember(project.id, bob, 'editor');
    const above = await ada.createTask(project.id);
    const top = await subtaskOf(above, { title: 'Unique zebra' });
    const middle = await subtaskOf(top, { assignee_id: bob.id });
    const low = await subtaskOf(middle, { title: 'Unique lion', assignee_id: ada.id });
    const moved =
      way === 'PATCH'
        ? await ada.patch(`/tasks/${top.id}`, { project_id: target.id })
        : await ada.post('/tasks/batch', {
            operations: [
              { op: 'update', task_id: top.id, project_id: target.id },
              { op: 'update', task_id: low.id, title: 'Unique tiger' },
            ],
          });
    expect(moved.status).toBe(200);
    expect((await ada.get(`/tasks/${top.id}`)).body).toMatchObject({
      project_id: target.id,
      parent_id: null,
      version: 2,
    });
    expect((await ada.get(`/tasks/${middle.id}`)).body).toMatchObject({
      project_id: target.id,
      parent_id: top.id,
      assignee_id: null,
    });
    expect((await ada.get(`/tasks/${low.id}`)).body).toMatchObject({
      project_id: target.id,
      parent_id: middle.id,
      assignee_id: ada.id,
    });
    const word = way === 'PATCH' ? 'lion' : 'tiger';
    const found = await ada.get(`/tasks/projects/${target.id}?q=${word}`);
    expect(found.body.items).toHaveLength(1);
    await assertForest();
  });

  test('has no cycle after two transactions that cannot see each other', async () => {
    const [one, two] = [await ada.createTask(project.id), await ada.createTask(project.id)];
    const commit = await openTransaction(
      api,
      (sql) => sql`update tasks set parent_id = ${two.id} where id = ${one.id}`,
    );
    const refused = setParent(two, one);
    await waitForBlockedQuery(api);
    await commit();
    expect(refusal(await refused)).toEqual([422, ['body.parent_id cycle']]);
    await assertForest();
  });

  test('loses no subtask that is created while it moves', async () => {
    const target = await ada.createProject();
    const parent = await ada.createTask(project.id);
    const commit = await openTransaction(
      api,
      (sql) => sql`insert into tasks (id, project_id, title, parent_id)
        values (${uuidv7()}, ${project.id}, 'New', ${parent.id})`,
    );
    const moving = ada.patch(`/tasks/${parent.id}`, { project_id: target.id });
    await waitForBlockedQuery(api);
    await commit();
    expect((await moving).status).toBe(200);
    const { items } = (await ada.get(`/tasks/${parent.id}/subtasks`)).body;
    expect(items).toMatchObject([{ title: 'New', project_id: target.id }]);
  });

  test('of more than 1,000 subtasks is neither deleted nor moved at once', async () => {
    const own = await ada.createProject();
    const target = await ada.createProject();
    const [top, other] = [await ada.createTask(own.id), await ada.createTask(own.id)];
    const child = await subtaskOf(top);
    await api.sql`insert into tasks (id, project_id, title, parent_id)
      select gen_random_uuid(), ${own.id}, 'Below', ${child.id} from generate_series(1, 1000)`;
    const deletion = { op: 'delete', task_id: top.id };
    const refusals = [
      await ada.delete(`/tasks/${top.id}`),
      await ada.patch(`/tasks/${top.id}`, { project_id: target.id }),
      await ada.post('/tasks/batch', { operations: [deletion] }),
      await ada.post('/tasks/batch', {
        operations: [{ ...deletion, task_id: other.id }, deletion],
      }),
    ];
    for (const { status, body } of refusals) {
      expect([status, body.code]).toEqual([409, 'conflict']);
      expect(body.detail).toContain('more than 1000 subtasks');
    }
    // A user who does not see the task learns nothing of it.
    const eve = await api.person();
    const elsewhere = await eve.createProject();
    const move = { project_id: elsewhere.id };
    expect((await eve.patch(`/tasks/${top.id}`, move)).status).toBe(404);
    const moveInBatch = { op: 'update', task_id: top.id, ...move };
    expect((await eve.post('/tasks/batch', { operations: [moveInBatch] })).status).toBe(404);
    const { items } = (await ada.get(`/tasks/${child.id}/subtasks?limit=1`)).body;
    await ada.delete(`/tasks/${items[0].id}`);
    expect((await ada.delete(`/tasks/${top.id}`)).status).toBe(204);
    expect((await ada.get(`/tasks/count?project_id=${own.id}`)).body.count).toBe(1);
    await ada.delete('/trash');
  });

  test('is changed by batches and single requests at once without a deadlock', async () => {
    const own = await ada.createProject();
    const tasks: Json[] = [];
    for (let n = 0; n < 12; n += 1) tasks.push(await ada.createTask(own.id));
    const pick = () => tasks[Math.floor(Math.random() * tasks.length)].id;
    const change = () => (Math.random() < 0.5 ? { after: pick() } : { parent_id: pick() });
    const writers = Array.from({ length: 12 }, async (_, writer) => {
      const statuses: number[] = [];
      for (let round = 0; round < 12; round += 1) {
        const [one, two] = [pick(), pick()];
        const operations = [
          { op: 'create', project_id: own.id, title: 'New', parent_id: pick() },
          { op: 'update', task_id: one, ...change() },
          ...(one === two ? [] : [{ op: 'update', task_id: two, ...change(), title: 'x' }]),
        ];
        const answer =
          writer % 2 === 0
            ? await ada.post('/tasks/batch', { operations })
            : await ada.patch(`/tasks/${one}`, { ...change(), title: 'y' });
        statuses.push(answer.status);
      }
      return statuses;
    });
    const statuses = new Set((await Promise.all(writers)).flat());
    expect([...statuses].filter((status) => ![200, 422].includes(status))).toEqual([]);
    await assertForest();
  });

  test.each([
    ['a request', 204, (id: string) => ada.delete(`/tasks/${id}`)],
    [
      'a batch',
      200,
      (taskId: string) =>
        ada.post('/tasks/batch', { operations: [{ op: 'delete', task_id: taskId }] }),
    ],
  ])(
    'is deleted by %s while a batch changes tasks in it, without a deadlock',
    async (_, status, remove) => {
      const own = await ada.createProject();
      // The subtask has the lower id, so a batch locks it before its parent.
      const [child, parent] = [await ada.createTask(own.id), await ada.createTask(own.id)];
      await ada.patch(`/tasks/${child.id}`, { parent_id: parent.id });
      const commit = await openTransaction(
        api,
        (sql) => sql`select from tasks where id = ${child.id} for update`,
      );
      const operations = [child, parent].map(({ id }) => ({
        op: 'update',
        task_id: id,
        title: 'x',
      }));
      const changed = ada.post('/tasks/batch', { operations });
      await waitFor('the batch waits', async () => (await countWaiting(api.sql)) === 1);
      const removed = remove(parent.id);
      await waitFor('the deletion waits', async () => (await countWaiting(api.sql)) === 2);
      await commit();
      expect([(await changed).status, (await removed).status]).toEqual([200, status]);
      expect((await ada.get(`/tasks/count?project_id=${own.id}`)).body.count).toBe(0);
    },
  );

  test('is not locked by the request of a user who may not delete it', async () => {
    const own = await ada.createProject();
    const top = await ada.createTask(own.id);
    const child = await subtaskOf(top);
    const eve = await api.person();
    const commit = await openTransaction(
      api,
      (sql) => sql`select from tasks where id = ${child.id} for update`,
    );
    // It would wait for the transaction.
    expect((await eve.delete(`/tasks/${top.id}`)).status).toBe(404);
    await commit();
  });

  test('has no cycle and no lost task after 50 writers have moved its tasks at once', async () => {
    const own = await ada.createProject();
    const tasks: Json[] = [];
    for (let n = 0; n < 30; n += 1) tasks.push(await ada.createTask(own.id));
    const other = await ada.createProject();
    const statuses = new Map<number, number>();
    const pick = () => tasks[Math.floor(Math.random() * tasks.length)];
    await Promise.all(
      Array.from({ length: 50 }, async () => {
        for (let round = 0; round < 6; round += 1) {
          const kind = Math.random();
          const answer =
            kind < 0.1
              ? await ada.patch(`/tasks/${pick().id}`, {
                  project_id: pick().project_id === own.id ? other.id : own.id,
                })
              : kind < 0.2
                ? await ada.post(`/tasks/projects/${own.id}`, {
                    title: 'New',
                    parent_id: pick().id,
                  })
                : await setParent(pick(), Math.random() < 0.3 ? null : pick());
          statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
        }
      }),
    );
    for (const status of statuses.keys()) expect([200, 201, 409, 422, 503]).toContain(status);
    expect(statuses.get(200)).toBeGreaterThan(0);
    await assertForest();
    const [{ count }] = await api.sql`select count(*)::int as count from tasks
      where project_id in (${own.id}, ${other.id})`;
    expect(count).toBe(30 + (statuses.get(201) ?? 0));
  });

  test('is in the feed, and rebuilds an equal copy', async () => {
    const user = await api.person();
    const own = await user.createProject();
    const copy = new Copy(user, user.id);
    await copy.readSnapshot(50);
    const top = await user.createTask(own.id);
    const child = await user.createTask(own.id, { parent_id: top.id, blocked_by: [top.id] });
    const low = await user.createTask(own.id, { parent_id: child.id });
    await user.patch(`/tasks/${low.id}`, { parent_id: top.id });
    await user.delete(`/tasks/${child.id}`);
    await user.post(`/trash/${child.id}/restore`);
    await user.delete(`/tasks/${top.id}`);
    await copy.catchUp(50);
    expect(copy.projects).toEqual(await seenBy(user));
    await user.post(`/trash/${top.id}/restore`);
    await copy.catchUp(50);
    expect(copy.projects).toEqual(await seenBy(user));
    expect(Object.keys(copy.projects[own.id]?.tasks ?? {})).toHaveLength(3);
  });
});

describe('a blocker', () => {
  test('blocks until it is done, cancelled or deleted', async () => {
    const user = await api.person();
    const [here, there] = [await user.createProject(), await user.createProject()];
    const blocker = await user.createTask(there.id);
    const task = await user.createTask(here.id, { blocked_by: [blocker.id.toUpperCase()] });
    expect(task.blocked_by).toEqual([blocker.id]);
    const isBlocked = async () => {
      const one = (await user.get(`/tasks/${task.id}?expand=progress`)).body.is_blocked;
      const listed = (await user.get(`/tasks?blocked=${one}`)).body.items;
      expect(listed.map(({ id }: Json) => id)).toContain(task.id);
      const rest = (await user.get(`/tasks/projects/${here.id}?blocked=${!one}`)).body.items;
      expect(rest).toEqual([]);
      return one;
    };
    expect(await isBlocked()).toBe(true);
    for (const [status, blocked] of [
      ['done', false],
      ['in_progress', true],
      ['cancelled', false],
      ['todo', true],
    ] as const) {
      await user.patch(`/tasks/${blocker.id}`, { status });
      expect(await isBlocked()).toBe(blocked);
    }
    await user.delete(`/tasks/${blocker.id}`);
    expect(await isBlocked()).toBe(false);
    await user.post(`/trash/${blocker.id}/restore`);
    expect(await isBlocked()).toBe(true);
    expect((await user.patch(`/tasks/${task.id}`, { blocked_by: [] })).body.blocked_by).toEqual([]);
    expect(await isBlocked()).toBe(false);
  });

  test('that the user does not see, and the task itself, are refused', async () => {
    const eve = await api.person();
    const hidden = await eve.createTask((await eve.createProject()).id);
    const task = await ada.createTask(project.id);
    const id = uuidv7();
    for (const blockedBy of [[hidden.id], [uuidv7()], [task.id, hidden.id]]) {
      const path = `/tasks/projects/${project.id}`;
      const answers = [
        await ada.post(path, { title: 'x', blocked_by: blockedBy }),
        await ada.patch(`/tasks/${(await ada.createTask(project.id)).id}`, {
          blocked_by: blockedBy,
        }),
        await ada.put(`/tasks/${(await ada.createTask(project.id)).id}`, {
          title: 'x',
          blocked_by: blockedBy,
        }),
      ];
      for (const answer of answers)
        expect(refusal(answer)).toEqual([422, ['body.blocked_by not_found']]);
    }
    expect(refusal(await ada.patch(`/tasks/${task.id}`, { blocked_by: [task.id] }))).toEqual([
      422,
      ['body.blocked_by not_found'],
    ]);
    const batch = await ada.post('/tasks/batch', {
      operations: [{ op: 'create', project_id: project.id, id, title: 'x', blocked_by: [id] }],
    });
    expect(refusal(batch)).toEqual([422, ['body.operations.0.blocked_by not_found']]);
  });
});

describe('an export', () => {
  test('has the tree and the blockers, and an import makes them again', async () => {
    const own = await ada.createProject('Tree');
    const child = await ada.createTask(own.id, { title: 'Child', labels: ['early'] });
    const top = await ada.createTask(own.id, { title: 'Top' });
    const other = await ada.createTask(own.id, { title: 'Other', blocked_by: [child.id] });
    await setParent(child, top);
    const elsewhere = await ada.createTask(project.id);
    await ada.patch(`/tasks/${top.id}`, { blocked_by: [other.id, elsewhere.id] });
    const document = (await ada.get(`/projects/${own.id}/export`)).body;
    expect(document.tasks).toMatchObject([
      { title: 'Child', ref: child.id, parent: top.id },
      { title: 'Top', ref: top.id, blocked_by: [other.id, elsewhere.id] },
      { title: 'Other', ref: other.id, blocked_by: [child.id] },
    ]);
    const imported = await ada.post('/projects/import', document);
    expect(imported.status).toBe(201);
    const path = `/tasks/projects/${imported.body.project.id}`;
    const { items } = (await ada.get(`${path}?sort=created_at`)).body;
    const [newChild, newTop, newOther] = items;
    expect(items).toMatchObject([
      { title: 'Child', parent_id: newTop.id, blocked_by: [], version: 1 },
      { title: 'Top', parent_id: null, blocked_by: [newOther.id] },
      { title: 'Other', blocked_by: [newChild.id] },
    ]);
    // A part of it is a document as well.
    const part = (await ada.get(`/projects/${own.id}/export?label=early`)).body;
    const alone = await ada.post('/projects/import', part);
    const { items: only } = (await ada.get(`/tasks/projects/${alone.body.project.id}`)).body;
    expect(only).toMatchObject([{ title: 'Child', parent_id: null }]);
    const table = (await ada.get(`/projects/${own.id}/export?format=csv`)).text;
    expect(table.split('\r\n')[1]).toEndWith(`,"${top.id}",`);
  });

  test('with a cycle or a repeated ref is refused, and no row is written', async () => {
    const own = await ada.createProject('Tree');
    await ada.createTask(own.id);
    await ada.createTask(own.id);
    const document = (await ada.get(`/projects/${own.id}/export`)).body;
    const [a, b] = [uuidv7(), uuidv7()];
    const withRefs = (...fields: object[]) => ({
      ...document,
      tasks: document.tasks.map((task: Json, index: number) => ({ ...task, ...fields[index] })),
    });
    const before = await api.countRows();
    const cycle = await ada.post(
      '/projects/import',
      withRefs({ ref: a, parent: b }, { ref: b, parent: a }),
    );
    expect(refusal(cycle)).toEqual([422, ['body.tasks cycle']]);
    const repeated = await ada.post('/projects/import', withRefs({ ref: a }, { ref: a }));
    expect(refusal(repeated)).toEqual([422, ['body.tasks.1.ref repeated']]);
    expect(await api.countRows()).toEqual(before);
  });
});
