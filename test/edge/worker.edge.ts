/** The worker as it is deployed: what is in it, how it starts, what it leaves open, and that it answers as Bun does. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { join } from 'node:path';
import { type RunningServer, serve } from '../../src/server/serve.ts';
import { readSettings } from '../../src/settings.ts';
import { type Answer, type Api, Client, JWT_SECRET, useApi } from '../support/api.ts';
import { createDatabase, dropDatabase } from '../support/cluster.ts';
import { type Operation, operations } from '../support/document.ts';
import { root, startWorker } from '../support/edge.ts';
import { openPool, type Pool } from '../support/pool.ts';
import { waitFor } from '../support/process.ts';
import { type Ids, missingIds, send } from '../support/requests.ts';
import { exceptions } from './exceptions.ts';

setDefaultTimeout(300_000);

/** A third of it is the package of the Model Context Protocol, which an isolate evaluates with the first message to `/mcp`. */
const BUNDLE_KB_MAX = 780;

/** The folder that `suite.ts` has bundled `src/edge/worker.ts` into. */
const bundle = process.env.DEPLOYED_WORKER ?? '';

describe('the bundle', () => {
  interface Metafile {
    inputs: Record<string, unknown>;
    outputs: Record<string, { imports: { path: string; external?: boolean }[] }>;
  }
  const readMetafile = (): Promise<Metafile> => Bun.file(join(bundle, 'meta.json')).json();

  test('imports no module that Workers lack', async () => {
    const { outputs } = await readMetafile();
    const imported = Object.values(outputs).flatMap(({ imports }) => imports);
    const external = imported.filter((one) => one.external).map(({ path }) => path);
    expect([...new Set(external)].filter((path) => !path.endsWith('.wasm')).sort()).toEqual([
      'cloudflare:sockets',
      'cloudflare:workers',
      'crypto',
      'node:async_hooks',
      'node:buffer',
      'node:events',
      'node:stream',
      // Of csv-parse.
      'node:stream/web',
      // Of sax, which reads the XML of CalDAV.
      'stream',
      // Of what Elysia would look into uploaded files with.
      'tty',
      'util',
    ]);
  });

  test('contains no file of src that uses Bun, Node or the environment', async () => {
    const { inputs } = await readMetafile();
    const ours = Object.keys(inputs).filter((path) => path.startsWith('src/'));
    expect(ours).toContain('src/app.ts');
    const transpiler = new Bun.Transpiler({ loader: 'ts' });
    for (const path of ours) {
      const code = transpiler.transformSync(await Bun.file(join(root, path)).text());
      expect([path, code.match(/\bBun\.|\bprocess\.|['"](bun|node:fs)['"]/)?.[0]]).toEqual([
        path,
        undefined,
      ]);
    }
  });

  test(`is smaller than ${BUNDLE_KB_MAX} KB, compressed`, async () => {
    const files = [...new Bun.Glob('*.{js,wasm}').scanSync(bundle)];
    const sizes = await Promise.all(
      files.map(async (name) => Bun.gzipSync(await Bun.file(join(bundle, name)).bytes()).length),
    );
    const kb = sizes.reduce((sum, size) => sum + size, 0) / 1000;
    console.log(`the bundle: ${kb.toFixed(0)} KB, compressed`);
    expect(kb).toBeLessThan(BUNDLE_KB_MAX);
  });
});

describe('the worker', () => {
  const password = 'correct horse battery staple, pässwörd 密码';
  let databaseUrl: string;
  let pool: Pool;
  let edge: { url: string; stop(): Promise<void> };
  let bun: RunningServer;

  beforeAll(async () => {
    databaseUrl = await createDatabase();
    pool = await openPool(databaseUrl);
    edge = await startWorker(bundle, { JWT_SECRET, LOG_LEVEL: 'silent' }, pool.url);
    const settings = readSettings({ JWT_SECRET, LOG_LEVEL: 'silent' });
    bun = await serve({ ...settings, port: 0, databaseUrl });
  });

  afterAll(async () => {
    await Promise.all([edge.stop(), bun.stop()]);
    await pool.close();
    await dropDatabase(databaseUrl);
  });

  async function post(url: string, path: string, body: object) {
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body) });
    // biome-ignore lint/suspicious/noExplicitAny: a test looks into JSON freely.
    return { status: answer.status, body: (await answer.json()) as any };
  }

  test('does not start without a secret, and prints the reason', async () => {
    const started = startWorker(bundle, {}, databaseUrl);
    await expect(started).rejects.toThrow('JWT_SECRET must be set');
  });

  test.each([
    ['Bun', 'workerd'],
    ['workerd', 'Bun'],
  ])('an account that is registered on %s can log in on %s', async (from, to) => {
    const urls: Record<string, string> = { Bun: bun.url, workerd: edge.url };
    const username = `from-${from}`;
    const made = await post(urls[from] ?? '', '/users/register', {
      username,
      email: `${username}@example.org`,
      password,
    });
    expect(made.status).toBe(201);
    const there = urls[to] ?? '';
    const { status, body } = await post(there, '/users/login', { username, password });
    expect(status).toBe(200);
    // One byte of the password more or less is another password.
    for (const wrong of [password.slice(0, -1), `${password}x`])
      expect((await post(there, '/users/login', { username, password: wrong })).status).toBe(401);
    // A token of one is a token of the other.
    const headers = { authorization: `Bearer ${body.access_token}` };
    for (const url of [bun.url, edge.url])
      expect((await fetch(`${url}/users/me`, { headers })).status).toBe(200);
  });

  test('serves the docs from its assets, with the same bytes as Bun', async () => {
    for (const name of [
      '',
      '/json',
      '/docs.js',
      '/swagger.js',
      '/swagger-ui.css',
      '/swagger-ui-bundle.js',
      '/x',
    ]) {
      const [one, other] = await Promise.all(
        [bun.url, edge.url].map((url) => fetch(`${url}/swagger${name}`)),
      );
      expect([name, other?.status]).toEqual([name, one?.status]);
      for (const field of ['content-type', 'cache-control', 'content-security-policy'])
        expect([name, other?.headers.get(field)]).toEqual([name, one?.headers.get(field)]);
      // The document names the server.
      const text = (await other?.text())?.replaceAll(edge.url, bun.url);
      if (one?.ok) expect(text).toBe((await one?.text()) ?? '');
    }
  });

  test('refuses a common password from its assets', async () => {
    const { status, body } = await post(edge.url, '/users/register', {
      username: 'weak',
      email: 'weak@example.org',
      password: 'Password123!',
    });
    expect([status, body.code]).toEqual([422, 'weak_password']);
  });

  test('reaches the database that Hyperdrive names, whatever variables of libpq are bound', async () => {
    const bindings = {
      ...{ JWT_SECRET, LOG_LEVEL: 'silent' },
      ...{ PGHOST: '127.0.0.1', PGPORT: '1', PGUSER: 'other', PGUSERNAME: 'other' },
      ...{ PGPASSWORD: 'other', PGDATABASE: 'other', PGAPPNAME: 'other' },
      ...{ PGTARGETSESSIONATTRS: 'standby', PGMAX: '0', PGCONNECT_TIMEOUT: '1' },
    };
    const other = await startWorker(bundle, bindings, pool.url);
    expect((await fetch(`${other.url}/health/ready`)).status).toBe(200);
    await other.stop();
  });

  test('gives up after three connections that the server closes before the log-in', async () => {
    let connections = 0;
    const listener = Bun.listen({
      hostname: '127.0.0.1',
      port: 0,
      socket: {
        open(socket) {
          connections += 1;
          socket.end();
        },
        data() {},
      },
    });
    const url = `postgres://x:x@127.0.0.1:${listener.port}/x`;
    const other = await startWorker(bundle, { JWT_SECRET, LOG_LEVEL: 'silent' }, url);
    expect((await fetch(`${other.url}/health/ready`)).status).toBe(503);
    // The socket of the attempt that is refused is open already.
    expect(connections).toBeLessThanOrEqual(4);
    await other.stop();
    listener.stop(true);
  });

  test('sends one statement in one round trip for a list or a new project', async () => {
    const account = { username: 'counted', email: 'counted@example.org', password };
    await post(edge.url, '/users/register', account);
    const { access_token } = (
      await post(edge.url, '/users/login', { username: account.username, password })
    ).body;
    const headers = { authorization: `Bearer ${access_token}`, 'content-type': 'application/json' };
    const list = () => fetch(`${edge.url}/projects`, { headers });
    const create = () =>
      fetch(`${edge.url}/projects`, { headers, method: 'POST', body: '{"name":"Counted"}' });
    // From here on the isolate knows the token.
    expect((await list()).status).toBe(200);
    for (const [send, status] of [
      [list, 200],
      [create, 201],
    ] as const) {
      const { statements, roundTrips } = pool;
      expect((await send()).status).toBe(status);
      expect([pool.statements - statements, pool.roundTrips - roundTrips]).toEqual([1, 1]);
    }
  });

  test('opens no connection that a request does not need, and leaves none open', async () => {
    const before = pool.statements;
    expect((await fetch(`${edge.url}/health/live`)).status).toBe(200);
    expect((await fetch(`${edge.url}/users/me`)).status).toBe(401);
    expect(pool.statements).toBe(before);
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => fetch(`${edge.url}/health/ready`)),
    );
    expect(answers.map(({ status }) => status)).toEqual(Array(20).fill(200));
    expect(pool.statements).toBe(before + 20);
    await waitFor('every connection is given back', () => pool.lent === 0);
  });
});

