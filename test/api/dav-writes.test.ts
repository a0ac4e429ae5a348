/** CalDAV: conditions, refusals, lists that clients make, reports and synchronization. */
import { describe, expect, test } from 'bun:test';
import { Api, useApi } from '../support/api.ts';
import { dropDatabase } from '../support/cluster.ts';
import { CALDAV, DAV, type DavClient, davClient, todoText } from '../support/dav.ts';

const api = useApi();
const NONE = '019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23';
const listOf = ({ id }: { id: string }) => `/dav/projects/${id}/`;

async function open(scopes?: string[]) {
  const ada = await api.person();
  const project = await ada.createProject();
  const dav = await davClient(api, ada, scopes);
  const tasks = async () => (await ada.get(`/tasks/projects/${project.id}`)).body.items;
  return { ada, project, dav, list: listOf(project), tasks };
}

const refusal = ({ status, conditions }: { status: number; conditions: string[] }) => [
  status,
  ...conditions,
];

describe('a conditional write', () => {
  test('with a stale tag is refused and changes nothing', async () => {
    const { ada, dav, list, tasks } = await open();
    const path = `${list}1.ics`;
    const { headers } = await dav.put(path, todoText('1', 'SUMMARY:Before'));
    const [{ id }] = await tasks();
    await ada.patch(`/tasks/${id}`, { title: 'By the API' });
    const stale = { 'if-match': headers.get('etag') as string };
    const { status, body } = await dav.put(path, todoText('1', 'SUMMARY:Late'), stale);
    expect([status, body.code]).toEqual([412, 'precondition_failed']);
    expect((await dav.delete(path, stale)).status).toBe(412);
    expect(await tasks()).toMatchObject([{ title: 'By the API', version: 2 }]);
    const present = (await dav.get(path)).headers.get('etag') as string;
    expect(
      (await dav.put(path, todoText('1', 'SUMMARY:New'), { 'if-match': present })).status,
    ).toBe(204);
    expect((await dav.delete(path, { 'if-match': '*' })).status).toBe(204);
    expect(await tasks()).toEqual([]);
  });

  test('for an item that is not there, or must not be, is refused', async () => {
    const { dav, list, tasks } = await open();
    for (const tag of ['*', '"1"'])
      expect((await dav.put(`${list}1.ics`, todoText('1'), { 'if-match': tag })).status).toBe(412);
    await dav.put(`${list}1.ics`, todoText('1', 'SUMMARY:First'));
    const second = await dav.put(`${list}1.ics`, todoText('1'), { 'if-none-match': '*' });
    expect(second.status).toBe(412);
    expect((await dav.delete(`${list}2.ics`, { 'if-match': '*' })).status).toBe(404);
    expect(await tasks()).toMatchObject([{ title: 'First' }]);
  });

  test('a new item under an old name has another tag', async () => {
    const { dav, list } = await open();
    const first = await dav.put(`${list}1.ics`, todoText('1', 'SUMMARY:First'));
    await dav.delete(`${list}1.ics`);
    const second = await dav.put(`${list}1.ics`, todoText('1', 'SUMMARY:Second'));
    expect(second.status).toBe(201);
    expect(second.headers.get('etag')).not.toBe(first.headers.get('etag'));
  });

  test('of ten that create one name, one creates it, and the others change it or are refused', async () => {
    const { dav, list, tasks } = await open();
    const create = (n: number, headers = {}) =>
      dav.put(`${list}1.ics`, todoText('1', `SUMMARY:${n}`), headers);
    const only = await Promise.all(
      Array.from({ length: 10 }, (_, n) => create(n, { 'if-none-match': '*' })),
    );
    expect(only.map(({ status }) => status).sort()).toEqual([201, ...Array(9).fill(412)]);
    expect((await tasks()).length).toBe(1);
    const { headers } = await dav.get(`${list}1.ics`);
    const etag = { 'if-match': headers.get('etag') as string };
    const changes = await Promise.all(Array.from({ length: 10 }, (_, n) => create(n + 20, etag)));
    expect(changes.map(({ status }) => status).sort()).toEqual([204, ...Array(9).fill(412)]);
    const [task] = await tasks();
    expect(task.version).toBe(2);
    expect((await dav.get(`${list}1.ics`)).text).toContain(`SUMMARY:${task.title}`);
  });
});

