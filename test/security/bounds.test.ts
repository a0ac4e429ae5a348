/** Bodies beyond a bound: they are refused by counting, before they are parsed, normalized or checked field by field. */
import { describe, expect, spyOn, test } from 'bun:test';
import { findJsonBreach } from '../../src/lib/json-bounds.ts';
import { useApi } from '../support/api.ts';

const api = useApi();

const FORM = { 'content-type': 'application/x-www-form-urlencoded' };
const JSON_TYPE = { 'content-type': 'application/json' };

describe('a JSON text', () => {
  const bounds = { depthMax: 3, nodesMax: 5 };
  test.each([
    ['[1,2,3,4,5]', undefined],
    ['[1,2,3,4,5,6]', 'nodesMax'],
    ['{"a":1,"b":2,"c":3,"d":4,"e":5}', undefined],
    ['{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6}', 'nodesMax'],
    ['[[[]]]', undefined],
    ['[[[[]]]]', 'depthMax'],
    ['[[],[],[]]', 'nodesMax'],
    ['[",,,,,,,,[[[[[["]', undefined],
    ['["\\",,,,,,,,"]', undefined],
    ['["\\\\",1,2,3,4,5]', 'nodesMax'],
    ['["', undefined],
    ['', undefined],
  ] as const)('%s breaches %p', (text, breach) => {
    expect(findJsonBreach(text, bounds)).toBe(breach);
  });
});

describe('a body with more values than any operation takes', () => {
  const numbers = `[${'1,'.repeat(200_000)}1]`;
  const labels = `{"title":"x","labels":[${'"a",'.repeat(150_000)}"a"]}`;
  const fields = `{${Array.from({ length: 50_000 }, (_, at) => `"f${at}":1`).join()}}`;

  test.each([
    ['numbers', numbers],
    ['labels', labels],
    ['unknown fields', fields],
  ])('%s: is refused before it is parsed', async (_, raw) => {
    const ada = await api.person();
    const { id } = await ada.createProject();
    const parse = spyOn(JSON, 'parse');
    const { status, body } = await ada.post(`/tasks/projects/${id}`, undefined, {
      raw,
      headers: JSON_TYPE,
    });
    const parsed = parse.mock.calls.filter(([text]) => text === raw);
    parse.mockRestore();
    expect([status, body.errors]).toEqual([
      422,
      [{ location: 'body', code: 'too_many', message: 'at most 5000 values' }],
    ]);
    expect(parsed).toEqual([]);
  });

  test('a full batch is within the bound', async () => {
    const ada = await api.person();
    const { id } = await ada.createProject();
    const labels = Array.from({ length: 20 }, (_, at) => `label ${at}`);
    const operations = Array.from({ length: 100 }, () => ({
      op: 'create',
      project_id: id,
      title: 'Tiles',
      description: 'x',
      status: 'todo',
      priority: 1,
      due_at: '2026-12-24T18:00:00Z',
      assignee_id: ada.id,
      labels,
    }));
    expect((await ada.post('/tasks/batch', { operations })).status).toBe(200);
  });
});

describe('an array with more items than its field takes', () => {
  test('has one error, and none for each item', async () => {
    const ada = await api.person();
    const { id } = await ada.createProject();
    const long = Array.from({ length: 2000 }, () => 'x'.repeat(100));
    for (const labels of [long, Array(2000).fill('a'), Array(2000).fill(null)]) {
      const { body } = await ada.post(`/tasks/projects/${id}`, { title: 'x', labels });
      expect(body.errors).toEqual([
        { location: 'body.labels', code: 'too_many', message: 'at most 20 items' },
      ]);
    }
    const operations = Array(2000).fill({});
    const { body } = await ada.post('/tasks/batch', { operations });
    expect(body.errors).toHaveLength(1);
    expect(body.errors[0]).toMatchObject({ location: 'body.operations', code: 'too_many' });
  });
});

describe('a form', () => {
  test.each(['/users/login', '/users/refresh'])(
    'with many fields is refused before they are looked at: %s',
    async (path) => {
      const raw = Array.from({ length: 65 }, (_, at) => `f${at}=`).join('&');
      const { body } = await api.anonymous.post(path, undefined, { raw, headers: FORM });
      expect(body.errors).toEqual([
        { location: 'body', code: 'too_many', message: 'at most 64 fields' },
      ]);
    },
  );
});

test('a query with many parameters is refused before they are looked at', async () => {
  const ada = await api.person();
  const query = Array.from({ length: 66 }, (_, at) => `p${at}=`).join('&');
  const { status, body } = await ada.get(`/tasks?${query}`);
  expect([status, body.errors]).toEqual([
    422,
    [{ location: 'query', code: 'too_many', message: 'at most 64 parameters' }],
  ]);
});

