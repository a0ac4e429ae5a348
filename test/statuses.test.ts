/** From the route table: who is let in, and that each status which the document declares can really happen. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { Elysia } from 'elysia';
import { createApi, createApp } from '../src/app.ts';
import type { Platform } from '../src/platform.ts';
import { catalogue } from '../src/problem.ts';
import { readSettings } from '../src/settings.ts';
import { Api, Client, JWT_SECRET, type Persona, useApi } from './support/api.ts';
import { createDatabase } from './support/cluster.ts';
import { type Operation, operations } from './support/document.ts';
import { elsewhere } from './support/locks.ts';
import { openProxy } from './support/proxy.ts';
import { type Ids, nowhere, send } from './support/requests.ts';

const api = useApi({ body_limit_bytes: 4096 });

const json = { 'content-type': 'application/json' };

async function somebodyWithWork() {
  const owner = await api.person();
  const project = await owner.createProject();
  const task = await owner.createTask(project.id);
  return { owner, ids: { ...nowhere, project_id: project.id, task_id: task.id } };
}

const needsToken = operations.filter((operation) => !operation.public);

test('the document has every route of the API, and no other', () => {
  // Routes as Elysia has them: a route that the document hides would be a hole in the tests below.
  const platform = { settings: {}, jwt_secret: JWT_SECRET } as Platform;
  const routes = new Elysia()
    .use(createApi(platform))
    .routes.map(
      ({ method, path }) => `${method} ${path.replace(/:(\w+)/g, '{$1}').replace(/\/$/, '')}`,
    );
  expect(routes.sort()).toEqual(operations.map(({ method, path }) => `${method} ${path}`).sort());
});

test('the public operations are these', () => {
  expect(
    operations.filter((operation) => operation.public).map(({ operationId }) => operationId),
  ).toEqual([
    'isLive',
    'isReady',
    'explainProblem',
    'registerUser',
    'logIn',
    'refreshSession',
    'readMetrics',
  ]);
});

test.each(
  needsToken.map((operation) => [`${operation.method} ${operation.path}`, operation] as const),
)('%s answers 401 to a stranger', async (_, operation) => {
  const { ids } = await somebodyWithWork();
  const strangers: [Client, string][] = [
    [api.anonymous, 'unauthenticated'],
    [new Client(api, 'x.y.z'), 'invalid_token'],
  ];
  for (const place of [ids, nowhere])
    for (const [stranger, code] of strangers) {
      const { status, body } = await send(stranger, operation, place);
      expect([status, body.code]).toEqual([401, code]);
    }
});

/** For each status, a request that brings it about on an operation that declares it. */
const recipes: Record<number, (operation: Operation) => Promise<{ status: number }>> = {
  200: success,
  201: success,
  204: success,
  304: async (operation) => {
    const { owner, ids } = await somebodyWithWork();
    const tag = operation.operationId === 'readCalendar' ? '*' : '"1"';
    return send(owner, operation, ids, { headers: { 'if-none-match': tag } });
  },
  400: (operation) =>
    send(operation.public ? api.anonymous : stranger, operation, nowhere, {
      // Both runtimes hand it to the app: a name with a port that is none.
      headers: { host: 'x:y' },
    }),
  401: (operation) => send(api.anonymous, operation, nowhere),
  403: async (operation) => {
    if (operation.operationId === 'registerUser') return send(closed.anonymous, operation, nowhere);
    const { owner, ids } = await somebodyWithWork();
    if (operation.operationId === 'listMembers') {
      await api.addMember(ids.project_id, viewer, 'viewer');
      return send(viewer, operation, ids);
    }
    const { body } = await owner.post('/users/me/tokens', { name: 'x', scopes: ['read'] });
    return send(new Client(api, body.token), operation, ids);
  },
  404: (operation) =>
    operation.operationId === 'explainProblem'
      ? api.anonymous.get('/problems/none')
      : send(stranger, operation, nowhere),
  409: async (operation) => {
    if (operation.operationId === 'registerUser') {
      const taken = {
        username: viewer.username,
        email: 'new@example.org',
        password: 'correct horse',
      };
      return send(api.anonymous, operation, nowhere, { raw: JSON.stringify(taken), headers: json });
    }
    const { owner, ids } = await somebodyWithWork();
    if (['createProject', 'importProject'].includes(operation.operationId)) {
      const letGo = await elsewhere(
        api,
        (sql) => sql`select pg_advisory_xact_lock(hashtextextended(${`${owner.id} twin`}, 0))`,
      );
      const answer = await send(owner, operation, ids, { headers: { 'idempotency-key': 'twin' } });
      await letGo();
      return answer;
    }
    if (operation.operationId === 'patchProfile')
      return owner.patch('/users/me', { username: viewer.username });
    if (operation.operationId === 'createApiToken')
      await api.sql`insert into api_tokens (id, user_id, name, token_hash, scopes)
        select gen_random_uuid(), ${owner.id}, 'n', gen_random_uuid(), '{read}' from generate_series(1, 100)`;
    await owner.patch(`/projects/${ids.project_id}`, { archived: true });
    return send(owner, operation, ids);
  },
  410: async (operation) => {
    const { owner, ids } = await somebodyWithWork();
    const { body } = await owner.get('/changes');
    const [name, , position] = JSON.parse(atob(body.next_cursor));
    const of_another_feed = btoa(JSON.stringify([name, '00000000', position]));
    return send(owner, operation, ids, { query: `?since=${encodeURIComponent(of_another_feed)}` });
  },
  412: async (operation) => {
    const { owner, ids } = await somebodyWithWork();
    const stale = [{ op: 'delete', task_id: ids.task_id, version: 9 }];
    return operation.operationId === 'batchTasks'
      ? send(owner, operation, ids, { body: { operations: stale } })
      : send(owner, operation, ids, { headers: { 'if-match': '"9"' } });
  },
  413: (operation) => {
    // A document to import may be large, whatever the limit of other bodies.
    const bytes = operation.operationId === 'importProject' ? 64 * 1024 ** 2 + 1 : 5000;
    return send(stranger, operation, nowhere, { raw: ' '.repeat(bytes), headers: json });
  },
  415: (operation) =>
    send(stranger, operation, nowhere, { raw: 'x', headers: { 'content-type': 'text/plain' } }),
  422: (operation) => send(stranger, operation, nowhere, { query: '?surprise=1' }),
  429: (operation) => send(exhausted.anonymous, operation, nowhere),
  500: (operation) => send(new Client(broken, stranger.token), operation, nowhere),
  501: ({ path }) => uncounted(path),
  503: (operation) => send(new Client(unreachable, stranger.token), operation, nowhere),
};

