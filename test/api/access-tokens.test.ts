import { describe, expect, test } from 'bun:test';
import { createHmac } from 'node:crypto';
import { Client, JWT_SECRET, type Persona, useApi } from '../support/api.ts';
import { exchange } from '../support/raw.ts';

const JWT_SECRET_PREVIOUS = 'the secret of last month, of thirty-two bytes or more';
const api = useApi({ jwtSecretPrevious: JWT_SECRET_PREVIOUS });

const encode = (value: unknown) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

const header = { alg: 'HS256', typ: 'at+jwt' };

function sign(
  claims: unknown,
  { head = header as unknown, secret = JWT_SECRET, hash = 'sha256' } = {},
) {
  const input = `${encode(head)}.${encode(claims)}`;
  return `${input}.${createHmac(hash, secret).update(input).digest('base64url')}`;
}

function claimsOf(who: Persona): Record<string, unknown> {
  return JSON.parse(Buffer.from(who.token?.split('.')[1] ?? '', 'base64url').toString());
}

async function codeFor(token: string): Promise<[number, string | undefined]> {
  const { status, body } = await new Client(api, token).get('/projects/');
  return [status, body.code];
}

const refused: [number, string] = [401, 'invalid_token'];
const now = () => Math.floor(Date.now() / 1000);

test('an access token has the documented header and claims', async () => {
  const ada = await api.person();
  const head = JSON.parse(Buffer.from(ada.token?.split('.')[0] ?? '', 'base64url').toString());
  expect(head).toEqual(header);
  const claims = claimsOf(ada);
  expect(claims).toEqual({
    iss: 'mantou',
    aud: 'mantou',
    sub: ada.id,
    sid: expect.any(String),
    username: ada.username,
    iat: expect.any(Number),
    exp: expect.any(Number),
    jti: expect.any(String),
  });
  expect(Number(claims.exp) - Number(claims.iat)).toBeWithin(899, 902);
});

test('each log-in is a session of its own', async () => {
  const ada = await api.person();
  const { body } = await api.anonymous.post('/users/login', {
    username: ada.username,
    password: ada.password,
  });
  const other = JSON.parse(Buffer.from(body.access_token.split('.')[1], 'base64url').toString());
  expect(other.sid).not.toBe(claimsOf(ada).sid);
  expect(other.jti).not.toBe(claimsOf(ada).jti);
});

test('a token that JWT_SECRET or JWT_SECRET_PREVIOUS signs is accepted', async () => {
  const ada = await api.person();
  expect(await codeFor(sign(claimsOf(ada)))).toEqual([200, undefined]);
  expect(await codeFor(sign(claimsOf(ada), { secret: JWT_SECRET_PREVIOUS }))).toEqual([
    200,
    undefined,
  ]);
  expect(
    await codeFor(
      sign(claimsOf(ada), { secret: 'a secret that was never ours, of thirty-two bytes' }),
    ),
  ).toEqual(refused);
});

test('an access token is valid until its exp and gets token_expired from then on', async () => {
  const ada = await api.person();
  const { exp } = claimsOf(ada) as { exp: number };
  try {
    api.clockOffsetMs = (exp - 1) * 1000 - Date.now();
    expect((await ada.get('/projects/')).status).toBe(200);
    api.clockOffsetMs = exp * 1000 - Date.now();
    const { body, headers } = await ada.get('/projects/');
    expect(body.code).toBe('token_expired');
    expect(headers.get('www-authenticate')).toBe('Bearer realm="api", error="invalid_token"');
  } finally {
    api.clockOffsetMs = 0;
  }
});

describe('a token with another header is refused, even with a valid signature', () => {
  test.each([
    [{ ...header, alg: 'HS384' }, 'sha384'],
    [{ ...header, alg: 'HS512' }, 'sha512'],
    [{ ...header, alg: 'hs256' }, 'sha256'],
    // The confusion of algorithms: our secret taken for a public key.
    [{ ...header, alg: 'RS256' }, 'sha256'],
    [{ ...header, alg: 'ES256' }, 'sha256'],
    [{ ...header, alg: 'PS256' }, 'sha256'],
    [{ ...header, typ: 'JWT' }, 'sha256'],
    [{ ...header, typ: 'AT+JWT' }, 'sha256'],
    [{ ...header, typ: 'application/at+jwt' }, 'sha256'],
    [{ alg: 'HS256' }, 'sha256'],
    [{ ...header, crit: ['exp'] }, 'sha256'],
    [{ ...header, b64: false, crit: ['b64'] }, 'sha256'],
    [{ ...header, kid: '../../dev/null' }, 'sha256'],
    [{ ...header, jku: 'http://127.0.0.1/jwks' }, 'sha256'],
    [{ ...header, jwk: { kty: 'oct', k: 'AA' } }, 'sha256'],
    [{ ...header, x5u: 'http://127.0.0.1/cert' }, 'sha256'],
    [[], 'sha256'],
    ['null', 'sha256'],
    ['not json', 'sha256'],
  ])('%j', async (head, hash) => {
    const ada = await api.person();
    expect(await codeFor(sign(claimsOf(ada), { head, hash }))).toEqual(refused);
  });

  test.each(['none', 'None', 'NONE', 'nOnE', ''])(
    'a token with alg %j and no signature is refused',
    async (alg) => {
      const ada = await api.person();
      const input = `${encode({ ...header, alg })}.${encode(claimsOf(ada))}`;
      for (const token of [`${input}.`, input, `${input}.${sign(claimsOf(ada)).split('.')[2]}`])
        expect(await codeFor(token)).toEqual(refused);
    },
  );
});

