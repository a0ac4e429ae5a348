/** A project that is taken along and comes back: whole, or not at all. */
import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { type Persona, useApi } from '../support/api.ts';
import { exportedTask } from '../support/exported-project.ts';
import { casesOf } from '../support/generated.ts';
import { openTransaction } from '../support/locks.ts';
import { waitFor } from '../support/process.ts';

const api = useApi();

const documentOf = (tasks: object[], changes: object = {}) => ({
  format: 'mantou-project',
  format_version: 1,
  exported_at: '2026-11-25T00:00:00.000Z',
  project: {
    name: 'Kitchen',
    description: 'New tiles',
    archived_at: null,
    created_at: '2026-11-01T00:00:00.000Z',
    updated_at: '2026-11-02T00:00:00.000Z',
  },
  tasks,
  ...changes,
});

const json = { 'content-type': 'application/json' };
const importText = (who: Persona, text: string, headers: Record<string, string> = {}) =>
  who.post('/projects/import', undefined, { raw: text, headers: { ...json, ...headers } });
const importTasks = (who: Persona, tasks: object[], changes: object = {}) =>
  importText(who, JSON.stringify(documentOf(tasks, changes)));

const exportOf = async (who: Persona, projectId: string) =>
  (await who.get(`/projects/${projectId}/export`)).text;
const withoutInstant = (text: string) => text.replace(/"exported_at":"[^"]*"/, '');

/** What is written while a document comes, and must be gone when it was refused. */
async function rows(): Promise<Record<string, number>> {
  const [{ hidden }] =
    await api.sql`select count(*)::int as hidden from project_members where isfinite(importing_since)`;
  return { ...(await api.countRows()), hidden };
}

async function refused(who: Persona, text: string, headers: Record<string, string> = {}) {
  const before = await rows();
  const { status, body } = await importText(who, text, headers);
  expect(await rows()).toEqual(before);
  return { status, code: body.code, detail: body.detail, errors: body.errors };
}

// --- What comes back ---------------------------------------------------------------------------------------------

const instant = fc
  .date({ min: new Date('1970-01-01'), max: new Date('9999-12-31'), noInvalidDate: true })
  .map((date) => date.toISOString());
const nasty = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 60 }),
  fc.string({ unit: 'grapheme', maxLength: 60 }),
  fc.constantFrom(
    '"\\\n\r\u2028',
    '=1+1',
    "'",
    '</script>',
    '\u202eabc',
    '{"a":[1]}',
    '\ufeff',
    '',
  ),
);
const clean = (text: string) => text.replaceAll('\0', '').toWellFormed();
const title = nasty.map((text) => [...`x${clean(text)}`].slice(0, 500).join(''));
const generated = fc.record({
  title,
  description: fc.option(nasty.map(clean)),
  status: fc.constantFrom('todo', 'in_progress', 'done', 'cancelled'),
  priority: fc.integer({ min: 0, max: 4 }),
  due_at: fc.option(instant),
  mine: fc.boolean(),
  labels: fc.uniqueArray(
    nasty.map((text) => [...`l${clean(text).replaceAll(',', '')}`].slice(0, 50).join('')),
    { maxLength: 5 },
  ),
  completed_at: instant,
  created_at: instant,
  updated_at: instant,
});

test('an imported export exports the same document, except ids and times', async () => {
  const ada = await api.person();
  await fc.assert(
    fc.asyncProperty(
      fc.array(generated, { maxLength: 30 }),
      title,
      fc.option(instant),
      async (tasks, name, archivedAt) => {
        const ofAda = (mine: boolean) => (mine ? ada.username : null);
        const { body } = await importTasks(
          ada,
          tasks.map(({ mine, ...task }) => ({
            ...task,
            assignee: ofAda(mine),
            created_by: ofAda(!mine),
            completed_at: task.status === 'done' ? task.completed_at : null,
          })),
          {
            project: {
              ...documentOf([]).project,
              name: [...name].slice(0, 120).join(''),
              archived_at: archivedAt,
            },
          },
        );
        expect(body.tasks).toBe(tasks.length);
        const first = await exportOf(ada, body.project.id);
        const again = await importText(ada, first);
        expect(again.status).toBe(201);
        const second = await exportOf(ada, again.body.project.id);
        expect(withoutInstant(second)).toBe(withoutInstant(first));
        expect(JSON.parse(first).tasks.length).toBe(tasks.length);
      },
    ),
    { numRuns: casesOf(10, 40) },
  );
});