/** Asks a platform that counts nothing. */
async function uncounted(path: string) {
  const settings = readSettings({ JWT_SECRET, RATE_LIMIT: 'off' });
  const platform = {
    settings,
    jwt_secret: JWT_SECRET,
    log: () => undefined,
  } as unknown as Platform;
  return createApp(platform).handle(new Request(`http://localhost${path}`));
}

async function success(operation: Operation) {
  const { owner, ids } = await somebodyWithWork();
  const { username, password } = owner;
  const logIn = () => api.anonymous.post('/users/login', { username, password });
  const special: Record<string, () => Promise<{ status: number }>> = {
    logIn,
    refreshSession: async () => {
      const { refresh_token } = (await logIn()).body;
      return api.anonymous.post('/users/refresh', { refresh_token });
    },
    changePassword: () =>
      owner.put('/users/me/password', {
        current_password: password,
        new_password: 'an entirely new phrase',
      }),
    deleteAccount: () => owner.request('DELETE', '/users/me', { password }),
    endSession: async () => {
      await logIn();
      const [newest] = (await owner.get('/users/me/sessions')).body.items;
      return send(owner, operation, { ...ids, session_id: newest.id });
    },
    addMember: () =>
      send(owner, operation, ids, { body: { username: stranger.username, role: 'editor' } }),
    patchMember: () => withMember(owner, operation, ids),
    removeMember: () => withMember(owner, operation, ids),
    deleteApiToken: async () => {
      const { body } = await owner.post('/users/me/tokens', { name: 'x', scopes: ['read'] });
      return send(owner, operation, { ...ids, token_id: body.id });
    },
  };
  return special[operation.operationId]?.() ?? send(owner, operation, ids);
}

async function withMember(owner: Persona, operation: Operation, ids: Ids) {
  await owner.post(`/projects/${ids.project_id}/members`, {
    username: stranger.username,
    role: 'editor',
  });
  return send(owner, operation, { ...ids, user_id: stranger.id });
}

let stranger: Persona;
let viewer: Persona;
let closed: Api;
/** Whoever is on this machine has sent it too many requests, and its clock stands still. */
let exhausted: Api;
/** Its tables are gone: every statement fails in a way that is nobody's fault but the server's. */
let broken: Api;
/** The way to its database is cut. */
let unreachable: Api;

beforeAll(async () => {
  stranger = await api.person('stranger');
  viewer = await api.person('viewer');
  const proxy = await openProxy(await createDatabase());
  closed = await Api.start({ registration: 'closed' });
  exhausted = await Api.start({ rate_limit: true });
  broken = await Api.start();
  unreachable = await Api.start({ database_url: proxy.url });
  await broken.sql`drop table tasks, project_members, projects, users cascade`;
  await broken.sql`drop schema drizzle cascade`;
  await proxy.cut();
  await exhaust(exhausted);
});

afterAll(async () => {
  for (const one of [closed, exhausted, broken, unreachable]) await one.stop();
});

/** Sends requests until one is refused. */
async function exhaust(api: Api) {
  api.stopped_at_ms = Date.now();
  const send = async () => (await fetch(`${api.url}/nothing`)).status;
  for (let refused = false; !refused; )
    refused = (await Promise.all(Array.from({ length: 100 }, send))).includes(429);
}

test('a fault of the server is told as internal, and logged once without what was sent', async () => {
  broken.log.length = 0;
  const secret = 'hunter2-Zaphod';
  const { status, body, headers } = await broken.anonymous.post('/users/register', {
    username: 'ada',
    email: 'ada@example.org',
    password: secret,
  });
  expect([status, body.code, body.detail]).toEqual([
    500,
    'internal',
    catalogue.internal.explanation,
  ]);
  const faults = broken.log.filter(({ level }) => level === 'error');
  expect(faults).toMatchObject([
    {
      event: 'internal_error',
      fields: { request_id: headers.get('x-request-id'), sqlstate: '42P01' },
    },
  ]);
  expect(JSON.stringify(faults)).not.toMatch(/hunter2|argon2|ada@|insert into/);
});

test('where nothing is counted, the metrics say what to read instead', async () => {
  const body = await (await uncounted('/metrics')).json();
  expect(body).toMatchObject({
    code: 'not_implemented',
    detail: expect.stringContaining('Workers'),
  });
});

describe.each(
  operations.map((operation) => [`${operation.method} ${operation.path}`, operation] as const),
)('%s', (_, operation) => {
  test.each(operation.statuses)('can answer %d', async (status) => {
    expect((await recipes[status]?.(operation))?.status).toBe(status);
  });
});
