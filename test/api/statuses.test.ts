/** From the route table: who is let in, and that each status which the document declares can really happen. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { SQL } from 'bun';
import { drizzle } from 'drizzle-orm/bun-sql';
import { Elysia } from 'elysia';
import { createApi, createApp } from '../../src/app.ts';
import { catalogue } from '../../src/errors/problem.ts';
import type { Platform } from '../../src/platform.ts';
import { readSettings } from '../../src/settings.ts';
import { Api, Client, isUnserved, JWT_SECRET, type Persona, useApi } from '../support/api.ts';
import { createDatabase } from '../support/cluster.ts';
import { type Operation, operations } from '../support/document.ts';
import { openTransaction } from '../support/locks.ts';
import { modernRequest } from '../support/mcp.ts';
import { openProxy } from '../support/proxy.ts';
import { type Ids, missingIds, send, WEBHOOK_URL } from '../support/requests.ts';

const api = useApi({ bodyLimitBytes: 4096 });

const json = { 'content-type': 'application/json' };

async function somebodyWithWork() {
  const owner = await api.person();
  const project = await owner.createProject();
  const task = await owner.createTask(project.id);
  const trashed = await owner.createTask(project.id);
  await owner.delete(`/tasks/${trashed.id}`);
  const { body: comment } = await owner.post(`/tasks/${task.id}/comments`, { body: 'Slate' });
  const { id: webhookId, cursor } = await createWebhook(owner);
  const { body: calendar } = await owner.post('/users/me/calendars', { name: 'phone' });
  const { body: invitation } = await owner.post(`/projects/${project.id}/invitations`, {
    role: 'viewer',
  });
  const ids = {
    ...missingIds,
    invitation_id: invitation.id,
    token: invitation.token,
    calendar_id: calendar.id,
    file: calendar.url.split('/').at(-1),
    project_id: project.id,
    task_id: task.id,
    trash_id: trashed.id,
    comment_id: comment.id,
    webhook_id: webhookId,
    cursor,
  };
  return { owner, ids };
}

/** Creates a webhook; at the edge, where there are none, names a missing one, with a cursor of the feed. */
async function createWebhook(owner: Persona): Promise<Pick<Ids, 'cursor'> & { id: string }> {
  const { status, body } = await owner.post('/users/me/webhooks', { url: WEBHOOK_URL });
  if (status !== 501) return body;
  const { body: feed } = await owner.get('/changes');
  return { id: missingIds.webhook_id, cursor: feed.next_cursor };
}

const needsToken = operations.filter((operation) => !operation.public);

test('the document has every route of the API, and no other', () => {
  // Routes as Elysia has them: a route that the document hides would be a hole in the tests below.
  const platform = { settings: {}, jwtSecret: JWT_SECRET } as Platform;
  const routes = new Elysia()
    .use(createApi(platform))
    // Those of CalDAV have tests of their own, which walk their routes.
    .routes.filter(
      ({ method, path }) => method !== 'PROPFIND' && !/^\/(dav|\.well-known)\b/.test(path),
    )
    .map(({ method, path }) => `${method} ${path.replace(/:(\w+)/g, '{$1}').replace(/\/$/, '')}`);
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
    'readSecretCalendar',
    'readMetrics',
  ]);
});

test.each(
  needsToken.map((operation) => [`${operation.method} ${operation.path}`, operation] as const),
)('%s answers 401 to an unauthenticated request', async (_, operation) => {
  const { ids } = await somebodyWithWork();
  const strangers: [Client, string][] = [
    [api.anonymous, 'unauthenticated'],
    [new Client(api, 'x.y.z'), 'invalid_token'],
  ];
  for (const place of [ids, missingIds])
    for (const [stranger, code] of strangers) {
      const { status, body } = await send(stranger, operation, place);
      expect([status, body.code]).toEqual([401, code]);
    }
});

