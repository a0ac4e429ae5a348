/** Guessing and flooding: what is counted, for whom, until when, and that nothing slips through. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type { Database } from '../../src/db/database.ts';
import { Problem } from '../../src/errors/problem.ts';
import {
  consumeLogin,
  type LoginAttempt,
  refundUnlessWrong,
} from '../../src/handlers/login-limits.ts';
import { createPool } from '../../src/postgres/pool.ts';
import { readSettings } from '../../src/settings.ts';
import { type Answer, Api, type Persona, useApi } from '../support/api.ts';

/** As a log-in does it. */
async function tryLogin(db: Database, attempt: LoginAttempt, verify: () => Promise<boolean>) {
  const consumed = await consumeLogin(db, attempt, true);
  return refundUnlessWrong(db, consumed, verify());
}

/** Behind one proxy, so that each request says where it comes from. */
const behindProxy = { rateLimit: true, trustedProxies: 1 };
const api = useApi(behindProxy);

let addresses = 0;
/** Another one at each call. */
const newAddress = () => `198.51.${100 + Math.floor(++addresses / 250)}.${addresses % 250}`;

/** Verifying costs what the stored hash says: of the lowest parameters, a guess is cheap. A right password renews it. */
const cheapHash = Bun.password.hash('correct horse battery staple', {
  algorithm: 'argon2id',
  memoryCost: 8,
  timeCost: 1,
});

async function personAt(where: Api, name?: string): Promise<Persona> {
  const persona = await where.person(name);
  await where.sql`update users set password_hash = ${await cheapHash} where id = ${persona.id}`;
  return persona;
}

const from = (address: string) => ({ headers: { 'x-forwarded-for': address } });

const logIn = (username: string, password: string, address: string, where: Api = api) =>
  where.anonymous.logIn(username, password, from(address));

const guess = (username: string, address: string, where: Api = api) =>
  logIn(username, 'not the password', address, where);

async function guessTimes(times: number, username: string, address: string) {
  for (let at = 0; at < times; at += 1) expect((await guess(username, address)).status).toBe(401);
}

/** Sets a limit's counters as if that much had been counted. */
const setHits = (limit: string, hits: number) =>
  api.sql`update rate_limits set hits = ${hits} where key like ${`${limit}:%`}`;

const endWindows = () => api.sql`update rate_limits set resets_at = now() - interval '1 second'`;

const emptyTable = () => api.sql`delete from rate_limits`;

async function hitsOf(limit: string): Promise<number[]> {
  const rows = await api.sql`select hits from rate_limits where key like ${`${limit}:%`}`;
  return rows.map(({ hits }: { hits: number }) => hits);
}

function expectRefusal(answer: Answer, name: string, quota: number, windowSeconds: number) {
  expect([answer.status, answer.body.code]).toEqual([429, 'rate_limited']);
  const waitSeconds = Number(answer.headers.get('retry-after'));
  expect(waitSeconds).toBeWithin(1, windowSeconds + 1);
  expect(answer.headers.get('ratelimit-policy')).toBe(`"${name}";q=${quota};w=${windowSeconds}`);
  expect(answer.headers.get('ratelimit')).toBe(`"${name}";r=0;t=${waitSeconds}`);
}