describe('a UID', () => {
  test('is unique in a list, and stays that of its item', async () => {
    const { ada, project, dav, list, tasks } = await open();
    await dav.put(`${list}1.ics`, todoText('same'));
    const twice = await dav.put(`${list}2.ics`, todoText('same'));
    expect([...refusal(twice), twice.text]).toEqual([
      403,
      `${CALDAV}no-uid-conflict`,
      expect.stringContaining(`<d:href>${list}1.ics</d:href>`),
    ]);
    const other = await dav.put(`${list}1.ics`, todoText('other'));
    expect(refusal(other)).toEqual([403, `${CALDAV}no-uid-conflict`]);
    const task = await ada.createTask(project.id);
    const ofApi = await dav.put(`${list}3.ics`, todoText(task.id));
    expect(refusal(ofApi)).toEqual([403, `${CALDAV}no-uid-conflict`]);
    expect((await tasks()).length).toBe(2);
    // In another list it is another item.
    const bath = await ada.createProject('Bath');
    expect((await dav.put(`${listOf(bath)}1.ics`, todoText('same'))).status).toBe(201);
  });

  test('with / and % has a name that is encoded, and is found by it', async () => {
    const { dav, list } = await open();
    const uid = 'a/b%2Fc d@e?f#g';
    const name = `${encodeURIComponent(uid)}.ics`;
    expect((await dav.put(list + name, todoText(uid))).status).toBe(201);
    expect(Object.keys(await dav.tags(list))).toEqual([name]);
    // Another encoding of the same name.
    const other = name.replaceAll('%', '%25').replaceAll('%25', '%').replace('%40', '@');
    const { responses } = await dav.report(
      list,
      'c:calendar-multiget',
      `<d:prop><d:getetag/></d:prop><d:href>${list}${other}</d:href>`,
    );
    expect(responses.map(({ href, found }) => [href, Object.keys(found)])).toEqual([
      [list + other, [`${DAV}getetag`]],
    ]);
    expect((await dav.delete(list + other)).status).toBe(204);
  });
});

describe('a body', () => {
  const item = (text: string) => ['PUT', text] as const;
  const long = (text: string) => `${text.slice(0, 20)}${text.length > 20 ? '…' : ''}`;
  const xml = (text: string) => ['PROPFIND', text] as const;
  const bodies: (readonly [string, string, (string | number)[]])[] = [
    [...item('not a calendar'), [403, `${CALDAV}valid-calendar-data`]],
    [...item(''), [403, `${CALDAV}valid-calendar-data`]],
    [...item('BEGIN:VCALENDAR\r\nBEGIN:VTODO\r\nUID:1'), [403, `${CALDAV}valid-calendar-data`]],
    [...item(todoText('1', 'X:\0')), [403, `${CALDAV}valid-calendar-data`]],
    [...item(todoText('1', 'no colon')), [403, `${CALDAV}valid-calendar-data`]],
    [
      ...item(todoText('1', ...Array(100).fill('BEGIN:X'), ...Array(100).fill('END:X'))),
      [403, `${CALDAV}valid-calendar-data`],
    ],
    [
      ...item(todoText('1', ...Array(3000).fill('BEGIN:X\r\nEND:X'))),
      [403, `${CALDAV}valid-calendar-data`],
    ],
    [...item(todoText('1', ...Array(5000).fill('X:1'))), [403, `${CALDAV}valid-calendar-data`]],
    [...item(todoText('')), [403, `${CALDAV}valid-calendar-object-resource`]],
    [
      ...item(todoText('1').replace('UID:1\r\n', '')),
      [403, `${CALDAV}valid-calendar-object-resource`],
    ],
    [
      ...item(
        todoText('1').replace(
          'END:VCALENDAR',
          'BEGIN:VTODO\r\nUID:2\r\nEND:VTODO\r\nEND:VCALENDAR',
        ),
      ),
      [403, `${CALDAV}valid-calendar-object-resource`],
    ],
    [
      ...item(
        todoText('1').replace(
          'END:VCALENDAR',
          'BEGIN:VTODO\r\nUID:1\r\nEND:VTODO\r\nEND:VCALENDAR',
        ),
      ),
      [403, `${CALDAV}valid-calendar-object-resource`],
    ],
    [
      ...item(todoText('1').replace('VERSION', 'METHOD:PUBLISH\r\nVERSION')),
      [403, `${CALDAV}valid-calendar-object-resource`],
    ],
    [...item(todoText('u'.repeat(256))), [403, `${CALDAV}valid-calendar-object-resource`]],
    [
      ...item(todoText('1').replaceAll('VTODO', 'VEVENT')),
      [403, `${CALDAV}supported-calendar-component`],
    ],
    [...item(todoText('1', `X:${'x'.repeat(2 ** 18)}`)), [413, `${CALDAV}max-resource-size`]],
    [...xml('<d:propfind xmlns:d="DAV:"><d:prop>'), [400]],
    [...xml('<d:propfind xmlns:d="DAV:"/><d:propfind xmlns:d="DAV:"/>'), [400]],
    [...xml('<d:propfind/>'), [400]],
    [...xml('propfind'), [400]],
    [...xml('<propfind/>'), [400]],
    ['MKCOL', '<d:propfind xmlns:d="DAV:"/>', [400]],
    ['REPORT', '', [400]],
    ['PROPPATCH', ' ', [400]],
    [...item('x'.repeat(64 * 2 ** 20)), [413, `${CALDAV}max-resource-size`]],
    [...xml(`${'<a>'.repeat(1000)}${'</a>'.repeat(1000)}`), [400]],
    [...xml(`<a>${'<b/>'.repeat(60_000)}</a>`), [400]],
    [...xml(`<a ${Array.from({ length: 60_000 }, (_, n) => `b${n}=""`).join(' ')}/>`), [400]],
    [...xml(`<a ${Array.from({ length: 2000 }, (_, n) => `b${n}=">"`).join(' ')}/>`), [400]],
    [...xml('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'), [400]],
    [...xml('<a>&nbsp;</a>'), [400]],
    [...xml(`<a>${'x'.repeat(2 ** 20)}</a>`), [413]],
    [
      ...xml(
        `<d:propfind xmlns:d="DAV:"><d:prop>${Array.from({ length: 200 }, (_, n) => `<x${n}/>`).join('')}</d:prop></d:propfind>`,
      ),
      [400],
    ],
  ];

  test.each(bodies.map((one) => [one[0], long(one[1]), one] as const))(
    '%s %j is refused',
    async (_, __, [method, body, expected]) => {
      const { dav, list, tasks } = await open();
      const path = method === 'PUT' ? `${list}1.ics` : list;
      expect(refusal(await dav.send(method, path, body, { depth: '0' }))).toEqual(expected);
      expect(await tasks()).toEqual([]);
      expect(
        await api.sql`select from dav_items where name = '1.ics' and project_id = ${list.split('/')[3]}`,
      ).toHaveLength(0);
    },
  );

  test('of another type or charset, compressed, or no UTF-8 is refused', async () => {
    const { dav, list } = await open();
    const put = async (headers: Record<string, string>) =>
      (await dav.put(`${list}1.ics`, todoText('1'), headers)).status;
    expect(await put({ 'content-type': 'application/json' })).toBe(415);
    expect(await put({ 'content-type': 'text/calendar; charset=utf-16' })).toBe(415);
    expect(await put({ 'content-encoding': 'gzip' })).toBe(415);
    const { status } = await api.anonymous.request('PUT', `${list}1.ics`, undefined, {
      undocumented: true,
      raw: new Uint8Array([0x42, 0xff]),
      headers: { authorization: `Bearer ${dav.token}`, 'content-type': 'text/calendar' },
    });
    expect(status).toBe(400);
    expect(await put({ 'content-type': '' })).toBe(201);
  });

  test.each(['%zz.ics', '%00.ics', '%ff.ics'])('under the name %s is not found', async (name) => {
    const { dav, list } = await open();
    for (const method of ['PUT', 'GET', 'DELETE', 'PROPFIND'])
      expect(
        (await dav.send(method, list + name, method === 'PUT' ? todoText('1') : undefined)).status,
      ).toBe(404);
  });
});

