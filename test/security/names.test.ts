/** How often an account may ask which names and emails exist, and whose guesses lock whom out. */
import { describe, expect, test } from 'bun:test';
import { useApi } from '../support/api.ts';

const NAMES_MAX = 100;
const GUESSES_MAX = 10;

describe.each(['open', 'closed'] as const)('with REGISTRATION=%s', (registration) => {
  const api = useApi({ rateLimit: true, registration });

  test('a change of the profile tells which names are taken up to 100 times an hour', async () => {
    const [ada, bob] = [await api.person(), await api.person()];
    const ask = () => ada.patch('/users/me', { username: bob.username });
    for (let at = 0; at < NAMES_MAX; at += 1) expect((await ask()).status).toBe(409);
    const { status, headers } = await ask();
    expect([status, Number(headers.get('retry-after')) > 0]).toEqual([429, true]);
    // An empty patch asks nothing, and others ask for themselves.
    expect((await ada.patch('/users/me', {})).status).toBe(200);
    expect((await bob.patch('/users/me', { username: `${bob.username}-2` })).status).toBe(200);
  });

  test('adding members counts with it, whether the name exists or not', async () => {
    const ada = await api.person();
    const { id } = await ada.createProject();
    const add = (username: string) =>
      ada.post(`/projects/${id}/members`, { username, role: 'viewer' });
    for (let at = 0; at < NAMES_MAX; at += 1) expect((await add(`nobody-${at}`)).status).toBe(422);
    expect((await add('nobody')).status).toBe(429);
    expect((await ada.patch('/users/me', { username: 'nobody' })).status).toBe(429);
  });

  test('an address is counted over all its users', async () => {
    const ada = await api.person();
    await api.sql`update rate_limits set hits = 500 where key like 'names-address:%'`;
    expect((await ada.patch('/users/me', { username: 'another' })).status).toBe(429);
  });
});

describe('wrong passwords of a session', () => {
  const api = useApi({ rateLimit: true });

  test('do not keep the owner from changing it in another session', async () => {
    const ada = await api.person();
    const { body } = await api.anonymous.post('/users/login', {
      username: ada.username,
      password: ada.password,
    });
    const thief = { authorization: `Bearer ${body.access_token}` };
    const change = (currentPassword: string, headers: Record<string, string> = {}) =>
      ada.put(
        '/users/me/password',
        { current_password: currentPassword, new_password: 'an entirely new phrase' },
        { headers },
      );
    for (let at = 0; at < GUESSES_MAX; at += 1)
      expect((await change('wrong', thief)).status).toBe(401);
    expect((await change('wrong', thief)).status).toBe(429);
    expect((await change(ada.password)).status).toBe(204);
  });
});