describe('wrong passwords for one account from one address', () => {
  test('get 429 after ten, and the right password does too', async () => {
    const [ada, address] = [await personAt(api), newAddress()];
    await guessTimes(10, ada.username, address);
    expectRefusal(await guess(ada.username, address), 'login', 10, 900);
    expectRefusal(await logIn(ada.username, ada.password, address), 'login', 10, 900);
  });

  test('limit neither another address nor another account', async () => {
    const [ada, bob, address] = [await personAt(api), await personAt(api), newAddress()];
    await guessTimes(10, ada.username, address);
    expect((await logIn(ada.username, ada.password, newAddress())).status).toBe(200);
    expect((await logIn(bob.username, bob.password, address)).status).toBe(200);
  });

  test('count until the window ends', async () => {
    const [ada, address] = [await personAt(api), newAddress()];
    await guessTimes(10, ada.username, address);
    expect((await guess(ada.username, address)).status).toBe(429);
    await endWindows();
    await guessTimes(10, ada.username, address);
    expect((await guess(ada.username, address)).status).toBe(429);
  });

  test('count the same however the account is named', async () => {
    const [ada, address] = [await personAt(api, 'Ada'), newAddress()];
    const names = [
      ada.username,
      ada.username.toUpperCase(),
      `${ada.username}@example.org`,
      `${ada.username}@EXAMPLE.org`,
    ];
    for (let at = 0; at < 10; at += 1) await guess(names[at % names.length] ?? '', address);
    for (const name of names) expect((await guess(name, address)).status).toBe(429);
  });

  test('count the same for an account that does not exist', async () => {
    const [ada, address] = [await personAt(api), newAddress()];
    const nobody = `nobody-${crypto.randomUUID().slice(0, 8)}`;
    const seen = async (name: string) => {
      const answers: unknown[] = [];
      for (let at = 0; at < 11; at += 1) {
        const { status, body } = await guess(name, address);
        answers.push([status, body.code]);
      }
      return answers;
    };
    expect(await seen(nobody)).toEqual(await seen(ada.username));
    expect((await guess(nobody.toUpperCase(), address)).status).toBe(429);
  });

  test('are limited to ten, also when they are sent at once', async () => {
    const [ada, address] = [await personAt(api), newAddress()];
    const sent = Array.from({ length: 40 }, () => guess(ada.username, address));
    const statuses = (await Promise.all(sent)).map(({ status }) => status);
    expect(statuses.filter((status) => status === 401).length).toBe(10);
    expect(statuses.filter((status) => status === 429).length).toBe(30);
  });

  test('of the OAuth2 form count too', async () => {
    const [ada, address] = [await personAt(api), newAddress()];
    const guessByForm = () =>
      api.anonymous.request('POST', '/users/login', undefined, {
        raw: `username=${ada.username}&password=wrong`,
        headers: {
          ...from(address).headers,
          'content-type': 'application/x-www-form-urlencoded',
        },
      });
    for (let at = 0; at < 10; at += 1) expect((await guessByForm()).status).toBe(401);
    expectRefusal(await guessByForm(), 'login', 10, 900);
  });
});

describe('a right password', () => {
  test('takes back its own count alone', async () => {
    const [ada, address] = [await personAt(api), newAddress()];
    await guessTimes(9, ada.username, address);
    for (let at = 0; at < 3; at += 1)
      expect((await logIn(ada.username, ada.password, address)).status).toBe(200);
    await guessTimes(1, ada.username, address);
    expect((await logIn(ada.username, ada.password, address)).status).toBe(429);
  });

  test('counts nothing', async () => {
    await emptyTable();
    const ada = await personAt(api);
    for (let at = 0; at < 15; at += 1)
      expect((await logIn(ada.username, ada.password, newAddress())).status).toBe(200);
    const [{ hits }] = await api.sql`select sum(hits)::int as hits from rate_limits`;
    expect(hits).toBe(0);
  });
});

describe('unknown addresses of calendars from one address', () => {
  const unknown = (address: string) =>
    api.anonymous.get(`/calendars/${'x'.repeat(43)}.ics`, from(address));

  test('get 429 after a hundred, and one that exists does not', async () => {
    await emptyTable();
    const [ada, address] = [await personAt(api), newAddress()];
    const { body } = await ada.post('/users/me/calendars', { name: 'phone' });
    expect((await unknown(address)).status).toBe(404);
    expect((await api.anonymous.get('/calendars/x.ics', from(address))).status).toBe(404);
    expect(await hitsOf('calendar')).toEqual([1]);
    await setHits('calendar', 99);
    expect((await unknown(address)).status).toBe(404);
    expectRefusal(await unknown(address), 'calendar', 100, 900);
    expect((await unknown(newAddress())).status).toBe(404);
    // Others behind the same address keep their calendars.
    expect((await api.anonymous.get(body.url, from(address))).status).toBe(200);
    await endWindows();
    expect((await unknown(address)).status).toBe(404);
  });
});

