/** What calendar programs read, and how they log in. */
import { describe, expect, test } from 'bun:test';
import ICAL from 'ical.js';
import { Client, type Persona, useApi } from '../support/api.ts';

const api = useApi();
const PATH = '/tasks/calendar.ics';
const DUE = '2026-12-24T18:00:00.500+01:00';

async function readTodos(who: Client, path = PATH) {
  return (await readCalendar(who, path)).getAllSubcomponents('vtodo');
}

async function readCalendar(who: Client, path: string) {
  const { status, text, headers } = await who.get(path);
  expect(status).toBe(200);
  expect(headers.get('content-type')).toBe('text/calendar; charset=utf-8');
  const calendar = new ICAL.Component(ICAL.parse(text));
  expect(calendar.name).toBe('vcalendar');
  return calendar;
}
const value = (todo: ICAL.Component | undefined, name: string) =>
  String(todo?.getFirstPropertyValue(name));

async function tokenOf(who: Persona, scopes = ['read']) {
  const { body } = await who.post('/users/me/tokens', { name: 'calendar', scopes });
  return body.token as string;
}

test('a task is a VTODO with every field that calendar programs show', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  const task = await ada.createTask(project.id, {
    title: 'Tiles; or, "stone"\\slate',
    description: 'First\nSecond',
    due_at: DUE,
    priority: 4,
    labels: ['a;b', 'c'],
    status: 'in_progress',
  });
  const [todo, ...others] = await readTodos(ada);
  expect(others).toEqual([]);
  expect(value(todo, 'uid')).toBe(task.id);
  expect(value(todo, 'summary')).toBe(task.title);
  expect(value(todo, 'description')).toBe('First\nSecond\n\nProject: Kitchen');
  expect(value(todo, 'due')).toBe('2026-12-24T17:00:00Z');
  expect(value(todo, 'status')).toBe('IN-PROCESS');
  expect(value(todo, 'priority')).toBe('1');
  expect(todo?.getFirstProperty('sequence')).toBeNull();
  expect(value(todo, 'created')).toBe(`${task.created_at.slice(0, 19)}Z`);
  expect(todo?.getFirstProperty('categories')?.getValues()).toEqual(['Kitchen', 'a;b', 'c']);

  const { body } = await ada.patch(`/tasks/${task.id}`, {
    priority: 0,
    status: 'todo',
    labels: [],
  });
  const [changed] = await readTodos(ada);
  expect(['uid', 'priority', 'status'].map((name) => value(changed, name))).toEqual([
    task.id,
    '0',
    'NEEDS-ACTION',
  ]);
  for (const name of ['dtstamp', 'last-modified'])
    expect(value(changed, name)).toBe(`${body.updated_at.slice(0, 19)}Z`);
  expect(changed?.getFirstProperty('categories')?.getValues()).toEqual(['Kitchen']);
});

test.each([
  [0, '0'],
  [1, '9'],
  [2, '5'],
  [3, '3'],
  [4, '1'],
])('task priority %d becomes %s in the calendar', async (priority, expected) => {
  const ada = await api.person();
  await ada.createTask((await ada.createProject()).id, { due_at: DUE, priority });
  expect(value((await readTodos(ada))[0], 'priority')).toBe(expected);
});

test('the calendar has the open tasks with a due date that the user may see, and no others', async () => {
  const [ada, bob] = [await api.person(), await api.person()];
  const [mine, shared, archived] = [
    await ada.createProject(),
    await bob.createProject(),
    await ada.createProject(),
  ];
  const due = { due_at: DUE };
  await ada.createTask(mine.id, { title: 'mine', ...due });
  await ada.createTask(mine.id, { title: 'not due' });
  await ada.createTask(mine.id, { title: 'cancelled', status: 'cancelled', ...due });
  await ada.createTask(archived.id, { title: 'at rest', ...due });
  await ada.patch(`/projects/${archived.id}`, { archived: true });
  await bob.createTask(shared.id, { title: 'shared', ...due });
  await bob.createTask((await bob.createProject()).id, { title: 'of others', ...due });
  const titles = async () => (await readTodos(ada)).map((todo) => value(todo, 'summary')).sort();
  expect(await titles()).toEqual(['mine']);
  await api.addMember(shared.id, ada, 'viewer');
  expect(await titles()).toEqual(['mine', 'shared']);
});

