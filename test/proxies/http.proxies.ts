/** `bun run test:proxies`: the API behind a real nginx, Caddy and HAProxy (`apt-get install nginx-light caddy haproxy`). */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { type Api, type Persona, useApi } from '../support/api.ts';
import { clientCases } from '../support/client-suite.ts';
import { Follower } from '../support/follower.ts';
import { useProcesses, waitFor } from '../support/process.ts';
import { choosePlace, type HttpProxy, proxyNames, startProxy } from './proxies.ts';

useProcesses();

const json = { 'content-type': 'application/json' };
/** So long that every proxy finds it worth compressing. */
const DESCRIPTION = 'Measure the wall twice. '.repeat(100);
/** More than nginx takes of a body unless it is told to. */
const LONG_BODY_BYTES = 3_000_000;

// biome-ignore lint/suspicious/noExplicitAny: answers are looked into freely.
type Json = any;
type Protocol = 'http1.1' | 'http2';

/** Starts a proxy for the tests of a block. Read its fields inside tests only. */
function useProxy(startOne: () => Promise<HttpProxy>): HttpProxy {
  let proxy: HttpProxy | undefined;
  beforeAll(async () => {
    proxy = await startOne();
  });
  afterAll(() => proxy?.stop());
  return new Proxy({} as HttpProxy, { get: (_, name) => Reflect.get(proxy as HttpProxy, name) });
}

const bodyOf = async (response: Response): Promise<Json> => response.json();

/** Runs curl. @returns what it prints. */
async function curl(proxy: HttpProxy, path: string, ...options: string[]): Promise<string> {
  const child = Bun.spawn(
    ['curl', '--silent', '--show-error', ...proxy.curl, ...options, proxy.url + path],
    { stdout: 'pipe', stderr: 'pipe' },
  );
  const [stdout, stderr, code] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  if (code !== 0) throw new Error(`curl ended with ${code}: ${stderr}`);
  return stdout;
}

/** Follows the change stream with curl, which shows each byte as it comes. */
function follow(proxy: HttpProxy, { token }: Persona, protocol: Protocol) {
  const child = Bun.spawn(
    [
      ...['curl', '--silent', '--no-buffer', '--include', '--compressed', `--${protocol}`],
      ...[...proxy.curl, '--header', `Authorization: Bearer ${token}`],
      `${proxy.url}/changes/stream`,
    ],
    { stdout: 'pipe', stderr: 'ignore' },
  );
  let received = '';
  const reading = (async () => {
    const decoder = new TextDecoder();
    for await (const bytes of child.stdout) received += decoder.decode(bytes, { stream: true });
  })();
  return {
    get received() {
      return received;
    },
    /** The head has come, and the first bytes of the body. */
    get begun() {
      return /\r\n\r\n[\s\S]*^id: /m.test(received);
    },
    async leave() {
      child.kill('SIGKILL');
      await reading;
    },
  };
}

async function openStreams(api: Api): Promise<number> {
  const text = await (await fetch(`${api.url}/metrics`)).text();
  return Number(/^mantou_streams_open (\d+)$/m.exec(text)?.[1]);
}

/** Logs in from an address of this machine. @returns the status. */
const logIn = async (
  proxy: HttpProxy,
  from: string,
  username: string,
  password: string,
  ...options: string[]
): Promise<number> =>
  Number(
    await curl(
      proxy,
      '/users/login',
      ...['--interface', from, '--output', '/dev/null', '--write-out', '%{http_code}'],
      ...['--header', 'Content-Type: application/json'],
      ...['--data', JSON.stringify({ username, password }), ...options],
    ),
  );

/** The address that the API has seen at the latest log-in. */
async function latestAddress(api: Api, { id }: Persona): Promise<string> {
  const [session] = await api.sql`select address from sessions where user_id = ${id}
    order by created_at desc, id desc limit 1`;
  return session.address;
}

const events = (api: Api, event: string) => api.log.filter((line) => line.event === event);

describe('@mantou/client through nginx with its defaults', () => {
  const api = useApi();
  const proxy = useProxy(() => startProxy('nginx', 'plain', api.url));

  test.each(Object.entries(clientCases))('%s', (_, run) => run(proxy.url));
});