describe('wrong passwords from one address', () => {
  test('get 429 after a hundred, for any account', async () => {
    await emptyTable();
    const [ada, bob, address] = [await personAt(api), await personAt(api), newAddress()];
    await emptyTable();
    await guessTimes(1, ada.username, address);
    await setHits('login-address', 99);
    await guessTimes(1, bob.username, address);
    expectRefusal(await logIn(bob.username, bob.password, address), 'login-address', 100, 900);
    expectRefusal(await guess('somebody-else', address), 'login-address', 100, 900);
    expect((await logIn(bob.username, bob.password, newAddress())).status).toBe(200);
  });

  test('raise no other counter once they are refused', async () => {
    const [ada, address] = [await personAt(api), newAddress()];
    await emptyTable();
    await guessTimes(1, ada.username, address);
    await setHits('login-address', 100);
    for (let at = 0; at < 5; at += 1) await guess(ada.username, address);
    for (let at = 0; at < 5; at += 1) await guess(`nobody-${at}`, address);
    expect(await hitsOf('login')).toEqual([1]);
    expect(await hitsOf('login-account')).toEqual([1]);
  });
});

describe('wrong passwords for one account from many addresses', () => {
  const home = newAddress();
  let ada: Persona;

  /** Strangers have guessed a hundred times. */
  async function lockOut() {
    ada = await personAt(api);
    await emptyTable();
    expect((await logIn(ada.username, ada.password, home)).status).toBe(200);
    await guessTimes(1, ada.username, newAddress());
    await setHits('login-account', 100);
  }

  test('are refused after a hundred', async () => {
    await lockOut();
    expectRefusal(await guess(ada.username, newAddress()), 'login-account', 100, 900);
    const unseen = await logIn(ada.username, ada.password, newAddress());
    expectRefusal(unseen, 'login-account', 100, 900);
  });

  test('do not lock the owner out where they have a live session', async () => {
    await lockOut();
    expect((await logIn(ada.username, ada.password, home)).status).toBe(200);
    expect((await logIn(`${ada.username}@example.org`, ada.password, home)).status).toBe(200);
  });

  test('apply there too once the session has ended', async () => {
    await lockOut();
    await api.sql`update sessions set expires_at = now() where user_id = ${ada.id}`;
    expectRefusal(await logIn(ada.username, ada.password, home), 'login-account', 100, 900);
  });

  test('apply at an address where another user has a session', async () => {
    await lockOut();
    const [mallory, address] = [await personAt(api, 'mallory'), newAddress()];
    expect((await logIn(mallory.username, mallory.password, address)).status).toBe(200);
    expectRefusal(await guess(ada.username, address), 'login-account', 100, 900);
  });

  test("of which ten come from the owner's address are limited there, and count no further", async () => {
    await lockOut();
    await guessTimes(10, ada.username, home);
    expectRefusal(await guess(ada.username, home), 'login', 10, 900);
    // They do not count against her elsewhere.
    expect(await hitsOf('login-account')).toEqual([100]);
  });

  test('do not grow by one address that continues after its ten', async () => {
    const bob = await personAt(api);
    await emptyTable();
    const address = newAddress();
    await guessTimes(10, bob.username, address);
    for (let at = 0; at < 5; at += 1) await guess(bob.username, address);
    expect(await hitsOf('login-account')).toEqual([10]);
    expect(await hitsOf('login-address')).toEqual([10]);
  });
});

describe('the password of a logged-in user', () => {
  test('may be wrong ten times, over all operations that ask for it', async () => {
    const ada = await personAt(api);
    const change = (currentPassword: string, address: string) =>
      ada.put(
        '/users/me/password',
        { current_password: currentPassword, new_password: 'a new and better password' },
        from(address),
      );
    const remove = (password: string, address: string) =>
      ada.request('DELETE', '/users/me', { password }, from(address));
    for (let at = 0; at < 5; at += 1) {
      expect((await change('wrong', newAddress())).status).toBe(401);
      expect((await remove('wrong', newAddress())).status).toBe(401);
    }
    expectRefusal(await change(ada.password, newAddress()), 'password', 10, 900);
    expectRefusal(await remove(ada.password, newAddress()), 'password', 10, 900);
    const [user] = await api.sql`select id from users where id = ${ada.id}`;
    expect(user).toBeDefined();
    expect((await logIn(ada.username, ada.password, newAddress())).status).toBe(200);
    await endWindows();
    expect((await change(ada.password, newAddress())).status).toBe(204);
  });
});

