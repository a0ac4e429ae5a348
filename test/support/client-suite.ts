/**
 * What `@mantou/client` does with a live server, for any runtime: Bun, Node and Chromium run the same cases. They reach the server
 * through `fetch` alone, and stand between it and the client where an answer has to be lost or a stream cut.
 */
import {
  type Client,
  type ClientOptions,
  createClient,
  newId,
  ProblemError,
  StartAfreshError,
  type TokenStorage,
} from '../../client/src/index.ts';
import { timeout } from '../../src/lib/timeout.ts';

export { createClient };

const PASSWORD = 'correct horse battery staple';
const UNKNOWN_ID = '0199d3a0-5f3c-7cc4-8f0e-6d4f0a2b9c11';

/** @throws {Error} unless both are the same as JSON. */
function equal(found: unknown, expected: unknown) {
  const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
  if (a !== b) throw new Error(`found ${a}, expected ${b}`);
}

/** Returns the problem with which something is rejected. @throws {Error} where it is not. */
async function problemOf(work: Promise<unknown>): Promise<ProblemError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof ProblemError) return error;
    throw error;
  }
  throw new Error('It should have been rejected.');
}

interface Account {
  username: string;
  client: Client;
  /** Returns another client of the same user, with a log-in of its own unless a storage has one. */
  another(options?: ClientOptions): Promise<Client>;
}

let accounts = 0;

async function openAccount(url: string): Promise<Account> {
  accounts += 1;
  const username = `c${accounts}-${Date.now().toString(36)}${Math.random().toString(36).slice(2, 8)}`;
  await createClient(url).users.register({
    username,
    email: `${username}@example.org`,
    password: PASSWORD,
  });
  const another = async (options?: ClientOptions) => {
    const client = createClient(url, options);
    await client.login(username, PASSWORD);
    return client;
  };
  return { username, client: await another(), another };
}

/** A storage in memory, as `localStorage` is one for all tabs. */
function openStorage() {
  const items = new Map<string, string>();
  const storage: TokenStorage = {
    getItem: (key) => items.get(key) ?? null,
    setItem: (key, value) => void items.set(key, value),
    removeItem: (key) => void items.delete(key),
  };
  return {
    storage,
    isEmpty: () => items.size === 0,
    /** Makes the access token end after this time, as the client sees it. */
    endIn(ms: number) {
      for (const [key, value] of items)
        items.set(key, JSON.stringify({ ...JSON.parse(value), ends_at: Date.now() + ms }));
    },
    /** Makes the access token one that the server refuses. */
    spoil() {
      for (const [key, value] of items)
        items.set(key, JSON.stringify({ ...JSON.parse(value), access_token: 'ended' }));
    },
  };
}

type Send = (request: Request, options: { signal: AbortSignal }) => Promise<Response>;

/** A `fetch` that notes the requests, and passes those on a path to `act` instead. */
function between(path: RegExp, act: (send: Send, count: number) => Send) {
  const requests: Request[] = [];
  const through: Send = (request, options) => fetch(request, options);
  const send: Send = (request, options) => {
    if (!path.test(new URL(request.url).pathname)) return through(request, options);
    requests.push(request);
    return act(through, requests.length)(request, options);
  };
  return { fetch: send, requests };
}

/** Lets the server answer, and loses the first answers. */
const losing = (answers: number) => (send: Send, count: number) =>
  count > answers
    ? send
    : ((async (request, options) => {
        await (await send(request, options)).arrayBuffer();
        throw new TypeError('The connection is lost.');
      }) satisfies Send);

/** Answers the first requests itself. */
const answering = (answers: Response[]) => (send: Send, count: number) => {
  const answer = answers[count - 1];
  return answer ? async () => answer : send;
};

const problem = (status: number, code: string, retryAfter: string) =>
  new Response(JSON.stringify({ status, code, title: code }), {
    status,
    headers: { 'content-type': 'application/problem+json', 'retry-after': retryAfter },
  });

