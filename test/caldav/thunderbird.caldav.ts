/** Thunderbird without a window, driven by Marionette: its calendar as the Tasks tab uses it. One process serves all tests. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Marionette, openMarionette } from './marionette.ts';
import {
  type Desk,
  fill,
  lostIn,
  measure,
  ODD_UIDS,
  putOddItems,
  readText,
  tasksOf,
  useDesks,
  versionOf,
} from './programs.ts';

const desks = useDesks();
let thunderbird: Marionette;
let profile: string;
let process: ReturnType<typeof Bun.spawn>;

beforeAll(async () => {
  profile = await mkdtemp(join(tmpdir(), 'mantou-thunderbird-'));
  const free = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } });
  const { port } = free;
  free.stop();
  await Bun.write(
    join(profile, 'user.js'),
    Object.entries({
      'marionette.port': port,
      'calendar.timezone.local': 'Europe/Berlin',
      'calendar.timezone.useSystemTimezone': false,
      // Only the tests refresh.
      'calendar.autorefresh.enabled': false,
      'app.update.enabled': false,
      'datareporting.policy.dataSubmissionEnabled': false,
    })
      .map(([name, value]) => `user_pref("${name}", ${JSON.stringify(value)});\n`)
      .join(''),
  );
  process = Bun.spawn(
    [
      ...['thunderbird', '--headless', '--no-remote', '--profile', profile],
      ...['--marionette', '--remote-allow-system-access'],
    ],
    {
      env: { PATH: '/usr/bin:/bin', HOME: profile, TZ: 'Europe/Berlin', LC_ALL: 'C.UTF-8' },
      stdout: 'ignore',
      stderr: 'ignore',
    },
  );
  thunderbird = await openMarionette(port);
});

afterAll(async () => {
  thunderbird?.close();
  process?.kill();
  await process?.exited;
  await rm(profile, { recursive: true, force: true });
});

/** What every script can use. */
const PRELUDE = `
const { cal } = ChromeUtils.importESModule('resource:///modules/calendar/calUtils.sys.mjs');
const { CalTodo } = ChromeUtils.importESModule('resource:///modules/CalTodo.sys.mjs');
const calendarOf = (url) => cal.manager.getCalendars().find(({ uri }) => uri.spec === url);
const itemsOf = (calendar) => calendar.getItemsAsArray(Ci.calICalendar.ITEM_FILTER_ALL_ITEMS, 0, null, null);
/** Synchronizes once more after what is under way, to the end. */
const refresh = async (calendar) => {
  const cached = calendar.wrappedJSObject;
  while (cached.mPendingSync) await cached.mPendingSync;
  await cached.synchronize();
};
`;

const run = (script: string, ...args: unknown[]) => thunderbird.run(PRELUDE + script, ...args);

/** Adds the lists of a server as the dialog does: it finds them by the URL of the server. Returns their URLs, by name. */
async function addLists({ url, token }: Desk): Promise<Record<string, string>> {
  const found = await run(
    `
const [url, password] = args;
const login = Cc['@mozilla.org/login-manager/loginInfo;1'].createInstance(Ci.nsILoginInfo);
login.init(url, null, 'api', 'ada', password, '', '');
await Services.logins.addLoginAsync(login);
const detected = await cal.provider.detection.detect('ada', password, url + '/', false, [], {});
const lists = {};
for (const calendar of [...detected.values()].flat()) {
  // The dialog's default.
  calendar.setProperty('cache.enabled', true);
  cal.manager.registerCalendar(calendar);
  lists[calendar.name] = calendar.uri.spec;
}
return lists;`,
    url,
    token,
  );
  const lists = found as Record<string, string>;
  for (const list of Object.values(lists)) await sync(list);
  return lists;
}

const sync = (list: string) => run('await refresh(calendarOf(args[0]));', list);

/** Returns the items of a list: title, status, due, categories. */
const listed = async (list: string) =>
  (await run(
    `
const items = await itemsOf(calendarOf(args[0]));
return Object.fromEntries(items.map((item) => [item.title, [item.status, item.dueDate?.icalString ?? null, item.getCategories()]]));`,
    list,
  )) as Record<string, [status: string | null, due: string | null, categories: string[]]>;

