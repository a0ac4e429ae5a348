/** `bun run users`, beside a server that serves the same accounts. */
import { describe, expect, test } from 'bun:test';
import { useApi } from '../support/api.ts';
import { runCommand } from '../support/command.ts';

const api = useApi();

const users = (args: string[], stdin = '') =>
  runCommand({ DATABASE_URL: api.databaseUrl }, 'users', args, { stdin });

const PASSWORD = 'a horse that staples batteries';
const OTHER_PASSWORD = 'seven correct staples in a row';
let made = 0;

/** @returns the user name of an account that the command made. */
async function create(password = PASSWORD): Promise<string> {
  made += 1;
  const name = `made-${made}`;
  const args = ['create', name, `${name}@example.org`, '--password-stdin'];
  expect(await users(args, `${password}\n`)).toEqual({
    code: 0,
    stdout: '',
    stderr: `Made the account ${name}\n`,
  });
  return name;
}

const logIn = (username: string, password = PASSWORD) => api.anonymous.logIn(username, password);

/** @returns the one line of a refusal. */
async function refusal(args: string[], stdin?: string): Promise<string> {
  const { code, stdout, stderr } = await users(args, stdin);
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr).toMatch(/^mantou: .+\n$/);
  return stderr.slice('mantou: '.length, -1);
}

describe('create', () => {
  test('makes an account with the password of standard input', async () => {
    expect((await logIn(await create())).status).toBe(200);
  });

  test('generates a password and prints only that on standard output', async () => {
    const { code, stdout } = await users(['create', 'grace', 'grace@example.org']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^[\w-]{43}\n$/);
    expect((await logIn('grace', stdout.trim())).status).toBe(200);
  });

  test('refuses what the API refuses, with the same reasons', async () => {
    const name = await create();
    const stdin = ['--password-stdin'];
    expect(await refusal(['create', name.toUpperCase(), 'new@example.org'])).toBe(
      'Another account has this user name. User names are unique regardless of case.',
    );
    expect(await refusal(['create', 'new-one', `${name}@EXAMPLE.org`])).toStartWith(
      'Another account has this email.',
    );
    expect(await refusal(['create', 'a b', 'nowhere', ...stdin], 'short\n')).toBe(
      'username: must be letters, digits and the characters _ . - only; email: must be an email address such as ada@example.org; password: at least 8 characters',
    );
    expect(
      await refusal(['create', 'new-one', 'new@example.org', ...stdin], 'password1234\n'),
    ).toBe('password: is among the passwords that are tried first');
    const [row] =
      await api.sql`select count(*)::int as number from users where username = 'new-one'`;
    expect(row.number).toBe(0);
  });
});

describe('reset-password', () => {
  test('sets the password and ends the sessions; API tokens stay', async () => {
    const ada = await api.person('ada');
    const token = await makeToken(ada);
    const args = ['reset-password', `${ada.username}@example.org`, '--password-stdin'];
    expect(await users(args, OTHER_PASSWORD)).toEqual({
      code: 0,
      stdout: '',
      stderr: `Set the password of ${ada.username}, ended the sessions\n`,
    });
    expect((await logIn(ada.username, ada.password)).status).toBe(401);
    expect((await logIn(ada.username, OTHER_PASSWORD)).status).toBe(200);
    expect(await sessionsOf(ada.id)).toBe(1);
    expect((await use(token)).status).toBe(200);
  });

  test('with --revoke-tokens revokes the API tokens', async () => {
    const ada = await api.person('ada');
    const token = await makeToken(ada);
    const { code, stdout } = await users(['reset-password', ada.username, '--revoke-tokens']);
    expect(code).toBe(0);
    expect((await logIn(ada.username, stdout.trim())).status).toBe(200);
    expect((await use(token)).status).toBe(401);
  });

  test('refuses a weak password and changes nothing', async () => {
    const ada = await api.person('ada');
    const args = ['reset-password', ada.username, '--password-stdin'];
    expect(await refusal(args, `mantou-${ada.username}`)).toStartWith(
      'password: must contain at least 8 characters besides your name',
    );
    expect(await refusal(args, '')).toBe('password: at least 8 characters');
    expect((await logIn(ada.username, ada.password)).status).toBe(200);
  });
});