test('an imported project equals the exported one and can be used', async () => {
  const ada = await api.person();
  const project = await ada.createProject('Küche');
  await ada.createTask(project.id, { title: 'Grünes Licht', labels: ['Lampe', 'x'], priority: 3 });
  const done = await ada.createTask(project.id, { status: 'done', assignee_id: ada.id });
  await ada.patch(`/tasks/${done.id}`, { description: 'Ziegel' });
  const text = await exportOf(ada, project.id);
  const { status, body, headers } = await importText(ada, text);
  expect(status).toBe(201);
  expect(headers.get('location')).toBe(`/projects/${body.project.id}`);
  expect(body).toMatchObject({
    project: { name: 'Küche', role: 'owner', version: 1, created_at: project.created_at },
    tasks: 2,
    unassigned_total: 0,
    unassigned: [],
  });
  expect((await ada.get(`/projects/${body.project.id}`)).body).toEqual(body.project);
  const list = async (query: string) =>
    (await ada.get(`/tasks/projects/${body.project.id}?${query}`)).body.items;
  expect(await list('q=grun')).toMatchObject([{ labels: ['Lampe', 'x'], priority: 3, version: 1 }]);
  expect(await list('q=ziegel')).toMatchObject([{ assignee_id: ada.id, created_by: ada.id }]);
  expect(await list('label=Lampe')).toHaveLength(1);
  expect((await ada.get('/projects?q=kuche')).body.items).toHaveLength(2);
  const [{ id }] = await list('q=ziegel');
  expect((await ada.patch(`/tasks/${id}`, { status: 'todo' })).body.completed_at).toBeNull();
});

test('white space and the order of fields are irrelevant', async () => {
  const ada = await api.person();
  const written = documentOf([exportedTask, { ...exportedTask, title: 'Lamp' }]);
  const turned = Object.fromEntries(Object.entries(written).reverse());
  for (const text of [
    JSON.stringify(written, null, 2),
    JSON.stringify(written, null, '\r\n\t'),
    `\n\n${JSON.stringify(turned)}\n\n \n`,
    `\ufeff${JSON.stringify(written)}`,
  ]) {
    const { status, body } = await importText(ada, text);
    expect([status, body.tasks, body.project?.name]).toEqual([201, 2, 'Kitchen']);
  }
});

test('a document that arrives byte by byte imports the same project', async () => {
  const ada = await api.person();
  const bytes = new TextEncoder().encode(
    JSON.stringify(documentOf([{ ...exportedTask, title: 'Ü🍞' }])),
  );
  const pieces = new ReadableStream<Uint8Array>({
    async start(controller) {
      for (const byte of bytes) controller.enqueue(Uint8Array.of(byte));
      controller.close();
    },
  });
  const { status, body } = await ada.post('/projects/import', undefined, {
    raw: pieces,
    headers: json,
  });
  expect([status, body.tasks]).toEqual([201, 1]);
  expect(JSON.parse(await exportOf(ada, body.project.id)).tasks[0].title).toBe('Ü🍞');
});

test('only the importer stays assignee and creator; the response names the lines that lost their assignee', async () => {
  const [ada, bob] = [await api.person('ada'), await api.person('bob')];
  const tasks = [
    { ...exportedTask, assignee: bob.username, created_by: bob.username },
    { ...exportedTask, assignee: 'nobody-here', created_by: ada.username.toUpperCase() },
    { ...exportedTask, assignee: ada.username.toUpperCase() },
  ];
  const text = JSON.stringify(documentOf(tasks)).replaceAll('{"title"', '\n{"title"');
  const { status, body } = await importText(ada, text);
  expect(status).toBe(201);
  const { items } = (await ada.get(`/tasks/projects/${body.project.id}?sort=created_at`)).body;
  expect(items.map(({ assignee_id }: { assignee_id: string }) => assignee_id)).toEqual([
    null,
    null,
    ada.id,
  ]);
  expect(items.map(({ created_by }: { created_by: string }) => created_by)).toEqual([
    null,
    ada.id,
    null,
  ]);
  expect([body.tasks, body.unassigned_total]).toEqual([3, 2]);
  expect(body.unassigned).toEqual([
    { line: 2, task_id: items[0].id, username: bob.username },
    { line: 3, task_id: items[1].id, username: 'nobody-here' },
  ]);
});