/** For each status, a request that brings it about on an operation that declares it. */
const recipes: Record<number, (operation: Operation) => Promise<{ status: number }>> = {
  200: (operation) =>
    operation.operationId === 'importProject'
      ? send(stranger, operation, missingIds, { query: '?dry_run=true' })
      : success(operation),
  201: success,
  202: (operation) =>
    send(stranger, operation, missingIds, {
      body: { jsonrpc: '2.0', method: 'notifications/initialized' },
    }),
  204: success,
  304: async (operation) => {
    const { owner, ids } = await somebodyWithWork();
    const tag = operation.tags[0] === 'Calendars' ? '*' : '"1"';
    return send(owner, operation, ids, { headers: { 'if-none-match': tag } });
  },
  400: (operation) =>
    send(operation.public ? api.anonymous : stranger, operation, missingIds, {
      // Both runtimes hand it to the app: a name with a port that is none.
      headers: { host: 'x:y' },
    }),
  401: (operation) => send(api.anonymous, operation, missingIds),
  403: async (operation) => {
    if (operation.operationId === 'registerUser')
      return send(closed.anonymous, operation, missingIds);
    const { owner, ids } = await somebodyWithWork();
    if (operation.operationId === 'callMcp')
      return send(owner, operation, ids, { headers: { origin: 'https://elsewhere.example' } });
    if (['listMembers', 'listInvitations'].includes(operation.operationId)) {
      await api.addMember(ids.project_id, viewer, 'viewer');
      return send(viewer, operation, ids);
    }
    const { body } = await owner.post('/users/me/tokens', { name: 'x', scopes: ['read'] });
    return send(new Client(api, body.token), operation, ids);
  },
  404: (operation) =>
    operation.operationId === 'registerUser'
      ? register(missingIds.token)
      : operation.operationId === 'explainProblem'
        ? api.anonymous.get('/problems/none')
        : operation.operationId === 'callMcp'
          ? sendUnknownMethod(operation)
          : send(stranger, operation, missingIds, {
              ...(['listAllTasks', 'countTasks', 'listLabels', 'readCalendar'].includes(
                operation.operationId,
              ) && {
                query: `?project_id=${missingIds.project_id}`,
              }),
            }),
  409: async (operation) => {
    if (operation.operationId === 'registerUser') {
      const taken = {
        username: viewer.username,
        email: 'new@example.org',
        password: 'correct horse',
      };
      return send(api.anonymous, operation, missingIds, {
        raw: JSON.stringify(taken),
        headers: json,
      });
    }
    const { owner, ids } = await somebodyWithWork();
    if (['createProject', 'importProject'].includes(operation.operationId)) {
      const letGo = await openTransaction(
        api,
        (sql) => sql`select pg_advisory_xact_lock(hashtextextended(${`${owner.id} twin`}, 0))`,
      );
      const answer = await send(owner, operation, ids, { headers: { 'idempotency-key': 'twin' } });
      await letGo();
      return answer;
    }
    if (operation.operationId === 'patchProfile')
      return owner.patch('/users/me', { username: viewer.username });
    if (operation.operationId === 'deleteAccount') {
      await api.addMember(ids.project_id, viewer, 'viewer');
      return owner.request('DELETE', '/users/me', { password: owner.password });
    }
    if (operation.operationId === 'createApiToken')
      await api.sql`insert into api_tokens (id, user_id, name, token_hash, scopes)
        select gen_random_uuid(), ${owner.id}, 'n', gen_random_uuid(), '{read}' from generate_series(1, 100)`;
    if (operation.operationId === 'createCalendarAddress')
      await api.sql`insert into calendar_addresses (id, user_id, name, secret_hash)
        select gen_random_uuid(), ${owner.id}, 'n', gen_random_uuid() from generate_series(2, 100)`;
    if (operation.operationId === 'createWebhook')
      await api.sql`insert into webhooks (id, user_id, url, secret, cursor)
        select gen_random_uuid(), ${owner.id}, ${WEBHOOK_URL}, 'x', 'x' from generate_series(2, 20)`;
    await owner.patch(`/projects/${ids.project_id}`, { archived: true });
    const isNew = operation.operationId === 'acceptInvitation';
    return send(isNew ? stranger : owner, operation, ids);
  },
  410: async (operation) => {
    const { owner, ids } = await somebodyWithWork();
    if (['acceptInvitation', 'registerUser'].includes(operation.operationId)) {
      await owner.delete(`/projects/${ids.project_id}/invitations/${ids.invitation_id}`);
      return operation.operationId === 'registerUser'
        ? register(ids.token)
        : send(stranger, operation, ids);
    }
    const isHistory = operation.operationId === 'listEvents';
    const path = isHistory ? `/projects/${ids.project_id}/events?limit=1` : '/changes';
    const { body } = await owner.get(path);
    const [name, , position] = JSON.parse(atob(body.next_cursor));
    const ofAnotherFeed = btoa(JSON.stringify([name, '00000000', position]));
    if (operation.operationId === 'replayWebhook')
      return send(owner, operation, { ...ids, cursor: ofAnotherFeed });
    const parameter = isHistory ? 'cursor' : 'since';
    return send(owner, operation, ids, {
      query: `?${parameter}=${encodeURIComponent(ofAnotherFeed)}`,
    });
  },
  412: async (operation) => {
    const { owner, ids } = await somebodyWithWork();
    const stale = [{ op: 'delete', task_id: ids.task_id, version: 9 }];
    return operation.operationId === 'batchTasks'
      ? send(owner, operation, ids, { body: { operations: stale } })
      : send(owner, operation, ids, { headers: { 'if-match': '"9"' } });
  },
  413: (operation) => {
    // BODY_LIMIT does not apply to an import.
    const bytes = operation.operationId === 'importProject' ? 64 * 1024 ** 2 + 1 : 5000;
    return send(stranger, operation, missingIds, { raw: ' '.repeat(bytes), headers: json });
  },
  415: (operation) =>
    send(stranger, operation, missingIds, { raw: 'x', headers: { 'content-type': 'text/html' } }),
  422: (operation) => send(stranger, operation, missingIds, { query: '?surprise=1' }),
  429: (operation) =>
    operation.operationId === 'readSecretCalendar'
      ? guessTooOften(operation)
      : send(exhausted.anonymous, operation, missingIds),
  500: (operation) => send(new Client(broken, stranger.token), operation, missingIds),
  501: (operation) => {
    const url = least.url.origin;
    return send(new Client({ url } as Api, stranger.token), operation, missingIds);
  },
  503: async (operation) => {
    // A stream opens for a valid access token while the database is away; an API token has to be looked up.
    const isStream = operation.operationId === 'streamChanges';
    const token = isStream ? await createToken(stranger) : stranger.token;
    return send(new Client(unreachable, token), operation, missingIds);
  },
};

