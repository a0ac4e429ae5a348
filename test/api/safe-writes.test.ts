import { describe, expect, test } from 'bun:test';
import type { Persona } from '../support/api.ts';
import { useApi } from '../support/api.ts';

const api = useApi();

async function projectAndTask() {
  const ada = await api.person();
  const project = await ada.createProject();
  const task = await ada.createTask(project.id);
  return { ada, project, task };
}

const headers = (name: string, value: string) => ({ headers: { [name]: value } });

describe('If-Match', () => {
  test.each(['"7"', '"one"', '"7", "8"', '"00000000000001"'])(
    '%s, which is not the version, gets 412 and changes nothing',
    async (tag) => {
      const { ada, project, task } = await projectAndTask();
      const answers = [
        await ada.patch(`/projects/${project.id}`, { name: 'Bath' }, headers('if-match', tag)),
        await ada.delete(`/projects/${project.id}`, headers('if-match', tag)),
        await ada.put(`/tasks/${task.id}`, { title: 'Other' }, headers('if-match', tag)),
        await ada.patch(`/tasks/${task.id}`, { title: 'Other' }, headers('if-match', tag)),
        await ada.delete(`/tasks/${task.id}`, headers('if-match', tag)),
      ];
      expect(answers.map(({ status, body }) => [status, body.code])).toEqual(
        Array(5).fill([412, 'precondition_failed']),
      );
      expect((await ada.get(`/projects/${project.id}`)).body).toEqual(project);
      expect((await ada.get(`/tasks/${task.id}`)).body).toEqual(task);
    },
  );

  test.each(['"1"', '"9", "1"', '*', ' "1" '])('%s lets the write pass', async (tag) => {
    const { ada, project, task } = await projectAndTask();
    expect(
      (await ada.patch(`/tasks/${task.id}`, { title: 'Other' }, headers('if-match', tag))).status,
    ).toBe(200);
    expect(
      (await ada.patch(`/projects/${project.id}`, { name: 'Bath' }, headers('if-match', tag)))
        .status,
    ).toBe(200);
  });

  test.each(['1', 'nonsense', '"1', '"1""2"', ''])('%j is malformed', async (tag) => {
    const { ada, task } = await projectAndTask();
    const { status, body } = await ada.patch(
      `/tasks/${task.id}`,
      { title: 'Other' },
      headers('if-match', tag),
    );
    expect([status, body.code]).toEqual([400, 'malformed_request']);
  });

  test('of 50 concurrent writes with one ETag exactly one succeeds, and the version counts it', async () => {
    const { ada, task } = await projectAndTask();
    const write = (n: number) =>
      ada.patch(`/tasks/${task.id}`, { priority: 1 + (n % 4) }, headers('if-match', '"1"'));
    const statuses = (await Promise.all(Array.from({ length: 50 }, (_, n) => write(n)))).map(
      ({ status }) => status,
    );
    expect(statuses.filter((status) => status === 200).length).toBe(1);
    expect(statuses.filter((status) => status === 412).length).toBe(49);
    expect((await ada.get(`/tasks/${task.id}`)).body.version).toBe(2);
  });

  test('50 writers that retry on 412 lose no update', async () => {
    const { ada, project } = await projectAndTask();
    const task = await ada.createTask(project.id, { description: '' });
    await Promise.all(Array.from({ length: 50 }, (_, n) => append(ada, task.id, `<${n}>`)));
    const { body } = await ada.get(`/tasks/${task.id}`);
    expect(body.version).toBe(51);
    for (let n = 0; n < 50; n += 1) expect(body.description).toContain(`<${n}>`);
  });
});

/** Reads, appends and writes with the version read; starts again after 412. */
async function append(who: Persona, id: string, text: string) {
  for (;;) {
    const { body: task, headers: read } = await who.get(`/tasks/${id}`);
    const tag = headers('if-match', read.get('etag') ?? '');
    const { status } = await who.patch(
      `/tasks/${id}`,
      { description: task.description + text },
      tag,
    );
    if (status === 200) return;
    // 503: so many writers at once may fill the queue.
    expect([412, 503]).toContain(status);
  }
}

test('updated_at increases with the version even when a writer waited for a later one', async () => {
  const ada = await api.person('ada');
  const project = await ada.createProject();
  const task = await ada.createTask(project.id);
  // As if the earlier writer had committed with a clock ahead of the next one's.
  const ahead = new Date(Date.now() + 60_000).toISOString();
  await api.sql`update tasks set updated_at = ${ahead} where id = ${task.id}`;
  await api.sql`update projects set updated_at = ${ahead} where id = ${project.id}`;
  const operations = [{ op: 'update', task_id: task.id, priority: 1 }];
  const { body: batch } = await ada.post('/tasks/batch', { operations });
  const { body: patched } = await ada.patch(`/tasks/${task.id}`, { priority: 2 });
  const { body: renamed } = await ada.patch(`/projects/${project.id}`, { name: 'Küche' });
  const times = [batch.results[0].task, patched, renamed].map(({ updated_at }) => updated_at);
  expect(times).toEqual([ahead, ahead, ahead]);
});

describe('If-None-Match', () => {
  test.each(['"1"', 'W/"1"', '"5", "1"', '*'])(
    '%s saves the bytes of what the client has',
    async (tag) => {
      const { ada, project, task } = await projectAndTask();
      for (const path of [`/projects/${project.id}`, `/tasks/${task.id}`]) {
        const {
          status,
          text,
          headers: answered,
        } = await ada.get(path, headers('if-none-match', tag));
        expect([status, text, answered.get('etag')]).toEqual([304, '', '"1"']);
        expect(answered.get('content-type')).toBeNull();
      }
    },
  );

  test.each(['"2"', '1', ''])('%j gets the full response', async (tag) => {
    const { ada, task } = await projectAndTask();
    expect((await ada.get(`/tasks/${task.id}`, headers('if-none-match', tag))).body).toEqual(task);
  });
});

test('a delete and an update at the same time leave the task updated or deleted', async () => {
  const { ada, project } = await projectAndTask();
  for (let round = 0; round < 10; round += 1) {
    const task = await ada.createTask(project.id);
    const [update, removal] = await Promise.all([
      ada.patch(`/tasks/${task.id}`, { title: 'Other' }),
      ada.delete(`/tasks/${task.id}`),
    ]);
    expect([200, 404]).toContain(update.status);
    expect(removal.status).toBe(204);
    expect((await ada.get(`/tasks/${task.id}`)).status).toBe(404);
  }
});

test('a task that is created while its project is deleted is refused or goes to the trash with it', async () => {
  const { ada } = await projectAndTask();
  for (let round = 0; round < 10; round += 1) {
    const project = await ada.createProject();
    const [made] = await Promise.all([
      ada.post(`/tasks/projects/${project.id}`, { title: 'Tiles' }),
      ada.delete(`/projects/${project.id}`),
    ]);
    expect([201, 404]).toContain(made.status);
    const [{ count }] =
      await api.sql`select count(*)::int from tasks where project_id = ${project.id}`;
    expect(count).toBe(made.status === 201 ? 1 : 0);
    expect((await ada.get(`/tasks?project_id=${project.id}`)).status).toBe(404);
    await ada.post(`/trash/${project.id}/restore`);
    const { items } = (await ada.get(`/tasks/projects/${project.id}`)).body;
    expect(items).toHaveLength(count);
  }
});