test('the response names up to 100 tasks that lost their assignee', async () => {
  const ada = await api.person();
  const { body } = await importTasks(ada, Array(1203).fill({ ...exportedTask, assignee: 'grace' }));
  expect([body.tasks, body.unassigned_total, body.unassigned.length]).toEqual([1203, 1203, 100]);
});

// --- What is refused ---------------------------------------------------------------------------------------------

/** Enough that some are written before the last one is read. */
const many = (last: unknown) => [...Array(1200).fill(exportedTask), last] as object[];
const linesOf = (tasks: object[]) =>
  `${JSON.stringify(documentOf([])).slice(0, -2)}\n${tasks.map((one) => JSON.stringify(one)).join(',\n')}\n]}`;

describe('a broken task after many valid ones is named by line, and no row is written', () => {
  const cases: [string, object | unknown, string, string][] = [
    ['a title that is too long', { ...exportedTask, title: 'x'.repeat(501) }, 'title', 'too_long'],
    ['NUL', { ...exportedTask, title: 'a\0b' }, 'title', 'invalid_text'],
    ['a lone surrogate', { ...exportedTask, description: '\ud800' }, 'description', 'invalid_text'],
    ['a number as text', { ...exportedTask, priority: '3' }, 'priority', 'wrong_type'],
    ['an unknown field', { ...exportedTask, colour: 'red' }, 'colour', 'unknown_field'],
    ['a missing field', { ...exportedTask, status: undefined }, 'status', 'required'],
    [
      'a day that is none',
      { ...exportedTask, due_at: '2024-02-30T00:00:00Z' },
      'due_at',
      'invalid_instant',
    ],
    [
      'two due dates',
      { ...exportedTask, due_at: exportedTask.created_at, due_on: '2026-12-24' },
      'due_on',
      'contradiction',
    ],
    ['a status that is none', { ...exportedTask, status: 'open' }, 'status', 'not_allowed'],
    ['a label twice', { ...exportedTask, labels: ['a', 'a'] }, 'labels', 'repeated'],
    ['a label with a comma', { ...exportedTask, labels: ['a,b'] }, 'labels.0', 'invalid_format'],
    ['done, but never', { ...exportedTask, status: 'done' }, 'completed_at', 'contradiction'],
    [
      'not done, but once',
      { ...exportedTask, completed_at: exportedTask.created_at },
      'completed_at',
      'contradiction',
    ],
    ['a name that is none', { ...exportedTask, assignee: 'a b' }, 'assignee', 'invalid_format'],
    ['no object', [exportedTask], '', 'wrong_type'],
    ['null', null, '', 'wrong_type'],
  ];
  test.each(cases)('%s', async (_, task, field, code) => {
    const ada = await api.person();
    const problem = await refused(ada, linesOf(many(task)));
    expect([problem.status, problem.code]).toEqual([422, 'validation_failed']);
    expect(problem.errors).toMatchObject([
      {
        location: field === '' ? 'body.tasks.1200' : `body.tasks.1200.${field}`,
        code,
        message: expect.stringMatching(/^line 1202: /),
      },
    ]);
  });

  test('__proto__ as a field', async () => {
    const ada = await api.person();
    const text = linesOf([exportedTask]).replace('"title"', '"__proto__":{"title":"x"},"title"');
    const problem = await refused(ada, text);
    expect(problem.errors).toMatchObject([{ code: 'unknown_field' }]);
  });

  test('up to 20 broken tasks are named', async () => {
    const ada = await api.person();
    const some = await refused(
      ada,
      linesOf([exportedTask, { ...exportedTask, title: '' }, exportedTask, { title: 'x' }]),
    );
    expect(some.errors[0].location).toBe('body.tasks.1.title');
    expect(some.errors[1].location).toStartWith('body.tasks.3.');
    const all = await refused(ada, linesOf(Array(50).fill({ ...exportedTask, title: '' })));
    expect(all.errors.length).toBe(20);
  });
});