/** Ends the body of the first responses after their first message with data: cleanly, or as a lost connection. */
const cutting = (streams: number, how: 'end' | 'lose') => (send: Send, count: number) =>
  count > streams
    ? send
    : ((async (request, options) => {
        const response = await send(request, options);
        const reader = response.body?.getReader();
        let text = '';
        let isCut = false;
        return new Response(
          new ReadableStream<Uint8Array>({
            async pull(controller) {
              if (isCut) {
                await reader?.cancel();
                if (how === 'end') return controller.close();
                return controller.error(new TypeError('The connection is lost.'));
              }
              const { value, done } = (await reader?.read()) ?? { done: true };
              if (done || !value) return controller.close();
              controller.enqueue(value);
              text += new TextDecoder().decode(value);
              isCut = /^data: [^\n]*\n\n/m.test(text);
            },
            cancel: async () => void (await reader?.cancel()),
          }),
          { headers: response.headers },
        );
      }) satisfies Send);

async function collect<T>(rows: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const row of rows) all.push(row);
  return all;
}

/** Each gets the URL of the server. */
export const clientCases: Record<string, (url: string) => Promise<void>> = {
  async 'lists are read to their end, each row once'(url) {
    const { client } = await openAccount(url);
    const { id } = await client.projects.create({ name: 'Kitchen' });
    const operations = Array.from({ length: 100 }, (_, n) => ({
      op: 'create' as const,
      project_id: id,
      title: `Task ${n} – Fliesen „weiß“`,
    }));
    for (let n = 0; n < 3; n += 1)
      equal((await client.tasks.batch(operations)).results.length, 100);
    const tasks = await collect(client.tasks.list({ project_id: [id], status: ['todo', 'done'] }));
    equal([tasks.length, new Set(tasks.map((task) => task.id)).size], [300, 300]);
    equal((await client.tasks.count({ q: 'fliesen' })).count, 300);
    equal((await collect(client.projects.list())).length, 1);
    equal((await collect(client.projects.members(id))).length, 1);
  },

  async 'problems have a typed code, the fields at fault, and the id of the request'(url) {
    const { client } = await openAccount(url);
    const missing = await problemOf(client.tasks.get(UNKNOWN_ID));
    equal([missing.code, missing.status, missing.name], ['not_found', 404, 'ProblemError']);
    if (!missing.requestId) throw new Error('It should have the id of the request.');
    const invalid = await problemOf(client.projects.create({ name: '' }));
    equal([invalid.code, invalid.errors[0]?.location], ['validation_failed', 'body.name']);
    const wrong = await problemOf(client.login('ada', 'a wrong password'));
    equal(wrong.code, 'invalid_credentials');
    equal((await problemOf(createClient(url).users.me())).code, 'unauthenticated');
    equal((await problemOf(createClient(url, { token: 'mt_x' }).users.me())).code, 'invalid_token');
  },

  async 'a write of a row that was read is refused once another has changed it'(url) {
    const { client, another } = await openAccount(url);
    const project = await client.projects.create({ name: 'Kitchen' });
    const task = await client.tasks.create(project.id, { title: 'Tiles', due_on: '2026-12-24' });
    const theirs = await (await another()).tasks.update(task, { title: 'Slate', due_on: null });
    equal([theirs.version, theirs.due_on], [2, null]);
    for (const work of [
      () => client.tasks.update(task, { status: 'done' }),
      () => client.tasks.replace(task, { title: 'Tiles' }),
      () => client.tasks.delete(task),
    ])
      equal((await problemOf(work())).code, 'precondition_failed');
    const done = await client.tasks.update(theirs, { status: 'done' });
    equal([done.title, done.status, done.version], ['Slate', 'done', 3]);
    // By its id alone, a write does not ask.
    equal((await client.tasks.update(task.id, { priority: 4 })).version, 4);
    await client.projects.update(project, { name: 'Bath' });
    equal((await problemOf(client.projects.delete(project))).code, 'precondition_failed');
    await client.projects.delete(project.id);
    equal((await problemOf(client.projects.get(project.id))).code, 'not_found');
  },

  async 'a create whose answer is lost is done once'(url) {
    const { client, another } = await openAccount(url);
    const { id } = await client.projects.create({ name: 'Kitchen' });
    const lost = between(/^\/tasks\/projects\//, losing(2));
    const theirs = await another({ fetch: lost.fetch });
    await theirs.tasks.create(id, { title: 'Tiles' });
    const keys = lost.requests.map(({ headers }) => headers.get('idempotency-key'));
    equal([keys.length, new Set(keys).size], [3, 1]);
    await theirs.tasks.create(id, { title: 'Tiles' });
    equal((await client.tasks.count()).count, 2);
  },

  async 'ids that the client chooses are kept, and a repeated create learns that it is done'(url) {
    const { client } = await openAccount(url);
    const [projectId, id] = [newId(), newId()];
    equal((await client.projects.create({ id: projectId, name: 'Kitchen' })).id, projectId);
    equal((await client.tasks.create(projectId, { id, title: 'Tiles' })).id, id);
    equal(
      (await problemOf(client.tasks.create(projectId, { id, title: 'Tiles' }))).code,
      'id_taken',
    );
  },

  async 'a deletion whose answer is lost is done, and a write with a condition is not repeated'(
    url,
  ) {
    const { client, another } = await openAccount(url);
    const { id } = await client.projects.create({ name: 'Kitchen' });
    const task = await client.tasks.create(id, { title: 'Tiles' });
    const lost = between(/^\/tasks\//, losing(1));
    await (await another({ fetch: lost.fetch })).tasks.delete(task.id);
    equal([lost.requests.length, (await client.tasks.count()).count], [2, 0]);
    equal((await problemOf(client.tasks.delete(task.id))).code, 'not_found');
    const one = await client.tasks.create(id, { title: 'One' });
    const again = between(/^\/tasks\//, losing(1));
    const conditional = (await another({ fetch: again.fetch })).tasks.update(one, { priority: 1 });
    const failed = await conditional.then(
      () => 'done',
      ({ name }: Error) => name,
    );
    equal([failed, again.requests.length], ['TypeError', 1]);
    equal((await client.tasks.get(one.id)).version, 2);
  },

  async 'comments are created once, listed, edited on the version that was read, and deleted'(url) {
    const { client, another } = await openAccount(url);
    const { id: projectId } = await client.projects.create({ name: 'Kitchen' });
    const { id: taskId } = await client.tasks.create(projectId, { title: 'Tiles' });
    const lost = between(/\/comments$/, losing(1));
    const first = await (await another({ fetch: lost.fetch })).comments.create(taskId, {
      body: 'Slate',
    });
    equal([lost.requests.length, (await client.tasks.get(taskId)).comment_count], [2, 1]);
    const edited = await client.comments.update(first, { body: 'Terracotta' });
    equal([edited.version, edited.body], [2, 'Terracotta']);
    equal(
      (await problemOf(client.comments.update(first, { body: 'Marble' }))).code,
      'precondition_failed',
    );
    const id = newId();
    await client.comments.create(taskId, { id, body: 'Second' });
    const bodies: string[] = [];
    for await (const { body } of client.comments.list(taskId, { sort: 'created_at' }))
      bodies.push(body);
    equal(bodies, ['Terracotta', 'Second']);
    await client.comments.delete(edited);
    equal((await client.comments.get(id)).author_id, (await client.users.me()).id);
    equal((await problemOf(client.comments.get(edited.id))).code, 'not_found');
  },

  async 'Retry-After is obeyed up to a bound, and retries end'(url) {
    const { another } = await openAccount(url);
    const soon = between(
      /^\/users\/me$/,
      answering([
        problem(429, 'rate_limited', '0'),
        problem(503, 'database_unavailable', '0'),
        new Response('<h1>Bad gateway</h1>', { status: 502 }),
      ]),
    );
    await (await another({ fetch: soon.fetch })).users.me();
    equal(soon.requests.length, 4);
    const late = between(/^\/users\/me$/, answering([problem(429, 'rate_limited', '900')]));
    const refused = await problemOf((await another({ fetch: late.fetch })).users.me());
    equal(
      [refused.code, refused.retryAfterSeconds, late.requests.length],
      ['rate_limited', 900, 1],
    );
    const never = between(/^\/users\/me$/, () => async () => problem(503, 'overloaded', '0'));
    const ended = await problemOf((await another({ fetch: never.fetch, retries: 2 })).users.me());
    equal([ended.code, never.requests.length], ['overloaded', 3]);
    // Whether an account was made is unknown, so it is not made again.
    const unknown = between(
      /^\/users\/register$/,
      () => async () => problem(503, 'database_unavailable', '0'),
    );
    const account = { username: 'x', email: 'x@example.org', password: PASSWORD };
    equal((await problemOf(createClient(url, unknown).users.register(account))).status, 503);
    equal(unknown.requests.length, 1);
  },

  async 'requests that meet the end of a token refresh it once, and so do two tabs'(url) {
    const { another } = await openAccount(url);
    const { storage, spoil } = openStorage();
    const watched = between(/^\/users\/refresh$/, (send) => send);
    await another({ storage });
    spoil();
    const tab = () => createClient(url, { storage, fetch: watched.fetch });
    const first = tab();
    await Promise.all([first.users.me(), first.tasks.count(), first.tasks.count()]);
    equal(watched.requests.length, 1);
    spoil();
    const tabs = [tab(), tab(), tab()];
    await Promise.all(tabs.map((one) => one.users.me()));
    // The session lives: a token that was used twice would have ended it.
    spoil();
    await Promise.all([first, ...tabs].map((one) => one.users.me()));
  },

  async 'a token that is about to end is refreshed ahead, and serves on where that fails'(url) {
    const { another } = await openAccount(url);
    const { storage, endIn } = openStorage();
    const watched = between(/^\/users\/refresh$/, (send) => send);
    await another({ storage });
    endIn(5000);
    const client = createClient(url, { storage, fetch: watched.fetch });
    await client.users.me();
    await client.users.me();
    equal(watched.requests.length, 1);
    endIn(5000);
    const lost = between(/^\/users\/refresh$/, () => async () => {
      throw new TypeError('The connection is lost.');
    });
    await createClient(url, { storage, fetch: lost.fetch, retries: 0 }).users.me();
    equal(lost.requests.length, 1);
    endIn(-1);
    const ended = createClient(url, { storage, fetch: lost.fetch, retries: 0 }).users.me();
    equal(await ended.catch(({ name }: Error) => name), 'TypeError');
  },

  async 'the end of the session is a problem, and the log-in is forgotten'(url) {
    const { client, another } = await openAccount(url);
    const { storage, spoil, isEmpty } = openStorage();
    await another({ storage });
    await client.api.DELETE('/users/me/sessions');
    spoil();
    const theirs = createClient(url, { storage });
    equal((await problemOf(theirs.users.me())).code, 'invalid_refresh_token');
    equal(isEmpty(), true);
    equal((await problemOf(theirs.users.me())).code, 'unauthenticated');
    await client.logout();
    equal((await problemOf(client.users.me())).code, 'unauthenticated');
  },

  async 'CSV and calendar are text, an export is imported as it is'(url) {
    const { client } = await openAccount(url);
    const { id } = await client.projects.create({ name: 'Kitchen' });
    await client.tasks.create(id, { title: 'Tiles', due_at: '2026-12-24T18:00:00+01:00' });
    if (!/Tiles/.test(await client.projects.exportCsv(id))) throw new Error('It should be CSV.');
    const calendar = await client.tasks.calendar({ status: ['todo'] });
    if (!/^BEGIN:VCALENDAR\r\n/.test(calendar)) throw new Error('It should be a calendar.');
    const { project } = await client.projects.import(await client.projects.export(id));
    equal([project.name, project.id === id], ['Kitchen', false]);
  },

  async 'a snapshot and the changes that follow are gapless over lost and ended connections'(url) {
    const { client, another } = await openAccount(url);
    const { id } = await client.projects.create({ name: 'Kitchen' });
    const before = await client.tasks.create(id, { title: 'Before' });
    const pages = await collect(client.changes.snapshot({ limit: 1 }));
    equal(
      pages.flatMap(({ tasks }) => tasks),
      [before],
    );
    equal(
      pages.flatMap(({ projects }) => projects.map((project) => project.id)),
      [id],
    );
    equal([pages.at(-1)?.complete, pages.filter(({ complete }) => complete).length], [true, 1]);
    const since = pages.at(-1)?.cursor;
    for (const how of ['lose', 'end'] as const) {
      const cut = between(/^\/changes\/stream$/, cutting(2, how));
      const follower = await another({ fetch: cut.fetch });
      const from = how === 'lose' ? since : (await client.changes.page()).next_cursor;
      const ending = new AbortController();
      const cursors: string[] = [];
      const seen: unknown[] = [];
      const events = follower.changes.follow({
        since: from,
        signal: ending.signal,
        onCursor: (cursor) => cursors.push(cursor),
      });
      const titles = ['One', 'Two', 'Three'];
      const createNext = async (title: string | undefined) =>
        title === undefined ? ending.abort() : client.tasks.create(id, { title });
      await createNext(titles[0]);
      for await (const event of events) {
        seen.push(event.fields.title);
        await createNext(titles[seen.length]);
      }
      equal(seen, titles);
      const resumed = cut.requests.map(({ headers }) => headers.get('last-event-id'));
      equal([resumed.length, resumed[0]], [3, from]);
      if (!cursors.includes(resumed[2] ?? '')) throw new Error('It should resume where it was.');
    }
  },

  async 'a stream refreshes a token that has ended, and ends with the session'(url) {
    const { client, another } = await openAccount(url);
    const { id } = await client.projects.create({ name: 'Kitchen' });
    const { storage, spoil } = openStorage();
    await another({ storage });
    const { next_cursor: since } = await client.changes.page();
    await client.tasks.create(id, { title: 'Tiles' });
    spoil();
    const events = createClient(url, { storage }).changes.follow({ since });
    equal((await events.next()).value?.fields.title, 'Tiles');
    await client.api.DELETE('/users/me/sessions');
    equal((await problemOf(events.next())).code, 'invalid_refresh_token');
  },

  async 'a cursor that is too old says to start afresh, another is invalid'(url) {
    const { client } = await openAccount(url);
    const { next_cursor } = await client.changes.page();
    const [list, , position] = JSON.parse(atob(next_cursor));
    const old = btoa(JSON.stringify([list, '00000000', position])).replace(/=+$/, '');
    for (const work of [
      () => collect(client.changes.follow({ since: old })),
      () => collect(client.changes.snapshot({ since: old })),
      () => client.changes.page({ since: old }),
    ]) {
      const refused = await problemOf(work());
      equal(
        [refused instanceof StartAfreshError, refused.code, refused.status],
        [true, 'cursor_expired', 410],
      );
    }
    const invalid = await problemOf(collect(client.changes.follow({ since: 'nonsense' })));
    equal([invalid.code, invalid instanceof StartAfreshError], ['invalid_cursor', false]);
  },

  async 'a long poll returns with the change, and a signal ends it'(url) {
    const { client } = await openAccount(url);
    const { id } = await client.projects.create({ name: 'Kitchen' });
    const { next_cursor: since } = await client.changes.page();
    const ending = new AbortController();
    const waiting = client.changes.page({ since, wait: 30 });
    await client.tasks.create(id, { title: 'Tiles' });
    const { items, next_cursor } = await waiting;
    equal(
      items.map(({ action }) => action),
      ['task.created'],
    );
    const ended = client.changes.page({ since: next_cursor, wait: 30 }, { signal: ending.signal });
    // Another long poll takes a second; meanwhile the runtime forgets what it can of the first.
    await client.changes.page({ since: next_cursor, wait: 1 });
    ending.abort();
    equal(await ended.catch(({ name }: Error) => name), 'AbortError');
  },
};

/** Far beyond what a case takes. */
const inTime = timeout(60_000);

/** Runs all cases. @returns what went wrong, by the name of the case. */
export async function runClientCases(url: string): Promise<Record<string, string>> {
  const failures: Record<string, string> = {};
  for (const [name, run] of Object.entries(clientCases))
    await inTime(run(url), () => new Error('It does not end.')).catch((error: Error) => {
      failures[name] = String(error.stack ?? error);
    });
  return failures;
}