describe.each(proxyNames)('%s', (name) => {
  describe.each(['deployed', 'plain'] as const)('%s', (configuration) => {
    const api = useApi({ trustedProxies: configuration === 'plain' ? 0 : 1 });
    const proxy = useProxy(() => startProxy(name, configuration, api.url));
    const isPlain = configuration === 'plain';
    const http2 = !isPlain && name !== 'nginx';

    test.each<Protocol>(http2 ? ['http1.1', 'http2'] : ['http1.1'])(
      'passes on the head of the change stream and each event as they are written, over %s',
      async (protocol) => {
        const ada = await api.person();
        const project = await ada.createProject();
        const stream = follow(proxy, ada, protocol);
        await waitFor('the stream begins', () => stream.begun);
        expect(stream.received.slice(0, 8)).toBe(protocol === 'http2' ? 'HTTP/2 2' : 'HTTP/1.1');
        for (const title of ['Tiles', 'Paint', 'Lamp']) {
          await ada.createTask(project.id, { title });
          await waitFor(`the event of ${title}`, () => stream.received.includes(`"${title}"`));
        }
        // A heartbeat follows after 15 silent seconds; nothing had to wait for it.
        expect(stream.received).not.toContain(': heartbeat\n');
        await stream.leave();
      },
    );

    // HAProxy takes the end of what a client sends for no end of what it reads, so there the second heartbeat ends the stream.
    const endsAtOnce = name !== 'HAProxy';
    if (endsAtOnce)
      test('a stream ends when its client leaves, and not when the next heartbeat finds it gone', async () => {
        const ada = await api.person();
        const stream = follow(proxy, ada, 'http1.1');
        await waitFor('the stream begins', () => stream.begun);
        const direct = await Follower.follow(ada);
        await stream.leave();
        await waitFor('one stream is left', async () => (await openStreams(api)) === 1);
        expect(direct.heartbeats).toBe(0);
        direct.close();
      });

    test('a version that was read through compression is accepted by If-Match', async () => {
      const ada = await api.person();
      const project = await ada.createProject();
      const task = await ada.createTask(project.id, { description: DESCRIPTION });
      const headers = {
        ...json,
        authorization: `Bearer ${ada.token}`,
        'accept-encoding': 'gzip',
      };
      const read = (more = {}) =>
        proxy.fetch(`/tasks/${task.id}`, { headers: { ...headers, ...more }, decompress: false });
      const patch = (ifMatch: string, title: string) =>
        proxy.fetch(`/tasks/${task.id}`, {
          method: 'PATCH',
          headers: { ...headers, 'if-match': ifMatch },
          body: JSON.stringify({ title }),
        });

      const first = await read();
      await first.arrayBuffer();
      expect(first.headers.get('content-encoding')).toBe(isPlain ? 'gzip' : null);
      const tag = first.headers.get('etag') ?? '';
      expect((await read({ 'if-none-match': tag })).status).toBe(304);

      const written = await patch(tag, 'Grout');
      expect([written.status, (await bodyOf(written)).version]).toEqual([200, 2]);
      const late = await patch(tag, 'Late');
      expect([late.status, (await bodyOf(late)).version]).toEqual([412, 2]);
      expect((await read({ 'if-none-match': tag })).status).toBe(200);
      // A 412 names the version that the next write may expect.
      const again = await patch(late.headers.get('etag') ?? '', 'Again');
      expect([again.status, (await bodyOf(again)).version]).toEqual([200, 3]);
      let version = 3;
      for (const form of ['"N"', 'W/"N"', '"N-gzip"', 'W/"N-gzip"', '"N;gzip"', '"0", "N"']) {
        const answer = await patch(form.replace('N', String(version)), `As ${form}`);
        version += 1;
        expect([form, answer.status, (await bodyOf(answer)).version]).toEqual([form, 200, version]);
      }
    });

    test('a page of the documentation is not sent again while it is the same', async () => {
      const headers = { 'accept-encoding': 'gzip' };
      const first = await proxy.fetch('/swagger/json', { headers });
      expect((await bodyOf(first)).openapi).toStartWith('3.');
      const tag = first.headers.get('etag') ?? '';
      const again = { ...headers, 'if-none-match': tag };
      expect((await proxy.fetch('/swagger/json', { headers: again })).status).toBe(304);
    });

    if (isPlain)
      test('clients count by the address of the proxy, unless the API trusts one', async () => {
        const ada = await api.person();
        expect(await logIn(proxy, '127.0.0.2', ada.username, ada.password)).toBe(200);
        expect(await latestAddress(api, ada)).toBe('127.0.0.1');
      });

    if (!isPlain) {
      test('takes a body as long as an import may be', async () => {
        const ada = await api.person();
        await ada.createTask((await ada.createProject()).id);
        const [project] = (await ada.get('/projects')).body.items;
        const exported = await ada.get(`/projects/${project.id}/export`);
        const answer = await proxy.fetch('/projects/import', {
          method: 'POST',
          headers: { ...json, authorization: `Bearer ${ada.token}` },
          body: ' '.repeat(LONG_BODY_BYTES) + exported.text,
        });
        expect(answer.status).toBe(201);
      });

      test('hides the metrics', async () => {
        expect((await proxy.fetch('/health/ready')).status).toBe(200);
        expect((await fetch(`${api.url}/metrics`)).status).toBe(200);
        expect([403, 404]).toContain((await proxy.fetch('/metrics')).status);
      });
    }
  });

  describe('deployed, with limits', () => {
    const api = useApi({ trustedProxies: 1, rateLimit: true });
    const proxy = useProxy(() => startProxy(name, 'deployed', api.url));

    test('ten wrong guesses from one address lock out that address alone, with any claim in its headers', async () => {
      const ada = await api.person();
      for (let at = 0; at < 10; at += 1) {
        const claim = ['--header', `X-Forwarded-For: 203.0.113.${at}`];
        expect(await logIn(proxy, '127.0.0.2', ada.username, 'wrong', ...claim)).toBe(401);
      }
      expect(await logIn(proxy, '127.0.0.2', ada.username, ada.password)).toBe(429);
      expect(await logIn(proxy, '127.0.0.3', ada.username, ada.password)).toBe(200);
      expect(await latestAddress(api, ada)).toBe('127.0.0.3');
      expect(events(api, 'forwarded_not_understood')).toEqual([]);
      expect(events(api, 'forwarded_entries_missing')).toEqual([]);
    });
  });

  describe('behind another proxy', () => {
    const api = useApi({ trustedProxies: 2, rateLimit: true });
    const proxy = useProxy(() => startProxy(name, 'chained', api.url));

    test.each([
      ['203.0.113.7', '203.0.113.7'],
      ['203.0.113.7:51234', '203.0.113.7'],
      ['198.51.100.1, 203.0.113.7:51234', '203.0.113.7'],
      ['2001:db8:1:2::5', '2001:db8:1:2::/64'],
      ['[2001:db8:1:2::5]', '2001:db8:1:2::/64'],
      ['[2001:db8:1:2::5]:443', '2001:db8:1:2::/64'],
      ['::ffff:203.0.113.7', '203.0.113.7'],
    ])('the client that it names as %s counts as %s', async (given, counted) => {
      const ada = await api.person();
      const header = ['--header', `X-Forwarded-For: ${given}`];
      expect(await logIn(proxy, '127.0.0.1', ada.username, ada.password, ...header)).toBe(200);
      expect(await latestAddress(api, ada)).toBe(counted);
    });
  });

  describe('writing Forwarded', () => {
    const api = useApi({ trustedProxies: 1, rateLimit: true });
    const proxy = useProxy(() => startProxy(name, 'forwarding', api.url));

    test('a client counts by its address, with any claim in either header', async () => {
      const ada = await api.person();
      for (const from of ['127.0.0.4', '127.0.0.5']) {
        const claims = ['Forwarded: for=203.0.113.7', 'X-Forwarded-For: 203.0.113.8'];
        const headers = claims.flatMap((claim) => ['--header', claim]);
        expect(await logIn(proxy, from, ada.username, ada.password, ...headers)).toBe(200);
        expect(await latestAddress(api, ada)).toBe(from);
      }
    });
  });

  describe('under a path', () => {
    const place = choosePlace('prefixed');
    const api = useApi({ trustedProxies: 1, publicUrl: place.url });
    const proxy = useProxy(() => startProxy(name, 'prefixed', api.url, place));
    const silent = useApi({ trustedProxies: 1 });
    const withoutUrl = useProxy(() => startProxy(name, 'prefixed', silent.url));

    test.each(['/docs', '/docs/', '/swagger', '/swagger/'])(
      '%s and all that it loads are below the path, also without PUBLIC_URL',
      async (path) => {
        for (const at of [proxy, withoutUrl]) {
          const page = await at.fetch(path);
          expect([path, page.status]).toEqual([path, 200]);
          await expectServed(at, at.url + path, await page.text());
        }
      },
    );

    test('the start page leads to the documentation', async () => {
      for (const at of [proxy, withoutUrl]) {
        const { status, headers } = await at.fetch('/');
        expect(status).toBe(302);
        const target = new URL(headers.get('location') ?? '', `${at.url}/`).href;
        expect(target).toBe(`${at.url}/docs`);
        expect((await at.fetch(target)).status).toBe(200);
      }
    });

    test('the document names the server, and where to log in', async () => {
      const document = await bodyOf(await proxy.fetch('/swagger/json'));
      expect(document.servers[0].url).toBe(place.url);
      const { tokenUrl, refreshUrl } = document.components.securitySchemes.password.flows.password;
      expect(refreshUrl).toBe(`${place.url}/users/refresh`);
      const ada = await api.person();
      const { username, password } = ada;
      const answer = await proxy.fetch(tokenUrl, {
        method: 'POST',
        body: new URLSearchParams({ grant_type: 'password', username, password }),
      });
      expect(answer.status).toBe(200);
      const { access_token: token } = await bodyOf(answer);
      const headers = { authorization: `Bearer ${token}` };
      const me = await proxy.fetch('/users/me', { headers });
      expect((await bodyOf(me)).username).toBe(username);
    });

    test('Location and the type of a problem can be followed', async () => {
      const ada = await api.person();
      const headers = { ...json, authorization: `Bearer ${ada.token}` };
      const made = await proxy.fetch('/projects', {
        method: 'POST',
        headers,
        body: JSON.stringify({ name: 'Kitchen' }),
      });
      const location = made.headers.get('location') ?? '';
      expect((await bodyOf(await proxy.fetch(location, { headers }))).name).toBe('Kitchen');
      const refused = await proxy.fetch('/projects');
      expect(refused.status).toBe(401);
      const { type } = await bodyOf(refused);
      expect(type).toStartWith(`${place.url}/problems/`);
      expect((await proxy.fetch(type)).status).toBe(200);
    });

    test('the change stream passes', async () => {
      const ada = await api.person();
      const project = await ada.createProject();
      const stream = follow(proxy, ada, 'http1.1');
      await waitFor('the stream begins', () => stream.begun);
      await ada.createTask(project.id, { title: 'Tiles' });
      await waitFor('the event', () => stream.received.includes('"Tiles"'));
      await stream.leave();
    });

    test('hides the metrics, and serves nothing beside the path', async () => {
      expect([403, 404]).toContain((await proxy.fetch('/metrics')).status);
      const { origin } = new URL(place.url);
      for (const path of ['/health/live', '/metrics', '/docs']) {
        const answer = await proxy.fetch(origin + path);
        expect([path, answer.headers.get('x-request-id')]).toEqual([path, null]);
      }
    });
  });
});

/** Expects that what a page loads, and what its scripts import, is served, and is no page itself. */
async function expectServed(proxy: HttpProxy, url: string, text: string, seen = new Set<string>()) {
  const references = [
    ...text.matchAll(/<(?:script|link)\b[^>]*?\b(?:src|href)="([^"]+)"/g),
    ...text.matchAll(/^import\b[^;]*?from '(\.[^']+)'/gm),
  ].map(([, reference = '']) => new URL(reference, url).href);
  if (seen.size === 0) expect(references.length).toBeGreaterThan(1);
  for (const reference of references) {
    if (seen.has(reference)) continue;
    seen.add(reference);
    const answer = await proxy.fetch(reference);
    const type = answer.headers.get('content-type') ?? '';
    expect([reference, answer.status, /css|javascript|png/.test(type)]).toEqual([
      reference,
      200,
      true,
    ]);
    const content = await answer.text();
    if (type.includes('javascript')) await expectServed(proxy, reference, content, seen);
  }
}
