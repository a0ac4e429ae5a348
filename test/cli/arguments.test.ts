/** Every command explains itself, and refuses what it does not understand. */
import { expect, setDefaultTimeout, test } from 'bun:test';
import { join } from 'node:path';
import { scripts } from '../../package.json';
import { formatBytes } from '../../src/cli/command.ts';
import { runCommand } from '../support/command.ts';

/** Far beyond what a command takes, on a busy machine too. */
setDefaultTimeout(180_000);

/** They must not get as far as a database: there is none. */
const nowhere = { DATABASE_URL: 'postgres://nobody@127.0.0.1:1/nowhere' };

const commands = ['migrate', 'backup', 'restore', 'doctor', 'users'];

test.each(commands)('%s --help prints the usage and does nothing', async (name) => {
  expect(scripts).toHaveProperty(name, `bun src/cli/${name}.ts`);
  for (const flag of ['--help', '-h']) {
    const { code, stdout, stderr } = await runCommand(nowhere, name, [flag]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toStartWith(`bun run ${name}`);
  }
});

test.each([
  ['migrate', ['now'], 'too many arguments'],
  ['backup', [], 'too few arguments'],
  ['backup', ['one', 'two'], 'too many arguments'],
  ['restore', [], 'too few arguments'],
  ['restore', ['one', '--force'], "Unknown option '--force'"],
  ['doctor', ['--quiet'], "Unknown option '--quiet'"],
  ['users', [], 'too few arguments'],
  ['users', ['remove', 'ada'], 'there is no "users remove"'],
  ['users', ['toString'], 'there is no "users toString"'],
  ['users', ['disable'], 'too few arguments'],
  ['users', ['delete', '--yes'], 'too few arguments'],
  ['users', ['search'], 'too few arguments'],
  ['users', ['create', 'ada', 'ada@example.org', 'a password'], 'too many arguments'],
  ['users', ['create', 'ada', 'ada@example.org', '--password', 'x'], "Unknown option '--password'"],
])('%s %p is a usage error: exit code 2', async (name, args, reason) => {
  const { code, stdout, stderr } = await runCommand(nowhere, name, args);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toStartWith(`mantou: ${reason}`);
  expect(stderr).toContain(`\nbun run ${name}`);
});

test.each([
  ['backup', ['/tmp/never-written']],
  ['users', ['list']],
  ['migrate', []],
])('%s prints one line when the database cannot be reached', async (name, args) => {
  const { code, stderr } = await runCommand(nowhere, name, args);
  expect(code).toBe(1);
  expect(stderr).toBe(
    'mantou: the database/nowhere at 127.0.0.1:1 cannot be reached: start PostgreSQL, or correct DATABASE_URL\n',
  );
});

test.each(commands)('%s names a setting with a wrong value', async (name) => {
  const args = { backup: ['file'], restore: ['file'], users: ['list'] }[name] ?? [];
  const { code, stdout, stderr } = await runCommand({ PORT: 'http' }, name, args);
  expect(code).toBe(1);
  expect(stdout + stderr).toContain('PORT must be a whole number from 0 to 65535');
});

test.each([
  [0, '0 bytes'],
  [812, '812 bytes'],
  [1500, '1.5 kB'],
  [999_949, '999.9 kB'],
  [12_000_000, '12.0 MB'],
  [3_210_000_000, '3.2 GB'],
])('a size of %i bytes is printed as %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

test.each([
  [[], 'write: bun examples/mirror.ts URL API_TOKEN FILE'],
  [['http://127.0.0.1:1', 'mt_x', '/nowhere/copy.json'], 'no server answers at http://127.0.0.1:1'],
  [['127.0.0.1', 'mt_x', '/nowhere/copy.json'], 'no server answers at 127.0.0.1'],
])('the mirror example with %p ends with a reason', async (args, reason) => {
  const script = join(import.meta.dir, '../../examples/mirror.ts');
  const child = Bun.spawn([process.execPath, script, ...args], { stdout: 'pipe', stderr: 'pipe' });
  const [stderr, code] = [await child.stderr.text(), await child.exited];
  expect([code, stderr.trimEnd().split('\n').length]).toEqual([1, 1]);
  expect(stderr).toStartWith(`mirror: ${reason}`);
});