test('a task that is done stays in the calendar for 30 days', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  const { id } = await ada.createTask(project.id, { due_at: DUE, description: 'Blue' });
  await ada.createTask(project.id, { status: 'done' });
  const { body: task } = await ada.patch(`/tasks/${id}`, { status: 'done' });
  const [todo, ...others] = await readTodos(ada);
  expect(others).toEqual([]);
  expect(['uid', 'status', 'completed'].map((name) => value(todo, name))).toEqual([
    id,
    'COMPLETED',
    `${task.completed_at.slice(0, 19)}Z`,
  ]);
  const { headers } = await ada.get(PATH);
  const setAge = (age: string) =>
    api.sql`update tasks set completed_at = now() - ${age}::interval where id = ${id}`;
  await setAge('29 days 23 hours');
  expect((await readTodos(ada)).length).toBe(1);
  await setAge('30 days');
  expect(await readTodos(ada)).toEqual([]);
  // The tag says so, although no version has changed.
  const tag = headers.get('etag') as string;
  expect((await ada.get(PATH, { headers: { 'if-none-match': tag } })).status).toBe(200);
  // A query that names statuses has no such end.
  expect((await readTodos(ada, `${PATH}?status=done`)).length).toBe(1);
  await ada.patch(`/tasks/${id}`, { status: 'in_progress' });
  const [reopened] = await readTodos(ada);
  expect([value(reopened, 'status'), reopened?.getFirstProperty('completed')]).toEqual([
    'IN-PROCESS',
    null,
  ]);
});

test('for programs that show no tasks, each is an event that takes no time', async () => {
  const ada = await api.person();
  const { id } = await ada.createProject();
  await ada.createTask(id, { title: 'at', due_at: DUE, priority: 4, labels: ['x'] });
  await ada.createTask(id, { title: 'on', due_at: null, due_on: '2026-12-25' });
  await ada.createTask(id, { title: 'over', due_at: DUE, status: 'done' });
  await ada.createTask(id, { title: 'off', due_at: DUE, status: 'cancelled' });
  const path = `${PATH}?status=todo,done,cancelled&as=events`;
  const calendar = await readCalendar(ada, path);
  expect(calendar.getAllSubcomponents('vtodo')).toEqual([]);
  const events = calendar.getAllSubcomponents('vevent').map((event) => ({
    ...Object.fromEntries(
      ['summary', 'dtstart', 'duration', 'status', 'transp', 'priority'].map((name) => [
        name,
        event.getFirstPropertyValue(name)?.toString(),
      ]),
    ),
    rest: ['due', 'completed', 'dtend'].filter((name) => event.hasProperty(name)),
    categories: event.getFirstProperty('categories')?.getValues(),
  }));
  const at = '2026-12-24T17:00:00Z';
  const common = {
    duration: 'PT0S',
    transp: 'TRANSPARENT',
    priority: '0',
    rest: [],
    categories: ['Kitchen'],
  };
  expect(events).toEqual(
    [
      { ...common, summary: 'at', dtstart: at, priority: '1', categories: ['Kitchen', 'x'] },
      { ...common, summary: 'on', dtstart: '2026-12-25', duration: undefined },
      { ...common, summary: '✓ over', dtstart: at },
      { ...common, summary: 'off', dtstart: at, status: 'CANCELLED' },
    ].map((event) => ({ status: undefined, ...event })),
  );
  expect((await ada.get(path)).text).toContain('\r\nDTSTART;VALUE=DATE:20261225\r\n');
  expect((await readTodos(ada, `${PATH}?as=tasks`)).length).toBe(3);
  expect((await ada.get(`${PATH}?as=journal`)).status).toBe(422);
});

