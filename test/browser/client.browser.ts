/** `@mantou/client` in Chromium, on a page of another site than the API's. */
import { afterAll, expect, test } from 'bun:test';
import { useApi } from '../support/api.ts';
import { useBrowser } from '../support/browser.ts';
import { bundleClientCases } from '../support/client-bundle.ts';

const site = Bun.serve({
  port: 0,
  hostname: '127.0.0.1',
  routes: {
    '/cases.js': async () =>
      new Response(await bundleClientCases(), { headers: { 'content-type': 'text/javascript' } }),
  },
  fetch: () => new Response('<!doctype html>', { headers: { 'content-type': 'text/html' } }),
});

const { open } = useBrowser();
const api = useApi({ corsOrigins: [site.url.origin] });
afterAll(() => site.stop(true));

test('all cases pass over CORS', () =>
  open(site.url.href, async (page) => {
    const failures = await page.evaluate(`(async () => {
      const { runClientCases } = await import('/cases.js');
      return runClientCases(${JSON.stringify(api.url)});
    })()`);
    expect(failures).toEqual({});
  }));

test('two pages that share localStorage and refresh together keep their one log-in', () =>
  open(site.url.href, async (page) => {
    const ada = await api.person('ada');
    const { body: tokens } = await api.anonymous.logIn(ada.username, ada.password);
    const other = await page.context().newPage();
    await other.goto(site.url.href);
    const key = JSON.stringify(`mantou ${api.url}`);
    let kept = JSON.stringify({ ...tokens, ends_at: 0 });
    const readProfile = `(async () => {
      const { createClient } = await import('/cases.js');
      const { username } = await createClient(${JSON.stringify(api.url)}, { storage: localStorage }).users.me();
      return username;
    })()`;
    const refreshed = new Set<string>();
    for (let round = 0; round < 3; round += 1) {
      await page.evaluate(`localStorage.setItem(${key}, ${JSON.stringify(kept)})`);
      await other.waitForFunction(`localStorage.getItem(${key}) === ${JSON.stringify(kept)}`);
      const names = await Promise.all([page, other].map((one) => one.evaluate(readProfile)));
      expect(names).toEqual([ada.username, ada.username]);
      const stored = JSON.parse(await page.evaluate<string>(`localStorage.getItem(${key})`));
      refreshed.add(stored.refresh_token);
      kept = JSON.stringify({ ...stored, ends_at: 0 });
    }
    // Each round has one next token, whichever page asked for it, and the session lives.
    expect(refreshed.size).toBe(3);
    expect((await ada.get('/users/me/sessions')).body.items.length).toBe(2);
  }));