describe('who may not write', () => {
  /** Tries every write of a project. */
  async function tryAll(dav: DavClient, list: string, name: string) {
    const { headers } = await dav.get(list + name);
    return [
      await dav.put(`${list}new.ics`, todoText('new')),
      await dav.put(list + name, todoText('1', 'SUMMARY:Changed')),
      await dav.put(list + name, todoText('1', 'SUMMARY:Mine', 'X-NEW:1')),
      await dav.delete(list + name, { 'if-match': headers.get('etag') ?? '*' }),
    ].map(refusal);
  }

  const lacking = Array(4).fill([403, `${DAV}need-privileges`]);

  test('a viewer, anyone in an archived project, and a token that may read, learn that they lack the privilege', async () => {
    const { ada, project, dav, list, tasks } = await open();
    await dav.put(`${list}1.ics`, todoText('1', 'SUMMARY:Mine'));
    const bob = await api.person();
    await api.addMember(project.id, bob, 'viewer');
    const before = await tasks();
    expect(await tryAll(await davClient(api, bob), list, '1.ics')).toEqual(lacking);
    expect(await tryAll(await davClient(api, ada, ['read']), list, '1.ics')).toEqual(lacking);
    const reader = await davClient(api, ada, ['read']);
    expect(Object.keys(await reader.tags(list))).toEqual(['1.ics']);
    const { responses } = await reader.find(list);
    const privileges = responses[0]?.found[`${DAV}current-user-privilege-set`]?.children;
    expect(privileges?.flatMap(({ children }) => children.map(({ name }) => name))).toEqual([
      `${DAV}read`,
      `${DAV}read-current-user-privilege-set`,
    ]);
    await ada.patch(`/projects/${project.id}`, { archived: true });
    expect(await tryAll(dav, list, '1.ics')).toEqual(lacking);
    expect(await tasks()).toEqual(before);
    const patched = await dav.update(
      list,
      '<d:set><d:prop><d:displayname>X</d:displayname></d:prop></d:set>',
    );
    expect([patched.status, patched.responses[0]?.missing]).toEqual([207, [`${DAV}displayname`]]);
  });

  test('a viewer sets the status of a task that is assigned to them, and nothing else with it', async () => {
    const { ada, project, dav, list, tasks } = await open();
    const lines = ['SUMMARY:Theirs', 'STATUS:NEEDS-ACTION', 'RRULE:FREQ=DAILY', 'DTSTART:20260101'];
    const text = todoText('1', ...lines);
    await dav.put(`${list}1.ics`, text);
    await dav.put(`${list}2.ics`, todoText('2', 'SUMMARY:A parent'));
    const bob = await api.person();
    await api.addMember(project.id, bob, 'viewer');
    const [{ id }] = (await tasks()).filter(({ title }: { title: string }) => title === 'Theirs');
    await ada.patch(`/tasks/${id}`, { assignee_id: bob.id });
    const theirs = await davClient(api, bob);
    const done = (...more: string[]) =>
      todoText('1', 'SUMMARY:Theirs', 'STATUS:COMPLETED', 'COMPLETED:20260302T000000Z', ...more);
    for (const refused of [
      done().replace('Theirs', 'Mine'),
      text.replace('RRULE:FREQ=DAILY\r\n', ''),
      text.replace('END:VTODO', 'RELATED-TO:2\r\nEND:VTODO'),
    ])
      expect(refusal(await theirs.put(`${list}1.ics`, refused))).toEqual([
        403,
        `${DAV}need-privileges`,
      ]);
    const sent = done('ATTACH:https://example.org/', 'X-A:1', 'RELATED-TO:2', 'RELATED-TO:none');
    const put = await theirs.put(`${list}1.ics`, sent);
    expect([put.status, put.headers.get('etag')]).toEqual([204, null]);
    expect((await ada.get(`/tasks/${id}`)).body).toMatchObject({ status: 'done', parent_id: null });
    const read = (await dav.get(`${list}1.ics`)).text;
    for (const line of ['STATUS:COMPLETED', 'RRULE:FREQ=DAILY', 'DTSTART:20260101'])
      expect(read).toContain(line);
    expect(read).not.toMatch(/ATTACH|X-A|RELATED-TO|20260302/);
    // Nor does a parent that comes later take it.
    await dav.put(`${list}none.ics`, todoText('none'));
    expect((await ada.get(`/tasks/${id}`)).body.parent_id).toBeNull();
  });

  test('an editor writes, and a stranger finds nothing', async () => {
    const { project, dav, list } = await open();
    await dav.put(`${list}1.ics`, todoText('1'));
    const [eve, bob] = [await api.person(), await api.person()];
    await api.addMember(project.id, eve, 'editor');
    const editor = await davClient(api, eve);
    expect((await editor.put(`${list}2.ics`, todoText('2'))).status).toBe(201);
    const stranger = await davClient(api, bob);
    expect((await tryAll(stranger, list, '1.ics')).map(([status]) => status)).toEqual([
      404, 404, 404, 404,
    ]);
    for (const answer of [
      await stranger.find(list),
      await stranger.find(`${list}1.ics`),
      await stranger.sync(list),
      await stranger.update(list, ''),
    ])
      expect([answer.status, answer.body.code]).toEqual([404, 'not_found']);
  });
});

