/** Every filter and sort of the lists, held against a model: what a person would pick and order by hand. */
import { beforeAll, describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { type Persona, useApi } from '../support/api.ts';
import { casesOf } from '../support/generated.ts';

const api = useApi();

interface Task {
  id: string;
  project_id: string;
  title: string;
  description: string | null;
  status: string;
  priority: number;
  due_at: string | null;
  due_on: string | null;
  assignee_id: string | null;
  created_by: string | null;
  completed_at: string | null;
  labels: string[];
  created_at: string;
  updated_at: string;
}

type Query = Partial<
  Record<
    | 'status'
    | 'status_not'
    | 'label'
    | 'label_all'
    | 'label_not'
    | 'priority'
    | 'priority_min'
    | 'priority_max'
    | 'assignee_id'
    | 'created_by'
    | 'due'
    | 'due_before'
    | 'due_from'
    | 'due_after'
    | 'completed_from'
    | 'completed_before'
    | 'updated_from'
    | 'created_before'
    | 'project_id'
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
/** At most one of the two. */
const dueFields = fc.oneof(
  fc.record({ due_at: fc.option(fc.constantFrom(...dues)) }),
  fc.record({ due_on: fc.constantFrom(...dues.map((due) => due.slice(0, 10)), '2026-02-28') }),
);
const otherFields = fc.record({
  title: text.map((found) => found.join(' ')),
  description: fc.option(text.map((found) => found.join(', '))),
  status: fc.constantFrom(...statuses),
  priority: fc.integer({ min: 0, max: 4 }),
  labels: fc.uniqueArray(fc.constantFrom(...labels), { maxLength: 3 }),
});
const fields = fc.tuple(otherFields, dueFields).map(([others, due]) => ({ ...others, ...due }));
const listOf = (values: string[]) =>
  fc.uniqueArray(fc.constantFrom(...values), { minLength: 1 }).map((some) => some.join(','));
const sorts = ['created_at', 'updated_at', 'due_at', 'completed_at', 'priority', 'title'].flatMap(
  (field) => [field, `-${field}`],
);
/** Of two filters that may contradict each other one, so that each list is answered. */
const query = (people: string[], times: () => string[]): fc.Arbitrary<Query> => {
  const time = fc.nat({ max: 9 }).map((n) => times()[n % times().length] as string);
  const base = {
    status: listOf(statuses),
    status_not: listOf(statuses.slice(1)),
    label: fc.oneof(listOf(labels), fc.constantFrom('', ',home')),
    priority: fc.constantFrom('0', '2', '4'),
    assignee_id: fc.constantFrom('me', 'none', ...people),
    created_by: fc.constantFrom('me', ...people),
    q: text.map((found) => found.join(' ')),
    sort: fc.constantFrom(...sorts),
    limit: fc.constantFrom('1', '7', '200'),
  };
  const rules: fc.RecordConstraints<'limit'> = { requiredKeys: ['limit'] };
  const windows = { due_after: dueOf(0, 2), due_before: dueOf(2, 4), completed_from: time };
  const others = {
    priority_min: fc.constantFrom('0', '1', '2'),
    priority_max: fc.constantFrom('2', '3'),
    due_from: dueOf(0, 2),
    label_not: fc.oneof(listOf(labels), fc.constantFrom('', 'home,')),
    completed_before: time,
    updated_from: time,
    created_before: time,
  };
  const { priority: _, ...rest } = base;
  return fc.oneof(
    fc.record({ ...base, ...windows, label_not: others.label_not }, rules),
    fc.record({ ...rest, ...others, due_before: windows.due_before }, rules),
    fc.record({ ...rest, due: fc.constantFrom('none', 'any'), label_all: listOf(labels) }, rules),
  ) as fc.Arbitrary<Query>;
};

/** As an instant, or as a date. */
const dueOf = (from: number, to: number) =>
  fc.constantFrom(...dues.slice(from, to).flatMap((due) => [due, due.slice(0, 10)]));

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

const hasLabel = (task: Task, label: string) =>
  label === '' ? task.labels.length === 0 : task.labels.includes(label);
const isIn = (time: string | null, from = '', before = '~') =>
  time !== null && time >= from && time < before;

/** When a task is due: a day is due at its end. */
const dueOfTask = ({ due_at, due_on }: Task) => due_at ?? (due_on && `${due_on}T23:59:59.999Z`);
const firstOf = (time: string) => (time.length === 10 ? `${time}T00:00:00.000Z` : time);
const lastOf = (time: string) => (time.length === 10 ? `${time}T23:59:59.999Z` : time);

function isPicked(task: Task, query: Query, reader: string): boolean {
  const { status, status_not, label, label_all, label_not, priority, q, due } = query;
  const { priority_min = '0', priority_max = '4', assignee_id, created_by } = query;
  const { due_after, due_from, due_before, completed_from, completed_before } = query;
  const id = (given: string) => (given === 'me' ? reader : given === 'none' ? null : given);
  const dueAt = dueOfTask(task);
  const after = due_after && lastOf(due_after);
  const isDue =
    isIn(dueAt, due_from && firstOf(due_from), due_before && firstOf(due_before)) &&
    (!after || (dueAt ?? '') > after);
  return (
    (status === undefined || status.split(',').includes(task.status)) &&
    !status_not?.split(',').includes(task.status) &&
    (label === undefined || label.split(',').some((one) => hasLabel(task, one))) &&
    (label_all === undefined || label_all.split(',').every((one) => hasLabel(task, one))) &&
    (label_not === undefined || !label_not.split(',').some((one) => hasLabel(task, one))) &&
    (priority === undefined || task.priority === Number(priority)) &&
    task.priority >= Number(priority_min) &&
    task.priority <= Number(priority_max) &&
    (assignee_id === undefined || task.assignee_id === id(assignee_id)) &&
    (created_by === undefined || task.created_by === id(created_by)) &&
    (due === undefined || (dueAt !== null) === (due === 'any')) &&
    (!(due_after || due_from || due_before) || isDue) &&
    (!(completed_from || completed_before) ||
      isIn(task.completed_at, completed_from, completed_before)) &&
    isIn(task.updated_at, query.updated_from) &&
    isIn(task.created_at, '', query.created_before) &&
    (!q || isFound(q, task))
  );
}

function pick(tasks: Task[], query: Query, reader: string): string[] {
  const { sort = '-created_at' } = query;
  const field = sort.replace('-', '') as 'created_at' | 'due_at' | 'priority' | 'title';
  const direction = sort.startsWith('-') ? -1 : 1;
  const keyOf = (task: Task) =>
    field === 'title' ? plain(task.title) : field === 'due_at' ? dueOfTask(task) : task[field];
  return tasks
    .filter((task) => isPicked(task, query, reader))
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
let projectIds: string[] = [];

beforeAll(async () => {
  [ada, bob] = [await api.person('ada'), await api.person('bob')];
  const projects = [
    await ada.createProject(),
    await ada.createProject(),
    await bob.createProject(),
  ];
  await api.addMember(projects[0].id, bob, 'editor');
  await api.addMember(projects[2].id, ada, 'viewer');
  projectIds = projects.map(({ id }) => id);
  // Projects of others, which stay invisible.
  const foreign = await bob.createProject();
  await bob.createTask(foreign.id, { title: 'tile kitchen', labels: ['home'] });
  const samples = fc.sample(fields, { numRuns: TASKS, seed: 7 });
  for (const [index, sample] of samples.entries()) {
    const place = index % 3;
    const owner = place === 2 ? bob : ada;
    const assigneeId = [null, owner.id, place === 0 ? bob.id : null][index % 5] ?? null;
    const task = await owner.createTask(projectIds[place] as string, {
      ...sample,
      assignee_id: assigneeId,
    });
    if (index % 4 === 0) tasks.push((await owner.patch(`/tasks/${task.id}`, { priority: 1 })).body);
    else tasks.push(task);
  }
  // Times that tie, as those of one statement do.
  await api.sql`update tasks set created_at = date_trunc('second', created_at)`;
  tasks = await Promise.all(tasks.map(async ({ id }) => (await ada.get(`/tasks/${id}`)).body));
});

/** Moments between the writes of the tasks. */
const times = () => tasks.flatMap(({ updated_at }, n) => (n % 12 === 0 ? updated_at : []));

describe('a list of tasks equals a plain filter and sort of all tasks', () => {
  test.each(sorts)('by %s, in pages', async (sort) => {
    for (const limit of ['1', '7', '200'])
      expect(await walk(ada, '/tasks', { sort, limit })).toEqual(pick(tasks, { sort }, ada.id));
  });

  test('with generated filters', async () => {
    await fc.assert(
      fc.asyncProperty(query([ada.id, bob.id], times), async (asked) => {
        expect(await walk(ada, '/tasks', asked)).toEqual(pick(tasks, asked, ada.id));
        const [projectId = ''] = projectIds;
        const here = tasks.filter((task) => task.project_id === projectId);
        const { sort: _, limit: __, ...filters } = asked;
        const parameters = new URLSearchParams({ ...filters, project_id: projectId });
        expect((await bob.get(`/tasks/count?${parameters}`)).body).toEqual({
          count: pick(here, asked, bob.id).length,
          more: false,
        });
        expect(await walk(bob, `/tasks/projects/${projectId}`, asked)).toEqual(
          pick(here, asked, bob.id),
        );
        const exported = await bob.get(
          `/projects/${projectId}/export?format=csv&${new URLSearchParams(filters)}`,
        );
        const ids = [...exported.text.matchAll(/^"([\da-f-]{36})"/gm)].map(([, id]) => id);
        expect(ids).toEqual(pick(here, { ...filters, sort: 'created_at' }, bob.id));
        const { due: ___, ...ofCalendar } = filters;
        // A calendar has what was done lately, as all of it was here.
        const lately = { status: 'todo,in_progress,done' };
        const open = (asked.status ?? asked.status_not) ? {} : lately;
        const calendar = await ada.get(`/tasks/calendar.ics?${new URLSearchParams(ofCalendar)}`);
        const uids = [...calendar.text.matchAll(/^UID:(.*)\r$/gm)].map(([, uid]) => uid);
        expect(uids.toSorted()).toEqual(
          pick(tasks, { ...ofCalendar, ...open, due: 'any' }, ada.id).toSorted(),
        );
      }),
      { numRuns: casesOf(40, 150) },
    );
  });
});

test('a list parameter takes commas, repetition, or both', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  for (const status of ['todo', 'in_progress', 'done', 'cancelled'])
    await ada.createTask(project.id, { title: status, status, labels: [`is ${status}`] });
  const titles = async (query: string) =>
    (await ada.get(`/tasks?sort=created_at&${query}`)).body.items.map(
      ({ title }: { title: string }) => title,
    );
  const both = ['todo', 'done'];
  expect(await titles('status=todo,done')).toEqual(both);
  expect(await titles('status=todo%2Cdone')).toEqual(both);
  expect(await titles('status=todo&status=done')).toEqual(both);
  expect(await titles('label=is+todo&limit=9&label=is+done')).toEqual(both);
  expect(await titles('status=todo&status=done,cancelled')).toEqual([...both, 'cancelled']);
  expect(await titles('status[]=todo&status[]=done')).toEqual(both);
  expect(await titles('status%5B%5D=todo&status%5B%5D=done')).toEqual(both);
  const twice = ['status=todo&status=todo', 'status=todo&status[]=todo', 'q=a&q=b'];
  for (const query of [...twice, 'status=todo,done&status=done'])
    expect((await ada.get(`/tasks?${query}`)).body.errors).toMatchObject([{ code: 'repeated' }]);
  expect((await ada.get('/projects?status=todo&status=done')).body.errors).toMatchObject([
    { location: 'query.status', code: 'unknown_field' },
  ]);
  expect((await ada.get('/tasks?q[]=a')).body.errors).toMatchObject([{ code: 'unknown_field' }]);
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
  ['label=a,,', 'query.label'],
  ['label_all=a,,b', 'query.label_all'],
  ['label=a,a', 'query.label'],
  [`label=${'x'.repeat(51)}`, 'query.label'],
  [`label=${Array.from({ length: 21 }, (_, n) => n).join()}`, 'query.label'],
  [`label_not=${Array.from({ length: 51 }, (_, n) => n).join()}`, 'query.label_not'],
  [`label_all=${'x'.repeat(51)}`, 'query.label_all'],
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
  ['archived=some', 'query.archived'],
  ['state=todo', 'query.state'],
])('%s is refused', async (parameters, location) => {
  const [projectId] = projectIds;
  for (const path of ['/tasks', `/tasks/projects/${projectId}`]) {
    const { status, body } = await ada.get(`${path}?${parameters}`);
    expect([status, body.code]).toEqual([422, 'validation_failed']);
    expect(body.errors).toMatchObject([{ location }]);
  }
});

test('due_after and due_before are exclusive', async () => {
  const who = await api.person();
  const project = await who.createProject();
  const dueAt = '2026-01-01T00:00:00.000Z';
  const task = await who.createTask(project.id, { due_at: dueAt });
  const found = async (query: string) => (await who.get(`/tasks?${query}`)).body.items;
  expect(await found(`due_after=${dueAt}`)).toEqual([]);
  expect(await found(`due_before=${dueAt}`)).toEqual([]);
  expect(
    await found('due_after=2025-12-31T23:59:59.999Z&due_before=2026-01-01T00:00:00.001Z'),
  ).toEqual([task]);
});

describe('a list of projects', () => {
  test('hides archived projects unless archived is true or any', async () => {
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

  test('is sorted, searched and paged, with own and shared projects', async () => {
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
    const byName = ['Ärger', 'Bad', 'kitchen', 'Küche', 'Kuchen', 'zoo'];
    expect(await walked('sort=name')).toEqual(byName);
    expect(await walked('sort=-name')).toEqual(byName.toReversed());
    expect(await walked('sort=created_at')).toEqual(names);
    expect(await walked('sort=-created_at')).toEqual(names.toReversed());
    expect(await walked('sort=-updated_at')).toEqual(['Küche', ...names.slice(1).toReversed()]);
    expect(await walked('sort=name&q=kuche')).toEqual(['Küche', 'Kuchen']);
    expect(await walked('q=kuchen')).toEqual(['Kuchen', 'Küche']);
    expect((await who.get('/projects?sort=title')).status).toBe(422);
  });
});

describe('archived projects', () => {
  test('are left out of the list over all projects and of the count, unless they are asked for', async () => {
    const cid = await api.person('cid');
    const [kept, archived] = [await cid.createProject(), await cid.createProject()];
    const [one, other] = [await cid.createTask(kept.id), await cid.createTask(archived.id)];
    await cid.patch(`/projects/${archived.id}`, { archived: true });
    for (const [query, ids] of [
      ['', [one.id]],
      ['archived=false', [one.id]],
      ['archived=true', [other.id]],
      ['archived=any&sort=created_at', [one.id, other.id]],
      [`archived=any&project_id=${archived.id}`, [other.id]],
      [`project_id=${archived.id}`, []],
      ['q=tiles', [one.id]],
    ] as const) {
      const { body } = await cid.get(`/tasks?${query}`);
      expect(body.items.map(({ id }: Task) => id)).toEqual([...ids]);
      const count = await cid.get(`/tasks/count?${query.replace('&sort=created_at', '')}`);
      expect(count.body).toEqual({ count: ids.length, more: false });
    }
    const own = await cid.get(`/tasks/projects/${archived.id}`);
    expect(own.body.items.length).toBe(1);
  });
});

test('windows from due_from to due_before tile: a task is in exactly one of them', async () => {
  const cid = await api.person('cid');
  const project = await cid.createProject();
  const edges = ['2026-11-30', '2026-12-01', '2026-12-02'].map((day) => `${day}T00:00:00Z`);
  for (const dueAt of [...edges.slice(0, 2), '2026-11-30T23:59:59.999Z', null])
    await cid.createTask(project.id, { due_at: dueAt });
  const found = async (from: number) =>
    (await cid.get(`/tasks?due_from=${edges[from]}&due_before=${edges[from + 1]}`)).body.items;
  expect([(await found(0)).length, (await found(1)).length]).toEqual([2, 1]);
});

test('dates are days in UTC, and windows of them tile', async () => {
  const cid = await api.person('cid');
  const project = await cid.createProject();
  for (const fields of [
    { due_on: '2026-11-30' },
    { due_at: '2026-11-30T23:59:59.999Z' },
    { due_at: '2026-12-01T00:00:00Z' },
    { due_on: '2026-12-01' },
    {},
  ])
    await cid.createTask(project.id, { title: fields.due_on ?? fields.due_at ?? '-', ...fields });
  const found = async (query: string) =>
    (await cid.get(`/tasks?sort=due_at&${query}`)).body.items.map(({ title }: Task) => title);
  const [eve, day] = [
    ['2026-11-30', '2026-11-30T23:59:59.999Z'],
    ['2026-12-01T00:00:00Z', '2026-12-01'],
  ];
  expect(await found('')).toEqual([...eve, ...day, '-']);
  expect(await found('due_from=2026-11-30&due_before=2026-12-01')).toEqual(eve);
  expect(await found('due_from=2026-12-01&due_before=2026-12-02')).toEqual(day);
  expect(await found('due_after=2026-11-30')).toEqual(day);
  expect(await found('due_before=2026-12-01T12:00:00Z')).toEqual([...eve, day[0]]);
  expect(await found('due=any')).toEqual([...eve, ...day]);
  expect(await found('due=none')).toEqual(['-']);
});

test('a count takes no cursor and no sort', async () => {
  for (const name of ['cursor', 'sort', 'limit', 'expand']) {
    const { status, body } = await ada.get(`/tasks/count?${name}=1`);
    expect([status, body.errors[0].location]).toEqual([422, `query.${name}`]);
  }
});

test('an unknown project and one of another user are not found', async () => {
  const [cid, dan] = [await api.person('cid'), await api.person('dan')];
  const project = await cid.createProject();
  await cid.createTask(project.id);
  for (const path of ['/tasks', '/tasks/count']) {
    const own = (await dan.createProject()).id;
    expect((await dan.get(`${path}?project_id=${own.toUpperCase()}`)).status).toBe(200);
    const answers = [];
    for (const id of [project.id, crypto.randomUUID()]) {
      const { status, body } = await dan.get(`${path}?project_id=${own},${id}`);
      expect([status, body.errors[0].location]).toEqual([404, 'query.project_id']);
      answers.push({ ...body, request_id: '' });
    }
    expect(answers[0]).toEqual(answers[1]);
  }
});

test.each([
  ['label=!shopping', 'query.label', 'label_not'],
  ['label_all=home&label_not=home', 'query.label_not', 'label_all'],
  ['due=none&due_before=2026-01-01T00:00:00Z', 'query.due', 'none'],
  ['due_from=2026-01-02T00:00:00Z&due_before=2026-01-02T00:00:00Z', 'query.due_before', 'due_from'],
  ['due_after=2026-01-02&due_before=2026-01-03', 'query.due_before', 'due_after'],
  ['due_from=2026-01-02&due_before=2026-01-02', 'query.due_before', 'due_from'],
  ['due_from=2026-02-30', 'query.due_from', '2026-11-23'],
  [
    'completed_from=2026-01-02T00:00:00Z&completed_before=2026-01-01T00:00:00Z',
    'query.completed_before',
    'completed_from',
  ],
  ['priority_min=3&priority_max=2', 'query.priority_max', 'priority_min'],
  ['priority=1&priority_min=2', 'query.priority', 'priority_min'],
  ['created_by=none', 'query.created_by', 'UUID'],
  ['status_not=open', 'query.status_not', 'todo'],
])('%s is refused, and the message says what to write', async (parameters, location, word) => {
  for (const path of ['/tasks', '/tasks/count', `/tasks/projects/${projectIds[0]}`]) {
    const { status, body } = await ada.get(`${path}?${parameters}`);
    expect([status, body.errors?.[0]?.location]).toEqual([422, location]);
    expect(body.errors[0].message).toContain(word);
  }
});
