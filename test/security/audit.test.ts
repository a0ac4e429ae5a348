/** The audit log: it has each act once, with its address and user, and no secret. */
import { describe, expect, test } from 'bun:test';
import { createLog } from '../../src/lib/log.ts';
import { Client, type LogLine, useApi } from '../support/api.ts';

const api = useApi({ rateLimit: true });

/** Does something and gives the lines that were logged meanwhile. */
async function linesOf(act: () => Promise<unknown>): Promise<LogLine[]> {
  api.log.length = 0;
  await act();
  return [...api.log];
}

const newPassword = 'an entirely different phrase';

describe('the log tells of', () => {
  test('a registration, a log-in and a log-out', async () => {
    const fields = { username: 'audited', email: 'audited@example.org', password: newPassword };
    const lines = await linesOf(async () => {
      await api.anonymous.post('/users/register', fields);
      const { body } = await api.anonymous.post(
        '/users/login',
        fields.username && { username: fields.username, password: fields.password },
      );
      await new Client(api, body.access_token).post('/users/logout');
    });
    expect(lines.map(({ event }) => event)).toEqual(['registered', 'logged_in', 'logged_out']);
    for (const { level, fields: told } of lines) {
      expect(level).toBe('info');
      expect(told).toMatchObject({
        request_id: expect.any(String),
        address: '127.0.0.1',
        user_id: expect.any(String),
      });
    }
  });

  test('a failed log-in, with the user where there is one', async () => {
    const ada = await api.person();
    const lines = await linesOf(async () => {
      await api.anonymous.post('/users/login', {
        username: ada.username,
        password: 'not this one',
      });
      await api.anonymous.post('/users/login', {
        username: 'nobody-at-all',
        password: 'not this one',
      });
    });
    expect(lines.map(({ level, event, fields }) => [level, event, fields.user_id])).toEqual([
      ['warn', 'login_failed', ada.id],
      ['warn', 'login_failed', undefined],
    ]);
  });

  test('a limit that was reached', async () => {
    const ada = await api.person();
    const guess = () =>
      api.anonymous.post('/users/login', { username: ada.username, password: 'not this one' });
    for (let n = 0; n < 10; n += 1) await guess();
    const lines = await linesOf(guess);
    expect(lines).toMatchObject([
      { level: 'warn', event: 'limit_reached', fields: { limit: 'login', address: '127.0.0.1' } },
    ]);
  });

  test('a change of password, a token made and revoked, sessions ended, an account deleted', async () => {
    const ada = await api.person();
    const lines = await linesOf(async () => {
      await ada.put('/users/me/password', {
        current_password: 'not this one',
        new_password: newPassword,
      });
      await ada.put('/users/me/password', {
        current_password: ada.password,
        new_password: newPassword,
      });
      const { body } = await ada.post('/users/me/tokens', { name: 'x', scopes: ['read'] });
      await new Client(api, body.token).post('/projects', { name: 'x' });
      await ada.delete(`/users/me/tokens/${body.id}`);
      await ada.delete('/users/me/sessions');
      await ada.request('DELETE', '/users/me', { password: newPassword });
    });
    expect(lines.map(({ event }) => event)).toEqual([
      'password_check_failed',
      'password_changed',
      'api_token_created',
      'insufficient_scope',
      'api_token_revoked',
      'other_sessions_ended',
      'account_deleted',
    ]);
  });
});

test('no line holds a password, a token or a hash', async () => {
  const ada = await api.person();
  const secrets: string[] = [ada.password, newPassword, ada.token ?? '', 'not this one'];
  const lines = await linesOf(async () => {
    const { body: tokens } = await api.anonymous.post('/users/login', {
      username: ada.username,
      password: ada.password,
    });
    secrets.push(tokens.access_token, tokens.refresh_token);
    await api.anonymous.post('/users/refresh', { refresh_token: tokens.refresh_token });
    await api.anonymous.post('/users/refresh', { refresh_token: 'not this one' });
    const { body: made } = await ada.post('/users/me/tokens', { name: 'x', scopes: ['read'] });
    secrets.push(made.token);
    await ada.put('/users/me/password', {
      current_password: ada.password,
      new_password: newPassword,
    });
  });
  expect(lines.length).toBeGreaterThan(3);
  const text = JSON.stringify(lines);
  for (const secret of secrets) expect(text).not.toContain(secret);
  expect(text).not.toMatch(/argon2|eyJ|mt_/);
});

describe('CR and LF in input forge no line', () => {
  test.each(['json', 'pretty'] as const)('as %s', (format) => {
    const written: string[] = [];
    const log = createLog('info', format, (line) => written.push(line));
    log('info', 'logged_in', {
      user_agent: 'x\r\n{"event":"account_deleted"}\u2028\u0085\u001b[2J',
    });
    expect(written.length).toBe(1);
    for (const breaking of ['\r', '\n', '\u0085', '\u2028', '\u001b'])
      expect(written[0]).not.toContain(breaking);
  });

  test('a request id that is not one is not taken into the log', async () => {
    const lines = await linesOf(() =>
      api.anonymous.post(
        '/users/login',
        { username: 'x', password: 'not this one' },
        { headers: { 'x-request-id': 'a b"}' } },
      ),
    );
    expect(String(lines[0]?.fields.request_id)).toMatch(/^[0-9a-f-]{36}$/);
  });
});
