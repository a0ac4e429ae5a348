import { describe, expect, test } from 'bun:test';
import committed from '../../openapi.json';
import { catalogue } from '../../src/errors/problem.ts';
import { integerParameters, listParameters } from '../../src/schemas/query-parameters.ts';
import { Api, isUnserved, useApi } from '../support/api.ts';
import { dropDatabase } from '../support/cluster.ts';
import { operations } from '../support/document.ts';

const api = useApi();

test('the committed document equals the served one: after a change, run "bun run openapi"', async () => {
  const { text, status } = await api.anonymous.get('/swagger/json');
  expect(status).toBe(200);
  expect(JSON.parse(text.replaceAll(api.url, 'http://127.0.0.1:3000'))).toEqual(committed);
});

test('the document is OpenAPI 3.1 and names the security schemes', () => {
  expect(committed.openapi).toBe('3.1.0');
  expect(Object.keys(committed.components.securitySchemes)).toEqual([
    'password',
    'bearer',
    'basic',
  ]);
  expect(committed.components.securitySchemes.password.flows.password).toEqual({
    tokenUrl: 'http://127.0.0.1:3000/users/login',
    refreshUrl: 'http://127.0.0.1:3000/users/refresh',
    scopes: {},
  });
});

test.each(
  operations.map((operation) => [`${operation.method} ${operation.path}`, operation] as const),
)(
  '%s has an id, a summary, a tag, its security, and a schema and an example for each status',
  (_, operation) => {
    expect(operation.operationId).toMatch(/^[a-z][A-Za-z]+$/);
    expect(operation.summary).toMatch(/^[A-Z][^.?!]*$/);
    expect(operation.tags.length).toBe(1);
    expect(committed.tags.map(({ name }) => name)).toContain(operation.tags[0] ?? '');
    expect(operation.security).toBeArray();
    for (const [status, response] of Object.entries(operation.responses)) {
      expect(response.description).toMatch(/\S/);
      if (['202', '204', '304'].includes(status)) continue;
      expect(response.content).toBeObject();
      for (const media of Object.values(response.content ?? {})) {
        expect(media.schema).toHaveProperty('$ref');
        expect(media.example ?? media.examples).toBeDefined();
      }
    }
  },
);

test('a query parameter has one type in all operations, the one that the server reads it as', () => {
  const typed = operations.flatMap(({ parameters }) =>
    parameters
      .filter((parameter) => parameter.in === 'query')
      .map(({ name, schema }) => ({ name, type: schema.type })),
  );
  expect(typed.length).toBeGreaterThan(50);
  for (const { name, type } of typed) {
    expect({ name, isList: type === 'array' }).toEqual({ name, isList: listParameters.has(name) });
    expect({ name, isInteger: type === 'integer' }).toEqual({
      name,
      isInteger: integerParameters.has(name),
    });
  }
});