/** Registers with an invitation. */
const register = (invitation: string) =>
  api.anonymous.post('/users/register', {
    username: 'invited',
    email: 'invited@example.org',
    password: 'correct horse battery staple',
    invitation,
  });

/** A poll of a calendar is not refused for a limit on requests, but one of an unknown address for the limit on guesses. */
async function guessTooOften(operation: Operation) {
  const limited = await Api.start({ rateLimit: true });
  await send(limited.anonymous, operation, missingIds);
  await limited.sql`update rate_limits set hits = 100`;
  const answer = await send(limited.anonymous, operation, missingIds);
  await limited.stop();
  return answer;
}

/** Sends a method that the protocol does not know, in its latest version. */
const sendUnknownMethod = (operation: Operation) =>
  send(stranger, operation, missingIds, modernRequest('tasks/dance'));

async function createToken(persona: Persona): Promise<string> {
  return (await persona.post('/users/me/tokens', { name: 'script', scopes: ['read'] })).body.token;
}

/** Listens with a platform that has neither metrics nor a way to deliver webhooks. */
function serveLeast() {
  leastSql = new SQL({ url: api.databaseUrl, max: 1 });
  const platform = {
    database: drizzle({ client: leastSql }),
    settings: readSettings({ JWT_SECRET, RATE_LIMIT: 'off' }),
    jwtSecret: JWT_SECRET,
    now: () => new Date(),
    log: () => undefined,
    remoteAddress: () => undefined,
  } as unknown as Platform;
  return Bun.serve({ hostname: '127.0.0.1', port: 0, fetch: createApp(platform).fetch });
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
    forgetLeftProject: async () => {
      const project = await stranger.createProject();
      await api.addMember(project.id, owner, 'viewer');
      await owner.delete(`/projects/${project.id}/members/${owner.id}`);
      return send(owner, operation, { ...ids, project_id: project.id });
    },
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
/** An API whose clock stands still, to which this address has sent too many requests. */
let exhausted: Api;
/** An API whose tables are gone: every statement fails unexpectedly. */
let broken: Api;
/** The way to its database is cut. */
let unreachable: Api;
/** Without metrics and without the delivery of webhooks. */
let least: ReturnType<typeof serveLeast>;
let leastSql: SQL;

beforeAll(async () => {
  stranger = await api.person('stranger');
  viewer = await api.person('viewer');
  const proxy = await openProxy(await createDatabase());
  closed = await Api.start({ registration: 'closed' });
  exhausted = await Api.start({ rateLimit: true });
  broken = await Api.start();
  unreachable = await Api.start({ databaseUrl: proxy.url });
  await broken.sql`drop table tasks, project_members, projects, users cascade`;
  await broken.sql`drop schema drizzle cascade`;
  await proxy.cut();
  await exhaust(exhausted);
  least = serveLeast();
});

afterAll(async () => {
  await least.stop(true);
  await leastSql.close();
  for (const one of [closed, exhausted, broken, unreachable]) await one.stop();
});

/** Sends requests until one is refused. */
async function exhaust(api: Api) {
  api.stoppedAtMs = Date.now();
  const send = async () => (await fetch(`${api.url}/nothing`)).status;
  for (let refused = false; !refused; )
    refused = (await Promise.all(Array.from({ length: 100 }, send))).includes(429);
}

test('an unexpected error gets 500 internal and is logged once without submitted values', async () => {
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

test('without metrics, GET /metrics answers 501 and names what to read instead', async () => {
  const body = await (await fetch(`${least.url}metrics`)).json();
  expect(body).toMatchObject({
    code: 'not_implemented',
    detail: expect.stringContaining('Workers'),
  });
});

/** What a handler answers, so that an operation which the runtime does not serve answers 501 instead. */
const OF_HANDLERS = [200, 201, 204, 404, 409, 410];

describe.each(
  operations.map((operation) => [`${operation.method} ${operation.path}`, operation] as const),
)('%s', (_, operation) => {
  test.each(operation.statuses)('can answer %d', async (status) => {
    const expected = isUnserved(operation) && OF_HANDLERS.includes(status) ? 501 : status;
    expect((await recipes[status]?.(operation))?.status).toBe(expected);
  });
});
