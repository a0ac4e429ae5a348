/** A log-in in two statements: what each does at once, and what is left where the second fails. */
import { afterEach, expect, test } from 'bun:test';
import { SQL } from 'bun';
import { drizzle } from 'drizzle-orm/bun-sql';
import type { Database } from '../../src/db/database.ts';
import { Problem } from '../../src/errors/problem.ts';
import { logIn } from '../../src/handlers/sessions.ts';
import { bunPasswords } from '../../src/passwords/bun.ts';
import type { Passwords } from '../../src/platform.ts';
import { type Persona, useApi } from '../support/api.ts';
import { openTransaction, waitForBlockedQuery } from '../support/locks.ts';

const api = useApi({ rateLimit: true, trustedProxies: 1 });

const ADDRESS = '203.0.113.7';
const from = { headers: { 'x-forwarded-for': ADDRESS } };
const enter = (who: Persona, password = who.password, username = who.username) =>
  api.anonymous.logIn(username, password, from);

const hits = async () =>
  Object.fromEntries(
    (await api.sql`select split_part(key, ':', 1) as name, hits from rate_limits order by 1`).map(
      ({ name, hits }: { name: string; hits: number }) => [name, hits],
    ),
  );
const sessionsOf = ({ id }: Persona) => api.sql`select from sessions where user_id = ${id}`;

afterEach(async () => {
  await api.sql`delete from rate_limits`;
});

test.each([true, false])('takes two statements, with limits %p', async (rateLimit) => {
  const ada = await api.person();
  const sql = new SQL({ url: api.databaseUrl, max: 1 });
  const sent: string[] = [];
  const logger = { logQuery: (text: string) => void sent.push(text) };
  const db = drizzle({ client: sql, logger }) as Database;
  const policy = { key: 'k', idleSeconds: 60, rateLimit };
  const client = { user_agent: null, address: ADDRESS };
  const [{ email }] = await api.sql`select email from users where id = ${ada.id}`;
  for (const username of [ada.username, email]) {
    sent.length = 0;
    const credentials = { username, password: ada.password };
    await logIn(db, credentials, client, policy, bunPasswords());
    expect(sent.length).toBe(2);
  }
  await sql.close();
});

test('a right password counts nothing, by user name and by email, and a wrong one the same for both', async () => {
  const ada = await api.person();
  const [{ email }] = await api.sql`select email from users where id = ${ada.id}`;
  for (const name of [ada.username, ada.username.toUpperCase(), email, email.toUpperCase()]) {
    expect((await enter(ada, ada.password, name)).status).toBe(200);
    expect((await enter(ada, 'not this one', name)).status).toBe(401);
  }
  expect(await hits()).toEqual({ login: 4, 'login-account': 0, 'login-address': 4 });
  await api.sql`delete from sessions where user_id = ${ada.id}`;
  await enter(ada, 'not this one');
  expect(await hits()).toEqual({ login: 5, 'login-account': 1, 'login-address': 5 });
});

test('a disabled account counts as one that does not exist', async () => {
  const ada = await api.person();
  await api.sql`update users set disabled_at = now() where id = ${ada.id}`;
  const disabled = await enter(ada);
  const unknown = await enter(ada, ada.password, 'who-is-not-there');
  expect([disabled.status, unknown.status]).toEqual([401, 401]);
  expect({ ...disabled.body, request_id: '' }).toEqual({ ...unknown.body, request_id: '' });
  expect((await hits())['login-address']).toBe(2);
});

test('where the password cannot be verified, a log-in counts nothing', async () => {
  const ada = await api.person();
  const sql = new SQL({ url: api.databaseUrl, max: 1 });
  const busy: Passwords = {
    ...bunPasswords(),
    verify: async () => {
      expect(await hits()).toMatchObject({ login: 1, 'login-address': 1 });
      throw new Problem('overloaded');
    },
  };
  const credentials = { username: ada.username, password: ada.password };
  const client = { user_agent: null, address: ADDRESS };
  const policy = { key: 'k', idleSeconds: 60, rateLimit: true };
  const entering = logIn(drizzle({ client: sql }) as Database, credentials, client, policy, busy);
  await expect(entering).rejects.toMatchObject({ code: 'overloaded' });
  expect(await hits()).toMatchObject({ login: 0, 'login-address': 0 });
  await sql.close();
});

test('where the session cannot begin, a right password counts nothing', async () => {
  const ada = await api.person();
  await enter(ada, 'not this one');
  const before = await hits();
  await api.sql`create function refuse() returns trigger language plpgsql as
    $$ begin raise exception 'no session today'; end $$`;
  await api.sql`create trigger refuse before insert on sessions execute function refuse()`;
  const begun = (await sessionsOf(ada)).length;
  expect((await enter(ada)).status).toBe(500);
  await api.sql`drop function refuse cascade`;
  expect(await hits()).toEqual(before);
  expect((await sessionsOf(ada)).length).toBe(begun);
  expect((await enter(ada)).status).toBe(200);
  expect(await hits()).toEqual(before);
});

test('a password that is changed meanwhile begins no session and counts', async () => {
  const ada = await api.person();
  const before = (await sessionsOf(ada)).length;
  const other = await bunPasswords().hash('an entirely new phrase');
  const commit = await openTransaction(
    api,
    (sql) => sql`update users set password_hash = ${other} where id = ${ada.id}`,
  );
  const entered = enter(ada);
  await waitForBlockedQuery(api);
  await commit();
  expect((await entered).status).toBe(401);
  expect((await sessionsOf(ada)).length).toBe(before);
  expect(await hits()).toMatchObject({ login: 1, 'login-address': 1 });
});

test('while a session waits to begin, its counters hold up no others', async () => {
  const [ada, bob] = [await api.person(), await api.person()];
  const commit = await openTransaction(
    api,
    (sql) => sql`select from users where id = ${ada.id} for update`,
  );
  const entered = enter(ada);
  await waitForBlockedQuery(api);
  expect((await enter(bob, 'not this one')).status).toBe(401);
  expect((await enter(bob)).status).toBe(200);
  await commit();
  expect((await entered).status).toBe(200);
  expect((await hits())['login-address']).toBe(1);
});
