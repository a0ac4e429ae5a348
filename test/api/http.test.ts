/** What HTTP itself asks of every path: methods, types, sizes, headers, hosts. */
import { describe, expect, test } from 'bun:test';
import { useApi } from '../support/api.ts';
import { exchange } from '../support/raw.ts';

const api = useApi({ bodyLimitBytes: 64 * 1024 });

const undocumented = { undocumented: true } as const;

describe('methods', () => {
  test.each([
    ['/projects', 'GET, HEAD, OPTIONS, POST', 'PUT'],
    ['/projects/', 'GET, HEAD, OPTIONS, POST', 'DELETE'],
    ['/projects/019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23', 'DELETE, GET, HEAD, OPTIONS, PATCH', 'POST'],
    [
      '/tasks/019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23',
      'DELETE, GET, HEAD, OPTIONS, PATCH, PUT',
      'POST',
    ],
    ['/users/login', 'OPTIONS, POST', 'GET'],
    ['/users/login', 'OPTIONS, POST', 'HEAD'],
    ['/users/login', 'OPTIONS, POST', 'TRACE'],
    ['/health/live', 'GET, HEAD, OPTIONS', 'TRACE'],
    ['/swagger/json', 'GET, HEAD, OPTIONS', 'POST'],
  ])('%s allows %s, and not %s', async (path, allow, method) => {
    const refused = await exchange(
      api.url,
      `${method} ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`,
    );
    expect(refused.status).toBe(405);
    expect(refused.headers.get('allow')).toBe(allow);
    if (method !== 'HEAD')
      expect(JSON.parse(refused.body)).toMatchObject({ code: 'method_not_allowed' });
    const options = await api.anonymous.request('OPTIONS', path, undefined, undocumented);
    expect([options.status, options.headers.get('allow'), options.text]).toEqual([204, allow, '']);
  });

  test('HEAD answers as GET without a body', async () => {
    const ada = await api.person();
    const project = await ada.createProject();
    for (const path of [
      '/projects',
      '/users/me',
      `/projects/${project.id}`,
      `/projects/${crypto.randomUUID()}`,
      '/nothing',
    ]) {
      const [get, head] = [await ada.get(path), await ada.request('HEAD', path)];
      expect([path, head.status, head.text]).toEqual([path, get.status, '']);
      for (const name of ['content-type', 'content-length', 'cache-control', 'etag'])
        expect([name, head.headers.get(name)]).toEqual([name, get.headers.get(name)]);
    }
  });
});

describe('unknown paths', () => {
  test.each([
    '/nothing',
    '/projects/x/y',
    '/projects//',
    '/users',
    '/.env',
    '/swagger/package.json',
  ])('%s is a 404 problem', async (path) => {
    const { status, body } = await api.anonymous.get(path, undocumented);
    expect([status, body.type]).toEqual([404, '/problems/not_found']);
  });

  test.each([
    'x',
    '019ac0de',
    'urn:uuid:019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23',
    '%00',
    '%ZZ',
    '%ff',
    '019ac0de7a117c3e9d2f4b6a8c0e1f23',
  ])('the malformed id %s gets 404', async (id) => {
    const ada = await api.person();
    for (const path of [`/projects/${id}`, `/tasks/${id}`, `/tasks/projects/${id}`])
      expect((await ada.get(path)).status).toBe(404);
  });

  test('ids are case-insensitive', async () => {
    const ada = await api.person();
    const project = await ada.createProject();
    expect((await ada.get(`/projects/${project.id.toUpperCase()}`)).body).toEqual(project);
  });
});

