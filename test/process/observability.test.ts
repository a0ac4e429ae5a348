/** What an operator can watch: a log line for each request, and metrics. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { SQL } from 'bun';
import { createLog } from '../../src/lib/log.ts';
import { type Answer, Api, JWT_SECRET, type LogLine, useApi } from '../support/api.ts';
import { createDatabase, dropDatabase } from '../support/cluster.ts';
import { start, useProcesses, waitFor } from '../support/process.ts';
import { exchange } from '../support/raw.ts';

useProcesses();
const api = useApi({ rateLimit: true });

let DATABASE_URL: string;
beforeAll(async () => {
  DATABASE_URL = await createDatabase();
});
afterAll(() => dropDatabase(DATABASE_URL));

/** Does something and gives the lines of its requests, which come after the answers. */
async function linesOf(count: number, act: () => Promise<unknown>): Promise<LogLine[]> {
  await mark();
  api.requests.length = 0;
  await act();
  await waitFor(`${count} lines`, () => api.requests.length >= count);
  await mark();
  return api.requests.slice(0, -1);
}

/** Sends one more request, and waits for its line: all lines before it are there then. */
async function mark() {
  const requestId = crypto.randomUUID();
  await api.anonymous.get('/health/live', { headers: { 'x-request-id': requestId } });
  await waitFor('the last line', () => api.requests.at(-1)?.fields.request_id === requestId);
}

describe('the log has one line for each request', () => {
  test('with method, route pattern, status, milliseconds, user and request id', async () => {
    const ada = await api.person();
    const project = await ada.createProject();
    const headers = { 'x-request-id': 'mine-1' };
    const lines = await linesOf(1, () => ada.get(`/projects/${project.id}/?`, { headers }));
    expect(lines).toEqual([
      {
        level: 'info',
        event: 'request',
        fields: {
          method: 'GET',
          route: '/projects/{project_id}',
          status: 200,
          code: undefined,
          ms: expect.any(Number),
          user_id: ada.id,
          request_id: 'mine-1',
        },
      },
    ]);
  });

  test('for a success, a refusal and a failure', async () => {
    const ada = await api.person();
    const project = await ada.createProject();
    const host = (value: string) =>
      exchange(api.url, `GET /health/live HTTP/1.1\r\nHost: ${value}\r\nConnection: close\r\n\r\n`);
    const cases: [string, () => Promise<unknown>, unknown[]][] = [
      [
        'created',
        () => ada.post('/projects', { name: 'x' }),
        ['POST', '/projects', 201, undefined],
      ],
      ['empty', () => ada.post('/users/logout'), ['POST', '/users/logout', 204, undefined]],
      ['unknown', () => ada.get('/a/secret?b=c'), ['GET', 'unmatched', 404, 'not_found']],
      [
        'stranger',
        () => api.anonymous.get('/projects'),
        ['GET', '/projects', 401, 'unauthenticated'],
      ],
      [
        'no route for it',
        () => ada.put('/projects'),
        ['PUT', 'unmatched', 405, 'method_not_allowed'],
      ],
      [
        'head',
        () => ada.request('HEAD', '/problems/internal'),
        ['HEAD', '/problems/{code}', 200, undefined],
      ],
      [
        'options',
        () => ada.request('OPTIONS', '/projects'),
        ['OPTIONS', 'unmatched', 204, undefined],
      ],
      ['redirect', () => ada.get('/'), ['GET', '/', 302, undefined]],
      ['malformed', () => host('a:b'), ['GET', 'unmatched', 400, 'malformed_request']],
      [
        'no JSON',
        () =>
          ada.post('/projects', undefined, {
            raw: '{',
            headers: { 'content-type': 'application/json' },
          }),
        ['POST', '/projects', 401, 'invalid_token'],
      ],
    ];
    for (const [what, act, expected] of cases) {
      const lines = await linesOf(1, act);
      const told = lines.map(({ fields: { method, route, status, code } }) => [
        method,
        route,
        status,
        code,
      ]);
      expect([what, told]).toEqual([what, [expected]]);
    }
    const grace = await api.person();
    for (const [body, status, code] of [
      [{ title: '' }, 422, 'validation_failed'],
      [{ title: 'x' }, 404, 'not_found'],
    ] as const) {
      const [line] = await linesOf(1, () => grace.post(`/tasks/projects/${project.id}`, body));
      expect(line?.fields).toMatchObject({
        route: '/tasks/projects/{project_id}',
        status,
        code,
        user_id: grace.id,
      });
    }
  });

  test('without anything that the client sent', async () => {
    const ada = await api.person();
    const lines = await linesOf(3, async () => {
      await api.anonymous.post('/users/login', { username: ada.username, password: ada.password });
      await ada.get(`/users/me?access_token=${ada.token}`);
      await ada.post(
        '/projects',
        { name: 'a secret project' },
        { headers: { cookie: 'a=secret' } },
      );
    });
    const text = JSON.stringify(lines);
    for (const sent of [ada.password, ada.token ?? '', 'secret', ada.username])
      expect(text).not.toContain(sent);
    expect(text).not.toMatch(/argon2|eyJ|mt_/);
  });

  test('on a terminal: the time of day, the event and its fields', () => {
    const written: string[] = [];
    createLog('info', 'pretty', (line) => written.push(line))('info', 'request', {
      method: 'GET',
      route: '/tasks/{task_id}',
      status: 200,
      ms: 3.14,
      user_id: undefined,
      words: 'two words',
    });
    expect(written[0]).toMatch(
      /^\d\d:\d\d:\d\d\.\d{3} info {2}request method=GET route=\/tasks\/\{task_id\} status=200 ms=3\.14 words="two words"$/,
    );
  });
});