describe('an invalid document is refused, and no row is written', () => {
  test.each([
    ['another format', { format: 'mantou-account' }, 'body.format', 'not_allowed'],
    ['another version', { format_version: 2 }, 'body.format_version', 'not_allowed'],
    ['an unknown field', { surprise: 1 }, 'body.surprise', 'unknown_field'],
    ['no project', { project: undefined }, 'body.project', 'required'],
    ['no tasks', { tasks: undefined }, 'body.tasks', 'required'],
    ['tasks that are an object', { tasks: { a: exportedTask } }, 'body.tasks', 'wrong_type'],
    ['tasks that are null', { tasks: null }, 'body.tasks', 'wrong_type'],
    [
      'a project with an id that is no UUID',
      { project: { ...documentOf([]).project, id: 'x' } },
      'body.project.id',
      'invalid_id',
    ],
    [
      'a project without a name',
      { project: { ...documentOf([]).project, name: ' ' } },
      'body.project.name',
      'blank',
    ],
  ] as const)('%s', async (_, changes, location, code) => {
    const ada = await api.person();
    const problem = await refused(
      ada,
      JSON.stringify({ ...documentOf([exportedTask]), ...changes }),
    );
    expect([problem.status, problem.code]).toEqual([422, 'validation_failed']);
    expect(problem.errors[0]).toMatchObject({ location, code });
  });

  const ofProject = documentOf([]).project;
  const places: [string, (value: unknown) => object][] = [
    ...Object.keys(documentOf([])).map((field): [string, (value: unknown) => object] => [
      field,
      (value) => documentOf([exportedTask], { [field]: value }),
    ]),
    ...Object.keys(ofProject).map((field): [string, (value: unknown) => object] => [
      `project.${field}`,
      (value) => documentOf([exportedTask], { project: { ...ofProject, [field]: value } }),
    ]),
    ...Object.keys(exportedTask).map((field): [string, (value: unknown) => object] => [
      `tasks.0.${field}`,
      (value) => documentOf([{ ...exportedTask, [field]: value }]),
    ]),
  ];

  test.each(places)('%s is missing or of another type', async (place, written) => {
    const ada = await api.person();
    for (const value of [undefined, {}, 1.5, true, 'a\0', '\ud800', [null]]) {
      const { status, code, errors } = await refused(ada, JSON.stringify(written(value)));
      expect([place, value, status, code]).toEqual([place, value, 422, 'validation_failed']);
      expect(errors[0].location).toStartWith(`body.${place}`);
    }
  });

  test('an unsupported format_version is reported before errors in tasks', async () => {
    const ada = await api.person();
    const text = JSON.stringify(documentOf([{ name: 'of the future' }], { format_version: 2 }));
    expect((await refused(ada, text)).errors).toHaveLength(1);
  });

  test('tasks is repeated', async () => {
    const ada = await api.person();
    const text = JSON.stringify(documentOf([exportedTask])).replace(
      '"tasks"',
      '"tasks":[],"tasks"',
    );
    expect((await refused(ada, text)).errors[0]).toMatchObject({ code: 'repeated' });
  });

  test.each(['[]', '5', 'null', '"x"'])('%s', async (text) => {
    const ada = await api.person();
    const { status, errors } = await refused(ada, text);
    expect([status, errors[0].location]).toEqual([422, 'body']);
  });

  test('the body is absent', async () => {
    const ada = await api.person();
    const { status, body } = await ada.request('POST', '/projects/import');
    expect([status, body.errors[0].location]).toEqual([422, 'body']);
  });
});