describe('bodies', () => {
  const json = { 'content-type': 'application/json' };

  test.each([
    '{',
    '',
    '{"name":"x"',
    "{'name':'x'}",
    '{"name":"x"}}',
    'name=x',
    '{"name":NaN}',
    '\ufeff{',
    '[1,]',
  ])('%j is not JSON', async (raw) => {
    const ada = await api.person();
    const { status, body } = await ada.post('/projects', undefined, { raw, headers: json });
    if (raw === '')
      expect([status, body.errors]).toEqual([
        422,
        [{ location: 'body', code: 'required', message: 'is required' }],
      ]);
    else expect([status, body.code]).toEqual([400, 'malformed_json']);
  });

  test('invalid UTF-8 and too deeply nested JSON are malformed', async () => {
    const ada = await api.person();
    const deep = `${'['.repeat(20_000)}${']'.repeat(20_000)}`;
    for (const raw of [new Uint8Array([0x7b, 0xff, 0x7d]), deep, `{"name":${deep}}`]) {
      const { status, body } = await ada.post('/projects', undefined, { raw, headers: json });
      expect([status, body.code]).toEqual([400, 'malformed_json']);
    }
  });

  test.each([
    'text/plain',
    'application/xml',
    'application/jsonx',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/merge-patch+json',
    'application/json; charset=utf-16',
    '',
  ])('the media type %j gets 415 where JSON is expected', async (type) => {
    const ada = await api.person();
    const { status, body } = await ada.post('/projects', undefined, {
      raw: new TextEncoder().encode('{"name":"x"}'),
      headers: { 'content-type': type },
    });
    expect([status, body.code]).toEqual([415, 'unsupported_media_type']);
  });

  test.each([
    'application/json; charset=utf-8',
    'Application/JSON',
    'application/json;charset="UTF-8"',
  ])('%s is JSON', async (type) => {
    const ada = await api.person();
    const { status } = await ada.post(
      '/projects',
      { name: 'x' },
      { headers: { 'content-type': type } },
    );
    expect(status).toBe(201);
  });

  test('a body one byte over the limit gets 413, by Content-Length and when chunked', async () => {
    const ada = await api.person();
    const limit = 64 * 1024;
    const padded = (length: number) => `{"name":"x"${' '.repeat(length - 12)}}`;
    const chunked = (text: string) =>
      new ReadableStream<Uint8Array>({
        start(controller) {
          for (let at = 0; at < text.length; at += 10_000)
            controller.enqueue(new TextEncoder().encode(text.slice(at, at + 10_000)));
          controller.close();
        },
      });
    for (const make of [padded, (length: number) => chunked(padded(length))]) {
      const fits = await ada.post('/projects', undefined, { raw: make(limit), headers: json });
      expect(fits.status).toBe(201);
      const { status, body } = await ada.post('/projects', undefined, {
        raw: make(limit + 1),
        headers: json,
      });
      expect([status, body.code]).toEqual([413, 'payload_too_large']);
    }
  });

  test('a Content-Length over the limit is refused before the body is read', async () => {
    const ada = await api.person();
    const { status, body } = await exchange(
      api.url,
      `POST /projects HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${ada.token}\r\nContent-Type: application/json\r\nContent-Length: 1000000000000\r\n\r\n`,
    );
    expect(status).toBe(413);
    if (body !== '') expect(JSON.parse(body)).toMatchObject({ code: 'payload_too_large' });
  });

  test('an unauthenticated request gets 401 with any body', async () => {
    for (const raw of ['{', 'x'.repeat(100_000), '{"surprise":1}']) {
      const { status, body } = await api.anonymous.post('/projects?x=1', undefined, {
        raw,
        headers: { 'content-type': 'text/html' },
      });
      expect([status, body.code]).toEqual([401, 'unauthenticated']);
    }
  });

  test('prototype names in a body are unknown fields', async () => {
    const ada = await api.person();
    for (const name of ['__proto__', 'constructor', 'toString']) {
      const { status, body } = await ada.post('/projects', undefined, {
        raw: `{"name":"x","${name}":{"a":1}}`,
        headers: json,
      });
      expect([status, body.errors[0].code]).toEqual([422, 'unknown_field']);
    }
  });
});

describe('the query', () => {
  test.each(['%', '%zz', '%ff', '%c3%28', '%ed%a0%80'])(
    'a query with %s is refused',
    async (text) => {
      const ada = await api.person();
      for (const query of [`q=${text}`, `label=a${text}`, `${text}=1`]) {
        const { status, body } = await ada.get(`/tasks?${query}`);
        expect([status, body.code]).toEqual([400, 'malformed_request']);
      }
    },
  );

  test('unknown and repeated parameters are refused on every path', async () => {
    const ada = await api.person();
    const project = await ada.createProject();
    for (const path of [
      '/users/me',
      '/projects',
      `/projects/${project.id}`,
      `/tasks/projects/${project.id}`,
      '/health/live',
      '/problems/conflict',
    ])
      for (const [query, location, code] of [
        ['surprise=1', 'query.surprise', 'unknown_field'],
        ['__proto__=1', 'query.__proto__', 'unknown_field'],
        ['a=1&a=1', 'query.a', 'repeated'],
        ['%61=1&a=2', 'query.a', 'repeated'],
      ]) {
        const { status, body } = await ada.get(`${path}?${query}`);
        expect([path, status, body.errors]).toMatchObject([path, 422, [{ location, code }]]);
      }
  });
});

