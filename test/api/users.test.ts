import { describe, expect, test } from 'bun:test';
import { useApi } from '../support/api.ts';

const api = useApi();

const form = (fields: Record<string, string>) => ({
  raw: new URLSearchParams(fields).toString(),
  headers: { 'content-type': 'application/x-www-form-urlencoded' },
});

const registration = (username: string) => ({
  username,
  email: `${username}@example.org`,
  password: 'correct horse battery staple',
});

describe('registering', () => {
  test('creates an account, shows no password, and stores an argon2id hash with the documented parameters', async () => {
    const { status, body } = await api.anonymous.post('/users/register', registration('Ada.L-1_'));
    expect(status).toBe(201);
    expect(body).toEqual({
      id: expect.any(String),
      username: 'Ada.L-1_',
      email: 'Ada.L-1_@example.org',
      created_at: body.updated_at,
      updated_at: body.created_at,
    });
    const [row] = await api.sql`select password_hash from users where id = ${body.id}`;
    expect(row.password_hash).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
  });

  test('a username and an email are unique in any case', async () => {
    await api.anonymous.post('/users/register', registration('grace'));
    const name = await api.anonymous.post('/users/register', {
      ...registration('GRACE'),
      email: 'other@example.org',
    });
    expect([name.status, name.body.code]).toEqual([409, 'username_taken']);
    const email = await api.anonymous.post('/users/register', {
      ...registration('grace2'),
      email: 'Grace@Example.ORG',
    });
    expect([email.status, email.body.code]).toEqual([409, 'email_taken']);
  });

  test('of 20 concurrent registrations with one username, one succeeds', async () => {
    const before = await api.countRows();
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        api.anonymous.post('/users/register', {
          ...registration('race'),
          email: `race${n}@example.org`,
        }),
      ),
    );
    const statuses = answers.map(({ status }) => status).sort();
    expect(statuses).toEqual([201, ...Array(19).fill(409)]);
    expect((await api.countRows()).users).toBe((before.users ?? 0) + 1);
  });

  test.each([
    ['username', 'ab', 'too_short'],
    ['username', 'a'.repeat(33), 'too_long'],
    ['username', 'ada lovelace', 'invalid_format'],
    ['username', 'ada@example', 'invalid_format'],
    ['username', 'адa', 'invalid_format'],
    ['username', 'ada\n', 'invalid_format'],
    ['email', 'ada', 'invalid_format'],
    ['email', 'ada@localhost', 'invalid_format'],
    ['email', 'ada@example.org\n', 'invalid_format'],
    ['email', 'a b@example.org', 'invalid_format'],
    ['email', 'ada@-example.org', 'invalid_format'],
    ['email', `${'a'.repeat(65)}@example.org`, 'invalid_format'],
    [
      'email',
      `a@${'b'.repeat(60)}.${'c'.repeat(60)}.${'d'.repeat(60)}.${'e'.repeat(60)}.${'f'.repeat(20)}.org`,
      'too_long',
    ],
    ['password', 'short 7', 'too_short'],
    ['password', 'x'.repeat(257), 'too_long'],
    ['password', 'ﷺ'.repeat(15), 'too_long'],
  ])('%s %j is refused', async (field, value, code) => {
    const before = await api.countRows();
    const { status, body } = await api.anonymous.post('/users/register', {
      ...registration('fine-name'),
      [field]: value,
    });
    expect(status).toBe(422);
    expect(body.errors).toMatchObject([{ location: `body.${field}`, code }]);
    expect(await api.countRows()).toEqual(before);
  });
});

