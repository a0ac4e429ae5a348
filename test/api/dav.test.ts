/** CalDAV as its clients meet it: what they find, read, write and are refused. */
import { describe, expect, test } from 'bun:test';
import { Elysia } from 'elysia';
import { createApi } from '../../src/app.ts';
import type { Platform } from '../../src/platform.ts';
import { JWT_SECRET, useApi } from '../support/api.ts';
import { CALDAV, DAV, davClient, todoText } from '../support/dav.ts';

const api = useApi();

const listOf = ({ id }: { id: string }) => `/dav/projects/${id}/`;

/** A user with a project, and a client of each. */
async function open(scopes?: string[]) {
  const ada = await api.person();
  const project = await ada.createProject();
  const dav = await davClient(api, ada, scopes);
  const list = listOf(project);
  const tasks = async () => (await ada.get(`/tasks/projects/${project.id}`)).body.items;
  return { ada, project, dav, list, tasks };
}

const NONE = '019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23';
const RESOURCES: [method: string, path: string][] = [
  ['PROPFIND', '/'],
  ['PROPFIND', '/dav/'],
  ['PROPFIND', '/dav/me/'],
  ['PROPFIND', '/dav/projects/'],
  ['PROPPATCH', '/dav/me/'],
  ['PROPPATCH', '/dav/projects/'],
  ['PROPFIND', `/dav/projects/${NONE}/`],
  ['REPORT', `/dav/projects/${NONE}/`],
  ['PROPPATCH', `/dav/projects/${NONE}/`],
  ['MKCALENDAR', `/dav/projects/${NONE}/`],
  ['MKCOL', `/dav/projects/${NONE}/`],
  ['PROPFIND', `/dav/projects/${NONE}/${NONE}.ics`],
  ['GET', `/dav/projects/${NONE}/${NONE}.ics`],
  ['PUT', `/dav/projects/${NONE}/${NONE}.ics`],
  ['DELETE', `/dav/projects/${NONE}/${NONE}.ics`],
];