describe('registrations', () => {
  const register = (address: string) => {
    const username = `n${crypto.randomUUID().slice(0, 12)}`;
    const fields = { username, email: `${username}@example.org`, password: 'a long new password' };
    return api.anonymous.post('/users/register', fields, from(address));
  };

  test('are five hundred an hour for an address', async () => {
    await emptyTable();
    const address = newAddress();
    expect((await register(address)).status).toBe(201);
    await setHits('register', 499);
    expect((await register(address)).status).toBe(201);
    const before = await api.countRows();
    expectRefusal(await register(address), 'register', 500, 3600);
    expect(await api.countRows()).toEqual(before);
    expect((await register(newAddress())).status).toBe(201);
    await endWindows();
    expect((await register(address)).status).toBe(201);
  });
});

describe('refreshes', () => {
  const refresh = (refreshToken: string, address: string) =>
    api.anonymous.post('/users/refresh', { refresh_token: refreshToken }, from(address));

  test('are sixty a minute for a token', async () => {
    await emptyTable();
    const ada = await personAt(api);
    const { body } = await logIn(ada.username, ada.password, newAddress());
    expect((await refresh(body.refresh_token, newAddress())).status).toBe(200);
    await setHits('refresh', 60);
    expectRefusal(await refresh(body.refresh_token, newAddress()), 'refresh', 60, 60);
  });

  test('are six hundred a minute for an address, known tokens or not', async () => {
    await emptyTable();
    const address = newAddress();
    expect((await refresh('unknown', address)).status).toBe(401);
    await setHits('refresh-address', 599);
    expect((await refresh('unknown as well', address)).status).toBe(401);
    expectRefusal(await refresh('and this', address), 'refresh-address', 600, 60);
    expect((await hitsOf('refresh')).length).toBe(2);
  });
});

describe('the table', () => {
  test('holds no name and no address in clear', async () => {
    const [ada, address] = [await personAt(api), newAddress()];
    await emptyTable();
    await guessTimes(1, ada.username, address);
    await guessTimes(1, `${ada.username}@example.org`, address);
    const rows = await api.sql`select * from rate_limits`;
    expect(rows.length).toBe(3);
    for (const { key } of rows) expect(key).toMatch(/^[a-z-]+:[0-9a-f]{64}$/);
  });

  test('loses expired rows, a few at each count, and no others', async () => {
    await emptyTable();
    await api.sql`insert into rate_limits (key, hits, resets_at)
      select 'old:' || n, 1, now() - interval '1 minute' from generate_series(1, 25) n`;
    await api.sql`insert into rate_limits (key, hits, resets_at)
      select 'new:' || n, 1, now() + interval '1 minute' from generate_series(1, 25) n`;
    for (const left of [15, 5, 0]) {
      await guess('nobody', newAddress());
      expect((await hitsOf('old')).length).toBe(left);
    }
    expect((await hitsOf('new')).length).toBe(25);
  });

  test('causes no deadlock, and no counter exceeds its quota', async () => {
    await emptyTable();
    const pool = createPool(api.databaseUrl, readSettings({ DATABASE_POOL_SIZE: '20' }));
    const worst: string[] = [];
    let wrong = 0;
    const tries = Array.from({ length: 400 }, async (_, at) => {
      const attempt = {
        username: `user-${at % 3}`,
        account_id: undefined,
        address: `203.0.113.${at % 4}`,
      };
      const right = at % 5 === 0;
      try {
        await tryLogin(pool.database, attempt, async () => right);
        if (!right) wrong += 1;
        if (at % 10 === 0) await endWindowsOfSome();
      } catch (error) {
        if (!(error instanceof Problem && error.code === 'rate_limited')) worst.push(String(error));
      }
    });
    await Promise.all(tries);
    await pool.close();
    expect(worst).toEqual([]);
    expect(wrong).toBeGreaterThan(10);
    expect(Math.max(...(await hitsOf('login')))).toBeLessThanOrEqual(10);

    /** So that windows begin anew and rows are pruned while others count. */
    async function endWindowsOfSome() {
      await api.sql`update rate_limits set resets_at = now() - interval '1 second' where key in (
        select key from rate_limits order by key limit 2 for update skip locked)`;
    }
  });
});

