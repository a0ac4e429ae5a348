/** However clients ask, PostgreSQL keeps a known number of statements. */
import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { countTexts } from '../../src/db/prepared.ts';
import { useApi } from '../support/api.ts';

const api = useApi();

const sorts = ['created_at', 'updated_at', 'due_at', 'completed_at', 'priority', 'title'];
const FORMS = 3;
const DIRECTIONS = 2;
/** The first page and those after a cursor. */
const POSITIONS = 2;
/** In a project and over several; a plain list in a project also has a form for many at once. */
const LIST_TEXTS_MAX = sorts.length * DIRECTIONS * POSITIONS * (2 * FORMS + 1);

test('lists, counts and patches of any kind use a known set of statements', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  const fields = { title: '任务管理', labels: ['a', 'b'] };
  const [one, other] = [
    await ada.createTask(project.id, fields),
    await ada.createTask(project.id, fields),
  ];
  const before = countTexts();
  const some = (values: string[]) =>
    fc.uniqueArray(fc.constantFrom(...values)).map((one) => one.join(','));
  const query = fc.record(
    {
      sort: fc.constantFrom(...sorts.flatMap((field) => [field, `-${field}`])),
      limit: fc.constantFrom('1', '2'),
      status: some(['todo', 'done', 'cancelled']).filter(Boolean),
      label: some(['a', 'b', 'c', 'd']),
      label_not: some(['x', 'y', 'z']).filter(Boolean),
      q: fc.constantFrom('任务管理', '任务 管理', 'x', '任务管理 任务管', '0'),
      due: fc.constantFrom('any', 'none'),
      priority_min: fc.constantFrom('0', '1'),
      created_from: fc.constant('2020-01-01T00:00:00Z'),
    },
    { requiredKeys: ['sort', 'limit'] },
  );
  const patch = fc.record(
    {
      title: fc.string({ minLength: 1 }).map((text) => `x${text.replace(/[^a-z]/g, '')}`),
      description: fc.option(fc.constant('y')),
      priority: fc.integer({ min: 0, max: 4 }),
      status: fc.constantFrom('todo', 'done'),
      labels: fc.constantFrom(['a'], []),
    },
    { requiredKeys: [] },
  );
  await fc.assert(
    fc.asyncProperty(query, patch, fc.boolean(), async (asked, fields, withVersion) => {
      const parameters = String(new URLSearchParams(asked));
      for (const path of [`/tasks/projects/${project.id}`, '/tasks']) {
        const { status, body } = await ada.get(`${path}?${parameters}`);
        expect(status).toBe(200);
        if (body.next_cursor)
          expect((await ada.get(`${path}?${parameters}&cursor=${body.next_cursor}`)).status).toBe(
            200,
          );
      }
      const path = `/tasks/${one.id}`;
      const version = (await ada.get(path)).headers.get('etag') ?? '';
      const headers: Record<string, string> = withVersion ? { 'if-match': version } : {};
      expect((await ada.patch(path, fields, { headers })).status).toBe(200);
    }),
    { numRuns: 60 },
  );
  const OTHERS_MAX = 12;
  expect(countTexts() - before).toBeLessThanOrEqual(LIST_TEXTS_MAX + OTHERS_MAX);
  // One more of each kind adds none.
  const after = countTexts();
  const asked =
    'sort=title&limit=1&label=e,f,g,h,i&status=todo,in_progress&q=任务管理员 任务管理人';
  for (const priority of [0, 1, 2, 3, 4]) {
    await ada.get(`/tasks?${asked}&priority_max=${priority}`);
    await ada.patch(`/tasks/${other.id}`, { priority, labels: [`l${priority}`] });
  }
  const first = countTexts();
  expect(first - after).toBeLessThanOrEqual(1);
});