describe('the calendar of a project', () => {
  test('has its name and its tasks alone, for members', async () => {
    const [ada, bob] = [await api.person(), await api.person()];
    const name = `Küche; "2", c\\d\n${'ü'.repeat(60)}`;
    const [project, other] = [await ada.createProject(name), await ada.createProject()];
    await ada.createTask(project.id, { title: 'here', due_at: DUE, labels: ['home'] });
    await ada.createTask(project.id, { title: 'there', due_at: DUE });
    await ada.createTask(other.id, { due_at: DUE });
    const path = `/projects/${project.id}/calendar.ics`;
    const calendar = await readCalendar(ada, path);
    expect(calendar.getAllSubcomponents('vtodo').length).toBe(2);
    const { text } = await ada.get(path);
    const lines = text.replaceAll('\r\n ', '').split('\r\n');
    for (const property of ['NAME', 'X-WR-CALNAME'])
      expect(lines).toContain(`${property}:Küche\\; "2"\\, c\\\\d ${'ü'.repeat(60)}`);
    for (const line of text.split('\r\n')) expect(Buffer.byteLength(line)).toBeLessThanOrEqual(75);

    expect((await readTodos(ada, `${path}?label=home`)).length).toBe(1);
    const upper = `/projects/${project.id.toUpperCase()}/calendar.ics/?as=events`;
    expect((await ada.get(upper)).text.match(/BEGIN:VEVENT/g)?.length).toBe(2);
    expect((await ada.get(`${path}?project_id=${other.id}`)).status).toBe(422);
    const hidden = await bob.get(path);
    const { body } = await bob.get(`/projects/${crypto.randomUUID()}/calendar.ics`);
    expect([hidden.status, { ...hidden.body, request_id: '' }]).toEqual([
      404,
      { ...body, request_id: '' },
    ]);
    await api.addMember(project.id, bob, 'viewer');
    expect((await readTodos(bob, path)).length).toBe(2);
  });

  test('has a tag that follows the name and the tasks, and is empty while the project is archived', async () => {
    const ada = await api.person();
    const { id } = await ada.createProject();
    const path = `/projects/${id}/calendar.ics`;
    const tagOf = async () => (await ada.get(path)).headers.get('etag') as string;
    const tags = [await tagOf()];
    await ada.patch(`/projects/${id}`, { name: 'Bath' });
    tags.push(await tagOf());
    await ada.createTask(id, { due_at: DUE });
    tags.push(await tagOf());
    const again = await ada.get(path, { headers: { 'if-none-match': tags[2] as string } });
    expect([again.status, new Set(tags).size]).toEqual([304, 3]);
    expect((await readTodos(ada, path)).length).toBe(1);
    await ada.patch(`/projects/${id}`, { archived: true });
    expect(await readTodos(ada, path)).toEqual([]);
  });

  test('takes an API token as the Basic password', async () => {
    const ada = await api.person();
    const path = `/projects/${(await ada.createProject()).id}/calendar.ics`;
    const token = Buffer.from(`x:${await tokenOf(ada)}`).toString('base64');
    const basic = { headers: { authorization: `Basic ${token}` } };
    expect((await api.anonymous.get(path, basic)).status).toBe(200);
    expect((await api.anonymous.get(path)).headers.get('www-authenticate')).toStartWith('Basic ');
    expect((await ada.put(path, {}, { undocumented: true })).headers.get('allow')).toBe(
      'GET, HEAD, OPTIONS',
    );
  });
});

test('a calendar takes the filters of the lists', async () => {
  const [ada, bob] = [await api.person(), await api.person()];
  const [one, other] = [await ada.createProject(), await ada.createProject()];
  const make = (title: string, fields: object, projectId = one.id) =>
    ada.createTask(projectId, { title, due_at: DUE, ...fields });
  await make('mine', { assignee_id: ada.id, labels: ['home'], priority: 4 });
  await make('on a day', { due_at: null, due_on: '2026-12-25' });
  const { id } = await make('done', { status: 'done' });
  await api.sql`update tasks set completed_at = now() - interval '31 days' where id = ${id}`;
  await make('elsewhere', { labels: ['home', 'x'] }, other.id);
  const tags = new Set<string>();
  const titles = async (query: string) => {
    const { status, text, headers } = await ada.get(`${PATH}?${query}`);
    expect(status).toBe(200);
    tags.add(headers.get('etag') as string);
    return [...text.matchAll(/^SUMMARY:(.*)\r$/gm)].map(([, title]) => title).toSorted();
  };
  for (const [query, expected] of [
    ['assignee_id=me', ['mine']],
    ['label=home&label_not=x', ['mine']],
    [`project_id=${other.id}`, ['elsewhere']],
    [`project_id=${other.id.toUpperCase()},${one.id}&label=home`, ['elsewhere', 'mine']],
    ['due_from=2026-12-25', ['on a day']],
    ['due_before=2026-12-25', ['elsewhere', 'mine']],
    ['q=day', ['on a day']],
    ['status=done,todo&due_before=2026-12-25', ['done', 'elsewhere', 'mine']],
    ['status_not=todo', ['done']],
    ['priority=3', []],
  ] as const)
    expect(await titles(query)).toEqual([...expected]);
  expect(tags.size).toBeGreaterThan(6);
  for (const [query, status] of [
    ['due=none', 422],
    ['archived=any', 422],
    ['sort=due_at', 422],
    ['due_from=2026-12-25&due_before=2026-12-25', 422],
    [`project_id=${(await bob.createProject()).id}`, 404],
  ] as const)
    expect((await ada.get(`${PATH}?${query}`)).status).toBe(status);
});