describe('discovery', () => {
  test('the resources above are all that there are', () => {
    const platform = { settings: {}, jwtSecret: JWT_SECRET } as Platform;
    const routes = new Elysia()
      .use(createApi(platform))
      .routes.filter(({ method, path }) => method === 'PROPFIND' || path.startsWith('/dav'))
      .map(({ method, path }) => `${method} ${path.replace(/:\w+/g, NONE)}`)
      .filter((route) => !route.includes('.well-known'));
    const named = RESOURCES.map(
      ([method, path]) => `${method} ${path.replace(/(.)\/$|\.ics$/, '$1')}`,
    );
    expect(named.sort()).toEqual(routes.sort());
  });

  test.each(RESOURCES)('%s %s asks a stranger for a password', async (method, path) => {
    const { status, headers } = await api.anonymous.request(method, path, undefined, {
      undocumented: true,
    });
    expect([status, headers.get('www-authenticate')]).toEqual([
      401,
      'Basic realm="api", charset="UTF-8", Bearer realm="api"',
    ]);
  });

  test.each(['GET', 'PROPFIND'])('%s of the well-known address leads to /dav/', async (method) => {
    const { status, headers } = await api.anonymous.request(
      method,
      '/.well-known/caldav',
      undefined,
      { undocumented: true },
    );
    expect([status, headers.get('location')]).toEqual([301, '/dav/']);
  });

  test('the root leads to the principal, that to the home, and the home to each project', async () => {
    const { ada, project, dav } = await open();
    const bob = await api.person();
    const shared = await bob.createProject('Bath & bed');
    await api.addMember(shared.id, ada, 'viewer');
    const archived = await ada.createProject('Attic');
    await ada.patch(`/projects/${archived.id}`, { archived: true });
    await bob.createProject('of others');
    for (const root of ['/', '/dav/', '/dav']) {
      const { status, responses } = await dav.find(
        root,
        '<d:prop><d:current-user-principal/></d:prop>',
      );
      expect([
        status,
        responses[0]?.found[`${DAV}current-user-principal`]?.children[0]?.text,
      ]).toEqual([207, '/dav/me/']);
    }
    const principal = await dav.find('/dav/me/');
    expect(principal.responses[0]?.found[`${CALDAV}calendar-home-set`]?.children[0]?.text).toBe(
      '/dav/projects/',
    );
    const home = await dav.find('/dav/projects/', '<d:allprop/>', '1');
    const lists = home.responses
      .slice(1)
      .map(({ href, found }) => [
        href,
        found[`${DAV}displayname`]?.text,
        found[`${DAV}current-user-privilege-set`]?.children
          .flatMap(({ children }) => children)
          .some(({ name }) => name === `${DAV}write`),
        found[`${CALDAV}supported-calendar-component-set`]?.children.map(
          ({ attributes }) => attributes.name,
        ),
      ]);
    expect(lists).toEqual([
      [listOf(project), 'Kitchen', true, ['VTODO']],
      [listOf(shared), 'Bath & bed', false, ['VTODO']],
      [listOf(archived), 'Attic', false, ['VTODO']],
    ]);
  });

  test('properties that are not there are named in a 404, unless the client wants few words', async () => {
    const { dav, list } = await open();
    const asked = '<d:prop><d:displayname/><x:colour xmlns:x="urn:x"/></d:prop>';
    const { responses } = await dav.find(list, asked);
    expect(responses.map(({ found, missing }) => [Object.keys(found), missing])).toEqual([
      [[`${DAV}displayname`], ['{urn:x}colour']],
    ]);
    for (const headers of [{ prefer: 'return=minimal' }, { brief: 't' }]) {
      const minimal = await dav.find(list, asked, '0', headers);
      expect(minimal.responses[0]?.missing).toEqual([]);
    }
    const names = await dav.find(list, '<d:propname/>');
    expect(names.responses[0]?.found[`${DAV}displayname`]?.text).toBe('');
  });

  test('a property that a program sets elsewhere than on a list is refused, and nothing else', async () => {
    const { dav } = await open();
    for (const path of ['/dav/me/', '/dav/projects/']) {
      const alarm =
        '<d:set><d:prop><c:default-alarm-vevent-date>x</c:default-alarm-vevent-date></d:prop></d:set>';
      const { status, responses } = await dav.update(path, alarm);
      expect([status, responses[0]?.href, responses[0]?.missing]).toEqual([
        207,
        path,
        [`${CALDAV}default-alarm-vevent-date`],
      ]);
    }
  });

  test('an infinite depth is refused', async () => {
    const { dav } = await open();
    const { status, conditions } = await dav.find('/dav/projects/', '<d:allprop/>', 'infinity');
    expect([status, conditions]).toEqual([403, [`${DAV}propfind-finite-depth`]]);
    expect((await dav.find('/dav/projects/', '<d:allprop/>', '2')).status).toBe(400);
  });

  test('OPTIONS says what there is', async () => {
    const { headers, status } = await api.anonymous.request(
      'OPTIONS',
      '/dav/projects/x/',
      undefined,
      {
        undocumented: true,
      },
    );
    expect([status, headers.get('dav')]).toEqual([204, '1, 3, calendar-access, extended-mkcol']);
    expect(headers.get('allow')).toBe('MKCALENDAR, MKCOL, OPTIONS, PROPFIND, PROPPATCH, REPORT');
    expect((await api.anonymous.request('OPTIONS', '/tasks')).headers.get('dav')).toBeNull();
  });
});

