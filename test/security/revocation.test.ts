/** Two processes on one database: what one revokes, the other learns within five seconds. */
import { expect, test } from 'bun:test';
import { JWT_SECRET } from '../support/api.ts';
import { createDatabase } from '../support/cluster.ts';
import { start, useProcesses, waitFor } from '../support/process.ts';

useProcesses();

/** The contract's five seconds, in the time that the other process itself counts. */
const PROMISED_MS = 5000;

test('a session that one process ends is ended in the other', async () => {
  const environment = { DATABASE_URL: await createDatabase(), JWT_SECRET };
  const [here, there] = await Promise.all([start(environment).url(), start(environment).url()]);
  const post = (url: string, body: object, token?: string) =>
    fetch(url, {
      method: 'POST',
      body: JSON.stringify(body),
      headers: {
        'content-type': 'application/json',
        ...(token && { authorization: `Bearer ${token}` }),
      },
    });
  const account = { username: 'ada', password: 'quite a long phrase' };
  await post(`${here}/users/register`, { ...account, email: 'ada@example.org' });
  const { access_token } = (await (await post(`${here}/users/login`, account)).json()) as {
    access_token: string;
  };
  const statusAt = async (url: string) =>
    (await fetch(`${url}/users/me`, { headers: { authorization: `Bearer ${access_token}` } }))
      .status;

  expect([await statusAt(here), await statusAt(there)]).toEqual([200, 200]);
  expect(
    (
      await fetch(`${here}/users/logout`, {
        method: 'POST',
        headers: { authorization: `Bearer ${access_token}` },
      })
    ).status,
  ).toBe(204);
  expect(await statusAt(here)).toBe(401);
  // What the other process answers once five seconds are over is what counts; how fast it was is not asserted.
  const over = Date.now() + PROMISED_MS;
  await waitFor(
    'five seconds are over, or the session with them',
    async () => Date.now() > over || (await statusAt(there)) === 401,
  );
  expect(await statusAt(there)).toBe(401);
});
