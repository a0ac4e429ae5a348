/** Every command explains itself, and refuses what it does not understand. */
import { expect, test } from 'bun:test';
import { scripts } from '../../package.json';
import { runCommand } from '../support/command.ts';

/** They must not get as far as a database: there is none. */
const nowhere = { DATABASE_URL: 'postgres://nobody@127.0.0.1:1/nowhere' };

const commands = ['migrate', 'backup', 'restore', 'doctor', 'users'];

test.each(commands)('%s --help says how it is written, and does nothing', async (name) => {
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
  ['users', ['create', 'ada', 'ada@example.org', 'a password'], 'too many arguments'],
  ['users', ['create', 'ada', 'ada@example.org', '--password', 'x'], "Unknown option '--password'"],
])('%s %p is not understood: exit code 2', async (name, args, reason) => {
  const { code, stdout, stderr } = await runCommand(nowhere, name, args);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toStartWith(`mantou: ${reason}`);
  expect(stderr).toContain(`\nbun run ${name}`);
});

test.each([
  ['backup', ['/tmp/never-written']],
  ['users', ['list']],
  ['migrate', []],
])('%s says in one line that there is no database', async (name, args) => {
  const { code, stderr } = await runCommand(nowhere, name, args);
  expect(code).toBe(1);
  expect(stderr).toBe(
    'mantou: the database/nowhere at 127.0.0.1:1 cannot be reached: start PostgreSQL, or correct DATABASE_URL\n',
  );
});

test.each(commands)('%s names a setting that is wrong', async (name) => {
  const args = { backup: ['file'], restore: ['file'], users: ['list'] }[name] ?? [];
  const { code, stdout, stderr } = await runCommand({ PORT: 'http' }, name, args);
  expect(code).toBe(1);
  expect(stdout + stderr).toContain('PORT must be a whole number from 0 to 65535');
});
