/** No sequence of writes ever loses or invents a field: each is held against a model of the whole task. */
import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { useApi } from './support/api.ts';

const api = useApi();

const fields = {
  title: fc.constantFrom('Tiles', 'Küche', '任务', '  x '),
  description: fc.option(fc.constantFrom('', 'slate', 'é'.repeat(50))),
  status: fc.constantFrom('todo', 'in_progress', 'done', 'cancelled'),
  priority: fc.integer({ min: 0, max: 4 }),
  due_at: fc.option(fc.constantFrom('2026-12-24T17:00:00.000Z', '1970-01-01T00:00:00.000Z')),
  assigned: fc.boolean(),
  labels: fc.uniqueArray(fc.constantFrom('a', "b'", 'ç d'), { maxLength: 3 }),
};
type Fields = Partial<{ [name in keyof typeof fields]: unknown }>;

const write = fc.record({
  by: fc.constantFrom('PATCH', 'PUT', 'batch'),
  fields: fc.record(fields, { requiredKeys: [] }) as fc.Arbitrary<Fields>,
});

const defaults = {
  description: null,
  status: 'todo',
  priority: 0,
  due_at: null,
  assignee_id: null,
  labels: [],
};

test('a task is what its writes make of it', async () => {
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
        expect(status).toBe(200);
        const answered = by === 'batch' ? body.results[0].task : body;
        const changes = by === 'PUT' ? { ...defaults, ...whole } : sent;
        const changed = Object.keys(changes).length > 0;
        const next = { ...model, ...changes };
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
    { numRuns: 60 },
  );
});

test('a project is what its patches make of it', async () => {
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
        const changed = Object.keys(sent).length > 0;
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
    { numRuns: 30 },
  );
});
