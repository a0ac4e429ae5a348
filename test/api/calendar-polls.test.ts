/** A poll of a calendar that meets a limit or a busy database. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { Problem } from '../../src/errors/problem.ts';
import { createLastCalendars } from '../../src/http/last-calendars.ts';
import { Api, Client, useApi } from '../support/api.ts';
import { createDatabase } from '../support/cluster.ts';
import { type DatabaseProxy, openProxy } from '../support/proxy.ts';

const PATH = '/tasks/calendar.ics';

/** A user with a task, and the ways in which a program reads its calendar. */
async function subscriber(api: Api) {
  const ada = await api.person();
  const project = await ada.createProject();
  await ada.createTask(project.id, { due_at: '2026-12-24T18:00:00+01:00' });
  const { body: token } = await ada.post('/users/me/tokens', { name: 'x', scopes: ['read'] });
  const { body: address } = await ada.post('/users/me/calendars', { name: 'x' });
  const program = new Client(api, token.token);
  return {
    ada,
    project,
    tokenId: token.id as string,
    addressId: address.id as string,
    polls: [
      () => program.get(PATH),
      () => program.get(`/projects/${project.id}/calendar.ics?as=events`),
      () => api.anonymous.get(address.url),
    ],
    poll: (headers?: Record<string, string>) => program.get(PATH, { headers: headers ?? {} }),
    head: () => program.request('HEAD', PATH),
    pollAddress: () => api.anonymous.get(address.url),
    pollOther: () => program.get(`${PATH}?as=events`),
  };
}

describe('while the database is away', () => {
  let api: Api;
  let proxy: DatabaseProxy;
  beforeAll(async () => {
    proxy = await openProxy(await createDatabase());
    api = await Api.start({ databaseUrl: proxy.url });
  });
  afterAll(() => api.stop());

  test('a poll gets the last calendar, and 503 where there is none', async () => {
    const { polls, poll, head, pollOther, ada } = await subscriber(api);
    const before = [];
    for (const poll of polls) before.push((await poll()).text);
    const { headers } = await poll();
    const tag = headers.get('etag') as string;
    await proxy.cut();
    try {
      // No credential is known any more without the database.
      api.clockOffsetMs += 5000;
      for (const [place, poll] of polls.entries()) {
        const answer = await poll();
        expect([answer.status, answer.text]).toEqual([200, before[place] as string]);
        expect(answer.headers.get('content-type')).toBe('text/calendar; charset=utf-8');
        expect(answer.headers.get('cache-control')).toBe('private, no-cache');
      }
      const unchanged = await poll({ 'if-none-match': tag });
      expect([unchanged.status, unchanged.text, unchanged.headers.get('etag')]).toEqual([
        304,
        '',
        tag,
      ]);
      expect(unchanged.headers.get('content-type')).toBeNull();
      const { status, headers: ofHead } = await head();
      expect([status, ofHead.get('etag'), ofHead.get('content-length')]).toEqual([200, tag, null]);
      for (const answer of [await pollOther(), await ada.get(PATH)]) {
        expect([answer.status, answer.body.code]).toEqual([503, 'database_unavailable']);
        expect(answer.headers.get('retry-after')).toBe('1');
      }
      // After a day it says nothing of what is due.
      api.clockOffsetMs += 24 * 3_600_000;
      expect((await poll()).status).toBe(503);
    } finally {
      await proxy.mend();
    }
  });

  test('a credential that has ended, or was refused, gets nothing of it', async () => {
    const one = await subscriber(api);
    const other = await subscriber(api);
    for (const { poll, pollAddress } of [one, other]) {
      expect((await poll()).status).toBe(200);
      expect((await pollAddress()).status).toBe(200);
    }
    await one.ada.delete(`/users/me/tokens/${one.tokenId}`);
    // As another process does it, which sends no word to this one.
    await api.sql`delete from calendar_addresses where id = ${other.addressId}`;
    api.clockOffsetMs += 5000;
    expect((await other.pollAddress()).status).toBe(404);
    await proxy.cut();
    try {
      api.clockOffsetMs += 5000;
      for (const poll of [one.poll, one.pollAddress, other.pollAddress])
        expect((await poll()).status).toBe(503);
      expect((await other.poll()).status).toBe(200);
    } finally {
      await proxy.mend();
    }
  });
});

describe('beyond a limit on requests', () => {
  const api = useApi({ rateLimit: true });
  const exhaust = async () => {
    const send = async () => (await fetch(`${api.url}/nothing`)).status;
    for (let refused = false; !refused; )
      refused = (await Promise.all(Array.from({ length: 100 }, send))).includes(429);
  };

  test('a poll gets the last calendar once a second, and 503 where there is none', async () => {
    const { polls, poll, pollOther, ada } = await subscriber(api);
    for (const poll of polls) expect((await poll()).status).toBe(200);
    api.stoppedAtMs = Date.now();
    await exhaust();
    for (const poll of polls) {
      const { status, text } = await poll();
      expect([status, text.includes('SUMMARY:Tiles')]).toEqual([200, true]);
    }
    // The next ones come too soon, or never had a calendar.
    for (const poll of [...polls, pollOther]) {
      const { status, body, headers } = await poll();
      expect([status, body.code]).toEqual([503, 'overloaded']);
      expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
    }
    expect((await ada.get('/tasks')).status).toBe(429);
    const put = await ada.put(PATH, {}, { undocumented: true });
    expect(put.status).toBe(429);
    api.stoppedAtMs += 1000;
    await exhaust();
    expect((await poll()).status).toBe(200);
    api.stoppedAtMs = undefined;
  });
});

describe('what is kept', () => {
  const pieces = async function* (...all: string[]) {
    yield* all;
  };
  const busy = new Problem('overloaded');
  const poll = (name: string) => new Request(`http://x${PATH}?q=${name}`);
  const read = async (
    calendars: ReturnType<typeof createLastCalendars>,
    name: string,
    text: string,
  ) => {
    for await (const _ of calendars.keep(
      poll(name),
      { userId: 'u', tag: 't' },
      pieces(text, text),
    ));
  };
  const textOf = (calendars: ReturnType<typeof createLastCalendars>, name: string) => {
    const answer = calendars.answer(poll(name), PATH, busy);
    return answer instanceof Problem ? undefined : answer.text;
  };

  test('is bounded in bytes, and the oldest goes first', async () => {
    const calendars = createLastCalendars(() => new Date(), 100);
    for (const name of ['a', 'b', 'c']) await read(calendars, name, 'x'.repeat(10));
    expect(['a', 'b', 'c'].map((name) => textOf(calendars, name)?.length)).toEqual([
      undefined,
      20,
      20,
    ]);
    expect(calendars.bytesTaken).toBe(80);
    await read(calendars, 'd', 'x'.repeat(100));
    expect(textOf(calendars, 'd')).toBeUndefined();
    expect(calendars.bytesTaken).toBeLessThanOrEqual(100);
  });

  test('is nothing of a calendar that was cut', async () => {
    const calendars = createLastCalendars(() => new Date(), 100);
    await read(calendars, 'a', 'whole');
    const cut = calendars.keep(poll('a'), { userId: 'u', tag: 't' }, pieces('one', 'two'));
    await cut.next();
    await cut.return(undefined);
    expect([textOf(calendars, 'a'), calendars.bytesTaken]).toEqual(['wholewhole', 20]);
    calendars.forget('u');
    expect([textOf(calendars, 'a'), calendars.bytesTaken]).toEqual([undefined, 0]);
  });
});
