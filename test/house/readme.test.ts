/** The README cannot rot: its walk is walked, and its tables are held against the code. */
import { describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { scripts } from '../../package.json';
import { useApi } from '../support/api.ts';
import { operations } from '../support/document.ts';

const root = join(import.meta.dir, '../..');
const readme = readFileSync(join(root, 'README.md'), 'utf8');
const blocks = [...readme.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, block]) => block ?? '');

const api = useApi();

/** The text between a heading and the next. */
function section(heading: string): string {
  return readme.split(`## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
}

/** What differs from run to run, out of the way. */
const withoutVariables = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value)
      .replaceAll(/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, '<id>')
      // A due date is the client's.
      .replaceAll(/(?<!"due_at":)"\d{4}-\d\d-\d\dT[\d:.]+Z"/g, '"<time>"'),
  );

async function run(command: string[], stdin?: string): Promise<string> {
  const child = Bun.spawn(command, {
    stdin: new Blob([stdin ?? '']),
    stderr: 'pipe',
    env: { ...process.env, PATH: `${join(process.execPath, '..')}:${process.env.PATH}` },
  });
  const [output, errors] = [await child.stdout.text(), await child.stderr.text()];
  expect([await child.exited, errors]).toEqual([0, '']);
  return output;
}

describe('From registration to a finished task', () => {
  const ENDS = '=== the end of a block ===';
  const steps = [
    ...section('From registration to a finished task').matchAll(/```(sh|json|js)\n([\s\S]*?)```/g),
  ].map(([, language = '', text = '']) => ({ language, text }));
  const here = (text: string) => text.replace('http://127.0.0.1:3000', api.url);

  test('each command prints the answer that is shown below it', async () => {
    const commands = steps.filter(({ language }) => language === 'sh');
    const script = commands.map(({ text }) => `${text}\necho '${ENDS}'\n`).join('');
    expect(script).toStartWith('API=http://127.0.0.1:3000\n');
    const outputs = (await run(['bash', '-euo', 'pipefail', '-c', here(script)])).split(ENDS);
    const samples = steps.filter(({ language }) => language === 'json');
    expect(samples.length).toBe(3);
    for (const sample of samples) {
      const command = commands.indexOf(steps[steps.indexOf(sample) - 1] ?? sample);
      const printed = JSON.parse(outputs[command] ?? '');
      expect(withoutVariables(printed)).toEqual(withoutVariables(JSON.parse(sample.text)));
    }
  });

  test('the client prints the finished task', async () => {
    const [client] = steps.filter(({ language }) => language === 'js');
    expect(client?.text.trim().split('\n').length).toBe(10);
    expect(await run(['bun', 'run', '-'], here(client?.text ?? ''))).toBe('Choose the tiles\n');
  });
});

test('the two commands start from npm alone, with the pinned Bun', () => {
  const install = 'npm install --global bun@1.4.5 && bun install && ';
  expect(blocks).toContain(`${install}bun start\n`);
  expect(blocks).toContain(`${install}bun run test\n`);
});

test('every command in the table exists', () => {
  const table = section('Develop');
  for (const [, name = ''] of table.matchAll(/`bun run ([\w:-]+)`/g))
    expect(Object.keys(scripts)).toContain(name);
  for (const name of ['start', 'dev']) expect(Object.keys(scripts)).toContain(name);
});

test('every command is in the README, in CONTRIBUTING or among the benches', () => {
  const texts = ['README.md', 'CONTRIBUTING.md', 'bench/README.md'].map((file) =>
    readFileSync(join(root, file), 'utf8'),
  );
  const listed = texts.flatMap((text) =>
    [...text.matchAll(/^\| .*`bun .*\|$/gm)].flatMap(([row]) =>
      [...row.matchAll(/`bun (?:run )?([\w:-]+)/g)].map(([, name]) => name),
    ),
  );
  // `bun run lint` runs it.
  expect(Object.keys(scripts).filter((name) => !listed.includes(name))).toEqual(['lint:openapi']);
});

test('every command in the operations guide exists', () => {
  const operationsGuide = readFileSync(join(root, 'docs/operations.md'), 'utf8');
  const named = [...operationsGuide.matchAll(/\bbun run\s+([\w:]+)/g)].map(([, name = '']) => name);
  expect(named.length).toBeGreaterThan(10);
  for (const name of named) expect(Object.keys(scripts)).toContain(name);
});

test('the table of routes lists every operation and no other', () => {
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
  const docs = ['GET /docs', 'GET /swagger', 'GET /swagger/json', 'GET /'];
  expect(listed.sort()).toEqual([...documented, ...docs].sort());
});

test('the table of settings lists the settings of .env with the same defaults', () => {
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