describe('logging in', () => {
  test('takes the username or the email in any case, as JSON or as the OAuth2 form', async () => {
    const ada = await api.person('login');
    const email = `${ada.username}@example.org`;
    for (const username of [ada.username, ada.username.toUpperCase(), email, email.toUpperCase()]) {
      const answers = [
        await api.anonymous.post('/users/login', { username, password: ada.password }),
        await api.anonymous.post(
          '/users/login',
          undefined,
          form({ grant_type: 'password', username, password: ada.password }),
        ),
      ];
      for (const { status, body, headers } of answers) {
        expect(status).toBe(200);
        expect(body).toMatchObject({ token_type: 'bearer', expires_in: 900 });
        expect(headers.get('cache-control')).toBe('no-store');
      }
    }
  });

  test('the extra form fields of Swagger UI are accepted', async () => {
    const ada = await api.person();
    const { status } = await api.anonymous.post('/users/login', undefined, {
      ...form({
        grant_type: 'password',
        username: ada.username,
        password: ada.password,
        scope: '',
        client_id: '',
        client_secret: '',
      }),
      headers: {
        'content-type': 'application/x-www-form-urlencoded; charset=UTF-8',
        authorization: 'Basic Og==',
      },
    });
    expect(status).toBe(200);
  });

  test('passwords are compared in NFKC', async () => {
    await api.anonymous.post('/users/register', {
      ...registration('nfkc'),
      password: 'Ｐａｓｓｗoｒｄ é ﬁ',
    });
    const { status } = await api.anonymous.post('/users/login', {
      username: 'nfkc',
      password: 'Password e\u0301 fi',
    });
    expect(status).toBe(200);
  });

  test('a long password is not truncated', async () => {
    const password = `${'long '.repeat(50)}end`;
    await api.anonymous.post('/users/register', { ...registration('long'), password });
    expect((await api.anonymous.post('/users/login', { username: 'long', password })).status).toBe(
      200,
    );
    const { status } = await api.anonymous.post('/users/login', {
      username: 'long',
      password: `${password}!`,
    });
    expect(status).toBe(401);
  });

  test('a wrong password and an unknown user get the same response', async () => {
    const ada = await api.person();
    const wrong = await api.anonymous.post('/users/login', {
      username: ada.username,
      password: 'not this one',
    });
    const unknown = await api.anonymous.post('/users/login', {
      username: 'nobody-here',
      password: 'not this one',
    });
    const withoutId = ({ text }: { text: string }) => text.replace(/"request_id":"[^"]*"/, '');
    expect([wrong.status, wrong.body.code]).toEqual([401, 'invalid_credentials']);
    expect(wrong.headers.get('www-authenticate')).toBe('Bearer realm="api"');
    expect(withoutId(unknown)).toBe(withoutId(wrong));
  });

  test('errors of the OAuth2 form also have the error code of RFC 6749', async () => {
    const ada = await api.person();
    const { username, password } = ada;
    const cases: [Record<string, string>, number, string][] = [
      [{ username, password: 'not this one' }, 401, 'invalid_grant'],
      [{ username }, 422, 'invalid_request'],
      [{ username, password, grant_type: 'client_credentials' }, 422, 'unsupported_grant_type'],
      [{ username, password, surprise: 'x' }, 422, 'invalid_request'],
    ];
    for (const [fields, status, error] of cases) {
      const answer = await api.anonymous.post('/users/login', undefined, form(fields));
      expect(answer.status).toBe(status);
      expect(answer.body).toMatchObject({ error, error_description: expect.any(String) });
    }
    const json = await api.anonymous.post('/users/login', { username, password: 'not this one' });
    expect(json.body.error).toBeUndefined();
  });

  test('a repeated form field is refused', async () => {
    const { status, body } = await api.anonymous.post('/users/login', undefined, {
      ...form({}),
      raw: 'username=a&username=b&password=c',
    });
    expect(status).toBe(422);
    expect(body.errors).toEqual([
      { location: 'body.username', code: 'repeated', message: 'must be given once' },
    ]);
  });
});

test('the profile is that of the user behind the token', async () => {
  const ada = await api.person();
  const { body, headers } = await ada.get('/users/me');
  expect(body).toMatchObject({ id: ada.id, username: ada.username });
  expect(headers.get('cache-control')).toBe('no-store');
});

test('a token of a deleted user reads and writes nothing', async () => {
  const [ada, bob] = [await api.person(), await api.person()];
  const project = await bob.createProject();
  await api.addMember(project.id, ada, 'editor');
  await api.sql`delete from users where id = ${ada.id}`;
  const before = await api.countRows();
  const answers = [
    await ada.get('/users/me'),
    await ada.get('/projects/'),
    await ada.post('/projects/', { name: 'Ghost' }),
    await ada.post(`/tasks/projects/${project.id}`, { title: 'Ghost' }),
  ];
  expect(answers.map(({ body }) => body.code)).toEqual(Array(4).fill('invalid_token'));
  expect(await api.countRows()).toEqual(before);
});