describe('every response', () => {
  test('has the default headers with every status', async () => {
    const ada = await api.person();
    const answers = [
      await ada.get('/users/me'),
      await ada.get('/nothing'),
      await api.anonymous.get('/users/me'),
      await ada.post('/projects', {}),
      await ada.post('/projects', undefined, {
        raw: '{',
        headers: { 'content-type': 'application/json' },
      }),
      await ada.put('/projects'),
      await ada.request('OPTIONS', '/projects', undefined, undocumented),
      await ada.delete(`/projects/${(await ada.createProject()).id}`),
      await ada.get('/health/ready'),
    ];
    for (const { headers, status, body } of answers) {
      expect(headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('cache-control')).toBe('no-store');
      if (status >= 400) {
        expect(headers.get('content-type')).toBe('application/problem+json');
        expect(body.request_id).toBe(headers.get('x-request-id'));
        expect(body.status).toBe(status);
      } else if (status === 200)
        expect(headers.get('content-type')).toBe('application/json; charset=utf-8');
    }
  });

  test.each([
    ['abc-123_X.y', true],
    ['x'.repeat(128), true],
    ['x'.repeat(129), false],
    ['has space', false],
    ['', false],
    ['<script>', false],
  ])('the request id %j of the client is kept: %p', async (id, kept) => {
    const { headers } = await api.anonymous.get('/health/live', {
      headers: { 'x-request-id': id },
    });
    if (kept) expect(headers.get('x-request-id')).toBe(id);
    else expect(headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
  });
});

describe('the Host header', () => {
  const live = (lines: string) =>
    exchange(api.url, `GET /health/live HTTP/1.1\r\n${lines}Connection: close\r\n\r\n`);

  test.each(['localhost', 'a', 'ab:1', '127.0.0.1:80', '[::1]:3000', 'api.example.org'])(
    '%s routes as any other',
    async (host) => {
      const { status, body } = await live(`Host: ${host}\r\n`);
      expect([status, body]).toEqual([200, '{"status":"ok"}']);
    },
  );

  test.each(['x/projects', 'a b', 'user@host', 'x?y', 'x#y', '[::1', 'x:y', 'é', 'x\\y'])(
    '%s is malformed and misroutes nothing',
    async (host) => {
      const { status } = await live(`Host: ${host}\r\n`);
      expect(status).toBe(400);
      const options = `OPTIONS /projects HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;
      expect((await exchange(api.url, options)).status).toBe(400);
    },
  );
});

test('an error response never repeats a submitted value', async () => {
  const ada = await api.person();
  const secret = 'hunter2-Zaphod';
  const answers = [
    await ada.post('/projects', { name: 7, description: { [secret]: secret } }),
    await ada.post('/projects', { name: 'x', description: [secret] }),
    await api.anonymous.post('/users/register', {
      username: secret.repeat(5),
      email: secret,
      password: 's',
    }),
    await api.anonymous.post('/users/login', { username: secret, password: secret }),
    await ada.get(`/projects?limit=${secret}`),
    await ada.get(`/projects?cursor=${secret}`),
    await ada.get(`/projects/${secret}`),
    await ada.get(`/${secret}`, undocumented),
    await ada.post('/projects', { name: 'x' }, { headers: { 'content-type': secret } }),
    await ada.patch(
      `/projects/${(await ada.createProject()).id}`,
      { name: 'x' },
      { headers: { 'if-match': secret } },
    ),
    await ada.post('/projects', undefined, {
      raw: `{"${secret}`,
      headers: { 'content-type': 'application/json' },
    }),
    await ada.post('/projects', { name: 'x', [`${secret} ${secret}`]: 1 }),
  ];
  for (const { status, text } of answers) {
    expect(status).toBeGreaterThanOrEqual(400);
    expect(text).not.toContain(secret);
  }
});
