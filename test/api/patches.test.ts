/** No sequence of writes ever loses or invents a field: each is held against a model of the whole task. */
import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { useApi } from '../support/api.ts';
import { casesOf } from '../support/generated.ts';

const api = useApi();

const fields = {
  title: fc.constantFrom('Tiles', 'Küche', '任务', '  x '),
  description: fc.option(fc.constantFrom('', 'slate', 'é'.repeat(50))),
  status: fc.constantFrom('todo', 'in_progress', 'done', 'cancelled'),
  priority: fc.integer({ min: 0, max: 4 }),
  due_at: fc.option(fc.constantFrom('2026-12-24T17:00:00.000Z', '1970-01-01T00:00:00.000Z')),
  due_on: fc.option(fc.constantFrom('2026-12-24', '9999-12-31')),
  assigned: fc.boolean(),
  labels: fc.uniqueArray(fc.constantFrom('a', "b'", 'ç d'), { maxLength: 3 }),
};
type Fields = Partial<{ [Name in keyof typeof fields]: unknown }>;

const write = fc.record({
  by: fc.constantFrom('PATCH', 'PUT', 'batch'),
  fields: fc.record(fields, { requiredKeys: [] }) as fc.Arbitrary<Fields>,
});

const defaults = {
  description: null,
  status: 'todo',
  priority: 0,
  due_at: null,
  due_on: null,
  assignee_id: null,
  labels: [],
};

test('a task equals a model after any sequence of writes', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  await fc.assert(
    fc.asyncProperty(fc.array(write, { minLength: 1, maxLength: 12 }), async (writes) => {
      let model = await ada.createTask(project.id);
      for (const { by, fields } of writes) {
        const { assigned, ...others } = fields;
        const sent = {
          ...others,
          ...(assigned !== undefined && { assignee_id: assigned ? ada.id : null }),
        };
        const path = `/tasks/${model.id}`;
        const whole = { title: 'Whole', ...sent };
        const { body, status } =
          by === 'PUT'
            ? await ada.put(path, whole)
            : by === 'PATCH'
              ? await ada.patch(path, sent)
              : await ada.post('/tasks/batch', {
                  operations: [{ op: 'update', task_id: model.id, ...sent }],
                });
        const merged = { ...(by === 'PUT' ? defaults : model), ...sent };
        if (merged.due_at && merged.due_on) {
          expect([status, body.errors[0].code]).toEqual([422, 'contradiction']);
          expect((await ada.get(path)).body).toEqual(model);
          continue;
        }
        expect(status).toBe(200);
        const answered = by === 'batch' ? body.results[0].task : body;
        const changes = by === 'PUT' ? { ...defaults, ...whole } : sent;
        const next = { ...model, ...changes };
        const changed = JSON.stringify(next) !== JSON.stringify(model);
        expect(answered).toEqual({
          ...next,
          version: model.version + (changed ? 1 : 0),
          updated_at: changed ? expect.stringMatching(/Z$/) : model.updated_at,
          completed_at:
            next.status !== 'done' ? null : (model.completed_at ?? expect.stringMatching(/Z$/)),
        });
        expect(answered.updated_at >= model.updated_at).toBe(true);
        expect((await ada.get(path)).body).toEqual(answered);
        model = answered;
      }
    }),
    { numRuns: casesOf(15, 60) },
  );
});

test('a project equals a model after any sequence of patches', async () => {
  const ada = await api.person();
  const patch = fc.record(
    {
      name: fc.constantFrom('Kitchen', 'Küche'),
      description: fc.option(fc.constantFrom('', 'tiles')),
    },
    { requiredKeys: [] },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(patch, { minLength: 1, maxLength: 8 }), async (patches) => {
      let model = await ada.createProject();
      for (const sent of patches) {
        const { body } = await ada.patch(`/projects/${model.id}`, sent);
        const changed = JSON.stringify({ ...model, ...sent }) !== JSON.stringify(model);
        expect(body).toEqual({
          ...model,
          ...sent,
          version: model.version + (changed ? 1 : 0),
          updated_at: changed ? expect.stringMatching(/Z$/) : model.updated_at,
        });
        expect((await ada.get(`/projects/${model.id}`)).body).toEqual(body);
        model = body;
      }
    }),
    { numRuns: casesOf(10, 30) },
  );
});

test('a write that changes nothing leaves version, entity tag, time and feed as they are', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  const task = await ada.createTask(project.id, {
    description: 'slate',
    due_at: '2026-12-24T18:00:00+01:00',
    assignee_id: ada.id,
    labels: ['a', 'b'],
    status: 'done',
  });
  const path = `/tasks/${task.id}`;
  const fields = { ...task };
  for (const name of ['id', 'project_id', 'completed_at', 'created_at', 'updated_at', 'created_by'])
    delete fields[name];
  delete fields.version;
  delete fields.comment_count;
  const { body: before } = await ada.get('/changes');
  const operations = [{ op: 'update', task_id: task.id, ...fields }];
  const upper = { assignee_id: ada.id.toUpperCase(), due_at: '2026-12-24T17:00:00Z' };
  const answers = [
    await ada.patch(path, {}),
    await ada.patch(path, { title: task.title }),
    await ada.patch(path, { status: 'done', labels: ['a', 'b'] }),
    await ada.patch(path, upper),
    await ada.put(path, fields),
    await ada.get(path),
  ];
  for (const { body, headers } of answers) {
    expect(body).toEqual(task);
    expect(headers.get('etag')).toBe('"1"');
  }
  const batch = await ada.post('/tasks/batch', { operations: [{ ...operations[0], ...upper }] });
  expect(batch.body.results[0].task).toEqual(task);
  const same = { name: project.name, description: null, archived: false };
  expect((await ada.patch(`/projects/${project.id}`, same)).body).toEqual(project);
  const { body: after } = await ada.get(`/changes?since=${before.next_cursor}`);
  expect(after.items).toEqual([]);
  const stale = await ada.patch(path, {}, { headers: { 'if-match': '"2"' } });
  expect(stale.status).toBe(412);
});