describe('the traceparent of the caller', () => {
  const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
  const parentId = '00f067aa0ba902b7';

  test.each([
    ['version 00', `00-${traceId}-${parentId}-01`],
    ['a later version with more fields', `cc-${traceId}-${parentId}-01-what-the-future-holds`],
  ])('is logged: %s', async (_, traceparent) => {
    const [line] = await linesOf(1, () =>
      api.anonymous.get('/health/live', { headers: { traceparent } }),
    );
    expect(line?.fields).toMatchObject({ trace_id: traceId, parent_id: parentId });
  });

  test.each([
    ['no trace', `00-${'0'.repeat(32)}-${parentId}-01`],
    ['no parent', `00-${traceId}-${'0'.repeat(16)}-01`],
    ['the version that is none', `ff-${traceId}-${parentId}-01`],
    ['more than version 00 has', `00-${traceId}-${parentId}-01-more`],
    ['upper case', `00-${traceId.toUpperCase()}-${parentId}-01`],
    ['something else', 'x'.repeat(5000)],
  ])('is not logged when it is invalid: %s', async (_, traceparent) => {
    const [line] = await linesOf(1, () =>
      api.anonymous.get('/health/live', { headers: { traceparent } }),
    );
    expect(line?.fields).not.toHaveProperty('trace_id');
  });
});

