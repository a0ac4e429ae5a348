/** vdirsyncer with todoman: files of tasks, which a program for the terminal edits. */
import { expect, test } from 'bun:test';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Desk,
  fill,
  linesOf,
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

/** Sets both programs up, and finds the lists of the server. */
async function open(options = '', collections = '"from a", "from b"'): Promise<Desk> {
  const desk = await desks.open();
  await setUp(desk, options, collections);
  return desk;
}

async function setUp(desk: Desk, options: string, collections: string) {
  await Bun.write(
    join(desk.home, '.config/vdirsyncer/config'),
    `[general]
status_path = "~/status/"
[pair tasks]
a = "local"
b = "remote"
collections = [${collections}]
metadata = ["displayname"]
${options}
[storage local]
type = "filesystem"
path = "~/tasks/"
fileext = ".ics"
[storage remote]
type = "caldav"
url = "${desk.url}/"
username = "ada"
password = "${desk.token}"
item_types = ["VTODO"]
`,
  );
  await Bun.write(
    join(desk.home, '.config/todoman/config.py'),
    `path = "${desk.home}/tasks/*"\ndate_format = "%Y-%m-%d"\ntime_format = "%H:%M"\ndefault_list = "Kitchen"\n`,
  );
  await desk.run('sh', '-c', 'yes | vdirsyncer discover');
  await sync(desk);
  await desk.run('vdirsyncer', 'metasync');
}

const sync = ({ run }: Desk) => run('vdirsyncer', 'sync');

interface Listed {
  id: number;
  summary: string;
  completed: boolean;
  due: number | null;
  list: string;
}

/** Returns what todoman lists, by title. */
async function listed({ run }: Desk): Promise<Record<string, Listed>> {
  const all: Listed[] = JSON.parse(await run('todoman', '--porcelain', 'list', '--status', 'ANY'));
  return Object.fromEntries(all.map((one) => [one.summary, one]));
}

const idOf = async (desk: Desk, title: string) => String((await listed(desk))[title]?.id);

const fileOf = ({ home, project }: Desk, uid: string) =>
  readFile(join(home, 'tasks', project.id, `${uid}.ics`), 'utf8');

test('tasks are made, changed, finished and deleted on either side', async () => {
  const desk = await open();
  const { user, run, project } = desk;
  const made = await user.createTask(project.id, { title: 'By the API', due_on: '2026-12-24' });
  await run(
    'todoman',
    'new',
    '-l',
    'Kitchen',
    '-d',
    '2026-12-30 11:00',
    '--priority',
    'high',
    'By todoman',
  );
  await sync(desk);
  expect(Object.keys(await listed(desk)).sort()).toEqual(['By the API', 'By todoman']);
  const theirs = (await tasksOf(desk))['By todoman'];
  expect(theirs).toMatchObject({ due_at: '2026-12-30T10:00:00.000Z', priority: 3, status: 'todo' });

  await user.patch(`/tasks/${theirs?.id}`, { title: 'Renamed by the API', labels: ['x'] });
  await run('todoman', 'edit', '--due', '2026-12-31', await idOf(desk, 'By the API'));
  await sync(desk);
  expect((await listed(desk))['Renamed by the API']).toBeDefined();
  expect(await tasksOf(desk)).toMatchObject({
    'By the API': { due_at: null, due_on: '2026-12-31' },
  });

  await user.patch(`/tasks/${theirs?.id}`, { status: 'done' });
  await run('todoman', 'done', await idOf(desk, 'By the API'));
  await sync(desk);
  expect((await listed(desk))['Renamed by the API']?.completed).toBe(true);
  expect(await tasksOf(desk)).toMatchObject({ 'By the API': { status: 'done' } });

  await user.delete(`/tasks/${theirs?.id}`);
  await run('todoman', 'delete', '--yes', await idOf(desk, 'By the API'));
  await sync(desk);
  expect([await listed(desk), await tasksOf(desk)]).toEqual([{}, {}]);
  const { body } = await user.get('/trash');
  expect(body.items.length).toBe(2);
  // A restored task comes back.
  const trashed = body.items.find(({ id }: { id: string }) => id === made.id);
  await user.post(`/trash/${trashed.id}/restore`);
  await sync(desk);
  expect(Object.keys(await listed(desk))).toEqual(['By the API']);
});

test('a task is moved to another list on either side', async () => {
  const desk = await desks.open();
  const bath = await desk.user.createProject('Bath');
  await setUp(desk, '', '"from a", "from b"');
  const { run, user, project } = desk;
  await run('todoman', 'new', '-l', 'Kitchen', 'By todoman');
  const task = await user.createTask(project.id, { title: 'By the API' });
  await sync(desk);
  await run('todoman', 'move', '-l', 'Bath', await idOf(desk, 'By todoman'));
  await user.patch(`/tasks/${task.id}`, { project_id: bath.id });
  await sync(desk);
  const lists = Object.values(await listed(desk)).map(({ summary, list }) => [summary, list]);
  expect(lists.sort()).toEqual([
    ['By the API', 'Bath'],
    ['By todoman', 'Bath'],
  ]);
  expect(await tasksOf(desk)).toEqual({});
  expect(Object.keys(await tasksOf({ ...desk, project: bath })).sort()).toEqual([
    'By the API',
    'By todoman',
  ]);
});

