/** tsdav: the CalDAV client of npm, which web apps use. It is installed outside the project, at the version of `packages.lock`. */
import { beforeAll, expect, test } from 'bun:test';
import { cpSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { todoText } from '../support/dav.ts';
import {
  type Desk,
  fill,
  linesOf,
  measure,
  ODD_UIDS,
  putOddItems,
  readText,
  tasksOf,
  useDesks,
} from './programs.ts';

const folder = process.env.CALDAV_DIR || join(import.meta.dir, '../../.data/caldav');
const desks = useDesks();

interface DavObject {
  url: string;
  etag?: string;
  data?: string;
}

interface Calendar {
  url: string;
  displayName?: string;
  syncToken?: string;
  components?: string[];
}

/** The part of tsdav that is used here. */
interface Client {
  fetchCalendars(): Promise<Calendar[]>;
  fetchCalendarObjects(options: object): Promise<DavObject[]>;
  createCalendarObject(options: object): Promise<Response>;
  updateCalendarObject(options: object): Promise<Response>;
  deleteCalendarObject(options: object): Promise<Response>;
  makeCalendar(options: object): Promise<unknown>;
  syncCollection(
    options: object,
  ): Promise<{ href?: string; status: number; raw?: object; props?: object }[]>;
  smartCollectionSync(options: object): Promise<Calendar & { objects: Changed }>;
}

interface Changed {
  created: DavObject[];
  updated: DavObject[];
  deleted: DavObject[];
}

let createDAVClient: (options: object) => Promise<Client>;

beforeAll(async () => {
  mkdirSync(folder, { recursive: true });
  cpSync(join(import.meta.dir, 'packages.json'), join(folder, 'package.json'));
  cpSync(join(import.meta.dir, 'packages.lock'), join(folder, 'bun.lock'));
  const install = ['install', '--frozen-lockfile', '--ignore-scripts'];
  const { exited } = Bun.spawn([process.execPath, ...install], {
    cwd: folder,
    stdout: 'ignore',
    stderr: 'inherit',
  });
  expect(await exited).toBe(0);
  ({ createDAVClient } = await import(join(folder, 'node_modules/tsdav')));
});

/** Without a filter it asks for events. */
const filters = {
  'comp-filter': {
    _attributes: { name: 'VCALENDAR' },
    'comp-filter': { _attributes: { name: 'VTODO' } },
  },
};

async function open(desk: Desk) {
  const client = await createDAVClient({
    serverUrl: desk.url,
    credentials: { username: 'ada', password: desk.token },
    authMethod: 'Basic',
    defaultAccountType: 'caldav',
  });
  const calendars = await client.fetchCalendars();
  const calendar = calendars.find(({ displayName }) => displayName === 'Kitchen');
  if (!calendar) throw new Error('It should find the list.');
  const objects = async () => {
    const found = await client.fetchCalendarObjects({ calendar, filters: [filters] });
    return Object.fromEntries(
      found.map((one) => [/^UID:(.*)$/m.exec(one.data ?? '')?.[1]?.trim() ?? '', one]),
    );
  };
  return { client, calendar, calendars, objects };
}

test('tasks are made, changed and deleted on either side', async () => {
  const desk = await desks.open();
  const { user, project } = desk;
  const { client, calendar, objects } = await open(desk);
  expect(calendar.components).toEqual(['VTODO']);
  const made = await user.createTask(project.id, { title: 'By the API' });
  const created = await client.createCalendarObject({
    calendar,
    filename: 'by-tsdav.ics',
    iCalString: todoText('by-tsdav', 'SUMMARY:By tsdav', 'DUE;VALUE=DATE:20261224'),
  });
  expect(created.status).toBe(201);
  expect(await tasksOf(desk)).toMatchObject({ 'By tsdav': { due_on: '2026-12-24' } });
  const found = await objects();
  expect(Object.keys(found).sort()).toEqual([made.id, 'by-tsdav'].sort());

  const theirs = found[made.id] as DavObject;
  const update = (data: string) =>
    client.updateCalendarObject({
      calendarObject: { ...theirs, data: theirs.data?.replace('SUMMARY:By the API', data) },
    });
  expect((await update('SUMMARY:Renamed\r\nSTATUS:COMPLETED').catch((error) => error)).status).toBe(
    204,
  );
  // What it read first is outdated now.
  expect((await update('SUMMARY:Late')).status).toBe(412);
  expect(Object.keys(await tasksOf(desk)).sort()).toEqual(['By tsdav', 'Renamed']);

  await user.delete(`/tasks/${made.id}`);
  await client.deleteCalendarObject({ calendarObject: found['by-tsdav'] });
  expect([await objects(), await tasksOf(desk)]).toEqual([{}, {}]);
});

test('a list that is made here is a project there', async () => {
  const desk = await desks.open();
  const { client } = await open(desk);
  await client.makeCalendar({
    url: `${desk.url}/dav/projects/garden/`,
    props: { displayname: 'Garden' },
  });
  const { body } = await desk.user.get('/projects/?sort=created_at');
  expect(body.items.map(({ name }: { name: string }) => name)).toEqual(['Kitchen', 'Garden']);
  expect((await open(desk)).calendars.map(({ displayName }) => displayName).sort()).toEqual([
    'Garden',
    'Kitchen',
  ]);
});

/** Asks for what has changed, by a token. */
const changesOf = async (
  { client, calendar }: Awaited<ReturnType<typeof open>>,
  syncToken: string | undefined,
) => {
  const responses = await client.syncCollection({
    url: calendar.url,
    props: { 'd:getetag': {} },
    syncLevel: 1,
    syncToken,
  });
  // A response without any resource becomes one without an href.
  const found = responses.filter(({ href, status }) => href !== undefined || status !== 207);
  return found.map(({ href, status }) => [href?.replace(/^.*\//, ''), status]);
};

test('changes are read by a token, and a client that was away long begins anew', async () => {
  const desk = await desks.open();
  const { user, project } = desk;
  const one = await user.createTask(project.id, { title: 'One' });
  const opened = await open(desk);
  const token = opened.calendar.syncToken;
  expect(await changesOf(opened, token)).toEqual([]);
  const two = await user.createTask(project.id, { title: 'Two' });
  await user.delete(`/tasks/${one.id}`);
  expect((await changesOf(opened, token)).sort()).toEqual(
    [
      [`${one.id}.ics`, 404],
      [`${two.id}.ics`, 207],
    ].sort() as never,
  );
  await user.get('/changes');
  await desks.api.sql`update feed set pruned_position = last_position`;
  expect(await changesOf(opened, token)).toEqual([['', 403]] as never);
  expect((await changesOf(opened, undefined)).length).toBe(1);
});

test('what other programs wrote arrives whole, and comes back so', async () => {
  const desk = await desks.open();
  await putOddItems(desk);
  const { client, objects } = await open(desk);
  const found = await objects();
  for (const uid of ODD_UIDS) {
    const text = await readText(desk, uid);
    expect([uid, linesOf(found[uid]?.data ?? '')]).toEqual([uid, linesOf(text)]);
    const data = found[uid]?.data?.replace('END:VTODO', 'X-EDITED:1\r\nEND:VTODO');
    await client.updateCalendarObject({ calendarObject: { ...found[uid], data } });
    expect([uid, linesOf(await readText(desk, uid))]).toEqual([uid, linesOf(data ?? '')]);
  }
});

test('a thousand tasks that have not changed', async () => {
  const desk = await desks.open();
  await fill(desk, 1000);
  const opened = await open(desk);
  const name = `tsdav ${(await Bun.file(join(folder, 'node_modules/tsdav/package.json')).json()).version}`;
  await measure(`${name}, 1,000 new items`, desk, async () =>
    expect(Object.keys(await opened.objects()).length).toBe(1000),
  );
  await measure(`${name}, 1,000 unchanged items by token`, desk, async () =>
    expect(await changesOf(opened, opened.calendar.syncToken)).toEqual([]),
  );
});