describe('a list that a client makes', () => {
  const name = (text: string) => `<d:displayname>${text}</d:displayname>`;
  const set = (content: string) => `<d:set><d:prop>${content}</d:prop></d:set>`;
  const NAMESPACES = 'xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"';
  const mkcol = (content: string) => `<d:mkcol ${NAMESPACES}>${set(content)}</d:mkcol>`;
  const TYPE = '<d:resourcetype><d:collection/><c:calendar/></d:resourcetype>';

  test('is a project under the name that it chose', async () => {
    const { ada, dav } = await open();
    const path = '/dav/projects/My%20list%2F1/';
    const about = `${name('Garden')}<c:calendar-description>Beds</c:calendar-description>`;
    expect((await dav.send('MKCOL', path, mkcol(TYPE + about))).status).toBe(201);
    const { body } = await ada.get('/projects/?q=Garden');
    expect(body.items).toMatchObject([{ name: 'Garden', description: 'Beds', role: 'owner' }]);
    await dav.put(`${path}1.ics`, todoText('1'));
    expect(Object.keys(await dav.tags(path))).toEqual(['1.ics']);
    const home = await dav.find('/dav/projects/', '<d:prop><d:displayname/></d:prop>', '1');
    expect(home.responses.map(({ href }) => href)).toContain(path);
    const again = await dav.send('MKCOL', path, mkcol(TYPE));
    expect(refusal(again)).toEqual([405, `${DAV}resource-must-be-null`]);
    const byId = await dav.send('MKCOL', listOf(body.items[0]), mkcol(TYPE));
    expect(refusal(byId)).toEqual([405, `${DAV}resource-must-be-null`]);
    // The id leads there, too; and the name leads others nowhere.
    expect(Object.keys(await dav.tags(listOf(body.items[0])))).toEqual(['1.ics']);
    expect((await (await davClient(api, await api.person())).find(path)).status).toBe(404);
  });

  test('by MKCALENDAR is one, too', async () => {
    const { ada, dav } = await open();
    const about = set(name('Garden'));
    const body = `<c:mkcalendar ${NAMESPACES}>${about}</c:mkcalendar>`;
    expect((await dav.send('MKCALENDAR', '/dav/projects/x/', body)).status).toBe(201);
    expect((await dav.send('MKCALENDAR', '/dav/projects/y')).status).toBe(201);
    expect((await dav.send('MKCALENDAR', '/dav/projects/x/', body)).status).toBe(405);
    const { items } = (await ada.get('/projects/?sort=created_at')).body;
    expect(items.map((project: { name: string }) => project.name)).toEqual([
      'Kitchen',
      'Garden',
      'y',
    ]);
  });

  test('by extended MKCOL is for tasks', async () => {
    const { ada, dav } = await open();
    expect((await dav.send('MKCOL', '/dav/projects/a', mkcol(TYPE))).status).toBe(201);
    const vtodo =
      '<c:supported-calendar-component-set><c:comp name="VTODO"/></c:supported-calendar-component-set>';
    expect(
      (await dav.send('MKCOL', '/dav/projects/b', mkcol(TYPE + vtodo + name('B')))).status,
    ).toBe(201);
    const refused: [string, string][] = [
      [vtodo.replace('VTODO', 'VEVENT') + TYPE, `${CALDAV}supported-calendar-component`],
      ['<d:resourcetype><d:collection/></d:resourcetype>', `${DAV}valid-resourcetype`],
      ['', `${DAV}valid-resourcetype`],
    ];
    for (const [content, condition] of refused)
      expect(refusal(await dav.send('MKCOL', '/dav/projects/c', mkcol(content)))).toEqual([
        403,
        condition,
      ]);
    const long = await dav.send('MKCOL', `/dav/projects/${'n'.repeat(256)}`, mkcol(TYPE));
    expect(refusal(long)).toEqual([403, `${CALDAV}calendar-collection-location-ok`]);
    const { body } = await ada.get('/projects/?sort=created_at');
    expect(body.items.map((project: { name: string }) => project.name)).toEqual([
      'Kitchen',
      'a',
      'B',
    ]);
  });

  test('of ten that make one name, one makes it', async () => {
    const { ada, dav } = await open();
    const made = await Promise.all(
      Array.from({ length: 10 }, () => dav.send('MKCOL', '/dav/projects/x/', mkcol(TYPE))),
    );
    expect(made.map(({ status }) => status).sort()).toEqual([201, ...Array(9).fill(405)]);
    expect((await ada.get('/projects/')).body.items.length).toBe(2);
  });

  test('is renamed and described, all or nothing', async () => {
    const { ada, project, dav, list } = await open();
    const read = async () => (await ada.get(`/projects/${project.id}`)).body;
    const both = await dav.update(
      list,
      set(`${name('Bath')}<c:calendar-description>D</c:calendar-description>`),
    );
    expect([both.status, Object.keys(both.responses[0]?.found ?? {}).length]).toEqual([207, 2]);
    expect(await read()).toMatchObject({ name: 'Bath', description: 'D' });
    const mixed = await dav.update(
      list,
      set(`${name('Attic')}<x:colour xmlns:x="urn:x">red</x:colour>`),
    );
    expect([mixed.text.match(/HTTP\/1.1 \d+/g), mixed.responses[0]?.missing]).toEqual([
      ['HTTP/1.1 403', 'HTTP/1.1 424'],
      ['{urn:x}colour', `${DAV}displayname`],
    ]);
    for (const bad of ['', ' ', 'n'.repeat(121)])
      expect((await dav.update(list, set(name(bad)))).responses[0]?.missing).toEqual([
        `${DAV}displayname`,
      ]);
    expect((await read()).name).toBe('Bath');
    await dav.update(list, '<d:remove><d:prop><c:calendar-description/></d:prop></d:remove>');
    expect((await read()).description).toBeNull();
  });

  test('takes the name of one that was deleted', async () => {
    const { ada, dav } = await open();
    const path = '/dav/projects/tasks/';
    const make = () => dav.send('MKCOL', path, mkcol(TYPE));
    expect([(await make()).status, (await make()).status]).toEqual([201, 405]);
    const idOf = async () => {
      const { items } = (await ada.get('/projects/')).body;
      return items.find(({ name }: { name: string }) => name === 'tasks')?.id;
    };
    const first = await idOf();
    await ada.delete(`/projects/${first}`);
    expect((await make()).status).toBe(201);
    await dav.put(`${path}1.ics`, todoText('1', 'SUMMARY:In the second'));
    expect((await ada.get(`/tasks/projects/${await idOf()}`)).body.items.length).toBe(1);
    // Restored, the first is known by its id.
    await ada.post(`/trash/${first}/restore`);
    expect((await dav.get(`/dav/projects/${first}/1.ics`)).status).toBe(404);
    expect((await dav.find(`/dav/projects/${first}/`)).status).toBe(207);
    expect((await dav.get(`${path}1.ics`)).status).toBe(200);
  });

  test('is not deleted by a client', async () => {
    const { dav, list } = await open();
    const { status, headers } = await dav.delete(list);
    expect([status, headers.get('allow')]).toEqual([
      405,
      'MKCALENDAR, MKCOL, OPTIONS, PROPFIND, PROPPATCH, REPORT',
    ]);
  });
});