describe('an item', () => {
  test('is what a client wrote, octet for octet, and a task of the project', async () => {
    const { dav, list, tasks } = await open();
    const text = todoText(
      'one@example.org',
      'SUMMARY:Tiles\\, blue',
      'DESCRIPTION:First\\nSecond',
      'PRIORITY:1',
      'STATUS:IN-PROCESS',
      'DUE;TZID=Europe/Berlin:20261224T180000',
      'CATEGORIES:a,b\\,c',
      'CATEGORIES:d',
      'X-ODD;FOO="a;b":c',
    );
    const path = `${list}one%40example.org.ics`;
    const put = await dav.put(path, text, { 'if-none-match': '*' });
    expect(put.status).toBe(201);
    const read = await dav.get(path);
    expect([read.status, read.text, read.headers.get('etag')]).toEqual([
      200,
      text,
      put.headers.get('etag'),
    ]);
    expect(read.headers.get('content-type')).toBe('text/calendar; charset=utf-8; component=vtodo');
    expect(await tasks()).toMatchObject([
      {
        title: 'Tiles, blue',
        description: 'First\nSecond',
        priority: 4,
        status: 'in_progress',
        due_at: '2026-12-24T17:00:00.000Z',
        due_on: null,
        labels: ['a', 'b c', 'd'],
        version: 1,
      },
    ]);
    const head = await dav.send('HEAD', path);
    expect([head.status, head.text, head.headers.get('etag')]).toEqual([
      200,
      '',
      put.headers.get('etag'),
    ]);
    const etag = put.headers.get('etag') as string;
    expect((await dav.get(path, { 'if-none-match': etag })).status).toBe(304);
  });

  test('that the API has made has the id of its task for a name and a UID', async () => {
    const { ada, project, dav, list } = await open();
    const task = await ada.createTask(project.id, { due_on: '2026-12-24', priority: 2 });
    const { text } = await dav.get(`${list}${task.id}.ics`);
    for (const line of [
      `UID:${task.id}`,
      'DUE;VALUE=DATE:20261224',
      'PRIORITY:5',
      'STATUS:NEEDS-ACTION',
    ])
      expect(text.split('\r\n')).toContain(line);
    expect(Object.keys(await dav.tags(list))).toEqual([`${task.id}.ics`]);
  });

  test.each([
    ['DUE:20261224T170000Z', '2026-12-24T17:00:00.000Z', null],
    ['DUE;VALUE=DATE-TIME:20261224T170000Z', '2026-12-24T17:00:00.000Z', null],
    ['DUE;VALUE=DATE:20261224', null, '2026-12-24'],
    ['DUE:20261224', null, '2026-12-24'],
    ['DUE;TZID=America/New_York:20261224T120000', '2026-12-24T17:00:00.000Z', null],
    ['DUE;TZID=/example.org/2026/Europe/Berlin:20260724T190000', '2026-07-24T17:00:00.000Z', null],
    // The hour that comes twice, and the one that is skipped.
    ['DUE;TZID=Europe/Berlin:20261025T023000', '2026-10-25T00:30:00.000Z', null],
    ['DUE;TZID=Europe/Berlin:20260329T023000', '2026-03-29T01:30:00.000Z', null],
    ['DUE:20261224T170000', '2026-12-24T17:00:00.000Z', null],
    ['DTSTART:20261224T160000Z\r\nDURATION:PT1H', '2026-12-24T17:00:00.000Z', null],
    ['DTSTART;VALUE=DATE:20261222\r\nDURATION:P2D', null, '2026-12-24'],
    ...['DURATION:foo', 'DURATION:P1X', 'DURATION:PT', `DURATION:P${'9'.repeat(20)}D`].map(
      (line) => [`DTSTART;TZID=Europe/Berlin:20261224T160000\r\n${line}`, null, null] as const,
    ),
    ['DUE:19691231T235959Z', null, null],
    ['DUE:20261345', null, null],
    ['DUE:tomorrow', null, null],
    ['SUMMARY:not due', null, null],
  ])('%s is due at %s or on %s', async (line, dueAt, dueOn) => {
    const { dav, list, tasks } = await open();
    expect((await dav.put(`${list}1.ics`, todoText('1', line))).status).toBe(201);
    expect(await tasks()).toMatchObject([{ due_at: dueAt, due_on: dueOn }]);
  });

  test('has labels of categories with commas and many spaces', async () => {
    const { dav, list, tasks } = await open();
    const spaces = ' '.repeat(250_000);
    const text = todoText('1', `CATEGORIES:a${spaces}b,c\\,${' '.repeat(1000)}d \\, e,\\,f`);
    expect((await dav.put(`${list}1.ics`, text)).status).toBe(201);
    expect(await tasks()).toMatchObject([{ labels: [`a${' '.repeat(49)}`, 'c d e', 'f'] }]);
  });

  test('is due in a zone that it defines itself', async () => {
    const { dav, list, tasks } = await open();
    const zone = [
      'BEGIN:VTIMEZONE',
      'TZID:W. Europe Standard Time',
      ...['STANDARD', 'DAYLIGHT'].flatMap((name, at) => [
        `BEGIN:${name}`,
        `DTSTART:16010101T0${3 - at}0000`,
        `RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=${[10, 3][at]}`,
        `TZOFFSETFROM:+0${2 - at}00`,
        `TZOFFSETTO:+0${1 + at}00`,
        `END:${name}`,
      ]),
      'END:VTIMEZONE',
      'BEGIN:VTODO',
    ].join('\r\n');
    const due = (name: string, day: string) =>
      dav.put(
        `${list}${name}.ics`,
        todoText(name, `SUMMARY:${name}`, `DUE;TZID=W. Europe Standard Time:${day}T190000`).replace(
          'BEGIN:VTODO',
          zone,
        ),
      );
    await due('summer', '20260724');
    await due('winter', '20261224');
    expect((await tasks()).map((task: { due_at: string }) => task.due_at).sort()).toEqual([
      '2026-07-24T17:00:00.000Z',
      '2026-12-24T18:00:00.000Z',
    ]);
  });

  test.each([
    [['STATUS:COMPLETED'], 'done'],
    [['COMPLETED:20260101T000000Z'], 'done'],
    [['PERCENT-COMPLETE:100'], 'done'],
    [['STATUS:NEEDS-ACTION', 'PERCENT-COMPLETE:100'], 'todo'],
    [['STATUS:CANCELLED'], 'cancelled'],
    [['STATUS:X-OTHER'], 'todo'],
    [[], 'todo'],
  ])('%j is %s', async (lines, status) => {
    const { dav, list, tasks } = await open();
    await dav.put(`${list}1.ics`, todoText('1', ...lines));
    expect(await tasks()).toMatchObject([{ status }]);
  });

  test('that is longer than a task is cut in the task and kept whole in the item', async () => {
    const { ada, dav, list, tasks } = await open();
    const text = todoText(
      '1',
      `SUMMARY:${'🎉'.repeat(600)}`,
      `DESCRIPTION:${'d'.repeat(30_000)}`,
      `CATEGORIES:${Array.from({ length: 30 }, (_, n) => `label ${n} ${'x'.repeat(60)}`).join(',')}`,
    );
    expect((await dav.put(`${list}1.ics`, text)).status).toBe(201);
    const [task] = await tasks();
    expect([[...task.title].length, task.description.length, task.labels.length]).toEqual([
      500, 20_000, 20,
    ]);
    await ada.patch(`/tasks/${task.id}`, { priority: 4 });
    const lines = (await dav.get(`${list}1.ics`)).text.split('\r\n');
    expect(lines).toEqual(expect.arrayContaining(text.split('\r\n').slice(6, 9)));
    expect(lines).toContain('PRIORITY:1');
  });

  test('without a summary, or with an invisible one, has a title', async () => {
    const { dav, list, tasks } = await open();
    await dav.put(`${list}1.ics`, todoText('1'));
    await dav.put(`${list}2.ics`, todoText('2', 'SUMMARY: \u200b'));
    expect(await tasks()).toMatchObject([{ title: 'Untitled' }, { title: 'Untitled' }]);
  });
});