test('each of many tasks appears once', async () => {
  const ada = await api.person();
  for (const due of ['2026-12-24', '2026-12-25']) {
    const project = await ada.createProject();
    await api.sql`insert into tasks (id, project_id, title, due_at)
      select gen_random_uuid(), ${project.id}, n::text, ${due}::timestamptz + n % 3 * interval '1 day' from generate_series(1, 401) n`;
  }
  const todos = await readTodos(ada);
  expect([todos.length, new Set(todos.map((todo) => value(todo, 'uid'))).size]).toEqual([802, 802]);
});

test('equal tasks differ in more than what programs ignore', async () => {
  const ada = await api.person();
  for (const name of ['Kitchen', 'Kitchen', 'Bath\n"2", upstairs']) {
    const { id } = await ada.createProject(name);
    for (const dueAt of [DUE, DUE]) await ada.createTask(id, { due_at: dueAt });
  }
  // vdirsyncer compares items without these lines.
  const ignored = /^(UID|DTSTAMP|CREATED|LAST-MODIFIED):.*\r\n/gm;
  const { text } = await ada.get(PATH);
  const items = text.split('BEGIN:VTODO').slice(1);
  expect(new Set(items.map((item) => item.replace(ignored, ''))).size).toBe(6);
  const projects = (await readTodos(ada)).map((todo) => [
    todo.getFirstProperty('categories')?.getValues().join(),
    value(todo, 'description'),
  ]);
  expect(projects.filter(([name]) => name === 'Bath "2", upstairs')).toEqual(
    Array(2).fill(['Bath "2", upstairs', 'Project: Bath "2", upstairs']),
  );
});

test('lines have up to 75 octets, end in CRLF, and no text breaks them', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  const texts = [
    'ü'.repeat(200),
    '🍞'.repeat(100),
    'x'.repeat(300),
    'a\rATTACH:file:///etc/passwd\r\nEND:VTODO\u2028BEGIN:VEVENT\u0085x\u000by\u000cz',
    'bell\u0007 escape\u001b delete\u007f',
  ];
  for (const text of texts)
    await ada.createTask(project.id, { title: text, description: text, due_at: DUE });
  const { text } = await ada.get(PATH);
  expect(text).toEndWith('END:VCALENDAR\r\n');
  expect(text.replaceAll('\r\n', '')).not.toMatch(
    // biome-ignore lint/suspicious/noControlCharactersInRegex: none may be there.
    /[\u0000-\u0008\n\u000b-\u001f\u007f-\u009f\u2028\u2029]/,
  );
  for (const line of text.split('\r\n')) expect(Buffer.byteLength(line)).toBeLessThanOrEqual(75);
  const todos = await readTodos(ada);
  const found = todos.map((todo) => value(todo, 'summary'));
  expect(new Set(found)).toEqual(
    new Set([
      ...texts.slice(0, 3),
      'a ATTACH:file:///etc/passwd END:VTODO BEGIN:VEVENT x y z',
      'bell escape delete',
    ]),
  );
});

test('a calendar without tasks is valid', async () => {
  expect(await readTodos(await api.person())).toEqual([]);
});