describe('a query', () => {
  const filter = (content: string, component = 'VTODO') =>
    `<d:prop><d:getetag/></d:prop><c:filter><c:comp-filter name="VCALENDAR"><c:comp-filter name="${component}">${content}</c:comp-filter></c:comp-filter></c:filter>`;
  const text = (attributes: string, value: string) =>
    `<c:text-match ${attributes}>${value}</c:text-match>`;
  const property = (name: string, content: string) =>
    `<c:prop-filter name="${name}">${content}</c:prop-filter>`;
  const absent = '<c:is-not-defined/>';
  const range = (attributes: string) => `<c:time-range ${attributes}/>`;

  const queries: [string, string[]][] = [
    [filter(''), ['alarm', 'date', 'done', 'plain', 'span']],
    [filter('', 'VEVENT'), []],
    [filter(absent, 'VEVENT'), ['alarm', 'date', 'done', 'plain', 'span']],
    [filter(property('COMPLETED', absent)), ['alarm', 'date', 'plain', 'span']],
    [filter(property('UID', text('collation="i;octet"', 'plain'))), ['plain']],
    [filter(property('UID', text('', 'PLAI'))), ['plain']],
    [filter(property('UID', text('collation="i;octet"', 'PLAI'))), []],
    [filter(property('STATUS', text('negate-condition="yes"', 'COMPLETED'))), ['date']],
    [filter(property('SUMMARY', '')), ['alarm', 'date', 'done', 'plain', 'span']],
    [filter('<c:comp-filter name="VALARM"/>'), ['alarm']],
    [
      filter(`<c:comp-filter name="VALARM">${absent}</c:comp-filter>`),
      ['date', 'done', 'plain', 'span'],
    ],
    [
      filter(property('DUE', `<c:param-filter name="VALUE">${text('', 'date')}</c:param-filter>`)),
      ['date'],
    ],
    [filter(range('start="20261223T230000Z" end="20261225T000000Z"')), ['date', 'plain', 'span']],
    [filter(range('start="20270101T000000Z"')), ['plain']],
    [filter(property('DUE', range('end="20261224T120000Z"'))), ['alarm', 'date']],
  ];

  async function openItems() {
    const opened = await open();
    const { dav, list } = opened;
    const items: Record<string, string[]> = {
      plain: [],
      done: ['STATUS:COMPLETED', 'COMPLETED:20260301T000000Z'],
      date: ['DUE;VALUE=DATE:20261224', 'STATUS:NEEDS-ACTION'],
      span: ['DTSTART:20261220T000000Z', 'DUE:20261228T000000Z'],
      alarm: ['DUE:20260601T000000Z', 'BEGIN:VALARM', 'TRIGGER:-PT5M', 'END:VALARM'],
    };
    for (const [name, lines] of Object.entries(items))
      await dav.put(`${list}${name}.ics`, todoText(name, `SUMMARY:${name}`, ...lines));
    return opened;
  }

  test('returns the items that match its filter', async () => {
    const { dav, list } = await openItems();
    for (const [content, names] of queries) {
      const { status, responses } = await dav.report(list, 'c:calendar-query', content);
      const found = responses.map(({ href }) => href.slice(list.length).replace('.ics', '')).sort();
      expect([content, status, found]).toEqual([content, 207, names]);
    }
  });

  test.each([
    ['<c:filter/>', 'valid-filter'],
    [filter(range('')), 'valid-filter'],
    [filter(range('start="today"')), 'valid-filter'],
    [filter('<c:prop-filter/>'), 'valid-filter'],
    [filter('<c:other/>'), 'supported-filter'],
    [filter(property('UID', text('collation="i;other"', 'x'))), 'supported-collation'],
  ])('with %s is refused', async (content, condition) => {
    const { dav, list } = await open();
    expect(refusal(await dav.report(list, 'c:calendar-query', content))).toEqual([
      403,
      CALDAV + condition,
    ]);
  });

  test.each([
    ['50 elements', property('UID', text('', 'x').repeat(47)), 207],
    ['51 elements', property('UID', text('', 'x').repeat(48)), 403],
    ['a text of 1000', property('UID', text('', 'x'.repeat(1000))), 207],
    ['a text of 1001', property('UID', text('', 'x'.repeat(1001))), 403],
  ])('with %s is bounded', async (_, content, expected) => {
    const { dav, list } = await open();
    const { status, conditions } = await dav.report(list, 'c:calendar-query', filter(content));
    expect([status, conditions]).toEqual([
      expected,
      expected === 403 ? [`${CALDAV}supported-filter`] : [],
    ]);
  });

  test('of another kind is refused', async () => {
    const { dav, list } = await open();
    expect(refusal(await dav.report(list, 'd:expand-property', ''))).toEqual([
      403,
      `${DAV}supported-report`,
    ]);
    expect((await dav.send('REPORT', list)).status).toBe(400);
  });

  test('by names returns each item or its 404', async () => {
    const { dav, list } = await openItems();
    const hrefs = [
      `${list}plain.ics`,
      `${api.url}${list}done.ics`,
      `${list}none.ics`,
      `/dav/projects/${NONE}/plain.ics`,
      '%',
    ];
    const { responses } = await dav.report(
      list,
      'c:calendar-multiget',
      `<d:prop><d:getetag/><c:calendar-data/></d:prop>${hrefs.map((href) => `<d:href>${href}</d:href>`).join('')}`,
      '0',
    );
    expect(
      responses.map(({ href, status, found }) => [
        href,
        status ?? found[`${CALDAV}calendar-data`]?.text.match(/UID:\w+/)?.[0],
      ]),
    ).toEqual([
      [hrefs[0], 'UID:plain'],
      [hrefs[1], 'UID:done'],
      ...hrefs.slice(2).map((href) => [href, 'HTTP/1.1 404 Not Found']),
    ] as never);
  });

  test('by the same name many times returns its item once', async () => {
    const { dav, list } = await openItems();
    const hrefs = [`${list}plain.ics`, `${list}none.ics`, `${list}%70lain.ics`, `${list}date.ics`];
    const { responses } = await dav.report(
      list,
      'c:calendar-multiget',
      `<d:prop><c:calendar-data/></d:prop>${[...hrefs, ...hrefs].map((href) => `<d:href>${href}</d:href>`).join('')}`,
    );
    expect(responses.map(({ href }) => href.slice(list.length)).sort()).toEqual([
      '%70lain.ics',
      'date.ics',
      'none.ics',
    ]);
  });

  test('of many items has each once', async () => {
    const { ada, project, dav, list } = await open();
    for (let n = 0; n < 5; n += 1)
      await ada.post('/tasks/batch', {
        operations: Array.from({ length: 100 }, (_, m) => ({
          op: 'create',
          project_id: project.id,
          title: `${n} ${m}`,
        })),
      });
    const tags = Object.keys(await dav.tags(list));
    expect([tags.length, new Set(tags).size]).toEqual([500, 500]);
    const found = await dav.find(list, '<d:prop><d:getetag/><d:getcontentlength/></d:prop>', '1');
    expect(
      found.responses.filter(({ found }) => Number(found[`${DAV}getcontentlength`]?.text) > 100)
        .length,
    ).toBe(500);
    const { responses } = await dav.report(
      list,
      'c:calendar-multiget',
      `<d:prop><c:calendar-data/></d:prop>${tags.map((tag) => `<d:href>${list}${tag}</d:href>`).join('')}`,
    );
    expect(responses.filter(({ found }) => found[`${CALDAV}calendar-data`]).length).toBe(500);
  });
});

