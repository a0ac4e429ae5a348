/** `@mantou/client` on Bun. Other suites run the same cases on Node, in Chromium and through nginx. */
import { expect, test } from 'bun:test';
import { join } from 'node:path';
import { Persona, useApi } from '../support/api.ts';
import { clientCases } from '../support/client-suite.ts';
import { useProcesses, waitFor } from '../support/process.ts';

useProcesses();

const api = useApi();

test('the first ten lines of docs/client.md run as they stand', async () => {
  const root = join(import.meta.dir, '../..');
  const text = await Bun.file(join(root, 'docs/client.md')).text();
  const [, sample = ''] = /```ts\n([\s\S]*?)```/.exec(text) ?? [];
  expect(sample.trim().split('\n').filter(Boolean).length).toBe(10);
  const account = { username: 'ada', email: 'ada@example.org' };
  const password = 'correct horse battery staple';
  await api.anonymous.post('/users/register', { ...account, password });
  const program = sample
    .replace('@mantou/client', join(root, 'client/src/index.ts'))
    .replace('http://127.0.0.1:3000', api.url);
  const child = Bun.spawn([process.execPath, 'run', '-'], {
    stdin: new Blob([program]),
    stdout: 'pipe',
    stderr: 'inherit',
  });
  let printed = '';
  const reading = (async () => {
    for await (const bytes of child.stdout) printed += new TextDecoder().decode(bytes);
  })();
  await waitFor('the list is printed', () => printed.includes('Choose the tiles\n'));
  const { client: ada } = await new Persona(api, '', '', 'ada', password).startSession();
  const { body } = await ada.get('/projects/');
  // It follows from the cursor on that it takes after the list.
  await waitFor('it follows', async () => {
    await ada.post(`/tasks/projects/${body.items[0].id}`, { title: 'Paint' });
    return printed.includes('task.created Paint\n');
  });
  child.kill();
  await reading;
});

test.each(Object.entries(clientCases))('%s', (_, run) => run(api.url));