describe('for client generators', () => {
  const { schemas } = committed.components;
  /** Every object in the document. */
  const parts: Record<string, unknown>[] = [];
  JSON.stringify(committed, (_, value) => {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) parts.push(value);
    return value;
  });

  test('URLs are absolute: some clients join "/" and "/users/login" to the host "users"', () => {
    expect(committed.servers.map(({ url }) => url)).toEqual(['http://127.0.0.1:3000']);
  });

  test('importers take the first way to authenticate, which is the Bearer token', () => {
    const secured = operations.filter((operation) => !operation.public);
    expect(secured.length).toBeGreaterThan(30);
    for (const { operationId, security } of secured)
      expect([operationId, security[0]]).toEqual([operationId, { bearer: [] }]);
  });

  test('no two names differ only in case', () => {
    const names = [...Object.keys(schemas), ...operations.map(({ operationId }) => operationId)];
    expect(new Set(names.map((name) => name.toLowerCase())).size).toBe(names.length);
  });

  test('each enum that several schemas use is a schema of its own', () => {
    const enums = ['EventAction', 'EventSubject', 'ProblemCode', 'Role', 'TaskStatus'];
    expect(Object.keys(schemas)).toEqual(expect.arrayContaining(enums));
    const status = { $ref: '#/components/schemas/TaskStatus' };
    expect(schemas.Task.properties.status).toMatchObject(status);
    expect(schemas.TaskPatch.properties.status).toMatchObject(status);
  });

  test('a string constant is also an enum, and an integer has a format', () => {
    const constants = parts.filter((part) => typeof part.const === 'string');
    expect(constants.length).toBeGreaterThan(5);
    for (const part of constants) expect(part.enum).toEqual([part.const]);
    for (const part of parts.filter(({ type }) => type === 'integer'))
      expect(part.format).toBe('int32');
  });

  test('a batch operation is a union with a mapping to its schemas', () => {
    const { items } = schemas.TaskBatch.properties.operations;
    expect(items.oneOf.map(({ $ref }) => $ref)).toEqual(Object.values(items.discriminator.mapping));
    expect(Object.keys(items.discriminator.mapping)).toEqual(['create', 'update', 'delete']);
  });

  test('an item of the stream is an event, whose fields are open', () => {
    const [success] = Object.values(committed.paths['/changes/stream'].get.responses);
    expect(success).toMatchObject({
      content: { 'text/event-stream': { schema: { $ref: '#/components/schemas/Event' } } },
    });
    expect(schemas.Event.properties.fields).toMatchObject({ additionalProperties: true });
    const { parameters } = committed.paths['/changes/stream'].get;
    expect(parameters.map(({ name }) => name)).toEqual(['since', 'Last-Event-ID']);
  });

  test('requests are closed, responses are open for new fields', () => {
    for (const name of ['Credentials', 'TaskPatch', 'TaskBatchCreate', 'ProjectExport'] as const)
      expect(schemas[name].additionalProperties).toBe(false);
    for (const name of ['Task', 'TaskPage', 'Tokens', 'Problem', 'ProjectImported'] as const)
      expect(schemas[name]).not.toHaveProperty('additionalProperties');
  });

  test('examples of parameters can be sent together', () => {
    const { parameters } = committed.paths['/tasks'].get;
    const example = (name: string) =>
      String(parameters.find((one) => one.name === name)?.example ?? '');
    expect(example('due_after') < example('due_before')).toBe(true);
    const ifMatch = operations
      .flatMap((operation) => operation.parameters)
      .filter(({ name }) => name === 'If-Match');
    expect(ifMatch.length).toBeGreaterThan(3);
    for (const one of ifMatch) expect(one).toMatchObject({ example: '"3"' });
  });
});

describe('the served document names the URL of the server', () => {
  const serversOf = async (api: Api, headers = {}) => {
    const { body } = await api.anonymous.get('/swagger/json', { headers });
    const { tokenUrl } = body.components.securitySchemes.password.flows.password;
    return [body.servers[0].url, tokenUrl];
  };

  test('as the request does', async () => {
    expect(await serversOf(api)).toEqual([api.url, `${api.url}/users/login`]);
    const headers = { host: 'api.example.org', 'x-forwarded-proto': 'https' };
    expect((await serversOf(api, headers))[0]).toBe('http://api.example.org');
  });

  test('as a trusted proxy or PUBLIC_URL does', async () => {
    const proxied = await Api.start({ trustedProxies: 1 });
    const headers = { host: 'api.example.org', 'x-forwarded-proto': 'https' };
    expect((await serversOf(proxied, headers))[0]).toBe('https://api.example.org');
    await proxied.stop();
    const publicUrl = 'https://example.org/api';
    const named = await Api.start({ publicUrl, databaseUrl: proxied.databaseUrl });
    expect(await serversOf(named)).toEqual([publicUrl, `${publicUrl}/users/login`]);
    await named.stop();
    await dropDatabase(proxied.databaseUrl);
  });
});

test('operation ids are unique', () => {
  expect(new Set(operations.map(({ operationId }) => operationId)).size).toBe(operations.length);
});

test('each problem code is in the document and is explained at its path', async () => {
  expect(committed.components.schemas.ProblemCode.enum).toEqual(Object.keys(catalogue));
  for (const [code, { status, title, explanation }] of Object.entries(catalogue)) {
    const answer = await api.anonymous.get(`/problems/${code}`);
    expect(answer.body).toEqual({ code, status, title, explanation });
  }
  for (const unknown of ['nothing', 'toString', '__proto__'])
    expect((await api.anonymous.get(`/problems/${unknown}`)).status).toBe(404);
});