test('a refusal without a wrong password does not count', async () => {
  await emptyTable();
  const pool = createPool(api.databaseUrl, readSettings({}));
  const attempt = { username: 'ada', account_id: undefined, address: newAddress() };
  const failing = tryLogin(pool.database, attempt, async () => {
    throw new Problem('overloaded');
  });
  await expect(failing).rejects.toMatchObject({ code: 'overloaded' });
  await pool.close();
  expect(await hitsOf('login')).toEqual([0]);
});

describe('two processes with one database', () => {
  let other: Api;
  beforeAll(async () => {
    other = await Api.start({ ...behindProxy, databaseUrl: api.databaseUrl });
  });
  afterAll(() => other.stop());

  test('share the counters', async () => {
    const [ada, address] = [await personAt(api), newAddress()];
    for (let at = 0; at < 10; at += 1)
      expect((await guess(ada.username, address, at % 2 ? api : other)).status).toBe(401);
    for (const one of [api, other])
      expect((await guess(ada.username, address, one)).status).toBe(429);
  });

  test('let no more pass when all requests arrive at once', async () => {
    const [ada, address] = [await personAt(api), newAddress()];
    const sent = Array.from({ length: 30 }, (_, at) =>
      guess(ada.username, address, at % 2 ? api : other),
    );
    const statuses = (await Promise.all(sent)).map(({ status }) => status);
    expect(statuses.filter((status) => status === 401).length).toBe(10);
  });
});

