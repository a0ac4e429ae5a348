/** What calendar programs read, and how they log in. */
import { describe, expect, test } from 'bun:test';
import ICAL from 'ical.js';
import { Client, type Persona, useApi } from './support/api.ts';

const api = useApi();
const PATH = '/tasks/calendar.ics';
const DUE = '2026-12-24T18:00:00.500+01:00';

async function readTodos(who: Client) {
  const { status, text, headers } = await who.get(PATH);
  expect(status).toBe(200);
  expect(headers.get('content-type')).toBe('text/calendar; charset=utf-8');
  const calendar = new ICAL.Component(ICAL.parse(text));
  expect(calendar.name).toBe('vcalendar');
  return calendar.getAllSubcomponents('vtodo');
}
const value = (todo: ICAL.Component | undefined, name: string) =>
  String(todo?.getFirstPropertyValue(name));

async function tokenOf(who: Persona, scopes = ['read']) {
  const { body } = await who.post('/users/me/tokens', { name: 'calendar', scopes });
  return body.token as string;
}

test('a task is a VTODO with all that a calendar shows', async () => {
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
  expect(value(todo, 'description')).toBe('First\nSecond');
  expect(value(todo, 'due')).toBe('2026-12-24T17:00:00Z');
  expect(value(todo, 'status')).toBe('IN-PROCESS');
  expect(value(todo, 'priority')).toBe('1');
  expect(value(todo, 'sequence')).toBe('0');
  expect(value(todo, 'created')).toBe(`${task.created_at.slice(0, 19)}Z`);
  expect(todo?.getFirstProperty('categories')?.getValues()).toEqual(['a;b', 'c']);

  const { body } = await ada.patch(`/tasks/${task.id}`, {
    priority: 0,
    status: 'todo',
    labels: [],
  });
  const [changed] = await readTodos(ada);
  expect(['uid', 'sequence', 'priority', 'status'].map((name) => value(changed, name))).toEqual([
    task.id,
    '1',
    '0',
    'NEEDS-ACTION',
  ]);
  for (const name of ['dtstamp', 'last-modified'])
    expect(value(changed, name)).toBe(`${body.updated_at.slice(0, 19)}Z`);
  expect(changed?.getFirstProperty('categories')).toBeNull();
});

test.each([
  [0, '0'],
  [1, '9'],
  [2, '5'],
  [3, '3'],
  [4, '1'],
])('priority %d is %s', async (priority, expected) => {
  const ada = await api.person();
  await ada.createTask((await ada.createProject()).id, { due_at: DUE, priority });
  expect(value((await readTodos(ada))[0], 'priority')).toBe(expected);
});

test('what is due, open and visible is in it, and nothing else', async () => {
  const [ada, bob] = [await api.person(), await api.person()];
  const [mine, shared, archived] = [
    await ada.createProject(),
    await bob.createProject(),
    await ada.createProject(),
  ];
  const due = { due_at: DUE };
  await ada.createTask(mine.id, { title: 'mine', ...due });
  await ada.createTask(mine.id, { title: 'not due' });
  await ada.createTask(mine.id, { title: 'done', status: 'done', ...due });
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

test('every one of many is there once', async () => {
  const ada = await api.person();
  for (const due of ['2026-12-24', '2026-12-25']) {
    const project = await ada.createProject();
    await api.sql`insert into tasks (id, project_id, title, due_at)
      select gen_random_uuid(), ${project.id}, n::text, ${due}::timestamptz + n % 3 * interval '1 day' from generate_series(1, 401) n`;
  }
  const todos = await readTodos(ada);
  expect([todos.length, new Set(todos.map((todo) => value(todo, 'uid'))).size]).toEqual([802, 802]);
});

test('no line is longer than 75 octets or broken by what people write, and all lines end in CRLF', async () => {
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
      'a\nATTACH:file:///etc/passwd\nEND:VTODO\nBEGIN:VEVENT\nx\ny\nz',
      'bell escape delete',
    ]),
  );
});

test('an empty calendar is one', async () => {
  expect(await readTodos(await api.person())).toEqual([]);
});

test('what the client has is not sent again, until something in it changes', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  const task = await ada.createTask(project.id, { due_at: DUE });
  const tags = new Set<string>();
  const read = async () => {
    const { headers, status } = await ada.get(PATH);
    const tag = headers.get('etag') as string;
    expect([status, tag, headers.get('cache-control')]).toEqual([
      200,
      expect.stringMatching(/^"\w+"$/),
      'private, no-cache',
    ]);
    const again = await ada.get(PATH, { headers: { 'if-none-match': tag } });
    expect([again.status, again.text, again.headers.get('etag')]).toEqual([304, '', tag]);
    tags.add(tag);
  };
  await read();
  await ada.patch(`/tasks/${task.id}`, { title: 'Other' });
  await read();
  const { id } = await ada.createTask(project.id, { due_at: DUE });
  await read();
  await ada.delete(`/tasks/${id}`);
  await ada.patch(`/tasks/${task.id}`, { status: 'done' });
  await read();
  expect(tags.size).toBe(4);
  await ada.createTask(project.id, { title: 'not due' });
  expect(
    (await ada.get(PATH, { headers: { 'if-none-match': [...tags].at(-1) ?? '' } })).status,
  ).toBe(304);
});

describe('logging in', () => {
  const basic = (user: string, password: string) => ({
    headers: { authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}` },
  });

  test('an API token opens it as Bearer, and as the password of Basic with any user name', async () => {
    const ada = await api.person();
    const token = await tokenOf(ada);
    await ada.createTask((await ada.createProject()).id, { due_at: DUE });
    expect((await readTodos(new Client(api, token))).length).toBe(1);
    for (const user of [ada.username, 'somebody', '', 'ü'])
      expect((await api.anonymous.get(PATH, basic(user, token))).text).toContain('BEGIN:VTODO');
    const { authorization } = basic('x', token).headers;
    const lower = { headers: { authorization: authorization.replace('Basic', 'bAsIc') } };
    expect((await api.anonymous.get(PATH, lower)).status).toBe(200);
  });

  test('nothing else does as a password: no account, no access token, no token that has ended', async () => {
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

  test('a program without credentials is asked for a password here, and nowhere else', async () => {
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