describe('responses have the same bytes as on Bun, except ids, times, cursors and secrets', () => {
  const api = useApi();
  let bun: RunningServer;

  beforeAll(async () => {
    const settings = readSettings({ JWT_SECRET, RATE_LIMIT: 'off', LOG_LEVEL: 'silent' });
    bun = await serve({ ...settings, port: 0, databaseUrl: api.databaseUrl });
  });

  afterAll(() => bun.stop());

  const clients = (token?: string) => [
    new Client({ url: bun.url } as Api, token),
    new Client(api, token),
  ];

  /** An anonymous client, or a new user with a project and a task: each runtime gets its own. */
  const senders: Record<string, () => Promise<{ token?: string; ids: Ids }>> = {
    anonymous: async () => ({ ids: missingIds }),
    stranger: async () => ({ token: (await api.person()).token, ids: missingIds }),
    owner: async () => {
      const person = await api.person();
      const project = await person.createProject();
      const task = await person.createTask(project.id);
      const ids = { ...missingIds, project_id: project.id, task_id: task.id, user_id: person.id };
      return { token: person.token, ids };
    },
  };
  const variants: Record<string, Parameters<typeof send>[3]> = {
    plain: {},
    'unknown parameter': { query: '?surprise=1' },
  };
  const variantsOfBody: typeof variants = {
    'body that breaks off': { raw: '{', headers: { 'content-type': 'application/json' } },
    'type that is not supported': { raw: 'x', headers: { 'content-type': 'text/plain' } },
  };

  const isShared = ({ statuses }: Operation) => !statuses.includes(501);
  const shared = operations.filter(isShared);
  const unserved = operations.filter((operation) => !isShared(operation));

  test('the worker does not serve metrics and webhooks, and nothing else', () => {
    const isOfOne = ({ path }: Operation) => /^\/metrics$|\/webhooks\b/.test(path);
    expect(unserved).toEqual(operations.filter(isOfOne));
    expect(unserved.length).toBeGreaterThan(5);
  });

  test.each(unserved.map((one) => [`${one.method} ${one.path}`, one] as const))(
    '%s answers 501 and names what to use instead',
    async (_, operation) => {
      const person = await api.person();
      const { body: feed } = await person.get('/changes');
      const { status, body } = await send(person, operation, {
        ...missingIds,
        cursor: feed.next_cursor,
      });
      expect([status, body.code]).toEqual([501, 'not_implemented']);
      expect(body.detail).toMatch(/metrics of Cloudflare Workers|GET \/changes/);
      if (operation.public) return;
      expect((await send(api.anonymous, operation, missingIds)).status).toBe(401);
    },
  );

  test.each(shared.map((one) => [`${one.method} ${one.path}`, one] as const))(
    '%s',
    async (_, operation: Operation) => {
      const all = { ...variants, ...(operation.requestBody && variantsOfBody) };
      for (const [who, meet] of Object.entries(senders))
        for (const [what, options] of Object.entries(all)) {
          const answers: unknown[] = [];
          for (const runtime of [0, 1]) {
            const { token, ids } = await meet();
            const client = clients(token)[runtime] as Client;
            const headers = { 'x-request-id': 'same', ...options?.headers };
            answers.push(comparable(await send(client, operation, ids, { ...options, headers })));
          }
          expect([who, what, answers[1]]).toEqual([who, what, answers[0]]);
        }
    },
  );

  /** What a connection says of itself is no part of the answer. */
  const HOP_BY_HOP = ['connection', 'date', 'keep-alive', 'transfer-encoding'];

  function comparable({ status, headers, text }: Answer) {
    const body = masked(text);
    // Bun gives a stream its length where it ends at once, as a calendar without a task does.
    const isCalendar = headers.get('content-type')?.startsWith('text/calendar');
    const left = isCalendar ? [...HOP_BY_HOP, 'content-length'] : HOP_BY_HOP;
    const fields = [...headers].filter(([name]) => !left.includes(name));
    // A cursor and a name hold a number, which has more digits later.
    const shown = (name: string, value: string) =>
      name === 'content-length' && /<(cursor|name)>/.test(body) ? 'varies' : masked(value);
    return [status, fields.sort().map(([name, value]) => `${name}: ${shown(name, value)}`), body];
  }

  const masked = (text: string) =>
    text
      // A list in JSON in base64; the user is in it.
      .replace(/\bWy[IJ][\w-]+/g, '<cursor>')
      .replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, '<id>')
      .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, '<time>')
      .replace(/eyJ[\w-]+\.[\w-]+\.[\w-]+|m[ti]_[\w-]{43}|\b[\w-]{43}\b/g, '<secret>')
      .replace(/somebody-\d+|\bn[0-9a-f]{8}\b/g, '<name>');
});

test('docs/edge.md names each exception with its reason', async () => {
  const document = await Bun.file(join(root, 'docs/edge.md')).text();
  const rows = document.split('\n').filter((line) => /^\| `[\w/-]+\.test\.ts`/.test(line));
  expect(rows).toEqual(
    exceptions.map(({ file, within, tests, reason }) => {
      const names = tests.map((test) => `\`${test}\``).join(', ');
      return `| \`${file}\` | ${within ? `${within}: ` : ''}${names} | ${reason} |`;
    }),
  );
});
