/** The README cannot rot: its walk is walked, and its tables are held against the code. */
import { expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { scripts } from '../package.json';
import { useApi } from './support/api.ts';
import { operations } from './support/document.ts';

const root = join(import.meta.dir, '..');
const readme = readFileSync(join(root, 'README.md'), 'utf8');
const blocks = [...readme.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, block]) => block ?? '');

const api = useApi();

/** The text between a heading and the next. */
function section(heading: string): string {
  return readme.split(`## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
}

test('the walk goes from register to a done task, as it is written', async () => {
  const walk = blocks.find((block) => block.includes('/users/register')) ?? '';
  expect(walk).toStartWith('API=http://127.0.0.1:3000\n');
  const script = walk.replace('http://127.0.0.1:3000', api.url);
  const child = Bun.spawn(['bash', '-euo', 'pipefail', '-c', script], {
    stderr: 'pipe',
    env: { ...process.env, PATH: `${join(process.execPath, '..')}:${process.env.PATH}` },
  });
  const [output, errors, code] = [
    await child.stdout.text(),
    await child.stderr.text(),
    await child.exited,
  ];
  expect([code, errors]).toEqual([0, '']);
  const list = JSON.parse(output.slice(output.lastIndexOf('{"items"')));
  expect(list.items.length).toBe(1);
  expect(list.items[0]).toMatchObject({
    title: 'Choose the tiles',
    status: 'done',
    due_at: '2026-12-24T17:00:00.000Z',
  });
  expect(list.items[0].completed_at).not.toBeNull();
});

test('the two commands start from npm alone, with the pinned Bun', () => {
  const install = 'npm install --global bun@1.4.5 && bun install && ';
  expect(blocks).toContain(`${install}bun start\n`);
  expect(blocks).toContain(`${install}bun test\n`);
});

test('every command in the table exists', () => {
  const table = section('Develop');
  for (const [, name = ''] of table.matchAll(/`bun run ([\w:]+)`/g))
    expect(Object.keys(scripts)).toContain(name);
  for (const name of ['start', 'dev']) expect(Object.keys(scripts)).toContain(name);
});

test('every command in the chapters on operations exists', () => {
  const operations_guide = readFileSync(join(root, 'docs/operations.md'), 'utf8');
  const named = [...operations_guide.matchAll(/\bbun run\s+([\w:]+)/g)].map(
    ([, name = '']) => name,
  );
  expect(named.length).toBeGreaterThan(10);
  for (const name of named) expect(Object.keys(scripts)).toContain(name);
});

test('the table of routes has every operation, and no other', () => {
  const listed = section('Routes')
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .flatMap((line) => {
      // In a row, a method without a path is of the path beside it.
      let path = '';
      const cell = line.split(' | ')[0] ?? '';
      const spans = [...cell.matchAll(/`([^`]+)`/g)].map(([, span]) => span ?? '');
      const paths = spans.map((span) => (path = span.split(' ')[1] ?? path));
      const first = paths.find((one) => one !== '') ?? '';
      return spans.map(
        (span, at) => `${span.split(' ')[0]} ${(paths[at] || first).replace(/(.)\/$/, '$1')}`,
      );
    });
  const documented = operations.map(({ method, path }) => `${method} ${path}`);
  const docs = ['GET /swagger', 'GET /swagger/json', 'GET /'];
  expect(listed.sort()).toEqual([...documented, ...docs].sort());
});

test('the table of settings names what .env names, with the same defaults', () => {
  const env = readFileSync(join(root, '.env'), 'utf8');
  const settings = Object.fromEntries(
    [...env.matchAll(/^([A-Z_]+)=(.*)$/gm)].map(([, name, value]) => [name, value]),
  );
  const rows = [...section('Settings').matchAll(/^\| (`[A-Z_]+`(?:, `[A-Z_]+`)*) +\|(.*?)\|/gm)];
  const listed = rows.flatMap(([, names = '', values = '']) => {
    const defaults = [...values.matchAll(/`([^`]*)`/g)].map(([, value]) => value);
    return names
      .split(', ')
      .map((name, at) => [name.replaceAll('`', ''), defaults[at] ?? defaults[0] ?? '']);
  });
  // Not in .env: no default is written that a machine makes up.
  const written = Object.fromEntries(
    listed.map(([name, value]) => [name, name === 'JWT_SECRET' ? '' : value]),
  );
  expect(written).toEqual(settings);
});
