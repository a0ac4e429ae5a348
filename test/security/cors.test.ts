/** What browsers let other web sites do: nothing unless they are named, and what a page gets to load: nothing. */
import { describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { Glob } from 'bun';
import openapi from '../../openapi.json';
import { exposedHeaders, requestHeaders } from '../../src/plugins/cors.ts';
import { type Answer, type Api, useApi } from '../support/api.ts';
import { operations } from '../support/document.ts';
import { exchange } from '../support/raw.ts';

const app = 'https://app.example.org';
const local = 'http://localhost:5173';
const undocumented = { undocumented: true } as const;

const corsHeaders = (headers: Headers) =>
  [...headers.keys()].filter((name) => name.startsWith('access-control-'));

const preflight = (api: Api, path: string, origin: string, more: Record<string, string> = {}) =>
  api.anonymous.request('OPTIONS', path, undefined, {
    headers: {
      origin,
      'access-control-request-method': 'PATCH',
      'access-control-request-headers': 'authorization,content-type',
      ...more,
    },
    ...undocumented,
  });

describe('by default', () => {
  const api = useApi();

  test('no site may call', async () => {
    for (const origin of [app, 'null', api.url]) {
      const answer = await api.anonymous.get('/health/live', { headers: { origin } });
      expect([answer.status, corsHeaders(answer.headers)]).toEqual([200, []]);
      expect(answer.headers.get('vary')).toBeNull();
      const asked = await preflight(api, '/projects', origin);
      expect([asked.status, corsHeaders(asked.headers)]).toEqual([204, []]);
    }
  });
});

describe('with CORS_ORIGINS', () => {
  const api = useApi({ corsOrigins: [app, local] });
  const sites = [app, local];

  /** One of each kind of answer. */
  async function answers(origin: string): Promise<Answer[]> {
    const ada = await api.person();
    const project = await ada.createProject();
    const headers = { origin };
    return [
      await ada.get('/users/me', { headers }),
      await ada.post('/projects', { name: 'x' }, { headers }),
      await ada.delete(`/projects/${project.id}`, { headers }),
      await ada.get('/problems/conflict', { headers }),
      await ada.request('HEAD', '/health/live', undefined, { headers }),
      await ada.get('/swagger', { headers, ...undocumented }),
      await ada.get('/swagger/swagger-ui.css', { headers, ...undocumented }),
      await ada.get('/', { headers, ...undocumented }),
      await api.anonymous.get('/users/me', { headers }),
      await ada.get('/nothing', { headers }),
      await ada.put('/projects', {}, { headers }),
      await ada.post('/projects', {}, { headers }),
      await ada.post('/projects', undefined, {
        raw: '{',
        headers: { ...headers, 'content-type': 'application/json' },
      }),
    ];
  }

  test('a configured site may read every response, errors too', async () => {
    for (const origin of sites)
      for (const { status, headers } of await answers(origin)) {
        expect([status, headers.get('access-control-allow-origin')]).toEqual([status, origin]);
        expect(headers.get('access-control-expose-headers')).toBe(exposedHeaders.join(', '));
        expect(headers.get('access-control-allow-credentials')).toBeNull();
        expect(headers.get('vary')).toStartWith('Origin');
      }
  });

  test('that site may read the response to a malformed Host as well', async () => {
    const { status, headers } = await exchange(
      api.url,
      `GET / HTTP/1.1\r\nHost: a:b\r\nOrigin: ${app}\r\nConnection: close\r\n\r\n`,
    );
    expect([status, headers.get('access-control-allow-origin')]).toEqual([400, app]);
  });

  test('any other site gets the same responses without permission to read them', async () => {
    for (const { status, headers } of await answers('https://evil.example.org')) {
      expect([status, corsHeaders(headers)]).toEqual([status, []]);
      expect(headers.get('vary')).toStartWith('Origin');
    }
  });

  test.each([
    'null',
    '*',
    'https://app.example.org.evil.example',
    'https://evil-app.example.org',
    'https://app.example.org:8443',
    'http://app.example.org',
    'https://APP.example.org',
    'https://app.example.org/',
    'https://app.example.org, http://localhost:5173',
    'http://localhost',
    'http://localhost:51730',
  ])('%s is another', async (origin) => {
    const answer = await api.anonymous.get('/health/live', { headers: { origin } });
    expect([answer.status, corsHeaders(answer.headers)]).toEqual([200, []]);
    expect(corsHeaders((await preflight(api, '/projects', origin)).headers)).toEqual([]);
  });

  test('a client that sends no origin needs no permission', async () => {
    const { headers } = await api.anonymous.get('/health/live');
    expect([corsHeaders(headers), headers.get('vary')]).toEqual([[], 'Origin']);
  });

  test('a preflight tells the methods of its path and the headers that may be sent', async () => {
    for (const { path } of operations) {
      const { status, text, headers } = await preflight(api, path.replace(/\{\w+\}/g, 'x'), app);
      expect([path, status, text]).toEqual([path, 204, '']);
      expect(headers.get('access-control-allow-origin')).toBe(app);
      expect(headers.get('access-control-allow-methods')).toBe(headers.get('allow'));
      expect(headers.get('access-control-allow-headers')).toBe(requestHeaders.join(', '));
      expect(headers.get('access-control-max-age')).toBe('7200');
      expect(headers.get('access-control-allow-credentials')).toBeNull();
      expect(headers.get('vary')).toStartWith('Origin');
    }
  });

  test('a preflight of an unknown path is a 404 that the site may read', async () => {
    const { status, headers } = await preflight(api, '/nothing', app);
    expect([status, headers.get('access-control-allow-origin')]).toEqual([404, app]);
  });
});

describe('with CORS_ORIGINS and limits', () => {
  const api = useApi({ corsOrigins: [app], rateLimit: true });

  test('a site may read the 429 and when to try again', async () => {
    const ada = await api.person();
    const guess = () =>
      api.anonymous.post(
        '/users/login',
        { username: ada.username, password: 'wrong' },
        { headers: { origin: app } },
      );
    for (let at = 0; at < 10; at += 1) await guess();
    const { status, headers } = await guess();
    expect([status, headers.get('access-control-allow-origin')]).toEqual([429, app]);
    expect(headers.get('access-control-expose-headers')).toContain('Retry-After');
  });
});

describe('the lists of CORS', () => {
  const lower = (names: readonly string[]) => names.map((name) => name.toLowerCase());
  const sources = ['http', 'plugins', 'routes'].flatMap((room) =>
    [...new Glob(`${room}/*.ts`).scanSync('src')].map((file) =>
      readFileSync(`src/${file}`, 'utf8'),
    ),
  );
  const found = (pattern: RegExp) =>
    new Set(
      sources.flatMap((text) =>
        [...text.matchAll(pattern)].map(([, name = '']) => name.toLowerCase()),
      ),
    );

  /** Sites may send these without leave, cannot set them, or have no use for them. */
  const notSent = [
    ['accept', 'accept-language'],
    ['host', 'origin', 'user-agent', 'content-length', 'transfer-encoding', 'content-encoding'],
    ['x-forwarded-for', 'x-forwarded-proto', 'forwarded'],
    ['access-control-request-method', 'access-control-request-headers'],
  ].flat();
  /** Sites may read these without leave, or only the browser and caches have use for them. */
  const notRead = [
    ['cache-control', 'content-type', 'content-length', 'content-language', 'content-encoding'],
    ['connection', 'vary', 'x-accel-buffering', 'x-content-type-options'],
    ['content-security-policy', 'referrer-policy', 'cross-origin-resource-policy'],
  ].flat();

  test('hold every header that the source reads', () => {
    const read = found(/headers\s*\.(?:get|has)\(\s*'([\w-]+)'/g);
    expect(read.size).toBeGreaterThan(8);
    const missing = [...read].filter(
      (name) => !notSent.includes(name) && !lower(requestHeaders).includes(name),
    );
    expect(missing).toEqual([]);
  });

  test('hold every header that the source writes', () => {
    const written = new Set([
      ...found(/headers\[?\.?'?([a-z][\w-]+)'?\]?\s*=[^=]/g),
      ...found(
        /^\s*'?((?:x-|content-|www-|retry-|ratelimit|idempotency-|location|allow|etag)[a-z-]*)'?:/gm,
      ),
    ]);
    expect(written.size).toBeGreaterThan(8);
    const missing = [...written].filter(
      (name) =>
        !notRead.includes(name) &&
        !name.startsWith('access-control-') &&
        !lower(exposedHeaders).includes(name),
    );
    expect(missing).toEqual([]);
  });

  test('hold every header that the document names', () => {
    expect(lower(exposedHeaders)).toEqual(
      expect.arrayContaining(lower(Object.keys(openapi.components.headers))),
    );
    const taken = operations.flatMap(({ parameters }) =>
      parameters.filter(({ in: place }) => place === 'header').map(({ name }) => name),
    );
    expect(lower(requestHeaders)).toEqual(expect.arrayContaining(lower(taken)));
  });
});

describe('every answer', () => {
  const api = useApi();

  test('lets a browser load, run, frame and leak nothing', async () => {
    const ada = await api.person();
    const answers = [
      await ada.get('/users/me'),
      await ada.get('/nothing'),
      await api.anonymous.get('/users/me'),
      await ada.post('/projects', {}),
      await ada.request('OPTIONS', '/projects', undefined, undocumented),
      await ada.delete(`/projects/${(await ada.createProject()).id}`),
      await ada.get('/health/live'),
      await ada.get('/problems/conflict'),
      await ada.get('/swagger/json', undocumented),
      await ada.get('/', undocumented),
    ];
    for (const { headers } of answers) {
      expect(headers.get('content-security-policy')).toBe(
        "default-src 'none'; frame-ancestors 'none'",
      );
      expectHardened(headers);
    }
  });

  test('does so for the page of the docs, which has a policy of its own', async () => {
    const { headers } = await api.anonymous.get('/swagger', undocumented);
    expect(headers.get('content-security-policy')).toStartWith("default-src 'none'; script-src");
    expect(headers.get('content-security-policy')).toContain("frame-ancestors 'none'");
    expectHardened(headers);
  });

  function expectHardened(headers: Headers) {
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('referrer-policy')).toBe('no-referrer');
    expect(headers.get('cross-origin-resource-policy')).toBe('same-origin');
    for (const name of ['server', 'x-powered-by']) expect(headers.get(name)).toBeNull();
  }
});
