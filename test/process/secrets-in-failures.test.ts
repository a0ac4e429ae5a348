/** After any failure of the database, the log and the terminal hold nothing that a client or operator sent. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { DrizzleQueryError } from 'drizzle-orm';
import { describeError } from '../../src/lib/describe-error.ts';
import { signUpAt } from '../support/accounts.ts';
import { JWT_SECRET } from '../support/api.ts';
import { useDatabase } from '../support/cluster.ts';
import { runCommand } from '../support/command.ts';
import { type OwnPostgres, startOwnPostgres } from '../support/own-postgres.ts';
import { makeFolder, start, useProcesses, waitFor } from '../support/process.ts';
import { openProxy } from '../support/proxy.ts';

useProcesses();

const { url: DATABASE_URL, sql } = await useDatabase();

/** Occurs in the name, the email and the password that are sent. */
const MARK = 'hunter2';
const PASSWORD = `the phrase of ${MARK}`;

/** One of each class that a statement can end with (PostgreSQL, appendix A). */
const STATES = [
  ...['08000', '08006', '0A000', '22001', '22P02', '22023', '23502', '23505', '23514', '25006'],
  ...['26000', '28000', '28P01', '3D000', '40001', '40P01', '42501', '42601', '42703', '42P01'],
  ...['42P05', '53100', '53200', '53300', '54000', '55P03', '57014', '57P01', '58030', 'P0001'],
  ...['XX000', 'XX001'],
];

/** Has every new user refused in this way, with a message that quotes the row, a detail and a hint. */
const failWith = (state: string) =>
  sql.unsafe(`
    create or replace function test_fail() returns trigger language plpgsql as $$ begin
      raise exception 'refused % %', new, E'\\n    at ${MARK}' using errcode = '${state}', detail = new::text, hint = new.email;
    end $$;
    create or replace trigger test_fail before insert on users for each row execute function test_fail()`);

const register = (url: string, name: string) =>
  fetch(`${url}/users/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ username: name, email: `${name}@example.org`, password: PASSWORD }),
  });

const create = (environment: Record<string, string>) =>
  runCommand(
    environment,
    'users',
    ['create', `cli-${MARK}`, `cli-${MARK}@example.org`, '--password-stdin'],
    { stdin: PASSWORD },
  );

/** What was sent, its hash, or a statement. */
const LEAK = new RegExp(`${MARK}|argon2|Failed query|insert into|select |\\\\$1|params`, 'i');

test('no SQLSTATE puts what was sent into the log of the server or on the terminal of a command', async () => {
  const api = start({ DATABASE_URL, JWT_SECRET, RATE_LIMIT: 'off', LOG_LEVEL: 'debug' });
  const url = await api.url();
  for (const state of STATES) {
    await failWith(state);
    const answer = await register(url, `${MARK}-${state}`);
    expect([state, answer.status]).toEqual([state, expect.any(Number)]);
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(await answer.text()).not.toContain(MARK);
  }
  for (const state of STATES.filter((_, at) => at % 4 === 0)) {
    await failWith(state);
    const { code, stdout, stderr } = await create({ DATABASE_URL });
    expect([state, code, stdout]).toEqual([state, 1, '']);
    expect(stderr).not.toMatch(LEAK);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
  }
  await sql`drop trigger test_fail on users`;
  expect(await api.stop()).toBe(0);
  expect(api.stderr).not.toMatch(LEAK);
});

test('a network that fails under load puts nothing that was sent into the log', async () => {
  const proxy = await openProxy(DATABASE_URL);
  const api = start({ DATABASE_URL: proxy.url, JWT_SECRET, RATE_LIMIT: 'off', LOG_LEVEL: 'debug' });
  const url = await api.url();
  const token = await signUpAt(url);
  const headers = { authorization: `Bearer ${token}` };
  // The listener has a connection of its own.
  const stream = await fetch(`${url}/changes/stream`, { headers });
  for (const fail of [() => proxy.halfClose('server'), () => proxy.reset(), () => proxy.cut()]) {
    await fail();
    await register(url, `${MARK}-network`).catch(() => undefined);
    await fetch(`${url}/users/me?q=${MARK}`, { headers });
  }
  await waitFor('the feed fails, too', () => api.stderr.includes('changes_not_read'));
  await stream.body?.cancel();
  await api.stop();
  expect(api.stderr).not.toMatch(LEAK);
  expect(api.stderr).not.toContain(token);
});

let server: OwnPostgres;
beforeAll(async () => {
  server = await startOwnPostgres(makeFolder());
});
afterAll(() => server?.stop());

test('a certificate that is no longer trusted is named in the log, without anything that was sent', async () => {
  const own = (mode: string) =>
    `postgres://postgres:${server.password}@localhost:${server.port}/postgres?sslmode=${mode}`;
  const trusted = { DATABASE_URL: `${own('verify-full')}&sslrootcert=${server.ca}` };
  expect((await runCommand(trusted, 'migrate', [])).code).toBe(0);
  const { code, stderr } = await create({ DATABASE_URL: own('verify-full') });
  expect(code).toBe(1);
  expect(stderr).toContain('sslrootcert');
  expect(stderr).not.toMatch(LEAK);
});

test.each([
  [
    'Drizzle’s, whose name is Error',
    (cause?: Error) => new DrizzleQueryError('select 1', [MARK], cause),
  ],
  [
    'an error around it',
    (cause?: Error) =>
      new Error('outer', { cause: new DrizzleQueryError('select 1', [MARK], cause) }),
  ],
  [
    'an AggregateError of it',
    (cause?: Error) =>
      new AggregateError([new DrizzleQueryError('select 1', [MARK], cause)], 'all'),
  ],
  [
    'a copy without its class',
    (cause?: Error) =>
      Object.assign(new Error(`Failed query: select 1\nparams: ${MARK}`, { cause }), {
        query: 'select 1',
        params: [MARK],
      }),
  ],
  [
    'a value that looks like a frame',
    (cause?: Error) =>
      new DrizzleQueryError('select 1', [`x\n    at ${MARK} (${MARK}:1:1)`], cause),
  ],
])('the description of a query error holds no parameter: %s', (_, wrap) => {
  const tls = Object.assign(new Error('unable to verify the first certificate'), {
    code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  });
  const server = Object.assign(new Error(`invalid input syntax: "${MARK}"`), { errno: '22P02' });
  for (const cause of [undefined, tls, server, new Error(`something about ${MARK}`)]) {
    const described = JSON.stringify(describeError(wrap(cause)));
    expect(described).not.toMatch(LEAK);
    if (cause === server) expect(described).toContain('22P02');
  }
  const described = describeError(wrap(tls));
  expect(described).toMatchObject({ code: tls.code, message: tls.message });
});