describe('what the API does not know', () => {
  const odd = [
    'SUMMARY:Water the plants',
    'STATUS:NEEDS-ACTION',
    'DTSTART;TZID=Europe/Berlin:20261224T120000',
    'DUE;TZID=Europe/Berlin:20261224T180000',
    'RRULE:FREQ=WEEKLY;BYDAY=TH',
    'RELATED-TO;RELTYPE=PARENT:parent',
    'X-APPLE-SORT-ORDER:123',
    'PERCENT-COMPLETE:30',
    'CATEGORIES:a\\,b',
    'PRIORITY:4',
    'BEGIN:VALARM',
    'ACTION:DISPLAY',
    'DESCRIPTION:ring',
    'TRIGGER:-PT15M',
    'END:VALARM',
  ];
  const override = [
    'BEGIN:VTODO',
    'UID:1',
    'RECURRENCE-ID:20261231T110000Z',
    'SUMMARY:Only the big ones',
    'STATUS:CANCELLED',
    'END:VTODO',
    'END:VCALENDAR',
  ].join('\r\n');
  const text = todoText('1', ...odd).replace('END:VCALENDAR', override);

  /** The lines of a text, without those that say when it changed. */
  const linesOf = (one: string) =>
    one.split('\r\n').filter((line) => !/^(DTSTAMP|LAST-MODIFIED)/.test(line));

  test('survives an edit by the API, line by line', async () => {
    const { ada, dav, list, tasks } = await open();
    await dav.put(`${list}1.ics`, text);
    const [task] = await tasks();
    expect(task).toMatchObject({ title: 'Water the plants', priority: 3, labels: ['a b'] });
    await ada.patch(`/tasks/${task.id}`, { title: 'Water all plants' });
    const renamed = (await dav.get(`${list}1.ics`)).text;
    expect(linesOf(renamed)).not.toEqual(linesOf(text));
    expect(linesOf(renamed).filter((line) => line !== 'SUMMARY:Water all plants')).toEqual(
      linesOf(text).filter((line) => line !== 'SUMMARY:Water the plants'),
    );
    // Back again: only the order of lines may differ.
    await ada.patch(`/tasks/${task.id}`, { title: 'Water the plants' });
    expect(linesOf((await dav.get(`${list}1.ics`)).text).sort()).toEqual(linesOf(text).sort());
  });

  test('goes where a changed field makes it wrong', async () => {
    const { ada, dav, list, tasks } = await open();
    await dav.put(`${list}1.ics`, text);
    const [{ id }] = await tasks();
    const lines = async () => (await dav.get(`${list}1.ics`)).text.split('\r\n');
    const { body } = await ada.patch(`/tasks/${id}`, { status: 'done' });
    const stamp = body.completed_at.replace(/[-:]|\.\d+/g, '');
    expect(await lines()).toEqual(
      expect.arrayContaining(['STATUS:COMPLETED', `COMPLETED:${stamp}`, 'PERCENT-COMPLETE:100']),
    );
    await ada.patch(`/tasks/${id}`, {
      status: 'todo',
      due_at: null,
      due_on: '2026-12-01',
      labels: ['z'],
    });
    const now = await lines();
    expect(now).toEqual(
      expect.arrayContaining([
        'STATUS:NEEDS-ACTION',
        'DUE;VALUE=DATE:20261201',
        'DTSTART;VALUE=DATE:20261201',
        'CATEGORIES:z',
        'PERCENT-COMPLETE:30',
        'RRULE:FREQ=WEEKLY;BYDAY=TH',
      ]),
    );
    expect(now.filter((line) => /^(COMPLETED|DUE;TZID|DTSTART;TZID)/.test(line))).toEqual([]);
    await ada.patch(`/tasks/${id}`, { due_on: null });
    expect((await lines()).filter((line) => line.startsWith('DUE'))).toEqual([]);
  });

  test('a status that is missing is written once the task changes', async () => {
    const { ada, dav, list, tasks } = await open();
    await dav.put(`${list}1.ics`, todoText('1', 'SUMMARY:One'));
    const [{ id }] = await tasks();
    await ada.patch(`/tasks/${id}`, { priority: 1 });
    expect((await dav.get(`${list}1.ics`)).text).toContain('STATUS:NEEDS-ACTION\r\n');
  });

  test('a task that is done again has the time of the second', async () => {
    const { ada, dav, list, tasks } = await open();
    await dav.put(`${list}1.ics`, todoText('1', 'STATUS:COMPLETED', 'COMPLETED:20260101T000000Z'));
    const [{ id }] = await tasks();
    const completed = async () =>
      (await dav.get(`${list}1.ics`)).text
        .split('\r\n')
        .filter((line) => line.startsWith('COMPLETED'));
    await ada.patch(`/tasks/${id}`, { priority: 1 });
    expect(await completed()).toEqual(['COMPLETED:20260101T000000Z']);
    await ada.patch(`/tasks/${id}`, { status: 'todo' });
    const { body } = await ada.patch(`/tasks/${id}`, { status: 'done' });
    expect(await completed()).toEqual([
      `COMPLETED:${body.completed_at.replace(/[-:]|\.\d+/g, '')}`,
    ]);
  });

  test('what a client cannot say stays as it is in the task', async () => {
    const { ada, project, dav, list } = await open();
    const task = await ada.createTask(project.id, {
      title: 'Two\nlines',
      due_at: '2026-12-24T17:00:00.123Z',
      assignee_id: 'me',
    });
    const path = `${list}${task.id}.ics`;
    const { text, headers } = await dav.get(path);
    expect(text).toContain('SUMMARY:Two lines\r\n');
    const changed = text.replace('STATUS:NEEDS-ACTION', 'STATUS:IN-PROCESS\r\nX-NEW:1');
    await dav.put(path, changed, { 'if-match': headers.get('etag') as string });
    const { body } = await ada.get(`/tasks/${task.id}`);
    expect(body).toEqual({
      ...task,
      status: 'in_progress',
      version: 2,
      updated_at: body.updated_at,
    });
    expect((await dav.get(path)).text).toBe(changed);
  });

  test('a change of it alone is a change for other clients and for the history', async () => {
    const { ada, project, dav, list } = await open();
    const first = await dav.put(`${list}1.ics`, text);
    const { syncToken } = await dav.sync(list);
    const second = await dav.put(`${list}1.ics`, text.replace('-PT15M', '-PT30M'));
    expect([second.status, second.headers.get('etag') === first.headers.get('etag')]).toEqual([
      204,
      false,
    ]);
    expect((await dav.sync(list, syncToken)).responses.length).toBe(1);
    const { body } = await ada.get(`/projects/${project.id}/events`);
    const [latest] = body.items;
    expect([latest.action, latest.version, latest.actor_token, Object.keys(latest.fields)]).toEqual(
      ['task.updated', 2, 'caldav', ['updated_at']],
    );
    // The same text again changes nothing.
    const third = await dav.put(`${list}1.ics`, text.replace('-PT15M', '-PT30M'));
    expect(third.headers.get('etag')).toBe(second.headers.get('etag'));
    expect((await ada.get(`/projects/${project.id}/events`)).body.items.length).toBe(
      body.items.length,
    );
  });

  test('keeps its categories where a program is known to lose them', async () => {
    const { dav, list, tasks } = await open();
    await dav.put(`${list}1.ics`, todoText('1', 'SUMMARY:One', 'CATEGORIES:a,b', 'CATEGORIES:c'));
    const todoman = 'LAST-MODIFIED;VALUE=DATE-TIME:20261128T180133Z';
    const put = await dav.put(`${list}1.ics`, todoText('1', 'SUMMARY:Two', todoman));
    // It is not what the program has sent.
    expect([put.status, put.headers.get('etag')]).toEqual([204, null]);
    expect((await dav.get(`${list}1.ics`)).text).toContain('CATEGORIES:a,b\r\nCATEGORIES:c\r\n');
    expect(await tasks()).toMatchObject([{ title: 'Two', labels: ['a', 'b', 'c'] }]);
    const removed = await dav.put(`${list}1.ics`, todoText('1', todoman, 'CATEGORIES:'));
    expect([removed.headers.has('etag'), (await tasks())[0].labels]).toEqual([true, []]);
    await dav.put(`${list}1.ics`, todoText('1', 'CATEGORIES:a'));
    await dav.put(`${list}1.ics`, todoText('1', 'SUMMARY:No categories'));
    expect(await tasks()).toMatchObject([{ labels: [] }]);
  });

  test('goes along to another project, and leaves its name behind', async () => {
    const { ada, dav, list, tasks } = await open();
    await dav.put(`${list}1.ics`, text);
    const { syncToken } = await dav.sync(list);
    const [{ id }] = await tasks();
    const other = await ada.createProject('Bath');
    await ada.patch(`/tasks/${id}`, { project_id: other.id });
    expect(linesOf((await dav.get(`${listOf(other)}1.ics`)).text)).toEqual(linesOf(text));
    expect((await dav.get(`${list}1.ics`)).status).toBe(404);
    const gone = await dav.sync(list, syncToken);
    expect(gone.responses.map(({ href, status }) => [href, status])).toEqual([
      [`${list}1.ics`, 'HTTP/1.1 404 Not Found'],
    ]);
    await ada.patch(`/tasks/${id}`, { project_id: list.split('/')[3] });
    expect(linesOf((await dav.get(`${list}1.ics`)).text)).toEqual(linesOf(text));
  });

  test('comes back from the trash with its task', async () => {
    const { ada, dav, list, tasks } = await open();
    await dav.put(`${list}1.ics`, text);
    const [{ id }] = await tasks();
    expect((await dav.delete(`${list}1.ics`)).status).toBe(204);
    expect((await dav.get(`${list}1.ics`)).status).toBe(404);
    expect((await ada.post(`/trash/${id}/restore`)).status).toBeLessThan(300);
    expect(linesOf((await dav.get(`${list}1.ics`)).text)).toEqual(linesOf(text));
    // Neither a write beside it nor the sweep of old names takes it for gone.
    await api.sql`update dav_items set removed_at = now() - interval '1 year' where task_id = ${id}`;
    await dav.put(`${list}2.ics`, todoText('2'));
    expect(linesOf((await dav.get(`${list}1.ics`)).text)).toEqual(linesOf(text));
  });

  test('in the trash stays whole where another item gets its name and UID', async () => {
    const { ada, dav, list, tasks } = await open();
    await dav.put(`${list}1.ics`, text);
    const [{ id }] = await tasks();
    await dav.delete(`${list}1.ics`);
    await api.sql`update dav_items set removed_at = now() - interval '1 year' where task_id = ${id}`;
    expect((await dav.put(`${list}1.ics`, todoText('1', 'X-SECOND:1'))).status).toBe(201);
    const other = await ada.createProject('Bath');
    await dav.put(`${listOf(other)}1.ics`, todoText('1', 'SUMMARY:Moved'));
    const [moved] = (await ada.get(`/tasks/projects/${other.id}`)).body.items;
    await dav.delete(`${list}1.ics`);
    // A task that comes from another project takes them as well.
    const projectId = list.split('/')[3];
    await ada.patch(`/tasks/${moved.id}`, { project_id: projectId });
    expect((await dav.get(`${list}1.ics`)).text).toContain('SUMMARY:Moved');
    for (const { id } of (await ada.get('/trash/')).body.items)
      expect((await ada.post(`/trash/${id}/restore`)).status).toBeLessThan(300);
    const names = Object.keys(await dav.tags(list));
    const texts = await Promise.all(names.map(async (name) => (await dav.get(list + name)).text));
    for (const line of ['TRIGGER:-PT15M', 'X-SECOND:1'])
      expect(texts.filter((one) => one.includes(line)).length).toBe(1);
    const uids = texts.map((one) => one.match(/^UID:.*$/m)?.[0]);
    expect([names.length, new Set(uids).size]).toEqual([3, 3]);
    expect(names).toContain('1.ics');
  });

  test('that was deleted is made again under its own id', async () => {
    const { ada, project, dav, list } = await open();
    const { id } = await ada.createTask(project.id);
    const path = `${list}${id}.ics`;
    const { text } = await dav.get(path);
    await dav.put(path, text.replace('END:VTODO', 'X-A:1\r\nEND:VTODO'));
    await dav.delete(path);
    expect((await dav.put(path, text)).status).toBe(201);
    await ada.post(`/trash/${id}/restore`);
    const names = Object.keys(await dav.tags(list));
    const texts = await Promise.all(names.map(async (name) => (await dav.get(list + name)).text));
    expect(texts.map((one) => one.includes('X-A:1')).sort()).toEqual([false, true]);
  });

  test('in a project that has the name or the UID already, gets others', async () => {
    const { ada, dav, list, tasks } = await open();
    const other = await ada.createProject('Bath');
    await dav.put(`${list}1.ics`, text);
    await dav.put(`${listOf(other)}1.ics`, todoText('1', 'SUMMARY:There before'));
    const [{ id }] = await tasks();
    await ada.patch(`/tasks/${id}`, { project_id: other.id });
    const moved = await dav.get(`${listOf(other)}${id}.ics`);
    expect(moved.text).toContain('TRIGGER:-PT15M');
    expect(moved.text.match(/^UID:.*$/gm)).toEqual([`UID:${id}`, `UID:${id}`]);
    expect((await dav.get(`${listOf(other)}1.ics`)).text).toContain('There before');
  });
});