test('a client that has the current calendar gets 304 until a task changes', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  const task = await ada.createTask(project.id, { due_at: DUE });
  const tags = new Set<string>();
  const read = async () => {
    const { headers, status } = await ada.get(PATH);
    const tag = headers.get('etag') as string;
    expect([status, tag, headers.get('cache-control')]).toEqual([
      200,
      expect.stringMatching(/^"v2_\w+"$/),
      'private, no-cache',
    ]);
    const again = await ada.get(PATH, { headers: { 'if-none-match': tag } });
    expect([again.status, again.text, again.headers.get('etag')]).toEqual([304, '', tag]);
    expect(again.headers.get('content-type')).toBeNull();
    tags.add(tag);
  };
  await read();
  await ada.patch(`/projects/${project.id}`, { name: 'Bath' });
  await read();
  await ada.patch(`/tasks/${task.id}`, { title: 'Other' });
  await read();
  const { id } = await ada.createTask(project.id, { due_at: DUE });
  await read();
  await ada.delete(`/tasks/${id}`);
  await ada.patch(`/tasks/${task.id}`, { status: 'cancelled' });
  await read();
  expect(tags.size).toBe(5);
  await ada.createTask(project.id, { title: 'not due' });
  expect(
    (await ada.get(PATH, { headers: { 'if-none-match': [...tags].at(-1) ?? '' } })).status,
  ).toBe(304);
});

describe('calendar authentication', () => {
  const basic = (user: string, password: string) => ({
    headers: { authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}` },
  });

  test('an API token is accepted as Bearer, and as the Basic password with any user name', async () => {
    const ada = await api.person();
    const token = await tokenOf(ada);
    await ada.createTask((await ada.createProject()).id, { due_at: DUE });
    expect((await readTodos(new Client(api, token))).length).toBe(1);
    for (const user of [ada.username, 'somebody', '', 'ü'])
      expect((await api.anonymous.get(PATH, basic(user, token))).text).toContain('BEGIN:VTODO');
    // As `curl -u TOKEN:` sends it.
    expect((await api.anonymous.get(PATH, basic(token, ''))).status).toBe(200);
    expect((await api.anonymous.get(PATH, basic(token, 'x'))).status).toBe(401);
    const { authorization } = basic('x', token).headers;
    const lower = { headers: { authorization: authorization.replace('Basic', 'bAsIc') } };
    expect((await api.anonymous.get(PATH, lower)).status).toBe(200);
  });

  test('account passwords, access tokens and expired API tokens are refused as the Basic password', async () => {
    const ada = await api.person();
    const token = await tokenOf(ada);
    const before = api.log.length;
    for (const password of [ada.password, ada.token ?? '', `${token}x`, `x${token}`, 'mt_', ''])
      for (const user of [ada.username, ada.username + token]) {
        const { status, body } = await api.anonymous.get(PATH, basic(user, password));
        expect([status, body.code]).toEqual([401, 'invalid_token']);
      }
    expect(JSON.stringify(api.log.slice(before))).not.toContain(token);
    const { items } = (await ada.get('/users/me/tokens')).body;
    await ada.delete(`/users/me/tokens/${items[0].id}`);
    expect((await api.anonymous.get(PATH, basic('x', token))).body.code).toBe('invalid_token');
  });

  test.each(['Basic', 'Basic !!!', 'Basic bm9jb2xvbg==', 'Basic 4pi6'])(
    '%s is no token',
    async (authorization) => {
      const { status, body } = await api.anonymous.get(PATH, { headers: { authorization } });
      expect([status, body.code]).toEqual([401, 'invalid_token']);
    },
  );

  test('only the calendar asks for Basic authentication', async () => {
    const { status, body, headers } = await api.anonymous.get(PATH);
    expect([status, body.code]).toEqual([401, 'unauthenticated']);
    expect(headers.get('www-authenticate')).toBe(
      'Basic realm="api", charset="UTF-8", Bearer realm="api"',
    );
    const token = await tokenOf(await api.person(), ['read', 'write']);
    for (const path of ['/tasks', '/projects', '/users/me', `/tasks/${crypto.randomUUID()}`]) {
      const there = await api.anonymous.get(path, basic('x', token));
      expect([there.status, there.body.code]).toEqual([401, 'unauthenticated']);
      expect(there.headers.get('www-authenticate')).toBe('Bearer realm="api"');
    }
  });
});