describe('malformed JSON is refused with its line, and no row is written', () => {
  const whole = linesOf(many(exportedTask));
  const lines = whole.split('\n');
  const broken = (line: string) => [...lines.slice(0, 1000), line, ...lines.slice(1000)].join('\n');
  test.each([
    ['a line of something else', broken('nonsense'), 1001],
    ['a comma too many', broken(','), 1001],
    ['a trailing comma', `${whole.slice(0, -3)},\n]}`, 1203],
    ['the end is missing', whole.slice(0, -2), 1202],
    ['broken off in a text', lines.slice(0, 1000).join('\n').slice(0, -30), 1000],
    ['something after the end', `${whole}\n{}`, 1204],
    ['a raw line break in a text', broken('{"title":"a\nb"},'), 1001],
    ['a number that is none', broken('01,'), 1001],
    ['single quotes', broken("{'title':1},"), 1001],
    ['too deep', broken(`${'['.repeat(40)}${']'.repeat(40)},`), 1001],
  ])('%s', async (_, text, line) => {
    const ada = await api.person();
    const { status, code, detail } = await refused(ada, text);
    expect([status, code]).toEqual([400, 'malformed_json']);
    expect(detail).toStartWith(`Line ${line} `);
  });

  test('bytes that are not UTF-8', async () => {
    const ada = await api.person();
    const bytes = Buffer.from(
      JSON.stringify(documentOf([exportedTask])).replace('Tiles', 'T\u00fcles'),
      'latin1',
    );
    const { status, body } = await ada.post('/projects/import', undefined, {
      raw: new Uint8Array(bytes),
      headers: json,
    });
    expect([status, body.code]).toEqual([400, 'malformed_json']);
  });

  test('an empty body with a Content-Type', async () => {
    const ada = await api.person();
    expect((await refused(ada, ' ')).code).toBe('malformed_json');
  });
});

describe('a document that is too large is refused', () => {
  test('100 MB with a Content-Length, before the body is read', async () => {
    const ada = await api.person();
    const { status, code } = await refused(ada, ' '.repeat(100 * 1024 ** 2));
    expect([status, code]).toEqual([413, 'payload_too_large']);
  });

  test('100 MB without a Content-Length, by counting, and the rows already written are deleted', async () => {
    const ada = await api.person();
    const before = await rows();
    const begin = linesOf(many(exportedTask)).slice(0, -3);
    const padded = `,${' '.repeat(1000 * 1024)}${JSON.stringify(exportedTask)}`;
    let sentBytes = 0;
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        const chunk = new TextEncoder().encode(sentBytes === 0 ? begin : padded);
        controller.enqueue(chunk);
        sentBytes += chunk.length;
        if (sentBytes > 100 * 1024 ** 2) controller.close();
      },
    });
    const { status, body } = await ada.post('/projects/import', undefined, {
      raw: endless,
      headers: json,
    });
    expect([status, body.code]).toEqual([413, 'payload_too_large']);
    expect(await rows()).toEqual(before);
  });

  test('a single task of megabytes, and megabytes of white space in a task', async () => {
    const ada = await api.person();
    for (const text of [
      linesOf([{ ...exportedTask, description: 'x'.repeat(3 * 1024 ** 2) }]),
      linesOf([exportedTask]).replace('\n', ' '.repeat(3 * 1024 ** 2)),
    ]) {
      const { status, code, detail } = await refused(ada, text);
      expect([status, code]).toEqual([400, 'malformed_json']);
      expect(detail).toContain('1 MiB');
    }
  });

  test('an import larger than BODY_LIMIT succeeds', async () => {
    const ada = await api.person();
    const long = { ...exportedTask, description: 'é'.repeat(20_000) };
    const { status, body } = await importTasks(ada, Array(50).fill(long));
    expect([status, body.tasks]).toEqual([201, 50]);
  });
});

test.each([
  [{ 'content-type': 'text/plain' }],
  [{ 'content-type': 'application/json; charset=utf-16' }],
  [{ 'content-encoding': 'gzip' }],
])('an import with %p is refused', async (headers) => {
  const ada = await api.person();
  const { status, code } = await refused(ada, JSON.stringify(documentOf([])), headers);
  expect([status, code]).toEqual([415, 'unsupported_media_type']);
});

// --- While it comes ----------------------------------------------------------------------------------------------

