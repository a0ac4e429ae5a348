/** Every filter and sort of the lists, held against a model: what a person would pick and order by hand. */
import { beforeAll, describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { type Persona, useApi } from './support/api.ts';

const api = useApi();

interface Task {
  id: string;
  project_id: string;
  title: string;
  description: string | null;
  status: string;
  priority: number;
  due_at: string | null;
  assignee_id: string | null;
  labels: string[];
  created_at: string;
  updated_at: string;
}

type Query = Partial<
  Record<
    | 'status'
    | 'label'
    | 'priority_min'
    | 'assignee_id'
    | 'due_before'
    | 'due_after'
    | 'q'
    | 'sort'
    | 'limit',
    string
  >
>;

const words = ['tile', 'tiles', 'kitchen', 'Élan', 'naïve', 'x'];
const labels = ['home', 'Home', "it's", 'a b', 'back\\slash', '標籤'];
const dues = Array.from({ length: 4 }, (_, n) => `2026-0${n + 1}-01T00:00:00.000Z`);
const statuses = ['todo', 'in_progress', 'done', 'cancelled'];

const text = fc.array(fc.constantFrom(...words), { minLength: 1, maxLength: 3 });
const fields = fc.record({
  title: text.map((found) => found.join(' ')),
  description: fc.option(text.map((found) => found.join(', '))),
  status: fc.constantFrom(...statuses),
  priority: fc.integer({ min: 0, max: 4 }),
  due_at: fc.option(fc.constantFrom(...dues)),
  labels: fc.uniqueArray(fc.constantFrom(...labels), { maxLength: 3 }),
});
const listOf = (values: string[]) =>
  fc.uniqueArray(fc.constantFrom(...values), { minLength: 1 }).map((some) => some.join(','));
const sorts = ['created_at', 'updated_at', 'due_at', 'priority', 'title'].flatMap((field) => [
  field,
  `-${field}`,
]);
const query = (people: string[]): fc.Arbitrary<Query> =>
  fc.record(
    {
      status: listOf(statuses),
      label: listOf(labels),
      priority_min: fc.constantFrom('0', '1', '3', '4'),
      assignee_id: fc.constantFrom('me', 'none', ...people),
      due_after: fc.constantFrom(...dues.slice(0, 2)),
      due_before: fc.constantFrom(...dues.slice(2)),
      q: text.map((found) => found.join(' ')),
      sort: fc.constantFrom(...sorts),
      limit: fc.constantFrom('1', '7', '200'),
    },
    { requiredKeys: ['limit'] },
  );

const plain = (text: string) =>
  text
    .normalize('NFD')
    .replace(/[\u0300-\u036f]/g, '')
    .toLowerCase();

/** Every word occurs, the last as a beginning. */
function isFound(q: string, { title, description }: Task): boolean {
  const there = plain(`${title} ${description ?? ''}`).split(/[ ,]+/);
  const wanted = plain(q).split(' ');
  const last = wanted.pop() ?? '';
  return (
    wanted.every((word) => there.includes(word)) && there.some((word) => word.startsWith(last))
  );
}

function pick(tasks: Task[], query: Query, reader: string): string[] {
  const { status, label, priority_min = '0', assignee_id, due_before, due_after, q } = query;
  const assignee = assignee_id === 'me' ? reader : assignee_id === 'none' ? null : assignee_id;
  const { sort = '-created_at' } = query;
  const field = sort.replace('-', '') as 'created_at' | 'due_at' | 'priority' | 'title';
  const direction = sort.startsWith('-') ? -1 : 1;
  const keyOf = (task: Task) => (field === 'title' ? plain(task.title) : task[field]);
  return tasks
    .filter((task) => !status || status.split(',').includes(task.status))
    .filter((task) => !label || label.split(',').some((one) => task.labels.includes(one)))
    .filter((task) => task.priority >= Number(priority_min))
    .filter((task) => assignee === undefined || task.assignee_id === assignee)
    .filter((task) => !due_before || (task.due_at !== null && task.due_at < due_before))
    .filter((task) => !due_after || (task.due_at !== null && task.due_at > due_after))
    .filter((task) => !q || isFound(q, task))
    .toSorted((a, b) => {
      const [one, other] = [keyOf(a), keyOf(b)];
      if (one === other) return a.id < b.id ? -direction : direction;
      if (one === null || other === null) return one === null ? 1 : -1;
      return one < other ? -direction : direction;
    })
    .map(({ id }) => id);
}

async function walk(who: Persona, path: string, query: Query): Promise<string[]> {
  const ids: string[] = [];
  let cursor: string | undefined;
  do {
    const parameters = new URLSearchParams({ ...query, ...(cursor && { cursor }) });
    const { status, body } = await who.get(`${path}?${parameters}`);
    expect(status).toBe(200);
    ids.push(...body.items.map(({ id }: Task) => id));
    cursor = body.next_cursor ?? undefined;
  } while (cursor);
  return ids;
}

const TASKS = 120;
let ada: Persona;
let bob: Persona;
let tasks: Task[] = [];
let project_ids: string[] = [];

beforeAll(async () => {
  [ada, bob] = [await api.person('ada'), await api.person('bob')];
  const projects = [
    await ada.createProject(),
    await ada.createProject(),
    await bob.createProject(),
  ];
  await api.addMember(projects[0].id, bob, 'editor');
  await api.addMember(projects[2].id, ada, 'viewer');
  project_ids = projects.map(({ id }) => id);
  // What nobody may see of another's.
  const foreign = await bob.createProject();
  await bob.createTask(foreign.id, { title: 'tile kitchen', labels: ['home'] });
  const samples = fc.sample(fields, { numRuns: TASKS, seed: 7 });
  for (const [index, sample] of samples.entries()) {
    const place = index % 3;
    const owner = place === 2 ? bob : ada;
    const assignee_id = [null, owner.id, place === 0 ? bob.id : null][index % 5] ?? null;
    const task = await owner.createTask(project_ids[place] as string, { ...sample, assignee_id });
    if (index % 4 === 0) tasks.push((await owner.patch(`/tasks/${task.id}`, { priority: 1 })).body);
    else tasks.push(task);
  }
  // Times that tie, as those of one statement do.
  await api.sql`update tasks set created_at = date_trunc('second', created_at)`;
  tasks = await Promise.all(tasks.map(async ({ id }) => (await ada.get(`/tasks/${id}`)).body));
});

describe('a list of tasks is what a person would pick, in his order', () => {
  test.each(sorts)('by %s, in pages', async (sort) => {
    for (const limit of ['1', '7', '200'])
      expect(await walk(ada, '/tasks', { sort, limit })).toEqual(pick(tasks, { sort }, ada.id));
  });

  test('under any filters', async () => {
    await fc.assert(
      fc.asyncProperty(query([ada.id, bob.id]), async (asked) => {
        expect(await walk(ada, '/tasks', asked)).toEqual(pick(tasks, asked, ada.id));
        const [project_id = ''] = project_ids;
        const here = tasks.filter((task) => task.project_id === project_id);
        expect(await walk(bob, `/tasks/projects/${project_id}`, asked)).toEqual(
          pick(here, asked, bob.id),
        );
      }),
      { numRuns: 150 },
    );
  });
});

test.each([
  ['due_after=2026-01-01T00:00:00Z&due_before=2026-01-01T01:00:00%2B01:00', 'query.due_before'],
  ['due_after=2026-01-02T00:00:00Z&due_before=2026-01-01T00:00:00Z', 'query.due_before'],
  ['due_before=2026-02-30T00:00:00Z', 'query.due_before'],
  ['due_after=tomorrow', 'query.due_after'],
  ['status=open', 'query.status'],
  ['status=todo,', 'query.status'],
  ['status=todo,todo', 'query.status'],
  ['status=', 'query.status'],
  ['label=a,,b', 'query.label'],
  ['label=a,a', 'query.label'],
  [`label=${'x'.repeat(51)}`, 'query.label'],
  [`label=${Array.from({ length: 21 }, (_, n) => n).join()}`, 'query.label'],
  ['priority_min=5', 'query.priority_min'],
  ['priority_min=-1', 'query.priority_min'],
  ['assignee_id=you', 'query.assignee_id'],
  ['sort=id', 'query.sort'],
  ['sort=--title', 'query.sort'],
  ['sort=title,priority', 'query.sort'],
  ['q=', 'query.q'],
  ['q=%20', 'query.q'],
  ['q=%26%20!%20(%27', 'query.q'],
  ['q=a%00', 'query.q'],
  [`q=${'x'.repeat(201)}`, 'query.q'],
  ['archived=any', 'query.archived'],
  ['state=todo', 'query.state'],
])('%s is refused', async (parameters, location) => {
  const [project_id] = project_ids;
  for (const path of ['/tasks', `/tasks/projects/${project_id}`]) {
    const { status, body } = await ada.get(`${path}?${parameters}`);
    expect([status, body.code]).toEqual([422, 'validation_failed']);
    expect(body.errors).toMatchObject([{ location }]);
  }
});

test('instants at the ends of due_after and due_before are outside', async () => {
  const who = await api.person();
  const project = await who.createProject();
  const due_at = '2026-01-01T00:00:00.000Z';
  const task = await who.createTask(project.id, { due_at });
  const found = async (query: string) => (await who.get(`/tasks?${query}`)).body.items;
  expect(await found(`due_after=${due_at}`)).toEqual([]);
  expect(await found(`due_before=${due_at}`)).toEqual([]);
  expect(
    await found('due_after=2025-12-31T23:59:59.999Z&due_before=2026-01-01T00:00:00.001Z'),
  ).toEqual([task]);
});

describe('a list of projects', () => {
  test('leaves out archived ones unless they are asked for', async () => {
    const who = await api.person();
    const [kept, archived] = [await who.createProject('Kept'), await who.createProject('Old')];
    await who.patch(`/projects/${archived.id}`, { archived: true });
    const ids = async (query: string) =>
      (await who.get(`/projects?${query}`)).body.items.map(({ id }: Task) => id);
    expect(await ids('')).toEqual([kept.id]);
    expect(await ids('archived=false')).toEqual([kept.id]);
    expect(await ids('archived=true')).toEqual([archived.id]);
    expect(await ids('archived=any')).toEqual([archived.id, kept.id]);
    expect((await who.get('/projects?archived=yes')).status).toBe(422);
  });

  test('is sorted and searched, in pages, own and shared', async () => {
    const [who, other] = [await api.person(), await api.person()];
    const names = ['Küche', 'kitchen', 'Bad', 'Ärger', 'zoo', 'Kuchen'];
    const made = [];
    for (const [index, name] of names.entries()) {
      const owner = index % 2 ? who : other;
      const project = await owner.createProject(name);
      if (owner === other) await api.addMember(project.id, who, 'viewer');
      made.push(project);
    }
    await other.createProject('Küche');
    await other.patch(`/projects/${made[0].id}`, { description: 'ein Kuchen' });
    const walked = async (query: string) => {
      const found: string[] = [];
      let cursor = '';
      do {
        const { body } = await who.get(`/projects?limit=2&${query}${cursor}`);
        found.push(...body.items.map(({ name }: { name: string }) => name));
        cursor = body.next_cursor && `&cursor=${body.next_cursor}`;
      } while (cursor);
      return found;
    };
    const by_name = ['Ärger', 'Bad', 'kitchen', 'Küche', 'Kuchen', 'zoo'];
    expect(await walked('sort=name')).toEqual(by_name);
    expect(await walked('sort=-name')).toEqual(by_name.toReversed());
    expect(await walked('sort=created_at')).toEqual(names);
    expect(await walked('sort=-created_at')).toEqual(names.toReversed());
    expect(await walked('sort=-updated_at')).toEqual(['Küche', ...names.slice(1).toReversed()]);
    expect(await walked('sort=name&q=kuche')).toEqual(['Küche', 'Kuchen']);
    expect(await walked('q=kuchen')).toEqual(['Kuchen', 'Küche']);
    expect((await who.get('/projects?sort=title')).status).toBe(422);
  });
});