describe('synchronization', () => {
  const seen = (answer: Awaited<ReturnType<DavClient['sync']>>, list: string) => {
    expect(answer.status).toBe(207);
    return Object.fromEntries(
      answer.responses.map(({ href, status }) => [href.slice(list.length), status === undefined]),
    );
  };

  test('returns all items first, then what has changed and what is gone', async () => {
    const { ada, project, dav, list } = await open();
    await dav.put(`${list}kept.ics`, todoText('kept'));
    await dav.put(`${list}gone.ics`, todoText('gone'));
    const task = await ada.createTask(project.id);
    const first = await dav.sync(list);
    expect(seen(first, list)).toEqual({
      'kept.ics': true,
      'gone.ics': true,
      [`${task.id}.ics`]: true,
    });
    const none = await dav.sync(list, first.syncToken);
    expect(seen(none, list)).toEqual({});
    await dav.delete(`${list}gone.ics`);
    await dav.put(`${list}new.ics`, todoText('new'));
    await dav.put(`${list}brief.ics`, todoText('brief'));
    await dav.delete(`${list}brief.ics`);
    await ada.patch(`/tasks/${task.id}`, { title: 'Changed' });
    const second = await dav.sync(list, first.syncToken, '<d:getetag/><c:calendar-data/>');
    expect(seen(second, list)).toEqual({
      'gone.ics': false,
      'new.ics': true,
      'brief.ics': false,
      [`${task.id}.ics`]: true,
    });
    expect(second.text).toContain('SUMMARY:Changed');
    await ada.delete(`/tasks/${task.id}`);
    await dav.put(`${list}gone.ics`, todoText('gone'));
    const third = await dav.sync(list, second.syncToken);
    expect(seen(third, list)).toEqual({ [`${task.id}.ics`]: false, 'gone.ics': true });
  });

  test('has a name once, where another item has that of one that is gone', async () => {
    const { ada, project, dav, list } = await open();
    const task = await ada.createTask(project.id);
    const name = `${task.id}.ics`;
    const { text } = await dav.get(list + name);
    const { syncToken } = await dav.sync(list);
    await dav.delete(list + name);
    expect((await dav.put(list + name, text)).status).toBe(201);
    const { responses } = await dav.sync(list, syncToken);
    expect(responses.map(({ href, status }) => [href, status])).toEqual([[list + name, undefined]]);
  });

  test('has a token that changes with the list alone', async () => {
    const { ada, project, dav, list } = await open();
    const read = async () => {
      const { responses } = await dav.find(list, '<d:prop><d:sync-token/><cs:getctag/></d:prop>');
      return Object.values(responses[0]?.found ?? {}).map(({ text }) => text);
    };
    const [token, tag] = await read();
    expect(tag).toBe(token);
    await ada.createTask((await ada.createProject('Bath')).id);
    expect(await read()).toEqual([token, tag] as string[]);
    expect(seen(await dav.sync(list, token), list)).toEqual({});
    await ada.createTask(project.id);
    expect(await read()).not.toEqual([token, tag] as string[]);
    expect((await dav.sync(list, token)).responses.length).toBe(1);
  });

  test('begins anew where the token is unknown, of another list or user, or too old', async () => {
    const { ada, project, dav, list } = await open();
    const { syncToken = '' } = await dav.sync(list);
    const bob = await api.person();
    await api.addMember(project.id, bob, 'editor');
    const refused = [403, `${DAV}valid-sync-token`];
    for (const token of [
      'x',
      'urn:x-mantou:sync:',
      'urn:x-mantou:sync:x',
      'https://example.org/sync/1',
    ])
      expect(refusal(await dav.sync(list, token))).toEqual(refused);
    expect(refusal(await (await davClient(api, bob)).sync(list, syncToken))).toEqual(refused);
    const bath = listOf(await ada.createProject('Bath'));
    expect(refusal(await dav.sync(bath, syncToken))).toEqual(refused);
    // The events after it have been deleted.
    await ada.createTask(project.id);
    await ada.createTask(bath.split('/')[3] as string);
    await ada.get('/changes');
    await api.sql`update feed set pruned_position = last_position`;
    expect(refusal(await dav.sync(list, syncToken))).toEqual(refused);
    const { responses } = await dav.find(list, '<d:prop><d:sync-token/></d:prop>');
    const present = responses[0]?.found[`${DAV}sync-token`]?.text;
    expect((await dav.sync(list, present)).status).toBe(207);
  });

  test('begins anew where the user had no access for a while', async () => {
    const { ada, project, dav, list } = await open();
    const bob = await api.person();
    const username = bob.username;
    const invite = () => ada.post(`/projects/${project.id}/members`, { username, role: 'viewer' });
    await invite();
    const theirs = await davClient(api, bob);
    const { syncToken } = await theirs.sync(list);
    await ada.delete(`/projects/${project.id}/members/${bob.id}`);
    await dav.put(`${list}1.ics`, todoText('1'));
    expect((await theirs.sync(list, syncToken)).status).toBe(404);
    await invite();
    expect(refusal(await theirs.sync(list, syncToken))).toEqual([403, `${DAV}valid-sync-token`]);
  });

  test('with a limit that is too low is refused', async () => {
    const { dav, list } = await open();
    const { syncToken } = await dav.sync(list);
    for (const name of ['1', '2']) await dav.put(`${list}${name}.ics`, todoText(name));
    const limited = (limit: number) =>
      dav.report(
        list,
        'd:sync-collection',
        `<d:sync-token>${syncToken}</d:sync-token><d:limit><d:nresults>${limit}</d:nresults></d:limit><d:prop/>`,
      );
    expect(refusal(await limited(1))).toEqual([403, `${DAV}number-of-matches-within-limits`]);
    expect((await limited(2)).responses.length).toBe(2);
  });

  test('old names are cleared away by later writes', async () => {
    const { ada, dav, list } = await open();
    await dav.put(`${list}old.ics`, todoText('old'));
    await dav.delete(`${list}old.ics`);
    const names = async () =>
      (
        await api.sql`select name from dav_items where project_id = ${list.split('/')[3]} order by name`
      ).map(({ name }: { name: string }) => name);
    await dav.put(`${list}new.ics`, todoText('new'));
    expect(await names()).toEqual(['new.ics', 'old.ics']);
    await api.sql`update dav_items set removed_at = now() - interval '1 year' where name = 'old.ics'`;
    await dav.put(`${list}newer.ics`, todoText('newer'));
    // It can still be restored.
    expect(await names()).toEqual(['new.ics', 'newer.ics', 'old.ics']);
    const [{ id }] = (await ada.get('/trash')).body.items;
    expect((await ada.delete(`/trash/${id}`)).status).toBe(204);
    await dav.put(`${list}newest.ics`, todoText('newest'));
    expect(await names()).toEqual(['new.ics', 'newer.ics', 'newest.ics']);
  });
});