describe('disable and enable', () => {
  test('end the sessions, refuse log-ins and API tokens, and allow them again', async () => {
    const ada = await api.person('ada');
    const token = await makeToken(ada);
    const { code, stderr } = await users(['disable', ada.username.toUpperCase()]);
    expect([code, stderr]).toEqual([0, `Disabled ${ada.username} and ended the sessions\n`]);
    expect(await sessionsOf(ada.id)).toBe(0);
    expect((await logIn(ada.username, ada.password)).status).toBe(401);
    expect((await use(token)).status).toBe(401);

    expect((await users(['enable', ada.username])).stderr).toBe(`Enabled ${ada.username}\n`);
    expect((await logIn(ada.username, ada.password)).status).toBe(200);
    expect(await sessionsOf(ada.id)).toBe(1);
  });

  test('keep the time of the first call when repeated', async () => {
    const ada = await api.person('ada');
    await users(['disable', ada.username]);
    const [first] = await api.sql`select disabled_at from users where id = ${ada.id}`;
    expect((await users(['disable', ada.username])).code).toBe(0);
    const [second] = await api.sql`select disabled_at from users where id = ${ada.id}`;
    expect(second).toEqual(first);
  });

  test.each(['reset-password', 'disable', 'enable'])('%s refuses an unknown user', async (name) => {
    expect(await refusal([name, 'nobody'])).toBe('there is no such user');
  });
});

describe('search', () => {
  test('prints the accounts whose name or email contains the text literally, in any case', async () => {
    const ada = await api.person('ada');
    const other = `${ada.username.slice(0, -1)}_`;
    const found = async (text: string) =>
      (await users(['search', text])).stdout.split('\n').map((line) => line.split('\t')[0]);
    expect(await found(ada.username.toUpperCase())).toContain(ada.username);
    expect(await found(`${ada.username}@EXAMPLE`)).toContain(ada.username);
    expect(await found(other)).not.toContain(ada.username);
    expect(await found('%')).toEqual(['']);
    expect(await found('\\')).toEqual(['']);
  });
});

describe('delete', () => {
  test('deletes the account and its projects; its tasks in other projects stay', async () => {
    const [ada, grace] = [await api.person('ada'), await api.person('grace')];
    const own = await ada.createProject();
    const shared = await grace.createProject();
    await grace.post(`/projects/${shared.id}/members`, { username: ada.username, role: 'editor' });
    const task = await ada.post(`/tasks/projects/${shared.id}`, {
      title: 'Tiles',
      assignee_id: ada.id,
    });
    expect(await refusal(['delete', ada.username])).toContain('repeat it with --yes');
    expect((await ada.get(`/projects/${own.id}`)).status).toBe(200);
    const { code, stderr } = await users(['delete', ada.username, '--yes']);
    expect([code, stderr]).toEqual([0, `Deleted ${ada.username} and the projects they owned\n`]);
    expect((await logIn(ada.username, ada.password)).status).toBe(401);
    const projects = await api.sql`select from projects where id = ${own.id}`;
    expect(projects.length).toBe(0);
    const { body } = await grace.get(`/tasks/${task.body.id}`);
    expect([body.assignee_id, body.created_by, body.version]).toEqual([null, null, 2]);
    expect(await refusal(['delete', ada.username, '--yes'])).toBe('there is no such user');
  });
});

describe('list', () => {
  test('prints every account once, oldest first, and when it was disabled', async () => {
    // More than one query gives, and many of one instant.
    await api.sql`
      insert into users (id, username, email, password_hash, created_at)
      select gen_random_uuid(), 'listed-' || n, 'listed-' || n || '@example.org', 'none', now() - make_interval(days => n / 1000)
      from generate_series(1, 1200) n`;
    await api.sql`update users set disabled_at = '2026-01-02T03:04:05.678Z' where username = 'listed-7'`;
    const rows = await api.sql`select username from users order by created_at, id`;
    const lines = (await users(['list'])).stdout.trimEnd().split('\n');
    expect(lines.map((line) => line.split('\t')[0])).toEqual(
      rows.map(({ username }: { username: string }) => username),
    );
    const [listed] = lines.filter((line) => line.startsWith('listed-7\t'));
    expect(listed).toMatch(
      /^listed-7\tlisted-7@example\.org\t[\d-]+T[\d:.]+Z\tdisabled 2026-01-02T03:04:05\.678Z$/,
    );
    const objects = (await users(['list', '--json'])).stdout.trimEnd().split('\n');
    expect(objects.length).toBe(lines.length);
    expect(Object.keys(JSON.parse(objects[0] ?? ''))).toEqual([
      'id',
      'username',
      'email',
      'created_at',
      'disabled_at',
    ]);
  });
});

async function makeToken(user: { post: typeof api.anonymous.post }): Promise<string> {
  const made = await user.post('/users/me/tokens', { name: 'script', scopes: ['read'] });
  return made.body.token;
}

/** With the credential checked anew: the server remembers it for a few seconds. */
function use(token: string) {
  api.clockOffsetMs += 60_000;
  return api.anonymous.get('/users/me', { headers: { authorization: `Bearer ${token}` } });
}

async function sessionsOf(userId: string): Promise<number> {
  const [row] =
    await api.sql`select count(*)::int as number from sessions where user_id = ${userId}`;
  return row.number;
}