/** Changes an item by its title, as the task dialog does. @param change lines on `item`. */
const edit = (list: string, title: string, change: string) =>
  run(
    `
const calendar = calendarOf(args[0]);
const before = (await itemsOf(calendar)).find((item) => item.title === args[1]);
const item = before.clone();
${change}
await calendar.modifyItem(item, before);`,
    list,
    title,
  );

const add = (list: string, title: string, ical: string) =>
  run(
    `
const item = new CalTodo('BEGIN:VCALENDAR\\r\\nVERSION:2.0\\r\\nBEGIN:VTODO\\r\\nUID:' + args[1] + '\\r\\nSUMMARY:' + args[1] + '\\r\\n' + args[2] + '\\r\\nEND:VTODO\\r\\nEND:VCALENDAR');
await calendarOf(args[0]).addItem(item);`,
    list,
    title,
    ical,
  );

const remove = (list: string, title: string) =>
  run(
    `
const calendar = calendarOf(args[0]);
await calendar.deleteItem((await itemsOf(calendar)).find((item) => item.title === args[1]));`,
    list,
    title,
  );

test('lists are found by the URL of the server, and those that may only be read are read-only', async () => {
  const desk = await desks.open();
  const bob = await desks.api.person('bob');
  const shared = await bob.createProject('Shared');
  await desks.api.addMember(shared.id, desk.user, 'viewer');
  const archived = await desk.user.createProject('Attic');
  await desk.user.patch(`/projects/${archived.id}`, { archived: true });
  const lists = await addLists(desk);
  expect(Object.keys(lists).sort()).toEqual(['Attic', 'Kitchen', 'Shared']);
  const readOnly = await run(
    'return Object.fromEntries(args[0].map((url) => [calendarOf(url).name, calendarOf(url).readOnly]));',
    Object.values(lists),
  );
  expect(readOnly).toEqual({ Attic: true, Kitchen: false, Shared: true });
});

test('tasks are made, changed, finished and deleted on either side', async () => {
  const desk = await desks.open();
  const { user, project } = desk;
  const made = await user.createTask(project.id, {
    title: 'By the API',
    due_on: '2026-12-24',
    labels: ['a', 'b'],
  });
  const { Kitchen: list = '' } = await addLists(desk);
  expect(await listed(list)).toEqual({ 'By the API': ['NEEDS-ACTION', '20261224', ['a', 'b']] });
  await add(list, 'By-Thunderbird', 'DUE;TZID=Europe/Berlin:20261224T180000\r\nPRIORITY:1');
  expect(await tasksOf(desk)).toMatchObject({
    'By-Thunderbird': { due_at: '2026-12-24T17:00:00.000Z', priority: 4, status: 'todo' },
  });
  await edit(list, 'By the API', "item.title = 'Renamed'; item.setCategories(['c']);");
  const theirs = (await tasksOf(desk))['By-Thunderbird'];
  await user.patch(`/tasks/${theirs?.id}`, { title: 'Renamed by the API', status: 'in_progress' });
  await sync(list);
  expect(await tasksOf(desk)).toMatchObject({ Renamed: { labels: ['c'], due_on: '2026-12-24' } });
  expect(await listed(list)).toMatchObject({
    'Renamed by the API': ['IN-PROCESS', '20261224T180000', []],
  });

  await edit(list, 'Renamed by the API', 'item.isCompleted = true;');
  await user.patch(`/tasks/${made.id}`, { status: 'done' });
  await sync(list);
  expect(await tasksOf(desk)).toMatchObject({ 'Renamed by the API': { status: 'done' } });
  expect((await listed(list)).Renamed?.[0]).toBe('COMPLETED');

  await remove(list, 'Renamed by the API');
  await user.delete(`/tasks/${made.id}`);
  await sync(list);
  expect([await listed(list), await tasksOf(desk)]).toEqual([{}, {}]);
});

