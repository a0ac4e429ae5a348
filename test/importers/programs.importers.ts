/** `bun run test:importers`: the programs themselves make the documents that are imported. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Persona, useApi } from '../support/api.ts';

/** Far beyond what a program takes, on a busy machine too. */
setDefaultTimeout(180_000);

const api = useApi();
const ZONE = 'Europe/Berlin';
let folder = '';

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mantou-importers-'));
  const settings = ['data.location=data', 'confirmation=off', 'uda.estimate.type=numeric'];
  await writeFile(join(folder, 'taskrc'), `${settings.join('\n')}\n`);
  const files = ['TODO_FILE=$TODO_DIR/todo.txt', 'DONE_FILE=$TODO_DIR/done.txt'];
  const todo = [`TODO_DIR=${folder}`, ...files, 'REPORT_FILE=$TODO_DIR/report.txt'];
  await writeFile(join(folder, 'todorc'), `${todo.map((line) => `export ${line}`).join('\n')}\n`);
  await writeFile(join(folder, 'todo.txt'), '');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Runs a program to its end. @returns what it printed. */
async function run(...command: string[]): Promise<string> {
  const child = Bun.spawn(command, {
    cwd: folder,
    env: { PATH: process.env.PATH, HOME: folder, TASKRC: join(folder, 'taskrc'), TZ: ZONE },
    stdin: 'ignore',
    stderr: 'pipe',
  });
  const [output, errors, code] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  expect([command, code, code === 0 ? '' : errors]).toEqual([command, 0, '']);
  return output;
}
const task = (...args: string[]) => run('task', ...args);
const todo = (...args: string[]) =>
  run('todo-txt', '-f', '-p', '-d', join(folder, 'todorc'), ...args);

async function imported(who: Persona, type: string, raw: string) {
  const { status, body } = await who.post(`/projects/import?time_zone=${ZONE}`, undefined, {
    raw,
    headers: { 'content-type': type },
  });
  expect(status).toBe(201);
  // biome-ignore lint/suspicious/noExplicitAny: tests look into JSON freely.
  const all: any[] = [];
  for (const { id, name } of body.projects)
    for (const one of (await who.get(`/tasks/projects/${id}`)).body.items)
      all.push({ ...one, project: name });
  const told = all
    .sort((one, other) => (one.id < other.id ? -1 : 1))
    .map(({ project, title, description, status, priority, due_at, due_on, labels }) => ({
      project,
      title,
      ...{ description, status, priority, due: due_at ?? due_on, labels },
    }));
  // biome-ignore lint/suspicious/noExplicitAny: the same.
  const codes = body.report.codes.map(({ code, count }: any) => [code, count]);
  return { told, codes, all };
}

const plain = { description: null, status: 'todo', priority: 0, due: null, labels: [] };

test('what Taskwarrior exports, as an array and as lines, is imported as it shows it', async () => {
  await task(
    'add',
    'Buy milk',
    'project:Home.Kitchen',
    'due:2027-12-24T18:00',
    'priority:H',
    '+shop',
    'estimate:3',
  );
  await task('add', 'A day; "ü"', 'due:2027-12-25');
  await task('add', 'Weekly', 'due:2027-12-01', 'recur:weekly');
  await task('1', 'annotate', 'from the farm');
  await task('2', 'start');
  await task('log', 'Done before');
  await task('add', 'x'.repeat(501));
  // Taskwarrior makes the first task of those that recur when it lists them.
  await task('list');
  const expected = [
    {
      ...{ project: 'Home.Kitchen', title: 'Buy milk', status: 'todo', priority: 3 },
      description: expect.stringMatching(/^\d{4}-\d\d-\d\d: from the farm\n\nestimate: 3$/),
      ...{ due: '2027-12-24T17:00:00.000Z', labels: ['shop'] },
    },
    {
      ...plain,
      project: 'Taskwarrior',
      title: 'A day; "ü"',
      due: '2027-12-25',
      status: 'in_progress',
    },
    { ...plain, project: 'Taskwarrior', title: 'Weekly', due: '2027-12-01' },
    { ...plain, project: 'Taskwarrior', title: 'Done before', status: 'done' },
    {
      ...{ ...plain, project: 'Taskwarrior', description: 'x'.repeat(501) },
      title: `${'x'.repeat(499)}…`,
    },
  ];
  const ada = await api.person();
  for (const more of [[], ['rc.json.array=off']]) {
    const { told, codes, all } = await imported(
      ada,
      'application/json',
      await task(...more, 'export'),
    );
    const byTitle = (one: { title: string }, other: { title: string }) =>
      one.title < other.title ? -1 : 1;
    expect(told.sort(byTitle)).toEqual(expected.toSorted(byTitle));
    expect(codes.sort()).toEqual([
      ['item_left_out', 1],
      ['moved_to_description', 2],
      ['recurrence_left_out', 1],
      ['title_cut', 1],
    ]);
    expect(all.every(({ created_at }) => Date.parse(created_at) <= Date.now())).toBe(true);
  }
});

test('what todo.sh writes is imported, open and done', async () => {
  await todo('-t', 'add', 'Call mum due:2027-12-24 +Family @phone');
  await todo('add', '(b) lower');
  await todo('pri', '1', 'A');
  await todo('add', 'mail me@example.org');
  await todo('addm', 'one\ntwo');
  await todo('do', '3');
  const ada = await api.person();
  const open = await imported(ada, 'text/plain', await readFile(join(folder, 'todo.txt'), 'utf8'));
  expect(open.told.map(({ project, ...one }) => one)).toEqual([
    {
      ...{ ...plain, title: 'Call mum', priority: 4, due: '2027-12-24' },
      labels: ['Family', 'phone'],
    },
    { ...plain, title: 'lower', priority: 3 },
    { ...plain, title: 'one' },
    { ...plain, title: 'two' },
  ]);
  expect(open.codes).toEqual([]);
  const done = await imported(ada, 'text/plain', await readFile(join(folder, 'done.txt'), 'utf8'));
  expect(done.told.map(({ project, ...one }) => one)).toEqual([
    { ...plain, title: 'mail me@example.org', status: 'done' },
  ]);
  expect(done.codes).toEqual([]);
});
