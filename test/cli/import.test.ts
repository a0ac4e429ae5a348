/** `bun run import`, beside a server. */
import { expect, test } from 'bun:test';
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Persona, useApi } from '../support/api.ts';
import { runCommand } from '../support/command.ts';

const api = useApi();
const samples = join(import.meta.dir, '../importers/samples');

async function importer() {
  const ada = await api.person();
  const { body } = await ada.post('/users/me/tokens', {
    name: 'import',
    scopes: ['read', 'write'],
  });
  const run = (args: string[], stdin = '') =>
    runCommand(
      { MANTOU_URL: api.url, MANTOU_TOKEN: body.token, TZ: 'Europe/Berlin' },
      'import',
      args,
      {
        stdin,
      },
    );
  return { ada, run };
}

const projectsOf = async (who: Persona) =>
  (await who.get('/projects')).body.items.map(({ name }: { name: string }) => name).sort();

test('a file is imported in the time zone of the machine, and the report names its lines', async () => {
  const { ada, run } = await importer();
  const file = join(samples, 'todo.txt');
  expect(await run([file, '--project', 'Home'])).toEqual({
    code: 0,
    stdout: [
      'Home: 7 tasks',
      `${file}:1 (Created date task): t stands in the description: 2026-12-01`,
      `${file}:1 (Created date task): rec is not kept: only the next date is: 1w`,
      '',
    ].join('\n'),
    stderr: '',
  });
  expect(await projectsOf(ada)).toEqual(['Home']);
  const { items } = (await ada.get('/tasks?q=typed')).body;
  expect(items[0].created_at).toBe('2026-10-31T23:00:00.000Z');
});

test('the files of a folder become one project', async () => {
  const { ada, run } = await importer();
  const { code, stdout } = await run([join(samples, 'todoman'), '--project', 'Calendar']);
  expect(code).toBe(0);
  // Two files hold the same task, before and after it was done.
  expect(stdout).toStartWith(`Calendar: 4 tasks\n${join(samples, 'todoman/rt-before.ics')}:4 `);
  expect(stdout).toContain(
    `${join(samples, 'todoman/rt.ics')}:4: UID has the identifier of a task before it`,
  );
  expect((await ada.get('/tasks')).body.items).toHaveLength(4);
});

test('todo.txt and done.txt belong together', async () => {
  const { ada, run } = await importer();
  const [open, done] = [join(samples, 'todo.txt'), join(samples, 'done.txt')];
  const { stdout } = await run([open, done, '--project', 'Both']);
  expect(stdout).toStartWith('Both: 11 tasks\n');
  expect((await ada.get('/tasks/count?status=done')).body.count).toBe(4);
});

test('a dry run writes nothing', async () => {
  const { ada, run } = await importer();
  const file = join(samples, 'taskwarrior-2.6.2-export.json');
  const { code, stdout } = await run([file, '--dry-run']);
  expect([code, stdout.split('\n').slice(0, 2)]).toEqual([
    0,
    ['Home.Kitchen: 1 task', 'Taskwarrior: 9 tasks'],
  ]);
  expect(await projectsOf(ada)).toEqual([]);
});

test('standard input is read with a format, and an export of ours is imported', async () => {
  const { ada, run } = await importer();
  expect((await run(['-', '--format', 'csv', '--project', 'Table'], 'title\nx\n')).stdout).toBe(
    'Table: 1 task\n',
  );
  const { id } = await ada.createProject('Kitchen');
  const { text } = await ada.get(`/projects/${id}/export`);
  expect((await run(['-', '--format', 'mantou', '--project', 'Copy'], text)).stdout).toBe(
    'Copy: 0 tasks\n',
  );
  expect(await projectsOf(ada)).toEqual(['Copy', 'Kitchen', 'Table']);
});

test('what is refused is one line, with the line of the document', async () => {
  const { ada, run } = await importer();
  const folder = await mkdtemp(join(tmpdir(), 'mantou-import-'));
  const file = join(folder, 'cut.ics');
  await writeFile(file, 'BEGIN:VCALENDAR\nBEGIN:VTODO\nSUMMARY:x\n');
  const stderr = 'mantou: body line 2: begins a component that has no end: the document is cut\n';
  expect(await run([file])).toEqual({ code: 1, stdout: '', stderr });
  await mkdir(join(folder, 'empty'));
  expect((await run([join(folder, 'empty')])).stderr).toEndWith('empty holds no .ics files\n');
  expect((await run([join(folder, 'missing.ics')])).stderr).toContain('missing.ics cannot be read');
  expect((await run([join(folder, 'cut.ics'), '--url', 'http://127.0.0.1:1'])).stderr).toStartWith(
    'mantou: no answer of http://127.0.0.1:1',
  );
  expect(await projectsOf(ada)).toEqual([]);
});

test('a token is needed, and is not an argument', async () => {
  const { code, stderr } = await runCommand({}, 'import', ['todo.txt']);
  expect([code, stderr]).toEqual([
    1,
    'mantou: set MANTOU_TOKEN to an API token with the scope write\n',
  ]);
});

test.each([
  [['-'], 'say with --format what the file is'],
  [[join(samples, 'todo.txt'), join(samples, 'todoman')], 'only .ics or only .txt files'],
  [[], 'too few arguments'],
])('%p is a usage error', async (args, reason) => {
  const { run } = await importer();
  const { code, stderr } = await run(args);
  expect(code).toBe(2);
  expect(stderr).toStartWith(`mantou: ${reason}`);
});

test('--help prints the usage', async () => {
  const { code, stdout } = await runCommand({}, 'import', ['--help']);
  expect([code, stdout.split('\n')[0]]).toEqual([0, expect.stringMatching(/^bun run import FILE/)]);
});