describe('a parent', () => {
  const child = (uid: string, parent: string, ...lines: string[]) =>
    todoText(uid, `SUMMARY:${uid}`, `RELATED-TO;RELTYPE=PARENT:${parent}`, ...lines);

  async function openTree() {
    const opened = await open();
    const put = async (uid: string, text: string) => {
      const { status } = await opened.dav.put(`${opened.list}${uid}.ics`, text);
      expect([uid, status]).toEqual([uid, expect.any(Number)]);
      expect(status).toBeLessThan(300);
    };
    const relations = async (uid: string) =>
      (await opened.dav.get(`${opened.list}${uid}.ics`)).text.match(/^RELATED-TO.*$/gm);
    /** The titles of parents, by the titles of tasks. */
    const tree = async () => {
      const all: { id: string; title: string; parent_id: string | null }[] = await opened.tasks();
      const titles = new Map(all.map(({ id, title }) => [id, title]));
      return Object.fromEntries(
        all.map(({ title, parent_id }) => [title, parent_id && titles.get(parent_id)]),
      );
    };
    return { ...opened, put, relations, tree };
  }

  test('that a client names is the parent of the task, whichever of the two comes first', async () => {
    const { dav, list, put, tree } = await openTree();
    await put('early', child('early', 'trip'));
    expect(await tree()).toEqual({ early: null });
    const before = await dav.get(`${list}early.ics`);
    const { syncToken } = await dav.sync(list);
    await put('trip', todoText('trip', 'SUMMARY:trip'));
    await put('late', child('late', 'trip').replace(';RELTYPE=PARENT', ''));
    expect(await tree()).toEqual({ early: 'trip', trip: null, late: 'trip' });
    // Its text is the same, and its tag is another.
    const after = await dav.get(`${list}early.ics`);
    expect(after.text).toBe(before.text);
    expect(after.headers.get('etag')).not.toBe(before.headers.get('etag'));
    expect((await dav.sync(list, syncToken)).responses.length).toBe(3);
    expect((await dav.put(`${list}early.ics`, `${after.text}`)).headers.get('etag')).toBe(
      after.headers.get('etag'),
    );
  });

  test('and its children that come at once find each other', async () => {
    const { put, tree } = await openTree();
    const names = Array.from({ length: 10 }, (_, n) => `child ${n}`);
    await Promise.all([
      ...names.slice(0, 5).map((name) => put(name, child(name, 'trip'))),
      put('trip', todoText('trip', 'SUMMARY:trip')),
      ...names.slice(5).map((name) => put(name, child(name, 'trip'))),
    ]);
    expect(await tree()).toEqual({
      trip: null,
      ...Object.fromEntries(names.map((name) => [name, 'trip'])),
    });
  });

  test('that the API sets, changes or removes is the one that clients read, and other relations stay', async () => {
    const { ada, project, put, relations, tasks } = await openTree();
    await put('trip', todoText('trip', 'SUMMARY:trip'));
    await put('part', todoText('part', 'SUMMARY:part', 'RELATED-TO;RELTYPE=SIBLING:other'));
    const all = await tasks();
    const idOf = (title: string) => all.find((task: { title: string }) => task.title === title).id;
    const sub = await ada.createTask(project.id, { title: 'sub', parent_id: idOf('trip') });
    expect(await relations(sub.id)).toEqual(['RELATED-TO;RELTYPE=PARENT:trip']);
    await ada.patch(`/tasks/${idOf('part')}`, { parent_id: sub.id });
    expect(await relations('part')).toEqual([
      'RELATED-TO;RELTYPE=SIBLING:other',
      `RELATED-TO;RELTYPE=PARENT:${sub.id}`,
    ]);
    await ada.patch(`/tasks/${idOf('part')}`, { parent_id: null });
    expect(await relations('part')).toEqual(['RELATED-TO;RELTYPE=SIBLING:other']);
  });

  test('that a client changes or removes is changed or removed in the task', async () => {
    const { put, tree, relations, ada, tasks } = await openTree();
    for (const uid of ['one', 'two']) await put(uid, todoText(uid, `SUMMARY:${uid}`));
    await put('part', child('part', 'one'));
    await put('part', child('part', 'two', 'PRIORITY:1'));
    expect((await tree()).part).toBe('two');
    // A field that the API changes meanwhile does not touch it.
    const [{ id }] = (await tasks()).filter(({ title }: { title: string }) => title === 'part');
    await ada.patch(`/tasks/${id}`, { priority: 2 });
    expect(await relations('part')).toEqual(['RELATED-TO;RELTYPE=PARENT:two']);
    await put('part', todoText('part', 'SUMMARY:part'));
    expect((await tree()).part).toBeNull();
  });

  test('that cannot be one stays in the text alone', async () => {
    const { put, tree, relations } = await openTree();
    await put('a', child('a', 'c'));
    await put('b', child('b', 'a'));
    // A circle, a task that is its own parent, and a sixth level.
    await put('c', child('c', 'b'));
    await put('self', child('self', 'self'));
    for (const [n, uid] of ['l1', 'l2', 'l3', 'l4', 'l5', 'l6'].entries())
      await put(uid, child(uid, `l${n}`));
    const found = await tree();
    expect([found.self, found.l2, found.l5, found.l6]).toEqual([null, 'l1', 'l4', null]);
    const circle = [found.a, found.b, found.c];
    expect(circle.filter((parent) => parent === null).length).toBe(1);
    for (const uid of ['c', 'self', 'l6']) expect((await relations(uid))?.length).toBe(1);
    await put('l6', child('l6', 'l5', 'PRIORITY:1'));
    expect((await tree()).l6).toBeNull();
  });

  test('takes its parts along to the trash', async () => {
    const { dav, list, put, tree } = await openTree();
    await put('trip', todoText('trip', 'SUMMARY:trip'));
    await put('part', child('part', 'trip'));
    const { syncToken } = await dav.sync(list);
    await dav.delete(`${list}trip.ics`);
    expect(await tree()).toEqual({});
    const { responses } = await dav.sync(list, syncToken);
    expect(responses.map(({ href }) => href).sort()).toEqual([
      `${list}part.ics`,
      `${list}trip.ics`,
    ]);
  });
});