describe('a client without a log-in', () => {
  test.each([
    ['/users/register', 'application/json'],
    ['/users/login', 'application/json'],
    ['/users/login', 'application/x-www-form-urlencoded'],
    ['/users/refresh', 'application/json'],
  ])('sends up to 16 KiB to %s as %s', async (path, type) => {
    const send = (bytes: number) =>
      api.anonymous.post(path, undefined, {
        raw: 'x'.repeat(bytes),
        headers: { 'content-type': type },
      });
    expect((await send(16 * 1024 + 1)).status).toBe(413);
    expect([400, 422]).toContain((await send(16 * 1024)).status);
  });
});

describe('a password', () => {
  /** How often the text, or one that was made of it, is normalized. */
  async function countNormalizations(work: () => Promise<unknown>, text: string) {
    const normalize = spyOn(String.prototype, 'normalize');
    await work();
    const texts = normalize.mock.contexts.map(String);
    normalize.mockRestore();
    return texts.filter((one) => one.toLowerCase() === text.toLowerCase()).length;
  }

  test('is normalized once, when an account is made and when it logs in', async () => {
    const password = 'Schöne Grüße aus Köln';
    const username = `n${crypto.randomUUID().slice(0, 8)}`;
    const register = () =>
      api.anonymous.post('/users/register', {
        username,
        email: `${username}@example.org`,
        password,
      });
    expect(await countNormalizations(register, password)).toBe(1);
    const logIn = () => api.anonymous.post('/users/login', { username, password });
    expect(await countNormalizations(logIn, password)).toBe(1);
  });

  test.each([
    ['too long for any normal form', 'ä'.repeat(2049), 'too_long'],
    ['with a run of marks', `a${'\u0301'.repeat(31)} and more`, 'invalid_text'],
  ])('%s is refused before it is normalized', async (_, password, code) => {
    const username = `n${crypto.randomUUID().slice(0, 8)}`;
    const email = `${username}@example.org`;
    let errors: unknown;
    const register = async () => {
      ({
        body: { errors },
      } = await api.anonymous.post('/users/register', { username, email, password }));
    };
    expect(await countNormalizations(register, password)).toBe(0);
    expect(errors).toEqual([expect.objectContaining({ location: 'body.password', code })]);
  });

  test.each([
    ['seven letters that are eight code points', 'e\u0301e\u0301fghij', 'too_short'],
    ['257 letters', 'ö'.repeat(257), 'too_long'],
  ])('%s: the length is that of its normal form', async (_, password, code) => {
    const username = `n${crypto.randomUUID().slice(0, 8)}`;
    const email = `${username}@example.org`;
    const { status, body } = await api.anonymous.post('/users/register', {
      username,
      email,
      password,
    });
    expect([status, body.errors[0].code]).toEqual([422, code]);
  });
});

describe('a credential that ends while the body is under way', () => {
  /** A body of which the second half comes once `meanwhile` is done. */
  function slowBody(json: string, meanwhile: () => Promise<unknown>) {
    const [first, second] = [json.slice(0, 5), json.slice(5)].map((text) =>
      new TextEncoder().encode(text),
    );
    let sent = 0;
    return new ReadableStream<Uint8Array>({
      async pull(controller) {
        sent += 1;
        if (sent === 1) return controller.enqueue(first);
        await meanwhile();
        controller.enqueue(second);
        controller.close();
      },
    });
  }

  test.each([
    ['POST', '/users/me/tokens', { name: 'x', scopes: ['read'] }],
    ['PATCH', '/users/me', { email: 'new@example.org' }],
    [
      'PUT',
      '/users/me/password',
      { current_password: 'x', new_password: 'an entirely new phrase' },
    ],
    ['POST', '/projects', { name: 'Kitchen' }],
    ['POST', '/tasks/batch', { operations: [] }],
  ])('%s %s: is refused', async (method, path, input) => {
    const ada = await api.person();
    const raw = slowBody(JSON.stringify(input), async () => {
      expect((await ada.post('/users/logout')).status).toBe(204);
    });
    const before = await api.countRows();
    const { status, body } = await ada.request(method, path, undefined, {
      raw,
      headers: JSON_TYPE,
    });
    expect([status, body.code]).toEqual([401, 'invalid_token']);
    expect(await api.countRows()).toEqual(before);
  });

  test('POST /projects/import: is refused, and no project is made', async () => {
    const ada = await api.person();
    const { id } = await ada.createProject();
    const { text } = await ada.get(`/projects/${id}/export`);
    const raw = slowBody(text, async () => {
      expect((await ada.post('/users/logout')).status).toBe(204);
    });
    const { status } = await ada.post('/projects/import', undefined, { raw, headers: JSON_TYPE });
    expect(status).toBe(401);
    const [{ count }] = await api.sql`select count(*)::int from project_members
      where user_id = ${ada.id}`;
    expect(count).toBe(1);
  });
});
