/** What a person does with the documentation in a browser: `/docs`, `/swagger`, and both under the path of a proxy. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type { Locator, Page } from 'playwright-core';
import { useApi } from '../support/api.ts';
import { useBrowser } from '../support/browser.ts';

const { visit, screenshot } = useBrowser();
const api = useApi();

/** Serves the API under `/api`, as a proxy does that takes the path away. */
let proxy: Bun.Server<undefined>;
beforeAll(() => {
  proxy = Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    fetch(request) {
      const { pathname, search } = new URL(request.url);
      if (!pathname.startsWith('/api/')) return new Response('not the API', { status: 404 });
      const { method, headers, body } = request;
      const target = api.url + pathname.slice('/api'.length) + search;
      return fetch(target, { method, headers, body, redirect: 'manual', decompress: false });
    },
  });
});
afterAll(() => proxy.stop(true));

const origins = [
  ['at the root', () => api.url],
  ['under a path', () => `${proxy.url.origin}/api`],
] as const;

/** Opens an operation at `/docs`, fills in nothing, and sends it. @returns the status. */
async function sendExample(page: Page, operationId: string): Promise<string> {
  await page.evaluate(`location.hash = 'operation/${operationId}'`);
  await page.locator(`.try[data-operation="${operationId}"] .send`).click();
  const status = page.locator('.output .status');
  await status.waitFor();
  return ((await status.textContent()) ?? '').slice(0, 3);
}

describe.each(origins)('/docs %s', (where, origin) => {
  test('the examples work on a new account, in order, and the log-in survives a reload', () =>
    visit(`${origin()}/docs`, '.try, .log-in', async (page, faults) => {
      await api.sql`delete from users where username = 'ada'`;
      const steps: [string, string][] = [
        ['registerUser', '201'],
        ['logIn', '200'],
        ['readProfile', '200'],
        ['createProject', '201'],
        ['listProjects', '200'],
        ['readProject', '200'],
        ['createTask', '201'],
        ['listTasks', '200'],
        ['listAllTasks', '200'],
        ['batchTasks', '200'],
        ['patchTask', '200'],
        ['replaceTask', '200'],
        ['createApiToken', '201'],
        ['refreshSession', '200'],
        ['listChanges', '200'],
        ['exportProject', '200'],
      ];
      for (const [operationId, status] of steps)
        expect([operationId, await sendExample(page, operationId)]).toEqual([operationId, status]);
      await page.reload();
      await page.getByRole('button', { name: 'Log out' }).waitFor();
      expect(await sendExample(page, 'readProfile')).toBe('200');
      await screenshot(page, `docs-${where.replaceAll(' ', '-')}`);
      await page.getByRole('button', { name: 'Log out' }).click();
      await page.getByText('Not logged in').waitFor();
      expect(await sendExample(page, 'isLive')).toBe('200');
      expect(faults).toEqual([]);
    }));

  test('Swagger UI is there too', () =>
    visit(`${origin()}/swagger`, '.opblock', async (page, faults) => {
      await page.locator('.servers option').first().waitFor({ state: 'attached' });
      expect(await page.locator('.servers option').first().getAttribute('value')).toBe(origin());
      expect(faults).toEqual([]);
    }));
});

test('no optional parameter of the two main lists is filled in beforehand', () =>
  visit(`${api.url}/swagger#/Tasks/listAllTasks`, '.opblock-body', async (page) => {
    const operation = page.locator('.opblock.is-open');
    await operation.getByRole('button', { name: 'Try it out' }).click();
    for (const field of await operation.locator('.parameters input, .parameters select').all())
      expect(await readValue(field)).toBe('');
  }));

const readValue = (field: Locator) =>
  field.evaluate((element) => {
    const { value, selectedOptions } = element as unknown as {
      value: string;
      selectedOptions?: { value: string }[];
    };
    return [...(selectedOptions ?? [{ value }])].map((one) => one.value).join();
  });

test.each([
  ['/swagger#/Tasks/createTask', '.opblock.is-open', '.opblock.is-open .response'],
  ['/docs#operation/createTask', 'main', 'main .response'],
])('an open operation at %s is short: success first, each error on one line', (path, whole, line) =>
  visit(api.url + path, line, async (page) => {
    await page.locator(line).last().waitFor();
    const height = await page.locator(whole).evaluate((element) => element.scrollHeight);
    // Two thirds of it are the fields of a task.
    expect(height).toBeLessThan(2200);
    const texts = await page.locator(line).allInnerTexts();
    expect(texts[0]).toStartWith('201');
    const heights = await page
      .locator(line)
      .evaluateAll((lines) => lines.slice(1).map((one) => one.clientHeight));
    expect(heights.length).toBeGreaterThan(7);
    for (const one of heights) expect(one).toBeLessThan(100);
  }),
);

test('the search finds guides and operations', () =>
  visit(`${api.url}/docs`, 'nav li', async (page) => {
    await page.keyboard.press('/');
    await page.keyboard.type('ratelimit-policy');
    expect(await page.locator('nav li:visible').allInnerTexts()).toEqual(['Limits']);
    await page.getByRole('searchbox').fill('add member');
    const found = await page.locator('nav li:visible').allInnerTexts();
    expect(found).toContain('POST\nAdd a member');
    expect(found).not.toContain('POST\nCreate a task');
    await page.locator('nav li:visible a', { hasText: 'Add a member' }).click();
    await page.getByRole('heading', { name: 'Add a member' }).waitFor();
    await page.getByRole('button', { name: 'Python' }).click();
    expect(await page.locator('.sample').textContent()).toContain('import requests');
  }));

test.each(['/docs#operation/createTask', '/docs#guide/Errors', '/swagger'])(
  '%s fits a phone, light and dark',
  async (path) => {
    for (const colorScheme of ['light', 'dark'] as const)
      await visit(
        api.url + path,
        '.try, main h1, .opblock',
        async (page) => {
          const [shown, whole] = await page.evaluate<number[]>(
            '[document.documentElement.clientWidth, document.documentElement.scrollWidth]',
          );
          expect(whole).toBe(shown ?? 0);
          await screenshot(page, `phone-${colorScheme}${path.replace(/\W+/g, '-')}`);
        },
        { viewport: { width: 390, height: 844 }, colorScheme },
      );
  },
);