/** Sends a document up to somewhere, and goes on when it is told to. */
function slowly(who: Persona, text: string) {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = writable.getWriter();
  const encoder = new TextEncoder();
  const aborter = new AbortController();
  const answer = fetch(`${api.url}/projects/import`, {
    method: 'POST',
    headers: { ...json, authorization: `Bearer ${who.token}` },
    body: readable,
    signal: aborter.signal,
  });
  answer.catch(() => undefined);
  writer.write(encoder.encode(text)).catch(() => undefined);
  return {
    answer,
    abort: () => aborter.abort(),
    async finish(rest: string) {
      await writer.write(encoder.encode(rest));
      await writer.close();
      return answer;
    },
  };
}

const textOfMany = linesOf(many(exportedTask));
const cutAt = textOfMany.length - 20;
const someAreWritten = (user: Persona) =>
  waitFor('some tasks are written', async () => {
    const [{ count }] = await api.sql`
      select count(tasks.id)::int from project_members m left join tasks using (project_id)
      where m.user_id = ${user.id} and m.importing_since is not null`;
    return count > 0;
  });

test('an import is hidden until it is complete and holds no transaction open', async () => {
  const ada = await api.person();
  const sending = slowly(ada, textOfMany.slice(0, cutAt));
  await someAreWritten(ada);
  const [{ project_id }] =
    await api.sql`select project_id from project_members where user_id = ${ada.id}`;
  const [task] = await api.sql`select id from tasks where project_id = ${project_id} limit 1`;
  expect((await ada.get('/projects?archived=any')).body.items).toEqual([]);
  expect((await ada.get('/tasks')).body.items).toEqual([]);
  expect((await ada.get('/tasks?q=tiles')).body.items).toEqual([]);
  expect((await ada.get('/users/me/export')).body.projects).toEqual([]);
  for (const path of [
    `/projects/${project_id}`,
    `/projects/${project_id}/members`,
    `/projects/${project_id}/export`,
    `/tasks/projects/${project_id}`,
    `/tasks/${task.id}`,
  ])
    expect([path, (await ada.get(path)).status]).toEqual([path, 404]);
  expect((await ada.delete(`/projects/${project_id}`)).status).toBe(404);
  expect((await ada.patch(`/tasks/${task.id}`, { title: 'x' })).status).toBe(404);
  const [{ open }] = await api.sql`
    select count(*)::int as open from pg_stat_activity
    where datname = current_database() and state like 'idle in transaction%'`;
  expect(open).toBe(0);

  expect((await sending.finish(textOfMany.slice(cutAt))).status).toBe(201);
  expect((await ada.get('/projects')).body.items).toMatchObject([{ id: project_id, version: 1 }]);
});

test('an import that its client cuts off leaves no rows', async () => {
  const ada = await api.person();
  const before = await rows();
  const sending = slowly(ada, textOfMany.slice(0, cutAt));
  await someAreWritten(ada);
  sending.abort();
  await waitFor('nothing is left', async () => Bun.deepEquals(await rows(), before));
});

test('a later import deletes the rows of one whose process died', async () => {
  const [ada, bob] = [await api.person(), await api.person()];
  const before = await rows();
  await api.sql`
    with project as (insert into projects (id, name) values (gen_random_uuid(), '') returning id),
    member as (insert into project_members (project_id, user_id, role, importing_since)
      select id, ${ada.id}, 'owner', now() - interval '61 minutes' from project)
    insert into tasks (id, project_id, title) select gen_random_uuid(), id, 't' from project, generate_series(1, 6000)`;
  const { body } = await importTasks(bob, []);
  await api.sql`delete from projects where id = ${body.project.id}`;
  expect(await rows()).toEqual(before);
});

test('deleting an account deletes its import under way', async () => {
  const ada = await api.person();
  const before = await rows();
  const sending = slowly(ada, textOfMany.slice(0, cutAt));
  await someAreWritten(ada);
  expect((await ada.request('DELETE', '/users/me', { password: ada.password })).status).toBe(204);
  expect((await sending.finish(textOfMany.slice(cutAt))).status).toBeGreaterThanOrEqual(400);
  expect(await rows()).toEqual({ ...before, users: Number(before.users) - 1 });
});

