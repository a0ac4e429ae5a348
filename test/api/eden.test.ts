/** `App` with Eden, the typed client of Elysia, over HTTP. Half of the test is that this file compiles. */
import { beforeAll, describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import { treaty } from '@elysiajs/eden';
import type { App } from '../../src/app.ts';
import { type Persona, useApi } from '../support/api.ts';
import { operations } from '../support/document.ts';
import { missingIds } from '../support/requests.ts';

const api = useApi();
let ada: Persona;

beforeAll(async () => {
  ada = await api.person();
});

const connect = (options: { parseDate?: boolean } = { parseDate: false }) =>
  treaty<App>(api.url, { headers: { authorization: `Bearer ${ada.token}` }, ...options });

/** Returns the data of an answer. */
function unwrap<T>({ data, error }: { data: T; error: unknown }): NonNullable<T> {
  if (data === null || data === undefined) throw new Error(JSON.stringify(error));
  return data;
}

describe('a client of App', () => {
  test('creates, changes, lists and deletes, with typed fields', async () => {
    const client = connect();
    const project = unwrap(await client.projects.post({ name: 'Kitchen' }));
    const title: string = project.name;
    expect(title).toBe('Kitchen');
    const tasks = client.tasks.projects({ project_id: project.id });
    const task = unwrap(await tasks.post({ title: 'Tiles', due_at: null, labels: ['shop'] }));
    const changed = unwrap(
      await client.tasks({ task_id: task.id }).patch({ status: 'done', due_on: '2031-01-01' }),
    );
    const completed: string | null = changed.completed_at;
    expect(completed).toBeString();
    // Parameters with a default may be left out.
    const all = unwrap(await client.tasks.get());
    const cursor: string | null = all.next_cursor;
    expect([all.items.length, cursor]).toEqual([1, null]);
    const query = { status: ['done' as const], limit: 1, sort: '-due_at' as const };
    expect(unwrap(await tasks.get({ query })).items).toEqual([changed]);
    const { results } = unwrap(
      await client.tasks.batch.post({
        operations: [
          { op: 'update', task_id: task.id, priority: 2 },
          { op: 'create', project_id: project.id, title: 'Paint' },
        ],
      }),
    );
    expect(results.map(({ op, task }) => [op, task.priority])).toEqual([
      ['update', 2],
      ['create', 0],
    ]);
    const gone = await client.tasks({ task_id: task.id }).delete();
    expect([gone.status, gone.error]).toEqual([204, null]);
  });

  test('gets a problem with a code that belongs to its status', async () => {
    const client = connect();
    const { error } = await client.tasks({ task_id: missingIds.task_id }).get();
    if (error?.status !== 404) throw new Error('found');
    const code: 'not_found' = error.value.code;
    expect([code, error.value.status]).toEqual(['not_found', 404]);
    const invalid = await client.projects.post({ name: '' });
    if (invalid.error?.status !== 422) throw new Error('created');
    expect(invalid.error.value.errors).toMatchObject([{ location: 'body.name' }]);
    const codes: string[] = [];
    switch (invalid.error.value.code) {
      case 'validation_failed':
      case 'weak_password':
      case 'invalid_cursor':
      case 'idempotency_key_reused':
        codes.push(invalid.error.value.code);
    }
    expect(codes).toEqual(['validation_failed']);
  });

  test('does not compile with a wrong name, type, path or code', () => {
    const client = connect();
    const mistakes = () => [
      // @ts-expect-error: the field is called name.
      client.projects.post({ title: 'Kitchen' }),
      // @ts-expect-error: a limit is a number.
      client.tasks.get({ query: { limit: '5' } }),
      // @ts-expect-error: no such status.
      client.tasks({ task_id: 'x' }).patch({ status: 'finished' }),
      // @ts-expect-error: no such path.
      client.task.get(),
    ];
    expect(mistakes).toBeFunction();
  });

  test('keeps times as text with parseDate: false; without it a title that looks like a time becomes a Date', async () => {
    const title = '2026-11-23T03:14:07.123Z';
    const client = connect();
    const { id } = unwrap(await client.projects.post({ name: title }));
    const project = client.projects({ project_id: id });
    expect(unwrap(await project.get())).toMatchObject({ name: title });
    const revived = unwrap(await connect({}).projects({ project_id: id }).get());
    expect<unknown>(revived.name).toBeInstanceOf(Date);
  });
});

test('examples/eden.ts prints the task that it has done', async () => {
  const { body } = await ada.post('/users/me/tokens', { name: 'x', scopes: ['read', 'write'] });
  const child = Bun.spawn([process.execPath, 'examples/eden.ts'], {
    cwd: join(import.meta.dir, '../..'),
    env: { ...process.env, MANTOU_URL: api.url, MANTOU_TOKEN: body.token },
    stderr: 'pipe',
  });
  const [printed, errors] = [await child.stdout.text(), await child.stderr.text()];
  expect([await child.exited, errors]).toEqual([0, '']);
  expect(printed).toMatch(/^Choose the tiles \d{4}-\d\d-\d\dT[\d:.]+Z\n$/);
});

test('no operation requires a query parameter, as the types of App say', () => {
  const required = operations.flatMap(({ operationId, parameters }) =>
    parameters
      .filter((one) => one.in === 'query' && one.required)
      .map(({ name }) => [operationId, name]),
  );
  expect(required).toEqual([]);
});
