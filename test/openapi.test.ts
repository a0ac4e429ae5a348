import { describe, expect, test } from 'bun:test';
import committed from '../openapi.json';
import { catalogue } from '../src/problem.ts';
import { useApi } from './support/api.ts';
import { operations } from './support/document.ts';

const api = useApi();

test('the committed document is the one that is served: run "bun run openapi" after a change', async () => {
  const { body, status } = await api.anonymous.get('/swagger/json');
  expect(status).toBe(200);
  expect(body).toEqual(committed);
});

test('it is OpenAPI 3.1 with the ways to log in', () => {
  expect(committed.openapi).toBe('3.1.0');
  expect(Object.keys(committed.components.securitySchemes)).toEqual([
    'password',
    'bearer',
    'basic',
  ]);
  expect(committed.components.securitySchemes.password.flows.password.tokenUrl).toBe(
    '/users/login',
  );
});

describe.each(
  Object.entries(committed.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => [`${method} ${path}`, operation] as const),
  ),
)('%s', (_, operation) => {
  test('has an id, a summary, tags, its security, and describes each status with a schema and examples', () => {
    expect(operation.operationId).toMatch(/^[a-z][A-Za-z]+$/);
    expect(operation.summary).toMatch(/\S/);
    expect(operation.tags.length).toBe(1);
    expect(committed.tags.map(({ name }) => name)).toContain(operation.tags[0] ?? '');
    expect(operation.security).toBeArray();
    for (const [status, response] of Object.entries(
      operation.responses as Record<string, { description: string }>,
    )) {
      expect(response.description).toMatch(/\S/);
      if (['204', '304'].includes(status)) continue;
      const { content } = response as unknown as {
        content: Record<string, { schema: object; example?: unknown; examples?: unknown }>;
      };
      for (const media of Object.values(content)) {
        expect(media.schema).toHaveProperty('$ref');
        expect(media.example ?? media.examples).toBeDefined();
      }
    }
  });
});

test('operation ids are unique', () => {
  expect(new Set(operations.map(({ operationId }) => operationId)).size).toBe(operations.length);
});

test('every code of the catalogue is listed, and explained at its path', async () => {
  expect(committed.components.schemas.Problem.properties.code.enum).toEqual(Object.keys(catalogue));
  for (const [code, { status, title, explanation }] of Object.entries(catalogue)) {
    const answer = await api.anonymous.get(`/problems/${code}`);
    expect(answer.body).toEqual({ code, status, title, explanation });
  }
  for (const unknown of ['nothing', 'toString', '__proto__'])
    expect((await api.anonymous.get(`/problems/${unknown}`)).status).toBe(404);
});

test('every example of a body is one that works', async () => {
  const [ada, bob, eve] = [await api.person(), await api.person(), await api.person()];
  const project = await ada.createProject();
  const task = await ada.createTask(project.id);
  await api.addMember(project.id, eve, 'editor');
  const withBody = operations.filter(({ requestBody }) => requestBody);
  expect(withBody.length).toBeGreaterThan(6);
  // Secrets, people and ids cannot be made up: what the document shows of them is replaced by real ones.
  const { body: tokens } = await api.anonymous.post('/users/login', {
    username: ada.username,
    password: ada.password,
  });
  const real = {
    refreshSession: { refresh_token: tokens.refresh_token },
    // The names of the examples are taken by then.
    patchProfile: { username: 'grace', email: 'grace@example.org' },
    addMember: { username: bob.username },
    batchTasks: { operations: [{ op: 'create', project_id: project.id, title: 'Tiles' }] },
  };
  // These end the sessions that the others need.
  const rank = (id: string) => ['changePassword', 'deleteAccount'].indexOf(id);
  const ordered = withBody.toSorted((a, b) => rank(a.operationId) - rank(b.operationId));
  for (const { method, path, requestBody, operationId } of ordered) {
    const place = path
      .replace('{project_id}', project.id)
      .replace('{task_id}', task.id)
      .replace('{user_id}', eve.id);
    const example = requestBody?.content['application/json']?.example as object;
    const body =
      operationId in real ? { ...example, ...real[operationId as keyof typeof real] } : example;
    const { status } = await ada.request(method, place, body);
    expect([operationId, status < 300]).toEqual([operationId, true]);
  }
});

describe('the docs in the browser', () => {
  test('come from this server alone', async () => {
    const page = await api.anonymous.get('/swagger');
    expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'");
    const linked = [...page.text.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, link]) => link ?? '');
    expect(linked.length).toBeGreaterThan(2);
    for (const link of linked) {
      expect(link).toStartWith('/swagger/');
      expect((await api.anonymous.get(link)).status).toBe(200);
    }
  });

  test('are where the root points to', async () => {
    const { status, headers } = await api.anonymous.get('/');
    expect([status, headers.get('location')]).toEqual([302, '/swagger']);
  });

  test('serve nothing else from the folder of the UI', async () => {
    for (const name of [
      'package.json',
      'index.html',
      '..%2fpackage.json',
      '%2e%2e%2f%2e%2e%2fpackage.json',
      'toString',
    ])
      expect((await api.anonymous.get(`/swagger/${name}`)).status).toBe(404);
  });
});