describe('a token with a missing or wrong claim is refused', () => {
  const text = [null, {}, [], true, 7, ''];
  const time = [null, {}, [], true, '', 'soon', 1.5, -1];
  test.each([
    ['iss', [...text, 'other']],
    ['aud', [...text, 'other']],
    ['sub', [...text, 'other']],
    ['sid', [...text, 'other']],
    ['username', text],
    ['jti', text],
    ['iat', time],
    ['exp', time],
  ] as [string, unknown[]][])('%s', async (name, values) => {
    const claims = claimsOf(await api.person());
    const { [name]: _, ...without } = claims;
    expect(await codeFor(sign(without))).toEqual(refused);
    for (const value of values)
      expect([value, await codeFor(sign({ ...claims, [name]: value }))]).toEqual([value, refused]);
  });

  test('several audiences, times in the future and times as text are refused', async () => {
    const claims = claimsOf(await api.person());
    const wrong = [
      { aud: ['mantou'] },
      { aud: ['mantou', 'other'] },
      { iat: now() + 60 },
      { nbf: now() + 60 },
      { nbf: 'now' },
      { exp: `${now() + 60}` },
      { exp: 1e300 },
    ];
    for (const change of wrong)
      expect(await codeFor(sign({ ...claims, ...change }))).toEqual(refused);
    expect(await codeFor(sign({ ...claims, iat: now() + 20, nbf: now() + 20 }))).toEqual([
      200,
      undefined,
    ]);
    expect(await codeFor(sign({ ...claims, exp: now() - 1 }))).toEqual([401, 'token_expired']);
  });

  test('the session of another user is refused', async () => {
    const [ada, eve] = [await api.person(), await api.person()];
    expect(await codeFor(sign({ ...claimsOf(ada), sid: claimsOf(eve).sid }))).toEqual(refused);
  });

  test('claims that are not an object are refused', async () => {
    for (const claims of ['null', '[]', '"x"', '1', 'not json'])
      expect(await codeFor(sign(claims))).toEqual(refused);
  });
});

test('a token has exactly three base64url parts', async () => {
  const ada = await api.person();
  const token = ada.token ?? '';
  const [head, claims, signature] = token.split('.');
  const wrong = [
    `${token}=`,
    `${token}.`,
    `.${token}`,
    `${token}.x.y`,
    `${head}.${claims}.${signature}A`,
    `${head}.${claims}.${signature?.slice(0, -1)}`,
    `${head}.${claims}. ${signature}`,
    `${head}..${signature}`,
    Buffer.from(token).toString('base64url'),
    'x'.repeat(5000),
    `${token}, Bearer ${token}`,
    'null',
    'undefined',
  ];
  for (const one of wrong) expect([one, await codeFor(one)]).toEqual([one, refused]);
});

test('a token of a megabyte is refused unread, and the server keeps serving', async () => {
  const token = `${encode(header)}.${'x'.repeat(1024 ** 2)}.x`;
  const outcome = await exchange(
    api.url,
    `GET /users/me HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\nConnection: close\r\n\r\n`,
  ).then(
    ({ status }) => status,
    () => 'cut',
  );
  // Bun's own answer to headers of more than it takes (RFC 6585 §5), unless it closes while they are still sent.
  expect([431, 'cut']).toContain(outcome);
  expect((await api.anonymous.get('/health/live')).status).toBe(200);
});

describe('the Authorization header', () => {
  test.each([
    ['', 'unauthenticated', 'Bearer realm="api"'],
    ['Basic YWRhOnNlY3JldA==', 'unauthenticated', 'Bearer realm="api"'],
    ['Token abc', 'unauthenticated', 'Bearer realm="api"'],
    ['Bearer', 'invalid_token', 'Bearer realm="api", error="invalid_token"'],
    ['Bearer abc', 'invalid_token', 'Bearer realm="api", error="invalid_token"'],
  ])('%j gets %s', async (authorization, code, challenge) => {
    const { status, body, headers } = await api.anonymous.get('/users/me', {
      headers: { authorization },
    });
    expect([status, body.code, headers.get('www-authenticate')]).toEqual([401, code, challenge]);
  });

  test('the scheme is case-insensitive', async () => {
    const ada = await api.person();
    for (const scheme of ['bearer', 'BEARER'])
      expect(
        (
          await api.anonymous.get('/users/me', {
            headers: { authorization: `${scheme} ${ada.token}` },
          })
        ).status,
      ).toBe(200);
  });

  test('a token in the query or in the body is ignored', async () => {
    const ada = await api.person();
    for (const name of ['access_token', 'token', 'authorization'])
      expect((await api.anonymous.get(`/users/me?${name}=${ada.token}`)).body.code).toBe(
        'unauthenticated',
      );
    expect(
      (await api.anonymous.post('/projects', { name: 'x', access_token: ada.token })).body.code,
    ).toBe('unauthenticated');
  });
});
