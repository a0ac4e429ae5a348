import { expect, test } from 'bun:test';
import { useApi } from '../support/api.ts';

const api = useApi({ registration: 'closed' });

test('with REGISTRATION=closed registration gets 403', async () => {
  const { status, body } = await api.anonymous.post('/users/register', {
    username: 'ada',
    email: 'ada@example.org',
    password: 'correct horse battery staple',
  });
  expect([status, body.code]).toEqual([403, 'registration_closed']);
  expect((await api.countRows()).users).toBe(0);
});
