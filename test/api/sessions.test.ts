import { describe, expect, test } from 'bun:test';
import { Api, Client, useApi } from '../support/api.ts';
import { openTransaction } from '../support/locks.ts';

const api = useApi();

const refresh = (refreshToken: string, through: Api = api) =>
  through.anonymous.post('/users/refresh', { refresh_token: refreshToken });

const sessionOf = (client: Client): string =>
  JSON.parse(Buffer.from(client.token?.split('.')[1] ?? '', 'base64url').toString()).sid;

/** Sets the clock of the spent tokens back: the grace is over. */
const endGrace = () => api.sql`update refresh_tokens set spent_at = spent_at - interval '10.001 s'`;

describe('refreshing', () => {
  test('returns a new pair, for JSON and for the OAuth2 form', async () => {
    const first = await (await api.person()).startSession();
    const second = await refresh(first.refresh_token);
    expect(second.status).toBe(200);
    expect(second.body).toMatchObject({ token_type: 'bearer', expires_in: 900 });
    expect(second.body.refresh_token).not.toBe(first.refresh_token);
    expect((await new Client(api, second.body.access_token).get('/users/me')).status).toBe(200);
    const third = await api.anonymous.post('/users/refresh', undefined, {
      raw: `grant_type=refresh_token&refresh_token=${second.body.refresh_token}`,
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
    });
    expect(third.status).toBe(200);
    expect(sessionOf(new Client(api, third.body.access_token))).toBe(sessionOf(first.client));
  });

  test('only hashes of refresh tokens are stored', async () => {
    const { refresh_token } = await (await api.person()).startSession();
    const next = (await refresh(refresh_token)).body.refresh_token;
    expect(refresh_token).toMatch(/^[A-Za-z0-9_-]{43}$/);
    const kept = JSON.stringify(await api.sql`select to_jsonb(t) from refresh_tokens t`);
    for (const token of [refresh_token, next]) expect(kept).not.toContain(token);
  });

  test('20 concurrent refreshes with one token get one successor', async () => {
    const { refresh_token, client } = await (await api.person()).startSession();
    const answers = await Promise.all(Array.from({ length: 20 }, () => refresh(refresh_token)));
    expect(answers.map(({ status }) => status)).toEqual(Array(20).fill(200));
    expect(new Set(answers.map(({ body }) => body.refresh_token)).size).toBe(1);
    const rows = await api.sql`select generation, spent_at is null as living from refresh_tokens
      where session_id = ${sessionOf(client)} order by generation`;
    expect([...rows]).toEqual([
      { generation: 1, living: false },
      { generation: 2, living: true },
    ]);
    expect((await refresh(answers[0]?.body.refresh_token)).status).toBe(200);
  });

  test('the previous token is accepted for ten seconds', async () => {
    const { refresh_token } = await (await api.person()).startSession();
    const { body: next } = await refresh(refresh_token);
    expect((await refresh(refresh_token)).body.refresh_token).toBe(next.refresh_token);
    await endGrace();
    const late = await refresh(refresh_token);
    expect([late.status, late.body.code]).toEqual([401, 'invalid_refresh_token']);
    expect((await refresh(next.refresh_token)).status).toBe(401);
  });

  test('an older token ends the session and all its tokens at once, even within the ten seconds', async () => {
    const { refresh_token, client } = await (await api.person()).startSession();
    const second = (await refresh(refresh_token)).body.refresh_token;
    const third = (await refresh(second)).body;
    api.log.length = 0;
    expect((await refresh(refresh_token)).body.code).toBe('invalid_refresh_token');
    expect((await refresh(second)).status).toBe(401);
    expect((await refresh(third.refresh_token)).status).toBe(401);
    expect((await api.sql`select from sessions where id = ${sessionOf(client)}`).length).toBe(0);
    expect(api.log).toContainEqual(
      expect.objectContaining({
        level: 'warn',
        event: 'refresh_token_reused',
        fields: expect.objectContaining({ session_id: sessionOf(client) }),
      }),
    );
    for (const token of [client.token, third.access_token])
      expect((await new Client(api, token).get('/users/me')).body.code).toBe('invalid_token');
  });

  test('a session ends after its idle time, and 90 days after the log-in even in use', async () => {
    const idle = await (await api.person()).startSession();
    await api.sql`update refresh_tokens set created_at = now() - interval '30 days 1 second' where session_id = ${sessionOf(idle.client)}`;
    expect((await refresh(idle.refresh_token)).status).toBe(401);
    const old = await (await api.person()).startSession();
    await api.sql`update sessions set expires_at = now() where id = ${sessionOf(old.client)}`;
    expect((await refresh(old.refresh_token)).status).toBe(401);
    const [row] =
      await api.sql`select extract(day from max(expires_at - created_at))::int as days from sessions`;
    expect(row.days).toBe(90);
  });

  test.each(['x', 'x'.repeat(256), 'A'.repeat(43), 'mt_abc', '../../x'])(
    'the malformed refresh token %j gets 401',
    async (token) => {
      const { status, body } = await refresh(token);
      expect([status, body.code]).toEqual([401, 'invalid_refresh_token']);
    },
  );

  test('an access token is no refresh token, and the other way round', async () => {
    const { client, refresh_token } = await (await api.person()).startSession();
    expect((await refresh(client.token?.slice(0, 256) ?? '')).status).toBe(401);
    expect((await new Client(api, refresh_token).get('/users/me')).body.code).toBe('invalid_token');
  });
});