test('two imports of a user run, eight wait, and more get 503', async () => {
  const [ada, bob] = [await api.person(), await api.person()];
  const begun = textOfMany.slice(0, cutAt);
  const sending = [slowly(ada, begun), slowly(ada, begun)];
  await waitFor('both have begun', async () => (await rows()).hidden === 2);
  const nothing = JSON.stringify(documentOf([]));
  const others = Array.from({ length: 9 }, () => importText(ada, nothing));
  const { status, body } = await Promise.race(others);
  expect([status, body.code]).toEqual([503, 'overloaded']);
  expect((await importText(bob, nothing)).status).toBe(201);
  for (const one of sending) expect((await one.finish(textOfMany.slice(cutAt))).status).toBe(201);
  const statuses = (await Promise.all(others)).map((answer) => answer.status);
  expect(statuses.sort()).toEqual([...Array(8).fill(201), 503]);
});

// --- Again -------------------------------------------------------------------------------------------------------

describe('an import with an Idempotency-Key', () => {
  const withKey = (key: string) => ({ 'idempotency-key': key });

  test('runs once and gets the same response, also when the document is formatted differently', async () => {
    const ada = await api.person();
    const tasks = [{ ...exportedTask, assignee: 'grace' }, exportedTask];
    const text = JSON.stringify(documentOf(tasks));
    const first = await importText(ada, text, withKey('one'));
    const before = await rows();
    for (const again of [text, JSON.stringify(documentOf(tasks), null, 1)]) {
      const { status, text: answer, headers } = await importText(ada, again, withKey('one'));
      expect([status, answer]).toEqual([201, first.text]);
      expect(headers.get('idempotency-replayed')).toBe('true');
      expect(headers.get('location')).toBe(first.headers.get('location'));
    }
    expect(await rows()).toEqual(before);
    expect(first.headers.get('idempotency-replayed')).toBeNull();
  });

  test('of another document gets 422', async () => {
    const ada = await api.person();
    await importText(ada, JSON.stringify(documentOf([exportedTask])), withKey('two'));
    for (const other of [
      documentOf([{ ...exportedTask, title: 'Lamp' }]),
      documentOf([exportedTask, exportedTask]),
      { ...documentOf([exportedTask]), exported_at: '2026-11-26T00:00:00.000Z' },
    ]) {
      const { status, code } = await refused(ada, JSON.stringify(other), withKey('two'));
      expect([status, code]).toEqual([422, 'idempotency_key_reused']);
    }
  });

  test('runs once of ten concurrent requests; the others get the same response or 409 and leave no rows', async () => {
    const ada = await api.person();
    const text = JSON.stringify(documentOf([exportedTask, exportedTask]));
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => importText(ada, text, withKey('three'))),
    );
    const made = answers.filter(({ status }) => status === 201);
    expect(new Set(made.map((one) => one.text)).size).toBe(1);
    for (const { status } of answers) expect([201, 409, 503]).toContain(status);
    expect((await ada.get('/projects')).body.items.length).toBe(1);
    expect((await rows()).hidden).toBe(0);
  });

  test('gets 409 while another with its key is in flight, and stores no response', async () => {
    const ada = await api.person();
    const text = JSON.stringify(documentOf([exportedTask]));
    const letGo = await openTransaction(
      api,
      (sql) => sql`select pg_advisory_xact_lock(hashtextextended(${`${ada.id} four`}, 0))`,
    );
    const { status, code } = await refused(ada, text, withKey('four'));
    await letGo();
    expect([status, code]).toEqual([409, 'idempotency_in_flight']);
    const made = await importText(ada, text, withKey('four'));
    expect([made.status, made.headers.get('idempotency-replayed')]).toEqual([201, null]);
    expect((await ada.get(`/projects/${made.body.project.id}`)).status).toBe(200);
  });

  test('does not use up its key when it is refused', async () => {
    const ada = await api.person();
    await refused(ada, linesOf([{ ...exportedTask, title: '' }]), withKey('five'));
    expect((await importText(ada, linesOf([exportedTask]), withKey('five'))).status).toBe(201);
  });
});
