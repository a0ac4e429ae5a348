/** calcurse-caldav: one list, without discovery. calcurse has a title, a priority and a note for a task, and no due date. */
import { expect, test } from 'bun:test';
import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Desk, fill, measure, tasksOf, useDesks, versionOf } from './programs.ts';

const desks = useDesks();

async function open(): Promise<Desk> {
  const desk = await desks.open();
  // It takes an empty list for one that was never synchronized.
  await desk.user.createTask(desk.project.id, { title: 'Seed' });
  await Bun.write(
    join(desk.home, '.config/calcurse/caldav/config'),
    `[General]
Hostname = ${new URL(desk.url).host}
Path = ${desk.list}
HTTPS = No
DryRun = No
SyncFilter = todo
[Auth]
Username = ada
Password = ${desk.token}
`,
  );
  await desk.run('calcurse-caldav', '--init=keep-remote');
  return desk;
}

const sync = ({ run }: Desk) => run('calcurse-caldav', '-v');
const titles = async ({ run }: Desk) =>
  (await run('calcurse', '-t', '--format-todo=%m\\n'))
    .split('\n')
    .filter((line) => !['', 'Seed', 'to do:'].includes(line))
    .sort();
const fileOf = ({ home }: Desk) => join(home, '.local/share/calcurse/todo');

test('tasks are made, finished and deleted on either side', async () => {
  const desk = await open();
  const { user, project } = desk;
  const made = await user.createTask(project.id, { title: 'By the API', priority: 2 });
  await appendFile(fileOf(desk), '[3] By calcurse\n');
  await sync(desk);
  expect(await titles(desk)).toEqual(['By calcurse', 'By the API']);
  expect(await tasksOf(desk)).toMatchObject({ 'By calcurse': { priority: 3, status: 'todo' } });
  await user.patch(`/tasks/${made.id}`, { title: 'Renamed' });
  await sync(desk);
  expect(await titles(desk)).toEqual(['By calcurse', 'Renamed']);
  const text = await Bun.file(fileOf(desk)).text();
  await Bun.write(fileOf(desk), text.replace(/^.*By calcurse\n/m, ''));
  await user.delete(`/tasks/${made.id}`);
  await sync(desk);
  expect([await titles(desk), Object.keys(await tasksOf(desk))]).toEqual([[], ['Seed']]);
});

test('an edit is a new task there, without what calcurse does not know; the trash has the one before', async () => {
  const desk = await open();
  const { user, project } = desk;
  const made = await user.createTask(project.id, { title: 'Before', due_on: '2026-12-24' });
  await sync(desk);
  const text = await Bun.file(fileOf(desk)).text();
  await Bun.write(fileOf(desk), text.replace('Before', 'After'));
  await sync(desk);
  expect(await titles(desk)).toEqual(['After']);
  expect(await tasksOf(desk)).toMatchObject({ After: { due_on: null }, Seed: {} });
  const { body } = await user.get('/trash');
  expect(body.items).toMatchObject([{ id: made.id }]);
  await user.post(`/trash/${made.id}/restore`);
  await sync(desk);
  expect(await titles(desk)).toEqual(['After', 'Before']);
  expect(await tasksOf(desk)).toMatchObject({ Before: { due_on: '2026-12-24' } });
});

test('a thousand tasks that have not changed', async () => {
  const desk = await open();
  await fill(desk, 1000);
  const name = `calcurse-caldav ${await versionOf('calcurse')}`;
  await measure(`${name}, 1,000 new items`, desk, () => sync(desk));
  expect((await titles(desk)).length).toBe(1000);
  await measure(`${name}, 1,000 unchanged items`, desk, () => sync(desk));
});