describe('requests', () => {
  const path = '/problems/conflict';
  const send = (address: string, headers = {}, where = path) =>
    fetch(api.url + where, { headers: { 'x-forwarded-for': address, ...headers } });

  async function sendTimes(times: number, address: string, headers = {}, where = path) {
    const statuses = new Set<number>();
    for (let at = 0; at < times; at += 100) {
      const batch = Array.from({ length: Math.min(100, times - at) }, () =>
        send(address, headers, where),
      );
      for (const answer of await Promise.all(batch)) statuses.add(answer.status);
    }
    return [...statuses];
  }

  async function withStoppedClock(work: () => Promise<void>) {
    api.stoppedAtMs = Date.now();
    try {
      await work();
    } finally {
      api.stoppedAtMs = undefined;
    }
  }

  test('of an address are 2,000 at once and 200 a second', () =>
    withStoppedClock(async () => {
      const address = newAddress();
      expect(await sendTimes(2000, address)).toEqual([200]);
      const refused = await api.anonymous.get(path, from(address));
      expect([refused.status, refused.body.code]).toEqual([429, 'rate_limited']);
      expect(refused.headers.get('retry-after')).toBe('1');
      expect(refused.headers.get('ratelimit-policy')).toBe('"address";q=2000;w=10');
      expect(refused.headers.get('ratelimit')).toBe('"address";r=0;t=10');
      // Nothing of it is left out: unknown paths, wrong methods, strangers.
      expect((await send(address, {}, '/nothing')).status).toBe(429);
      expect((await send(address, {}, '/users/me')).status).toBe(429);
      expect((await send(address, {}, '/swagger')).status).toBe(429);
      expect((await send(newAddress())).status).toBe(200);

      api.stoppedAtMs = Number(api.stoppedAtMs) + 1000;
      expect(await sendTimes(200, address)).toEqual([200]);
      expect((await send(address)).status).toBe(429);
      api.stoppedAtMs += 60_000;
      expect((await send(address)).headers.get('ratelimit')).toBe('"address";r=1999;t=1');
    }));

  test('with a long body count once more for each 16 KiB of it', () =>
    withStoppedClock(async () => {
      const ada = await api.person();
      const address = newAddress();
      const raw = JSON.stringify({ name: 'x'.repeat(64 * 1024) });
      const post = (body: string | ReadableStream<Uint8Array>) =>
        ada.post('/projects', undefined, {
          raw: body,
          headers: { ...from(address).headers, 'content-type': 'application/json' },
        });
      const first = await post(raw);
      expect([first.status, first.headers.get('ratelimit')]).toEqual([422, '"address";r=1995;t=1']);
      // A body in chunks names no length before it is read.
      const chunked = await post(new Blob([raw]).stream());
      expect(chunked.headers.get('ratelimit')).toBe('"address";r=1990;t=1');
      // The last token admits a body of any length, and what it takes beyond that is a debt.
      expect(await sendTimes(1989, address)).toEqual([200]);
      expect((await post(raw)).status).toBe(429);
      api.stoppedAtMs = Number(api.stoppedAtMs) + 10;
      expect((await send(address)).status).toBe(200);
      expect((await send(address)).status).toBe(200);
      expect((await send(address)).status).toBe(429);
    }));

  test('with a long body count so for the user too', () =>
    withStoppedClock(async () => {
      const ada = await api.person();
      const { id } = await ada.createProject();
      const description = 'x'.repeat(9000);
      const operations = Array.from({ length: 8 }, () => ({
        op: 'create',
        project_id: id,
        title: 'Tiles',
        description,
      }));
      const { headers } = await ada.post('/tasks/batch', { operations }, from(newAddress()));
      // A request to make the project, one for the batch, and four for its 71 KiB.
      expect(headers.get('ratelimit')).toBe('"user";r=994;t=1');
    }));

  test('stay limited when the next generation of buckets begins', () =>
    withStoppedClock(async () => {
      const address = newAddress();
      const startMs = Number(api.stoppedAtMs) + 60_000;
      // Buckets are kept by generations of ten seconds: these are sent at the end of one.
      api.stoppedAtMs = startMs;
      await send(address);
      api.stoppedAtMs = startMs + 9_900;
      expect(await sendTimes(2000, address)).toEqual([200]);
      api.stoppedAtMs = startMs + 10_000;
      expect(await sendTimes(20, address)).toEqual([200]);
      expect((await send(address)).status).toBe(429);
    }));

  test('for health are never refused', () =>
    withStoppedClock(async () => {
      const address = newAddress();
      expect(await sendTimes(2000, address)).toEqual([200]);
      expect((await send(address)).status).toBe(429);
      for (const one of ['/health/live', '/health/ready', '/health/live/']) {
        const answer = await send(address, {}, one);
        expect([one, answer.status, answer.headers.get('ratelimit')]).toEqual([one, 200, null]);
      }
      expect((await send(address, {}, '/health/nothing')).status).toBe(429);
    }));

  test('of a user are 1,000 at once, from however many addresses', () =>
    withStoppedClock(async () => {
      const [ada, bob] = [await personAt(api), await personAt(api)];
      const authorization = { authorization: `Bearer ${ada.token}` };
      for (let at = 0; at < 10; at += 1)
        expect(await sendTimes(100, newAddress(), authorization, '/users/me')).toEqual([200]);
      const refused = await ada.get('/users/me', from(newAddress()));
      expect([refused.status, refused.body.code]).toEqual([429, 'rate_limited']);
      expect(refused.headers.get('ratelimit-policy')).toBe('"user";q=1000;w=10');
      expect(refused.headers.get('ratelimit')).toBe('"user";r=0;t=10');
      expect((await bob.get('/users/me', from(newAddress()))).status).toBe(200);
    }));

  test('get the headers of the limit with fewer requests left', () =>
    withStoppedClock(async () => {
      const [ada, address] = [await personAt(api), newAddress()];
      const ofUser = await ada.get('/users/me', from(address));
      expect(ofUser.headers.get('ratelimit-policy')).toBe('"user";q=1000;w=10');
      expect(ofUser.headers.get('ratelimit')).toBe('"user";r=999;t=1');
      expect(await sendTimes(1500, address)).toEqual([200]);
      const ofAddress = await ada.get('/users/me', from(address));
      expect(ofAddress.headers.get('ratelimit-policy')).toBe('"address";q=2000;w=10');
      expect(ofAddress.headers.get('ratelimit')).toBe('"address";r=498;t=8');
    }));
});

describe('RATE_LIMIT=off', () => {
  const unlimited = useApi({ trustedProxies: 1, rateLimit: false });

  test('counts nothing and sends no headers', async () => {
    const [ada, address] = [await personAt(unlimited), newAddress()];
    for (let at = 0; at < 12; at += 1) {
      const { status, headers } = await guess(ada.username, address, unlimited);
      expect([status, headers.get('ratelimit'), headers.get('ratelimit-policy')]).toEqual([
        401,
        null,
        null,
      ]);
    }
    expect((await unlimited.sql`select * from rate_limits`).length).toBe(0);
  });
});