test('a refusal by a condition is among the problems', async () => {
  const { status, body } = await api.anonymous.get('/problems/webdav_condition');
  expect([status, body.status]).toEqual([200, 403]);
});

test('behind a proxy that serves the API under a path, every path begins with it', async () => {
  const own = await Api.start({ publicUrl: 'https://example.org/api' });
  try {
    const ada = await own.person();
    const project = await ada.createProject();
    const dav = await davClient(own, ada);
    const { responses } = await dav.find(
      '/dav/projects/',
      '<d:prop><d:displayname/></d:prop>',
      '1',
    );
    expect(responses.map(({ href }) => href)).toEqual([
      '/api/dav/projects/',
      `/api${listOf(project)}`,
    ]);
    await dav.put(`${listOf(project)}1.ics`, todoText('1'));
    const multiget = await dav.report(
      listOf(project),
      'c:calendar-multiget',
      `<d:prop><d:getetag/></d:prop><d:href>/api${listOf(project)}1.ics</d:href>`,
    );
    expect(multiget.responses.map(({ status }) => status)).toEqual([undefined]);
    const found = await own.anonymous.request('GET', '/.well-known/caldav', undefined, {
      undocumented: true,
    });
    expect(found.headers.get('location')).toBe('https://example.org/api/dav/');
  } finally {
    await own.stop();
    await dropDatabase(own.databaseUrl);
  }
});

test('a change stream hears of a write by CalDAV', async () => {
  const { ada, dav, list } = await open();
  const { body } = await ada.get('/changes');
  const waiting = ada.get(`/changes?since=${body.next_cursor}&wait=30`);
  await dav.put(`${list}1.ics`, todoText('1'));
  expect((await waiting).body.items).toMatchObject([{ action: 'task.created' }]);
});