test('each example of a request body succeeds', async () => {
  const [ada, bob, eve] = [await api.person(), await api.person(), await api.person()];
  const project = await ada.createProject();
  const task = await ada.createTask(project.id);
  const { body: comment } = await ada.post(`/tasks/${task.id}/comments`, { body: 'Slate' });
  await api.addMember(project.id, eve, 'editor');
  const withBody = operations.filter(({ requestBody }) => requestBody);
  expect(withBody.length).toBeGreaterThan(6);
  // Secrets, users and ids differ from server to server, so real ones replace those of the document.
  const { body: tokens } = await api.anonymous.post('/users/login', {
    username: ada.username,
    password: ada.password,
  });
  const { body: webhook } = await ada.post('/users/me/webhooks', { url: 'http://[::1]:1/' });
  const real = {
    replayWebhook: { since: (await ada.get('/changes')).body.next_cursor },
    refreshSession: { refresh_token: tokens.refresh_token },
    // The names of the examples are taken by then.
    patchProfile: { username: 'grace', email: 'grace@example.org' },
    addMember: { username: bob.username },
    batchTasks: { operations: [{ op: 'create', project_id: project.id, title: 'Tiles' }] },
  };
  // These two end the session, so they come last.
  const rank = (id: string) => ['changePassword', 'deleteAccount'].indexOf(id);
  const ordered = withBody.toSorted((a, b) => rank(a.operationId) - rank(b.operationId));
  for (const operation of ordered) {
    const { method, path, requestBody, operationId } = operation;
    const place = path
      .replace('{project_id}', project.id)
      .replace('{task_id}', task.id)
      .replace('{comment_id}', comment.id)
      .replace('{user_id}', eve.id)
      .replace('{label}', 'kitchen')
      // At the edge there is none.
      .replace('{webhook_id}', webhook.id ?? crypto.randomUUID());
    const example = requestBody?.content['application/json']?.example as object;
    const body =
      operationId in real ? { ...example, ...real[operationId as keyof typeof real] } : example;
    const { status } = await ada.request(method, place, body);
    if (isUnserved(operation)) expect([operationId, status]).toEqual([operationId, 501]);
    else expect([operationId, status < 300]).toEqual([operationId, true]);
  }
});

describe('the docs', () => {
  test('load every file from this server', async () => {
    for (const path of ['/docs', '/docs/', '/swagger', '/swagger/']) {
      const page = await api.anonymous.get(path);
      expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8');
      expect(page.headers.get('content-security-policy')).toContain("default-src 'none'");
      const linked = [...page.text.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, link]) => link);
      expect(linked.length).toBeGreaterThan(2);
      for (const link of linked) {
        // Relative, so that it stays under the path of a proxy.
        expect(link).toMatch(/^(\.\.\/)?swagger\//);
        const { pathname } = new URL(link ?? '', api.url + path);
        expect((await api.anonymous.get(pathname)).status).toBe(200);
      }
    }
  });

  test('are where the root redirects', async () => {
    const { status, headers } = await api.anonymous.get('/');
    expect([status, headers.get('location')]).toEqual([302, 'docs']);
  });

  const compressed = [
    '/docs',
    '/swagger/json',
    '/swagger/docs.js',
    '/swagger/swagger-ui-bundle.js',
  ];

  test.each(compressed)('%s has an ETag', async (path) => {
    const { headers } = await fetch(api.url + path);
    const etag = headers.get('etag') ?? '';
    for (const tag of [etag, `"a", ${etag}`]) {
      const again = await fetch(api.url + path, { headers: { 'if-none-match': tag } });
      expect([again.status, await again.text()]).toEqual([304, '']);
    }
  });

  test.each(compressed)('%s is compressed for clients that accept it', async (path) => {
    const plain = await fetch(api.url + path, { headers: { 'accept-encoding': 'identity' } });
    const request = { headers: { 'accept-encoding': 'gzip' }, decompress: false };
    const gzipped = await fetch(api.url + path, request);
    expect([
      plain.headers.get('content-encoding'),
      gzipped.headers.get('content-encoding'),
    ]).toEqual([null, 'gzip']);
    expect(gzipped.headers.get('vary')).toContain('Accept-Encoding');
    const text = await plain.text();
    expect(new TextDecoder().decode(Bun.gunzipSync(await gzipped.arrayBuffer()))).toBe(text);
    expect(gzipped.headers.get('etag')).toBe(plain.headers.get('etag'));
  });

  test('serve no other file of the package', async () => {
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
