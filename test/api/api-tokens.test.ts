import { describe, expect, test } from 'bun:test';
import { Client, type Persona, useApi } from '../support/api.ts';
import { operations } from '../support/document.ts';

const api = useApi();

async function tokenOf(who: Persona, fields: object = {}) {
  const { body } = await who.post('/users/me/tokens', {
    name: 'report',
    scopes: ['read', 'write'],
    ...fields,
  });
  return { id: body.id as string, client: new Client(api, body.token) };
}

test('an API token is shown once, and only its hash is stored', async () => {
  const ada = await api.person();
  const { status, body } = await ada.post('/users/me/tokens', { name: 'report', scopes: ['read'] });
  expect(status).toBe(201);
  expect(body).toEqual({
    id: expect.any(String),
    name: 'report',
    scopes: ['read'],
    expires_at: null,
    last_used_at: null,
    created_at: expect.any(String),
    token: expect.stringMatching(/^mt_[A-Za-z0-9_-]{43}$/),
  });
  const { token, ...shown } = body;
  expect((await ada.get('/users/me/tokens')).body.items).toEqual([shown]);
  const kept = JSON.stringify(await api.sql`select to_jsonb(t) from api_tokens t`);
  expect(kept).not.toContain(token.slice(3));
});

test('a read needs scope read, a write needs scope write, and the 403 names the missing scope', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  const { client: reader } = await tokenOf(ada, { scopes: ['read'] });
  const { client: writer } = await tokenOf(ada);
  expect((await reader.get('/projects')).body.items.length).toBe(1);
  expect((await reader.request('HEAD', '/projects')).status).toBe(200);
  // A message of MCP may read. The tests of its tools look at their scopes.
  const writes = operations.filter(
    ({ public: open, method, path }) => !open && method !== 'GET' && path !== '/mcp',
  );
  expect(writes.length).toBeGreaterThan(8);
  for (const { method, path } of writes) {
    const place = path.replaceAll(/\{\w+\}/g, project.id);
    const { status, body, headers } = await reader.request(
      method,
      place,
      method === 'DELETE' ? undefined : {},
    );
    expect([path, status, body.code]).toEqual([path, 403, 'insufficient_scope']);
    expect(body.detail).toContain('write');
    expect(headers.get('www-authenticate')).toBe(
      'Bearer realm="api", error="insufficient_scope", scope="write"',
    );
  }
  expect((await writer.post('/projects', { name: 'Bath' })).status).toBe(201);
  expect((await writer.get('/users/me')).body.id).toBe(ada.id);
});

test('an API token cannot change the account or create a token', async () => {
  const ada = await api.person();
  const { client } = await tokenOf(ada);
  const account = operations.filter(
    ({ path, public: open, operationId }) =>
      path.startsWith('/users/') &&
      !open &&
      !['readProfile', 'exportAccount'].includes(operationId),
  );
  expect(account.length).toBeGreaterThan(8);
  for (const { method, path } of account) {
    const place = path.replaceAll(/\{\w+\}/g, crypto.randomUUID());
    const { status, body } = await client.request(method, place);
    expect([path, status, body.code]).toEqual([path, 403, 'forbidden']);
  }
});

test('an API token expires at its expires_at', async () => {
  const ada = await api.person();
  const { client, id } = await tokenOf(ada, { expires_at: '2999-01-01T00:00:00Z' });
  expect((await client.get('/users/me')).status).toBe(200);
  await api.sql`update api_tokens set expires_at = now() where id = ${id}`;
  api.clockOffsetMs += 5000;
  await api.sql`update api_tokens set last_used_at = null where id = ${id}`;
  expect((await client.get('/users/me')).body.code).toBe('invalid_token');
  api.clockOffsetMs = 0;
  const [row] = await api.sql`select last_used_at from api_tokens where id = ${id}`;
  expect(row.last_used_at).toBeNull();
  const past = await ada.post('/users/me/tokens', {
    name: 'late',
    scopes: ['read'],
    expires_at: '2020-01-01T00:00:00Z',
  });
  expect([past.status, past.body.errors[0].location]).toEqual([422, 'body.expires_at']);
});

test('a revoked API token gets 401 at once', async () => {
  const [ada, eve] = [await api.person(), await api.person()];
  const { client, id } = await tokenOf(ada);
  expect((await client.get('/users/me')).status).toBe(200);
  expect((await eve.delete(`/users/me/tokens/${id}`)).status).toBe(404);
  expect((await ada.delete(`/users/me/tokens/${id}`)).status).toBe(204);
  expect((await client.get('/users/me')).body.code).toBe('invalid_token');
  expect((await ada.delete(`/users/me/tokens/${id}`)).status).toBe(404);
});

test('last_used_at follows the use of a token', async () => {
  const ada = await api.person();
  const { client } = await tokenOf(ada);
  await client.get('/users/me');
  const [item] = (await ada.get('/users/me/tokens')).body.items;
  expect(Date.parse(item.last_used_at)).toBeGreaterThanOrEqual(Date.parse(item.created_at));
});

test('a user has up to 100 API tokens, even with concurrent requests', async () => {
  const ada = await api.person();
  await api.sql`insert into api_tokens (id, user_id, name, token_hash, scopes)
    select gen_random_uuid(), ${ada.id}, 'n', gen_random_uuid(), '{read}' from generate_series(1, 95)`;
  const make = () => ada.post('/users/me/tokens', { name: 'one more', scopes: ['read'] });
  const statuses = (await Promise.all(Array.from({ length: 10 }, make))).map(
    ({ status }) => status,
  );
  expect(statuses.sort()).toEqual([...Array(5).fill(201), ...Array(5).fill(409)]);
});

describe('scopes of a new API token', () => {
  test.each([
    [[]],
    [['write']],
    [['read', 'read']],
    [['admin']],
    [['read', 'admin']],
    ['read'],
    [null],
  ])('%j are refused', async (scopes) => {
    const ada = await api.person();
    const { status } = await ada.post('/users/me/tokens', { name: 'x', scopes });
    expect(status).toBe(422);
  });
});

test.each(['mt_', 'mt_x', `mt_${'A'.repeat(43)}`, `mt_${'x'.repeat(5000)}`])(
  '%j is no token',
  async (token) => {
    expect((await new Client(api, token).get('/users/me')).body.code).toBe('invalid_token');
  },
);