describe('/metrics', () => {
  /** The value of a series, by its name and labels as they are written. */
  async function read(series: string, url = api.url): Promise<number> {
    const answer = await fetch(`${url}/metrics`);
    expect(answer.status).toBe(200);
    const text = await answer.text();
    const line = text.split('\n').find((one) => one.startsWith(`${series} `));
    return Number(line?.slice(series.length + 1));
  }

  test('is public text for Prometheus, within the limit of an address', async () => {
    const { status, headers, text } = await api.anonymous.get('/metrics');
    expect([status, headers.get('content-type'), headers.get('cache-control')]).toEqual([
      200,
      'text/plain; version=0.0.4; charset=utf-8',
      'no-store',
    ]);
    for (const line of text.trim().split('\n'))
      expect(line).toMatch(/^$|^# (HELP|TYPE) \S+ .+$|^[a-z_]+(\{[^{}]*(\{\w+\})?[^{}]*\})? \S+$/);
    expect(headers.get('ratelimit')).toStartWith('"address";');
  });

  test('follows the rules of promtool check metrics', async () => {
    const { text } = await api.anonymous.get('/metrics');
    const types = new Map(
      [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => [name, type]),
    );
    const helped = new Set([...text.matchAll(/^# HELP (\S+) \S.*$/gm)].map(([, name]) => name));
    expect(types.size).toBeGreaterThan(10);
    for (const [name = '', type] of types) {
      expect([name, helped.has(name)]).toEqual([name, true]);
      // Counters are totals and nothing else is; base units; no type in the name; no colons, no camelCase.
      expect([name, name.endsWith('_total')]).toEqual([name, type === 'counter']);
      expect(name).toMatch(/^[a-z][a-z0-9_]*$/);
      expect(name).not.toMatch(
        /_(milliseconds|minutes|hours|days|kilobytes|megabytes|gauge|counter|histogram)(_|$)/,
      );
      if (type !== 'histogram') expect(name).not.toMatch(/_(count|sum|bucket)$/);
    }
    for (const [, name = '', labels = ''] of text.matchAll(/^(\w+)\{(.*)\} /gm)) {
      const isBucket = types.get(name.replace(/_bucket$/, '')) === 'histogram';
      if (types.get(name) !== 'summary')
        expect([name, labels]).not.toEqual([name, expect.stringMatching(/\bquantile=/)]);
      if (!isBucket) expect([name, labels]).not.toEqual([name, expect.stringMatching(/\ble=/)]);
    }
  });

  test('counts requests by method, route and status, with how long they took', async () => {
    const ada = await api.person();
    const labels = 'method="GET",route="/tasks/{task_id}",status="404"';
    await linesOf(1, () => ada.get(`/tasks/${ada.id}`));
    const before = await read(`http_request_duration_seconds_count{${labels}}`);
    await linesOf(3, () => Promise.all([1, 2, 3].map(() => ada.get(`/tasks/${ada.id}`))));
    expect(await read(`http_request_duration_seconds_count{${labels}}`)).toBe(before + 3);
    expect(await read(`http_request_duration_seconds_bucket{le="20",${labels}}`)).toBe(before + 3);
    expect(await read(`http_request_duration_seconds_sum{${labels}}`)).toBeGreaterThan(0);
  });

  test('has no series for paths that clients make up', async () => {
    const madeUp = ['/made-up', '/problems/made-up', `/tasks/made-up`];
    await linesOf(madeUp.length, () => Promise.all(madeUp.map((path) => api.anonymous.get(path))));
    expect((await api.anonymous.get('/metrics')).text).not.toContain('made-up');
  });

  test('shows statements in flight and waiting', async () => {
    const { url, server } = await small();
    const ada = await server.person('waiting');
    // A runtime without metrics fails here, before the lock.
    await read('mantou_database_connections_in_use', url);
    const lock = new SQL({ url: api.databaseUrl, max: 1 });
    await lock.unsafe('begin');
    await lock.unsafe('lock table projects in access exclusive mode');
    const answers = [1, 2, 3, 4].map(() => ada.post('/projects', { name: 'waits' }));
    await waitFor(
      'one has the connection',
      async () => (await read('mantou_database_connections_in_use', url)) === 1,
    );
    await waitFor(
      'three wait',
      async () => (await read('mantou_database_statements_waiting', url)) === 3,
    );
    await lock.unsafe('rollback');
    await lock.close();
    expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([201, 201, 201, 201]);
    // Work in the background has a statement now and then, too.
    for (const gauge of ['connections_in_use', 'statements_waiting'])
      await waitFor(
        `${gauge} is 0`,
        async () => (await read(`mantou_database_${gauge}`, url)) === 0,
      );
    await server.stop();
  });

  test('shows password hashes in flight and waiting', async () => {
    const { url, server } = await small();
    const hashes = (state: string) => read(`mantou_password_hashes_${state}`, url);
    expect(await hashes('in_flight')).toBe(0);
    const answers: Promise<Answer>[] = [];
    const register = () =>
      server.anonymous.post('/users/register', {
        username: `hashes-${answers.length}`,
        email: `h${answers.length}@example.org`,
        password: 'quite a phrase',
      });
    for (const state of ['in_flight', 'waiting'])
      await waitFor(`hashes are ${state}`, async () => {
        // They may end before the metrics are read, so each look begins more of them than there are cores.
        for (let n = 0; n <= navigator.hardwareConcurrency; n += 1) answers.push(register());
        const found = (await hashes(state)) > 0;
        await Promise.all(answers);
        return found;
      });
    for (const { status } of await Promise.all(answers)) expect(status).toBe(201);
    expect(await hashes('in_flight')).toBe(0);
    expect(await hashes('waiting')).toBe(0);
    await server.stop();
  });

  test('counts the limits that clients reach, by name', async () => {
    const ada = await api.person();
    for (let n = 0; n < 11; n += 1)
      await api.anonymous.post('/users/login', {
        username: ada.username,
        password: 'not this one',
      });
    expect(await read('mantou_limits_reached_total{limit="login"}')).toBe(1);
  });

  test('shows event loop delay, CPU time and memory', async () => {
    for (const series of [
      'mantou_event_loop_delay_seconds{percentile="99"}',
      'process_cpu_seconds_total',
      'process_resident_memory_bytes',
      'mantou_heap_used_bytes',
      'process_start_time_seconds',
    ])
      expect([series, await read(series)]).toEqual([series, expect.any(Number)]);
    expect(await read('process_resident_memory_bytes')).toBeGreaterThan(10 * 1024 ** 2);
    const blockedMs = 100;
    const end = performance.now() + blockedMs;
    while (performance.now() < end);
    await waitFor(
      'the delay is seen',
      async () => (await read('mantou_event_loop_delay_seconds{percentile="100"}')) > 0.05,
    );
  });

  test('counts open streams', async () => {
    const abort = new AbortController();
    const ada = await api.person();
    await fetch(`${api.url}/changes/stream`, {
      headers: { authorization: `Bearer ${ada.token}` },
      signal: abort.signal,
    });
    expect(await read('mantou_streams_open')).toBe(1);
    abort.abort();
    await waitFor('it is closed', async () => (await read('mantou_streams_open')) === 0);
  });

  test('is served at METRICS_PORT only, if that is set', async () => {
    const one = start({ DATABASE_URL, JWT_SECRET, METRICS_PORT: '0', LOG_LEVEL: 'info' });
    const url = await one.url();
    const [, metricsUrl = ''] = await waitFor('it says where', () =>
      /"metrics_listening","url":"([^"]+)"/.exec(one.stderr),
    );
    expect(new URL(metricsUrl).port).not.toBe(new URL(url).port);
    expect((await fetch(`${url}/metrics`)).status).toBe(404);
    expect(await read('mantou_streams_open', metricsUrl)).toBe(0);
    const elsewhere = await fetch(`${metricsUrl}/health/live`);
    expect([elsewhere.status, elsewhere.headers.get('content-type')]).toEqual([
      404,
      'application/problem+json',
    ]);
    expect(await one.stop()).toBe(0);
  });

  /** The API with one connection to its database. */
  async function small() {
    const other = await Api.start({ databaseUrl: api.databaseUrl, databasePoolSize: 1 });
    return { url: other.url, server: other };
  }
});

test('a request that the database fails is logged as a warning with its code', async () => {
  const other = await Api.start({ databaseUrl: api.databaseUrl });
  const ada = await other.person('unlucky');
  await other.sql.unsafe('alter table projects rename to hidden');
  try {
    await ada.get('/projects');
  } finally {
    await other.sql.unsafe('alter table hidden rename to projects');
  }
  const line = await waitFor('its line', () =>
    other.requests.find(({ fields }) => fields.route === '/projects'),
  );
  expect([line.level, line.fields.status, line.fields.code]).toEqual(['warn', 500, 'internal']);
  await other.stop();
});

test.each(['throw', 'reject'])(
  'an uncaught error ends the process with 1 and logs no parameter: %s',
  async (how) => {
    const one = start(
      { DATABASE_URL, JWT_SECRET, CRASH: how },
      { script: 'test/support/crashing-server.ts' },
    );
    expect(await one.ended).toBe(1);
    expect(one.stderr).toContain('"event":"crashed"');
    expect(one.stderr).not.toContain('hunter2');
  },
);

test('a process that stops has written every log line', async () => {
  const one = start({ DATABASE_URL, JWT_SECRET, LOG_LEVEL: 'info' });
  const url = await one.url();
  const count = 500;
  await Promise.all(
    Array.from({ length: count }, () => fetch(`${url}/health/live`).then((a) => a.text())),
  );
  expect(await one.stop()).toBe(0);
  const lines = one.stderr
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(lines.filter(({ route }) => route === '/health/live').length).toBe(count);
});
