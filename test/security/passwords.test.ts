/** Which passwords are refused, how stored hashes are read and renewed, and how many are computed at once. */
import { describe, expect, test } from 'bun:test';
import { readdirSync, readFileSync } from 'node:fs';
import { v7 as uuidv7 } from 'uuid';
import { createApp } from '../../src/app.ts';
import { Problem } from '../../src/errors/problem.ts';
import { limitConcurrency } from '../../src/lib/concurrency-limit.ts';
import { DUMMY_HASH, hashStatus } from '../../src/passwords/argon2id.ts';
import { bunPasswords } from '../../src/passwords/bun.ts';
import { assertStrongPassword, normalizePassword } from '../../src/passwords/policy.ts';
import type { Passwords } from '../../src/platform.ts';
import { createPool } from '../../src/postgres/pool.ts';
import { newPasswordLength } from '../../src/schemas/users.ts';
import { readSettings } from '../../src/settings.ts';
import { JWT_SECRET, useApi } from '../support/api.ts';

const api = useApi();
const passwords = bunPasswords();
const password = 'correct horse battery staple';

describe('a new password', () => {
  /** @returns the code of the refusal, if it is refused. */
  async function judge(candidate: string, username: string, email = `${username}@example.org`) {
    const location = 'body.password';
    try {
      const normalized = normalizePassword(candidate, { ...newPasswordLength, location });
      await assertStrongPassword(passwords, normalized, { username, email, location });
      return undefined;
    } catch (problem) {
      expect(problem).toBeInstanceOf(Problem);
      return (problem as Problem).particulars.errors?.[0]?.code;
    }
  }

  test.each([
    ['password1'],
    ['PassWord1'],
    ['ｐａｓｓｗｏｒｄ１'],
    ['Password123!'],
    ['1q2w3e4r'],
    ['aaaaaaaa'],
    ['        '],
    ['12121212'],
    ['MonkeyMonkey'],
    ['密码密码密码密码'],
    ['🐎🐎🐎🐎🐎🐎🐎🐎'],
    ['abcdefgh'],
    ['87654321'],
  ])('%j is common', async (candidate) => {
    expect(await judge(candidate, 'grace')).toBe('common');
  });

  test.each([
    ['grace.hopper', 'Grace.Hopper', 'the name itself'],
    ['grace.hopper', 'GraceHopper1906', 'the name in other letters and with a year'],
    ['grace.hopper', 'hoppergrace', 'the words of the name in another order'],
    ['grace.hopper', 'ｇｒａｃｅ-hopper', 'the name in other forms of the letters'],
    ['grace.hopper', 'Hopperpassword', 'a common password with the name before it'],
    ['grace.hopper', 'grace!!!!!!!!', 'the name and one sign over and over'],
    ['ada', 'ada@example.org', 'the email'],
    ['ada', 'Example.org1815', 'the domain of the email'],
    ['ada', 'ada-1815', 'a short name and little else'],
    ['ada', 'mantou2026!', 'the name of the service'],
  ])('for %s %j is little more than a name: %s', async (username, candidate) => {
    expect(await judge(candidate, username)).toBe('contains_name');
  });

  test('the words of an email whose local part is another than the user name count too', async () => {
    expect(await judge('Lovelace1815', 'ada', 'a.lovelace@example.org')).toBe('contains_name');
    expect(await judge('Lovelace1815', 'ada')).toBeUndefined();
  });

  test.each([
    ['ada', 'correct horse battery staple', 'words'],
    ['ada', 'canada-goose', 'a longer word with the name in it'],
    ['ada', 'ada wrote the first program', 'the name and enough besides'],
    ['the', 'weather forecasts', 'a short name inside words'],
    ['...', 'so... what now', 'a name without letters'],
    ['ada', 'dragon-fruit', 'a common password and a word'],
    ['ada', 'xq7wv2kz', 'eight characters of one kind or another'],
    ['ada', 'пароль не пройдёт', 'another script'],
    ['ada', '🐎🔋📎✅🍕🚲🎻🌋', 'eight signs'],
  ])('for %s %j is fine: %s', async (username, candidate) => {
    expect(await judge(candidate, username)).toBeUndefined();
  });

  test('the last label of a domain and names of one or two letters make nothing weak', async () => {
    expect(await judge('comfort99', 'jo', 'jo@gmail.com')).toBeUndefined();
    expect(await judge('jojojo-77', 'ada', 'jo@gmail.com')).toBeUndefined();
  });

  test.each([
    ['Password123!', 'common'],
    ['Weak-Name1', 'contains_name'],
  ])('is refused at registration: %s, %s', async (candidate, code) => {
    const before = await api.countRows();
    const { status, body, text } = await api.anonymous.post('/users/register', {
      username: 'weak-name',
      email: 'weak-name@example.org',
      password: candidate,
    });
    expect([status, body.code]).toEqual([422, 'weak_password']);
    expect(body.errors).toEqual([{ location: 'body.password', code, message: expect.any(String) }]);
    expect(text.toLowerCase()).not.toContain(candidate.toLowerCase());
    expect(await api.countRows()).toEqual(before);
  });

  test.each([
    ['Password123!', 'common'],
    ['Changer-99', 'contains_name'],
  ])('is refused when the password changes: %s, %s', async (candidate, code) => {
    const ada = await api.person('changer');
    const { status, body } = await ada.put('/users/me/password', {
      current_password: ada.password,
      new_password: candidate,
    });
    expect([status, body.code]).toEqual([422, 'weak_password']);
    expect(body.errors).toMatchObject([{ location: 'body.new_password', code }]);
    expect(await logIn(ada.username)).toMatchObject({ status: 200 });
  });
});