test('a task is moved to another list on either side', async () => {
  const desk = await desks.open();
  const bath = await desk.user.createProject('Bath');
  const { Kitchen = '', Bath = '' } = await addLists(desk);
  await add(Kitchen, 'There', 'PRIORITY:5');
  await add(Kitchen, 'Here', 'PRIORITY:5');
  // As Thunderbird does it: a copy, then a deletion.
  await run(
    `
const [from, to] = args.map(calendarOf);
const before = (await itemsOf(from)).find((item) => item.title === 'There');
const item = before.clone();
item.calendar = to;
await to.addItem(item);
await from.deleteItem(before);`,
    Kitchen,
    Bath,
  );
  const { Here } = await tasksOf(desk);
  await desk.user.patch(`/tasks/${Here?.id}`, { project_id: bath.id });
  await sync(Kitchen);
  await sync(Bath);
  expect([Object.keys(await listed(Kitchen)), Object.keys(await listed(Bath)).sort()]).toEqual([
    [],
    ['Here', 'There'],
  ]);
  expect(await tasksOf(desk)).toEqual({});
});

test.each([
  ['keeps what is on the server', false, 'By the API'],
  ['overwrites it', true, 'By Thunderbird'],
])('a conflict asks the user, who %s', async (_, overwrite, title) => {
  const desk = await desks.open();
  const task = await desk.user.createTask(desk.project.id, { title: 'Before' });
  const { Kitchen: list = '' } = await addLists(desk);
  await desk.user.patch(`/tasks/${task.id}`, { title: 'By the API', labels: ['x'] });
  const asked = await run(
    `
let asked = 0;
const { promptOverwrite } = cal.provider;
cal.provider.promptOverwrite = () => { asked += 1; return args[1]; };
const calendar = calendarOf(args[0]);
const [before] = await itemsOf(calendar);
const item = before.clone();
item.title = 'By Thunderbird';
await calendar.modifyItem(item, before).catch(() => undefined);
await refresh(calendar);
cal.provider.promptOverwrite = promptOverwrite;
return asked;`,
    list,
    overwrite,
  );
  expect([asked, Object.keys(await tasksOf(desk))]).toEqual([1, [title]]);
});

test('a client that was away long begins anew', async () => {
  const desk = await desks.open();
  const { user, project } = desk;
  const gone = await user.createTask(project.id, { title: 'Gone' });
  const { Kitchen: list = '' } = await addLists(desk);
  await user.delete(`/tasks/${gone.id}`);
  await user.createTask(project.id, { title: 'New' });
  await user.get('/changes');
  await desks.api.sql`update feed set pruned_position = last_position`;
  await sync(list);
  expect(Object.keys(await listed(list))).toEqual(['New']);
});

test('what other programs wrote arrives whole, and goes back as Thunderbird writes it', async () => {
  const desk = await desks.open();
  await putOddItems(desk);
  const before = new Map(
    await Promise.all(ODD_UIDS.map(async (uid) => [uid, await readText(desk, uid)] as const)),
  );
  const { Kitchen: list = '' } = await addLists(desk);
  const titles = Object.keys(await listed(list));
  expect(titles.length).toBe(ODD_UIDS.length);
  for (const title of titles) await edit(list, title, "item.setProperty('X-EDITED', '1');");
  for (const uid of ODD_UIDS) {
    const lost = lostIn(before.get(uid) ?? '', await readText(desk, uid));
    console.log(
      `Thunderbird ${await versionOf('thunderbird')}, ${uid}: ${lost.join(', ') || 'nothing'} changed`,
    );
  }
});

test('a thousand tasks that have not changed', async () => {
  const desk = await desks.open();
  await fill(desk, 1000);
  const name = `Thunderbird ${await versionOf('thunderbird')}`;
  let list = '';
  await measure(`${name}, 1,000 new items`, desk, async () => {
    list = (await addLists(desk)).Kitchen ?? '';
  });
  expect(Object.keys(await listed(list)).length).toBe(1000);
  await measure(`${name}, 1,000 unchanged items`, desk, () => sync(list));
  expect(desk.counts.methods).toEqual(['REPORT']);
});