test('what both sides change is a conflict, which loses nothing until the user decides', async () => {
  const desk = await open();
  const { user, run, attempt } = desk;
  await run('todoman', 'new', '-l', 'Kitchen', 'Before');
  await sync(desk);
  const { id } = (await tasksOf(desk)).Before ?? { id: '' };
  await user.patch(`/tasks/${id}`, { title: 'By the API' });
  await run('todoman', 'edit', '--priority', 'low', await idOf(desk, 'Before'));
  const refused = await attempt('vdirsyncer', 'sync');
  expect([refused.code, /conflict/i.test(refused.stderr)]).toEqual([1, true]);
  expect(Object.keys(await listed(desk))).toEqual(['Before']);
  expect(await tasksOf(desk)).toMatchObject({ 'By the API': { priority: 0 } });
  const config = join(desk.home, '.config/vdirsyncer/config');
  const text = await readFile(config, 'utf8');
  await writeFile(config, text.replace('metadata', 'conflict_resolution = "b wins"\nmetadata'));
  await run('sh', '-c', 'yes | vdirsyncer discover');
  await sync(desk);
  expect(Object.keys(await listed(desk))).toEqual(['By the API']);
});

test('a list that is made here is a project there', async () => {
  const desk = await open('', '"from b", "garden"');
  await Bun.write(join(desk.home, 'tasks/garden/displayname'), 'The garden');
  await desk.run('vdirsyncer', 'metasync');
  await desk.run('todoman', 'new', '-l', 'The garden', 'Water');
  await sync(desk);
  const { body } = await desk.user.get('/projects/?sort=created_at');
  expect(body.items.map(({ name }: { name: string }) => name)).toEqual(['Kitchen', 'The garden']);
  expect(Object.keys(await tasksOf({ ...desk, project: body.items[1] }))).toEqual(['Water']);
});

test('a list that the user may not write stays as it is, and the others are synchronized', async () => {
  const desk = await desks.open();
  const bob = await desks.api.person('bob');
  const shared = await bob.createProject('Shared');
  await desks.api.addMember(shared.id, desk.user, 'viewer');
  await bob.createTask(shared.id, { title: 'To read' });
  await setUp(desk, '', '"from a", "from b"');
  await desk.run('todoman', 'new', '-l', 'Shared', 'Not to write');
  await desk.run('todoman', 'new', '-l', 'Kitchen', 'Mine');
  const { code } = await desk.attempt('vdirsyncer', 'sync');
  expect(code).toBe(1);
  expect(Object.keys(await tasksOf(desk))).toEqual(['Mine']);
  expect(Object.keys(await tasksOf({ ...desk, user: bob, project: shared }))).toEqual(['To read']);
  expect(Object.keys(await listed(desk)).sort()).toEqual(['Mine', 'Not to write', 'To read']);
});

test('what other programs wrote arrives whole, and goes back as todoman writes it', async () => {
  const desk = await open();
  await putOddItems(desk);
  await sync(desk);
  for (const uid of ODD_UIDS)
    expect([uid, linesOf(await fileOf(desk, uid))]).toEqual([
      uid,
      linesOf(await readText(desk, uid)),
    ]);
  const before = new Map(
    await Promise.all(ODD_UIDS.map(async (uid) => [uid, await readText(desk, uid)] as const)),
  );
  // todoman shows no item with two lines of categories.
  const shown = await listed(desk);
  expect(Object.keys(shown).length).toBe(ODD_UIDS.length - 1);
  for (const { id } of Object.values(shown))
    await desk.run('todoman', 'edit', '--priority', 'low', String(id));
  await sync(desk);
  for (const uid of ODD_UIDS) {
    const after = await readText(desk, uid);
    // The server keeps what the program wrote, and the categories that it lost.
    expect([uid, lostIn(await fileOf(desk, uid), after)]).toEqual([uid, []]);
    const lost = lostIn(before.get(uid) ?? '', after);
    console.log(
      `todoman ${await versionOf('todoman')}, ${uid}: ${lost.join(', ') || 'nothing'} changed`,
    );
  }
  // The API changes other fields meanwhile: the rest still stays.
  const { user } = desk;
  for (const task of Object.values(await tasksOf(desk)))
    await user.patch(`/tasks/${task.id}`, { priority: 4 });
  const written = new Map(
    await Promise.all(ODD_UIDS.map(async (uid) => [uid, await fileOf(desk, uid)] as const)),
  );
  await sync(desk);
  for (const uid of ODD_UIDS)
    expect([uid, lostIn(written.get(uid) ?? '', await fileOf(desk, uid))]).toEqual([
      uid,
      uid === 'label-lines' ? [] : ['PRIORITY'],
    ]);
});

test('a thousand tasks that have not changed', async () => {
  const desk = await open();
  await fill(desk, 1000);
  const name = `vdirsyncer ${await versionOf('vdirsyncer')}`;
  await measure(`${name}, 1,000 new items`, desk, () => sync(desk));
  expect(
    (await readdir(join(desk.home, 'tasks', desk.project.id))).filter((file) =>
      file.endsWith('.ics'),
    ).length,
  ).toBe(1000);
  await measure(`${name}, 1,000 unchanged items`, desk, () => sync(desk));
  expect(desk.counts.methods.filter((method) => !['PROPFIND', 'REPORT'].includes(method))).toEqual(
    [],
  );
});