const logIn = (username: string, withPassword = password, client = api.anonymous) =>
  client.logIn(username, withPassword);

let accounts = 0;
/** Inserts a user with this hash. */
async function account(passwordHash: string) {
  accounts += 1;
  const [id, username] = [uuidv7(), `hashed-${accounts}`];
  await api.sql`insert into users (id, username, email, password_hash)
    values (${id}, ${username}, ${`${username}@example.org`}, ${passwordHash})`;
  const row = async () => (await api.sql`select * from users where id = ${id}`)[0];
  return { id, username, row };
}

/** Counts how often a hash is replaced from now on. */
async function countReplacedHashes(id: string) {
  await api.sql`create table if not exists replaced_hashes (user_id uuid)`;
  await api.sql`create or replace function note_replaced_hash() returns trigger language plpgsql as
    $$ begin insert into replaced_hashes values (new.id); return new; end $$`;
  await api.sql`create or replace trigger replaced_hash after update of password_hash on users
    for each row execute function note_replaced_hash()`;
  return async () =>
    (await api.sql`select count(*)::int as count from replaced_hashes where user_id = ${id}`)[0]
      .count;
}

const weaker = { algorithm: 'argon2id', memoryCost: 1024, timeCost: 1 } as const;

describe('a stored hash', () => {
  test.each([
    ['argon2id with less memory', { algorithm: 'argon2id', memoryCost: 1024, timeCost: 2 }],
    ['argon2id with fewer passes', { algorithm: 'argon2id', memoryCost: 19_456, timeCost: 1 }],
    ['argon2i', { algorithm: 'argon2i', memoryCost: 19_456, timeCost: 2 }],
    ['bcrypt', { algorithm: 'bcrypt', cost: 4 }],
  ] as const)('made with %s is replaced at the next log-in, once', async (_, parameters) => {
    const ada = await account(await Bun.password.hash(password, parameters));
    const replaced = await countReplacedHashes(ada.id);
    const before = await ada.row();

    expect(await logIn(ada.username, 'not this one')).toMatchObject({ status: 401 });
    expect(await ada.row()).toEqual(before);

    expect(await logIn(ada.username)).toMatchObject({ status: 200 });
    const after = await ada.row();
    expect(after.password_hash).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    expect(after).toEqual({ ...before, password_hash: after.password_hash });

    expect(await logIn(ada.username)).toMatchObject({ status: 200 });
    expect(await replaced()).toBe(1);
  });

  test('is replaced once by eight log-ins at once, which all succeed', async () => {
    const ada = await account(await Bun.password.hash(password, weaker));
    const replaced = await countReplacedHashes(ada.id);
    const answers = await Promise.all(Array.from({ length: 8 }, () => logIn(ada.username)));
    expect(answers.map(({ status }) => status)).toEqual(Array(8).fill(200));
    expect(await replaced()).toBe(1);
    expect(hashStatus((await ada.row()).password_hash)).toBe('current');
  });

  const good = DUMMY_HASH;
  const unreadable = [
    '',
    '!',
    'correct horse battery staple',
    good.slice(0, 60),
    good.replace('argon2id', 'argon2x'),
    good.replace('m=19456,t=2', 't=2,m=19456'),
    good.replace('m=19456', 'm=999999999'),
    '$2b$10$short',
  ];
  /** Hashes in form, which Bun cannot use all the same. */
  const unusable = [good.replace('v=19', 'v=18'), good.replace('t=2', 't=0'), good.slice(0, -9)];

  test.each([...unreadable, ...unusable])(
    'that is corrupt is a wrong password, never a fault of the server: %j',
    async (hash) => {
      const ada = await account(hash);
      const { status, body } = await logIn(ada.username);
      expect([status, body.code]).toEqual([401, 'invalid_credentials']);
      expect((await ada.row()).password_hash).toBe(hash);
    },
  );

  test('that is no hash is logged with the user, without the hash', async () => {
    for (const hash of unreadable) {
      const ada = await account(hash);
      await logIn(ada.username);
      const lines = api.log.filter(({ fields }) => fields.user_id === ada.id);
      expect(lines).toMatchObject([{ level: 'warn', event: 'password_hash_unreadable' }]);
      if (hash !== '') expect(JSON.stringify(lines)).not.toContain(hash);
    }
  });

  test('is current, outdated or unreadable', async () => {
    expect(hashStatus(await passwords.hash(password))).toBe('current');
    expect(hashStatus(DUMMY_HASH)).toBe('current');
    expect(hashStatus(await Bun.password.hash(password, weaker))).toBe('outdated');
    for (const [name, value] of [
      ['v=19', 'v=16'],
      ['m=19456', 'm=19457'],
      ['t=2', 't=3'],
      ['p=1', 'p=2'],
      ['argon2id', 'argon2i'],
    ] as const)
      expect(hashStatus(good.replace(name, value))).toBe('outdated');
    for (const hash of unreadable) expect([hash, hashStatus(hash)]).toEqual([hash, 'unreadable']);
  });
});