describe('sessions of a user', () => {
  test('are listed with device, address and times; the current one is marked', async () => {
    const ada = await api.person();
    const phone = await ada.startSession(ada.password, {
      headers: { 'user-agent': 'phone/1.0 "x" \u00e9' },
    });
    const { body } = await phone.client.get('/users/me/sessions');
    expect(body.items.length).toBe(2);
    expect(body.items[0]).toMatchObject({
      id: sessionOf(phone.client),
      current: true,
      user_agent: expect.stringMatching(/^phone\/1\.0/),
      address: '127.0.0.1',
    });
    expect(body.items[1]).toMatchObject({ id: sessionOf(ada), current: false });
    expect((await ada.get('/users/me/sessions?limit=1')).body.next_cursor).toBeString();
  });

  test('end at once when they are deleted', async () => {
    const ada = await api.person();
    const [phone, eve] = [await ada.startSession(), await api.person()];
    expect((await phone.client.get('/users/me')).status).toBe(200);
    expect((await eve.delete(`/users/me/sessions/${sessionOf(phone.client)}`)).status).toBe(404);
    expect((await ada.delete(`/users/me/sessions/${sessionOf(phone.client)}`)).status).toBe(204);
    expect((await phone.client.get('/users/me')).body.code).toBe('invalid_token');
    expect((await refresh(phone.refresh_token)).status).toBe(401);
    expect((await ada.delete(`/users/me/sessions/${sessionOf(phone.client)}`)).status).toBe(404);
    expect((await ada.get('/users/me')).status).toBe(200);
  });

  test('end all except the current one', async () => {
    const ada = await api.person();
    const others = [await ada.startSession(), await ada.startSession()];
    for (const { client } of others) expect((await client.get('/users/me')).status).toBe(200);
    expect((await ada.delete('/users/me/sessions')).status).toBe(204);
    for (const { client } of others) expect((await client.get('/users/me')).status).toBe(401);
    expect((await ada.get('/users/me/sessions')).body.items.length).toBe(1);
  });

  test('end with a log-out', async () => {
    const { client, refresh_token } = await (await api.person()).startSession();
    expect((await client.post('/users/logout')).status).toBe(204);
    expect((await client.get('/users/me')).status).toBe(401);
    expect((await client.post('/users/logout')).status).toBe(401);
    expect((await refresh(refresh_token)).status).toBe(401);
  });

  test('are limited to 100: a new one ends the one unused longest', async () => {
    const ada = await api.person();
    await api.sql`insert into sessions (id, user_id, last_used_at, expires_at)
      select gen_random_uuid(), ${ada.id}, now() - n * interval '1 minute', now() + interval '1 day' from generate_series(1, 120) n`;
    await ada.startSession();
    const [row] =
      await api.sql`select count(*)::int, min(last_used_at) > now() - interval '99 minutes 30 seconds' as recent from sessions where user_id = ${ada.id}`;
    expect(row).toEqual({ count: 100, recent: true });
  });
});

describe('a revocation', () => {
  test('takes effect in another process within five seconds', async () => {
    const other = await Api.start({ databaseUrl: api.databaseUrl });
    try {
      const { client } = await (await api.person()).startSession();
      const there = new Client(other, client.token);
      expect((await there.get('/users/me')).status).toBe(200);
      await client.post('/users/logout');
      other.clockOffsetMs = 5000;
      expect((await there.get('/users/me')).body.code).toBe('invalid_token');
    } finally {
      await other.stop();
    }
  });

  test('check is cached: a known session works while the table of sessions is locked', async () => {
    const { client } = await (await api.person()).startSession();
    await client.get('/projects');
    api.stoppedAtMs = Date.now();
    const unlock = await openTransaction(api, (sql) => sql`lock table sessions`);
    try {
      for (let n = 0; n < 100; n += 1) expect((await client.get('/projects')).status).toBe(200);
    } finally {
      await unlock();
      api.stoppedAtMs = undefined;
    }
  });

  test('of a disabled user ends sessions and API tokens and refuses log-ins', async () => {
    const ada = await api.person();
    const { refresh_token } = await ada.startSession();
    await api.sql`update users set disabled_at = now() where id = ${ada.id}`;
    api.clockOffsetMs += 5000;
    expect((await ada.get('/users/me')).body.code).toBe('invalid_token');
    expect((await refresh(refresh_token)).status).toBe(401);
    const { body } = await api.anonymous.post('/users/login', {
      username: ada.username,
      password: ada.password,
    });
    expect(body.code).toBe('invalid_credentials');
    api.clockOffsetMs = 0;
  });
});
