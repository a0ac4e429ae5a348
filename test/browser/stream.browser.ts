/** `examples/browser-stream.js` in a real browser, on a page of another site than the API's. */
import { afterAll, afterEach, beforeEach, expect, test } from 'bun:test';
import { join } from 'node:path';
import type { Page, Request } from 'playwright-core';
import { type Client, useApi } from '../support/api.ts';
import { useBrowser } from '../support/browser.ts';
import { openProxy } from '../support/proxy.ts';

const MODULE = join(import.meta.dir, '../../examples/browser-stream.js');

/** The site of the page: an empty document, and the module. */
const site = Bun.serve({
  port: 0,
  hostname: '127.0.0.1',
  routes: { '/browser-stream.js': new Response(Bun.file(MODULE)) },
  fetch: () => new Response('<!doctype html>', { headers: { 'content-type': 'text/html' } }),
});

const { open } = useBrowser();
const api = useApi({ corsOrigins: [site.url.origin] });
afterAll(() => site.stop(true));

/** The network between the browser and the API. */
let network: Awaited<ReturnType<typeof openProxy>>;
beforeEach(async () => {
  network = await openProxy(api.url);
});
afterEach(() => network.cut());

/** Begins to follow in the page, which collects `events` and says how the loop ended in `outcome`. */
const follow = (page: Page, tokens: object, since: string) =>
  page.evaluate(`(async () => {
    const { followChanges, openSession } = await import('/browser-stream.js');
    const session = openSession(${JSON.stringify(network.url.replace(/\/$/, ''))}, ${JSON.stringify(tokens)});
    const ending = new AbortController();
    Object.assign(window, { events: [], ending, outcome: undefined });
    const run = async () => {
      for await (const event of followChanges(session, { since: ${JSON.stringify(since)}, signal: ending.signal }))
        events.push(event);
    };
    run().then(() => { outcome = 'ended'; }, ({ status, code }) => { outcome = status + ' ' + code; });
  })()`);

const readEvents = (page: Page) => page.evaluate<{ cursor: string }[]>('events');
const hasEvents = (page: Page, count: number) => page.waitForFunction(`events.length >= ${count}`);

/** Returns every change since a cursor, as the paged list has them. */
async function listChanges(who: Client, since: string): Promise<{ cursor: string }[]> {
  const { body } = await who.get(`/changes?limit=200&since=${since}`);
  if (body.items.length < 200) return body.items;
  return [...body.items, ...(await listChanges(who, body.next_cursor))];
}

test('killed connections, an outage and an expired access token leave no gap and double nothing', () =>
  open(site.url.href, async (page) => {
    const streams: Request[] = [];
    const refreshes: Request[] = [];
    page.on('request', (request) => {
      if (request.url().endsWith('/changes/stream')) streams.push(request);
      if (request.url().endsWith('/users/refresh')) refreshes.push(request);
    });
    const ada = await api.person('ada');
    const { id: project } = await ada.createProject();
    const { body: tokens } = await api.anonymous.logIn(ada.username, ada.password);
    const since = (await ada.get('/changes')).body.next_cursor;
    await follow(page, tokens, since);

    // Changes arrive while the connection lives, while it is killed, and while there is none.
    let count = 0;
    const write = async (who: Client) => {
      count += 1;
      // JSON writes the line separator of JavaScript as it is; in an event stream it separates nothing.
      await who.post(`/tasks/projects/${project}`, { title: `Task\u2028${count}` });
    };
    for (let round = 0; round < 3; round += 1) {
      await write(ada);
      await hasEvents(page, count);
      const writes = Promise.all(Array.from({ length: 10 }, () => write(ada)));
      network.reset();
      await writes;
      await hasEvents(page, count);
    }
    await network.cut();
    await write(ada);
    await network.mend();
    await hasEvents(page, count);
    expect(refreshes).toEqual([]);

    const refreshed = page.waitForResponse(/\/users\/refresh$/);
    api.clockOffsetMs += 16 * 60_000;
    const { client: later } = await ada.startSession();
    await write(later);
    expect((await refreshed).status()).toBe(200);
    await write(later);
    await hasEvents(page, count);
    expect(refreshes.length).toBe(1);

    const expected = await listChanges(later, since);
    expect(expected.length).toBe(count);
    expect(await readEvents(page)).toEqual(expected);
    // Each connection but the first continues behind the last event.
    expect(streams.length).toBeGreaterThan(4);
    const cursors = [since, ...expected.map(({ cursor }) => cursor)];
    for (const request of streams) expect(cursors).toContain(request.headers()['last-event-id']);

    await page.evaluate('ending.abort()');
    await page.waitForFunction('outcome !== undefined');
    expect(await page.evaluate<string>('outcome')).toBe('ended');
  }));

test('the end of the session ends the loop with its problem', () =>
  open(site.url.href, async (page) => {
    const ada = await api.person('ada');
    const { id: project } = await ada.createProject();
    const since = (await ada.get('/changes')).body.next_cursor;
    const { body: tokens } = await api.anonymous.logIn(ada.username, ada.password);
    await follow(page, tokens, since);
    await ada.createTask(project);
    await hasEvents(page, 1);
    await ada.delete('/users/me/sessions');
    await page.waitForFunction('outcome !== undefined');
    expect(await page.evaluate<string>('outcome')).toBe('401 invalid_refresh_token');
  }));

test('a cursor that the server does not know ends the loop with its problem', () =>
  open(site.url.href, async (page) => {
    const ada = await api.person('ada');
    const { body: tokens } = await api.anonymous.logIn(ada.username, ada.password);
    await follow(page, tokens, 'nonsense');
    await page.waitForFunction('outcome !== undefined');
    expect(await page.evaluate<string>('outcome')).toBe('422 invalid_cursor');
  }));

test('requests that meet an expired access token together refresh it once', () =>
  open(site.url.href, async (page) => {
    const ada = await api.person('ada');
    const { body: tokens } = await api.anonymous.logIn(ada.username, ada.password);
    api.clockOffsetMs += 16 * 60_000;
    const [statuses, kept] = await page.evaluate<[number[], { access_token: string }[]]>(
      `(async () => {
        const { openSession } = await import('/browser-stream.js');
        const kept = [];
        const session = openSession(${JSON.stringify(api.url)}, ${JSON.stringify(tokens)}, (pair) => kept.push(pair));
        const answers = await Promise.all(['/users/me', '/projects', '/tasks'].map((path) => session.fetch(path)));
        return [answers.map(({ status }) => status), kept];
      })()`,
    );
    expect(statuses).toEqual([200, 200, 200]);
    expect(kept.length).toBe(1);
    expect(kept[0]?.access_token).not.toBe(tokens.access_token);
  }));