describe('where there is no hash', () => {
  test('no password matches', async () => {
    expect(await passwords.verify(password, undefined)).toBe(false);
    expect(await passwords.verify('', undefined)).toBe(false);
  });

  test('the log-in does the same work and answers the same as for a wrong password', async () => {
    const verified: string[] = [];
    const counting = stub({
      verify: async (_, hash) => {
        verified.push(hash === undefined ? 'nothing' : 'a hash');
        return false;
      },
    });
    const ada = await account(await passwords.hash(password));
    await serveWith(counting, async (post) => {
      const [known, unknown] = [
        await post({ username: ada.username, password }),
        await post({ username: 'nobody-here', password }),
      ];
      expect(verified).toEqual(['a hash', 'nothing']);
      expect(unknown.status).toBe(known.status);
      expect(comparable((await unknown.json()) as object)).toEqual(
        comparable((await known.json()) as object),
      );
      expect(comparable(Object.fromEntries(unknown.headers))).toEqual(
        comparable(Object.fromEntries(known.headers)),
      );
    });
  });

  /** Without what differs between any two answers. */
  const comparable = (answer: object) => ({
    ...answer,
    request_id: undefined,
    'x-request-id': undefined,
    date: undefined,
  });
});

describe('hashes at once', () => {
  /** Work that ends when it is told to. */
  function held() {
    const started: string[] = [];
    const ends = new Map<string, PromiseWithResolvers<string>>();
    const work = (name: string) => () => {
      const end = Promise.withResolvers<string>();
      started.push(name);
      ends.set(name, end);
      return end.promise;
    };
    return { started, ends, work };
  }

  /** What a promise fails with. */
  const failure = (promise: Promise<unknown> | undefined) => promise?.catch((error) => error);

  test('are bounded: others wait in order, and those beyond the queue are refused at once', async () => {
    const { started, ends, work } = held();
    const bound = limitConcurrency('test', 2, 2);
    const runs = ['a', 'b', 'c', 'd'].map((name) => bound.run(work(name)));
    expect([bound.inFlight, bound.waiting, started]).toEqual([2, 2, ['a', 'b']]);
    expect(await failure(bound.run(work('e')))).toMatchObject({ code: 'overloaded' });

    ends.get('b')?.resolve('b');
    expect(await runs[1]).toBe('b');
    expect([bound.inFlight, bound.waiting, started]).toEqual([2, 1, ['a', 'b', 'c']]);
    const later = bound.run(work('f'));

    for (const name of ['a', 'c', 'd', 'f']) {
      ends.get(name)?.resolve(name);
      expect(await (runs['abcd'.indexOf(name)] ?? later)).toBe(name);
    }
    expect([bound.inFlight, bound.waiting, started]).toEqual([0, 0, ['a', 'b', 'c', 'd', 'f']]);
  });

  test.if(process.platform === 'linux')(
    'are computed by threads that give way to all others',
    async () => {
      const { hash } = bunPasswords();
      // A thread that the first has started may not have its name yet.
      for (let n = 0; n < 3; n += 1) await hash(password);
      const threads = readdirSync('/proc/self/task').map((thread) => {
        const stat = readFileSync(`/proc/self/task/${thread}/stat`, 'utf8');
        const [, name, rest = ''] = /\((.*)\) (.*)/.exec(stat) ?? [];
        // proc(5): niceness is the nineteenth field, and the third the first after the name.
        return { id: Number(thread), name, niceness: Number(rest.split(' ')[16]) };
      });
      const pool = threads.filter(({ name }) => name?.startsWith('Bun Pool'));
      expect(pool.length).toBeGreaterThan(0);
      expect(pool.every(({ niceness }) => niceness === 10)).toBe(true);
      // The thread that serves has the id of the process.
      expect(threads.find(({ id }) => id === process.pid)?.niceness).toBeLessThan(10);
    },
  );

  test('that fail free their place, whether others wait or not', async () => {
    const { started, ends, work } = held();
    const bound = limitConcurrency('test', 1, 1);
    const [first, second] = [bound.run(work('a')), bound.run(work('b'))];
    ends.get('a')?.reject(new Error('no memory'));
    expect(await failure(first)).toEqual(new Error('no memory'));
    expect(started).toEqual(['a', 'b']);
    ends.get('b')?.reject(new Error('no memory'));
    expect(await failure(second)).toEqual(new Error('no memory'));
    expect(bound.inFlight).toBe(0);
    const thrown = bound.run(() => {
      throw new Error('before a promise');
    });
    expect(await failure(thrown)).toEqual(new Error('before a promise'));
    expect(bound.inFlight).toBe(0);
  });

  test('beyond the bound are answered 503 with Retry-After, and those in flight are not disturbed', async () => {
    const bound = limitConcurrency('test', 1, 0);
    const begun = Promise.withResolvers<void>();
    const end = Promise.withResolvers<boolean>();
    const holding = stub({
      verify: () =>
        bound.run(() => {
          begun.resolve();
          return end.promise;
        }),
    });
    const ada = await account(await passwords.hash(password));
    await serveWith(holding, async (post) => {
      const first = post({ username: ada.username, password });
      await begun.promise;
      const refused = await post({ username: ada.username, password });
      expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1']);
      expect(refused.headers.get('content-type')).toBe('application/problem+json');
      expect(await refused.json()).toMatchObject({ code: 'overloaded', status: 503 });
      end.resolve(true);
      expect((await first).status).toBe(200);
    });
  });

  test('of 256 log-ins at once each succeeds or is answered 503, and the next one succeeds', async () => {
    const ada = await account(await passwords.hash(password));
    const answers = await Promise.all(Array.from({ length: 256 }, () => logIn(ada.username)));
    const statuses = answers.map(({ status }) => status);
    expect(statuses).toContain(200);
    expect(statuses.filter((status) => status !== 200 && status !== 503)).toEqual([]);
    expect(await logIn(ada.username)).toMatchObject({ status: 200 });
  });
});

const stub = (changes: Partial<Passwords>): Passwords => ({
  hash: passwords.hash,
  verify: passwords.verify,
  limitLogins: (work) => work(),
  inspect: passwords.inspect,
  common: passwords.common,
  inFlight: 0,
  waiting: 0,
  ...changes,
});

/** Runs `work` while the API is served over the same database with other passwords. */
async function serveWith(
  replacement: Passwords,
  work: (post: (login: object) => Promise<Response>) => Promise<void>,
) {
  const settings = readSettings({ JWT_SECRET, RATE_LIMIT: 'off' });
  const pool = createPool(api.databaseUrl, settings);
  const app = createApp({
    settings,
    jwtSecret: JWT_SECRET,
    database: pool.database,
    passwords: replacement,
    log: () => undefined,
    now: () => new Date(),
    remoteAddress: () => undefined,
    bindStream: (pieces) => pieces,
    runUnbounded: (work) => work(),
    openapiDocument: async () => ({ servers: [], paths: {} }),
    docsFile: async () => undefined,
  });
  const server = Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: app.fetch });
  try {
    await work((login) =>
      fetch(new URL('/users/login', server.url), {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(login),
      }),
    );
  } finally {
    await server.stop(true);
    await pool.close();
  }
}
