/** Clients share the connections to the database: one with many slow statements delays its own, not those of the others. */
import { describe, expect, test } from 'bun:test';
import type { Database } from '../../src/db/database.ts';
import { Problem } from '../../src/errors/problem.ts';
import { limitExports } from '../../src/handlers/export-limit.ts';
import { limitFairly } from '../../src/lib/fair-concurrency-limit.ts';
import { type Pace, withLeastSpeed } from '../../src/lib/least-speed.ts';
import { timeout } from '../../src/lib/timeout.ts';
import { useApi } from '../support/api.ts';
import { countWaiting, openTransaction, waitForBlockedQuery } from '../support/locks.ts';
import { waitFor } from '../support/process.ts';

const LONG_MS = 60_000;
const api = useApi();

/** Works that go on until they are ended, and the order in which they have started. */
function held() {
  const started: string[] = [];
  const ends = new Map<string, () => void>();
  const work = (name: string) => () => {
    started.push(name);
    const { promise, resolve } = Promise.withResolvers<void>();
    ends.set(name, resolve);
    return promise;
  };
  const end = async (name: string) => {
    ends.get(name)?.();
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { started, work, end };
}

describe('works of clients', () => {
  test('take turns, however many one client has', async () => {
    const { started, work, end } = held();
    const limit = limitFairly(
      'test',
      { inFlightMax: 1, inFlightPerClientMax: 1, waitingMax: 10 },
      timeout(LONG_MS),
    );
    const names = ['a1', 'a2', 'a3', 'b1', 'b2', 'c1'];
    const runs = names.map((name) => limit.run(name[0], work(name)));
    const order = ['a1', 'a2', 'b1', 'c1', 'a3', 'b2'];
    for (const name of order) await end(name);
    await Promise.all(runs);
    expect(started).toEqual(order);
    expect([limit.inFlight, limit.waiting]).toEqual([0, 0]);
  });

  test('leave room for those of others, and of the process itself', async () => {
    const { started, work, end } = held();
    const limit = limitFairly(
      'test',
      { inFlightMax: 4, inFlightPerClientMax: 2, waitingMax: 10 },
      timeout(LONG_MS),
    );
    const runs = ['a1', 'a2', 'a3', 'b1'].map((name) => limit.run(name[0], work(name)));
    runs.push(limit.run(undefined, work('own')));
    expect(started).toEqual(['a1', 'a2', 'b1', 'own']);
    expect([limit.inFlight, limit.waiting]).toEqual([4, 1]);
    await end('b1');
    expect(started).not.toContain('a3');
    await end('a1');
    expect(started).toContain('a3');
    for (const name of ['a2', 'a3', 'own']) await end(name);
    await Promise.all(runs);
  });

  test('that are short have places of their own, and wait for none of the others', async () => {
    const { started, work, end } = held();
    const limit = limitFairly(
      'test',
      { inFlightMax: 3, inFlightPerClientMax: 2, keptForShort: 1, waitingMax: 10 },
      timeout(LONG_MS),
    );
    const long = ['a1', 'b1', 'c1'].map((name) => limit.run(name[0], work(name)));
    expect(started).toEqual(['a1', 'b1']);
    expect([limit.isHeldBack('a'), limit.isHeldBack('a', true)]).toEqual([false, false]);
    const short = ['a2', 'd1'].map((name) => limit.run(name[0], work(name), true));
    expect(started).toEqual(['a1', 'b1', 'a2']);
    await end('a2');
    expect(started).toEqual(['a1', 'b1', 'a2', 'd1']);
    await end('d1');
    // The place is kept, whatever waits.
    expect(started).toHaveLength(4);
    await end('a1');
    expect(started).toEqual(['a1', 'b1', 'a2', 'd1', 'c1']);
    // Short works also take the places of the others.
    short.push(limit.run('e', work('e1'), true));
    await end('b1');
    short.push(limit.run('e', work('e2'), true), limit.run('e', work('e3'), true));
    expect(started.slice(5)).toEqual(['e1', 'e2']);
    expect([limit.isHeldBack('e', true), limit.isHeldBack('e')]).toEqual([true, false]);
    for (const name of ['c1', 'e1', 'e2', 'e3']) await end(name);
    await Promise.all([...long, ...short]);
    expect([limit.inFlight, limit.waiting]).toEqual([0, 0]);
  });

  test('beyond the bound are refused to the client with the most works', async () => {
    const { started, work, end } = held();
    const limit = limitFairly(
      'test',
      { inFlightMax: 1, inFlightPerClientMax: 1, waitingMax: 3 },
      timeout(LONG_MS),
    );
    const names = ['a1', 'a2', 'a3', 'a4'];
    const runs = names.map((name) => limit.run('a', work(name)).catch(({ code }) => code));
    const refused = limit.run('a', work('a5')).catch(({ code }) => code);
    expect(await refused).toBe('overloaded');
    const other = limit.run('b', work('b1'));
    expect(await runs[3]).toBe('overloaded');
    for (const name of ['a1', 'a2', 'b1', 'a3']) await end(name);
    await other;
    expect(started).toEqual(['a1', 'a2', 'b1', 'a3']);
    expect(await Promise.all(runs)).toEqual([undefined, undefined, undefined, 'overloaded']);
  });

  test('that wait too long are refused, and leave no trace', async () => {
    const { work, end } = held();
    const limit = limitFairly(
      'test',
      { inFlightMax: 1, inFlightPerClientMax: 1, waitingMax: 3 },
      timeout(1),
    );
    const first = limit.run('a', work('a1'));
    const late = limit.run('b', work('b1')).catch(({ code }) => code);
    expect(await late).toBe('overloaded');
    expect(limit.waiting).toBe(0);
    await end('a1');
    await first;
    const next = limit.run('b', work('b2'));
    await end('b2');
    await next;
    expect(limit.inFlight).toBe(0);
  });
});

test('a user whose statements all wait for a lock leaves connections to the others', async () => {
  const [ada, bob] = [await api.person('ada'), await api.person('bob')];
  const project = await ada.createProject();
  const task = await ada.createTask(project.id);
  await bob.createProject('His own');
  const release = await openTransaction(
    api,
    (sql) => sql`select from tasks where id = ${task.id} for update`,
  );
  let ended = 0;
  const patches = Array.from({ length: 40 }, async () => {
    const { status } = await ada.patch(`/tasks/${task.id}`, { status: 'done' });
    ended += 1;
    return status;
  });
  await waitForBlockedQuery(api);
  for (let n = 0; n < 20; n += 1) expect((await bob.get('/projects')).body.items.length).toBe(1);
  expect(ended).toBe(0);
  await release();
  expect(new Set(await Promise.all(patches))).toEqual(new Set([200]));
});

test('a user whose writes all wait for locks leaves reads, writes and their statements to the others', async () => {
  const [ada, bob] = [await api.person(), await api.person()];
  const project = await ada.createProject();
  const locked = await Promise.all(Array.from({ length: 20 }, () => ada.createTask(project.id)));
  const own = await bob.createTask((await bob.createProject()).id);
  const release = await openTransaction(
    api,
    (sql) => sql`select from tasks where project_id = ${project.id} for update`,
  );
  let ended = 0;
  const patches = locked.map(async ({ id }) => {
    const { status } = await ada.patch(`/tasks/${id}`, { status: 'done' });
    ended += 1;
    return status;
  });
  // As many as one client may hold.
  await waitFor('her statements wait', async () => (await countWaiting(api.sql)) === 6);
  const reads = Array.from({ length: 20 }, () => ada.get(`/tasks/${own.id}`));
  for (let n = 0; n < 20; n += 1) {
    expect((await bob.patch(`/tasks/${own.id}`, { priority: n % 5 })).status).toBe(200);
    expect((await bob.get(`/tasks/${own.id}`)).status).toBe(200);
  }
  expect(ended).toBe(0);
  await release();
  expect(new Set(await Promise.all(patches))).toEqual(new Set([200]));
  expect(new Set((await Promise.all(reads)).map(({ status }) => status))).toEqual(new Set([404]));
});

test('short reads do not wait for the writes of many users that wait for locks', async () => {
  const users = await Promise.all(Array.from({ length: 12 }, () => api.person()));
  const bob = await api.person();
  const own = await bob.createTask((await bob.createProject()).id);
  const made = await Promise.all(
    users.map(async (user) => ({
      user,
      task: await user.createTask((await user.createProject()).id),
    })),
  );
  const release = await openTransaction(api, async (sql) => {
    for (const { task } of made) await sql`select from tasks where id = ${task.id} for update`;
  });
  const patches = made.map(({ user, task }) => user.patch(`/tasks/${task.id}`, { status: 'done' }));
  // As many as all clients together may hold.
  await waitFor('statements wait', async () => (await countWaiting(api.sql)) === 8);
  for (let n = 0; n < 10; n += 1) {
    expect((await bob.get(`/tasks/${own.id}`)).status).toBe(200);
    expect((await bob.get('/projects')).body.items.length).toBe(1);
  }
  expect(await countWaiting(api.sql)).toBe(8);
  await release();
  expect(new Set((await Promise.all(patches)).map(({ status }) => status))).toEqual(new Set([200]));
});

describe('exports', () => {
  const limited = () =>
    limitExports({ subscribe: () => () => undefined, database: {} as Database });

  test('take turns page by page, one page of a user at once', async () => {
    let reading = 0;
    let readingMost = 0;
    const ends: (() => void)[] = [];
    async function* pieces() {
      for (let n = 0; n < 3; n += 1) {
        reading += 1;
        readingMost = Math.max(readingMost, reading);
        await new Promise<void>((resolve) => ends.push(resolve));
        reading -= 1;
        yield 'page';
      }
    }
    const limit = limited();
    const users = ['a', 'a', 'b', 'b', 'c'];
    const read = users.map(async (id) => {
      let pages = 0;
      for await (const _ of limit({ id }, pieces)) pages += 1;
      return pages;
    });
    const all = Promise.all(read);
    let done = false;
    all.then(() => {
      done = true;
    });
    while (!done) {
      ends.shift()?.();
      await new Promise((resolve) => setTimeout(resolve));
    }
    expect(await all).toEqual([3, 3, 3, 3, 3]);
    expect(readingMost).toBe(2);
  });

  test('are refused beyond twenty of a user, and counted until they end', async () => {
    async function* pieces() {
      yield 'first';
      yield 'second';
    }
    const limit = limited();
    const open = Array.from({ length: 20 }, () => limit({ id: 'a' }, pieces));
    for (const one of open) await one.next();
    const more = () => limit({ id: 'a' }, pieces).next();
    expect(await more().catch(({ code }) => code)).toBe('overloaded');
    expect((await limit({ id: 'b' }, pieces).next()).value).toBe('first');
    await open[0]?.return(undefined);
    expect((await more()).value).toBe('first');
  });
});

describe('a sender', () => {
  const tooSlow = () => new Problem('malformed_request');
  const read = async (chunks: AsyncIterable<Uint8Array>, pace: Partial<Pace>) => {
    let bytes = 0;
    const bounds = { graceMs: 0, bytesPerSecondMin: 1, silenceMs: LONG_MS, ...pace };
    for await (const { byteLength } of withLeastSpeed(chunks, bounds, tooSlow)) bytes += byteLength;
    return bytes;
  };
  async function* send(...waitsMs: number[]) {
    for (const ms of waitsMs) {
      await new Promise((resolve) => setTimeout(resolve, ms));
      yield new Uint8Array(100);
    }
  }

  test('that keeps the pace is read to its end, however long the reader takes', async () => {
    expect(await read(send(0, 0, 0), { graceMs: LONG_MS })).toBe(300);
    expect(await read(send(1, 1, 1), {})).toBe(300);
  });

  test('that sends too slowly, or nothing, is refused', async () => {
    const fast = { bytesPerSecondMin: 1024 ** 3 };
    expect(await read(send(5, 5), fast).catch(({ code }) => code)).toBe('malformed_request');
    const silent = read(send(LONG_MS), { silenceMs: 1, graceMs: LONG_MS });
    expect(await silent.catch(({ code }) => code)).toBe('malformed_request');
  });
});
