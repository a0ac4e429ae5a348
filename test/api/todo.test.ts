/** `examples/todo.ts`, as its users call it. */
import { expect, test } from 'bun:test';
import { join } from 'node:path';
import { type Persona, useApi } from '../support/api.ts';
import { useProcesses, waitFor } from '../support/process.ts';

useProcesses();
const api = useApi();
const program = join(import.meta.dir, '../../examples/todo.ts');

const start = (token: string, words: string[]) =>
  Bun.spawn([process.execPath, program, ...words], {
    env: { ...process.env, MANTOU_URL: api.url, MANTOU_TOKEN: token },
    stdout: 'pipe',
    stderr: 'pipe',
  });

async function run(token: string, ...words: string[]) {
  const child = start(token, words);
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { code: await child.exited, out, err };
}

async function createToken(who: Persona, scopes = ['read', 'write']): Promise<string> {
  return (await who.post('/users/me/tokens', { name: 'todo', scopes })).body.token;
}

test('adds, lists, finishes and watches tasks', async () => {
  const ada = await api.person('ada');
  const token = await createToken(ada);
  const watch = start(token, ['watch']);
  let watched = '';
  const reading = (async () => {
    for await (const chunk of watch.stdout) watched += new TextDecoder().decode(chunk);
  })();
  await waitFor('it watches', () => /watching/.test(watched));

  const added = await run(token, 'add', 'Choose', 'the tiles');
  expect(added).toMatchObject({ code: 0, err: '' });
  const [, handle = ''] = /^(\w{6}) · Choose the tiles\n$/.exec(added.out) ?? [];
  expect((await run(token, 'add', 'Paint')).code).toBe(0);
  const listed = await run(token, 'list');
  expect(listed.out.trim().split('\n').length).toBe(2);
  expect(await run(token, 'done', handle)).toEqual({
    code: 0,
    out: `${handle} ✓ Choose the tiles\n`,
    err: '',
  });
  expect((await run(token, 'list')).out).toMatch(/^\w{6} · Paint\n$/);
  const { body } = await ada.get('/projects/');
  expect(body.items.map(({ name }: { name: string }) => name)).toEqual(['To do']);
  await waitFor('all is told', () => /task\.updated \w{6} done/.test(watched));
  expect(watched).toMatch(/task\.created \w{6} Choose the tiles\n/);
  watch.kill();
  await reading;
});

test.each([
  [['done', 'ffffff'], 'todo: no open task ends in ffffff\n'],
  [['add'], 'todo: write: add TITLE\n'],
  [['toString'], 'todo: write one of: add, list, done, watch\n'],
])('%p ends with a reason', async (words, err) => {
  const token = await createToken(await api.person());
  expect(await run(token, ...words)).toEqual({ code: 1, out: '', err });
});

test('ends with what is wrong with the token', async () => {
  const reader = await createToken(await api.person(), ['read']);
  expect(await run(reader, 'add', 'Tiles')).toMatchObject({
    code: 1,
    err: 'todo: The API token lacks the scope write\n',
  });
  expect((await run('mt_x', 'list')).code).toBe(1);
});
