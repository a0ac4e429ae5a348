/**
 * The documentation as a person meets it: a real browser on a real server, with nothing else to be reached.
 * Run by `bun run test:browser`. What it saw is kept in `screenshots/`.
 */
import { expect, test } from 'bun:test';
import type { Locator, Page } from 'playwright-core';
import { type Persona, useApi } from '../support/api.ts';
import { useBrowser } from '../support/browser.ts';
import { waitFor } from '../support/process.ts';

const { visit: open, screenshot } = useBrowser();
const api = useApi();

test.each(['/swagger', '/swagger/'])('a person authorizes and tries requests out at %s', (path) =>
  visit(path, async (page, faults) => {
    const ada = await api.person('ada');

    await authorize(page, ada.username, ada.password);
    await page.getByRole('button', { name: 'Remove authorization' }).waitFor();
    await screenshot(page, 'authorized');
    await page.locator('.close-modal').click();
    await page.locator('.dialog-ux').waitFor({ state: 'hidden' });

    const kept = await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }));
    expect(kept).toContain('access_token');
    expect(kept).not.toContain(ada.password);

    const profile = await execute(page, 'GET', '/users/me');
    expect(profile.status).toBe('200');
    expect(profile.body).toMatchObject({ id: ada.id, username: ada.username });

    const project = await execute(page, 'POST', '/projects');
    expect(project.status).toBe('201');
    expect(await projectsOf(ada)).toEqual([project.body]);

    expect(faults).toEqual([]);
  }),
);

test('the page shows the title, the operations under their tags, the schemas, and both ways to authorize', () =>
  visit('/swagger', async (page, faults) => {
    const { info, tags, paths, components } = await readDocument();

    expect(await page.title()).toContain(info.title);
    expect(await read(page.locator('.info .title'))).toContain(info.title);

    const operations = Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({
        line: `${method.toUpperCase()} ${path} ${operation.summary}`,
        tags: operation.tags,
      })),
    );
    const groups = tags.map(({ name }) => ({
      name,
      lines: operations.filter((one) => one.tags.includes(name)).map((one) => one.line),
    }));
    expect(groups.every(({ lines }) => lines.length > 0)).toBe(true);
    expect(await shownGroups(page)).toEqual(groups);

    await page.locator('section.models h4 button').click();
    const schemas = page.locator('section.models .json-schema-2020-12__title');
    // Of 100 schemas or more, Swagger UI draws those that are in view.
    const seen = new Set<string>();
    await waitFor('the last schema is drawn', async () => {
      // At once: what is scrolled out of view is taken off the page.
      const drawn = await schemas.evaluateAll((titles) => {
        titles.at(-1)?.scrollIntoView();
        return titles.map((title) => title.textContent);
      });
      for (const name of drawn) seen.add(name);
      return seen.size === Object.keys(components.schemas).length;
    });
    expect([...seen]).toEqual(Object.keys(components.schemas));
    await screenshot(page.locator('body'), 'page');

    await page.getByRole('button', { name: 'Authorize' }).click();
    await page.getByLabel('username:').waitFor();
    await screenshot(page, 'dialog');
    const ways = await page.locator('.auth-container h4').allInnerTexts();
    expect(ways.map((heading) => heading.split(/\s/)[0])).toEqual(
      Object.keys(components.securitySchemes),
    );
    // The form that people use is ready to be typed into.
    await page.keyboard.type('ada');
    expect(await page.getByLabel('username:').inputValue()).toBe('ada');

    expect(faults).toEqual([]);
  }));

test('the dialog shows that a password is wrong', () =>
  visit('/swagger', async (page, faults) => {
    const ada = await api.person('ada');
    await authorize(page, ada.username, 'not the password');
    const told = await read(page.locator('.auth-container .errors'));
    expect(told).toContain('invalid_grant');
    expect(told).toContain('No account has this user name or email with this password');
    await screenshot(page, 'wrong-password');

    // The browser notes the 401 too; nothing else went wrong.
    expect(faults).toContain(`401 of POST ${api.url}/users/login`);
    expect(faults.filter((fault) => !/^401 of |status of 401 /.test(fault))).toEqual([]);
  }));

/** What a page that was taken over would try, and the directive that stops it. */
const intrusions = {
  "append('script', { src: 'http://elsewhere.test/script.js' })": 'script-src-elem',
  "append('script', { textContent: 'document.body.remove()' })": 'script-src-elem',
  "append('link', { rel: 'stylesheet', href: 'http://elsewhere.test/style.css' })":
    'style-src-elem',
  "append('img', { src: 'http://elsewhere.test/picture.png' })": 'img-src',
  "append('iframe', { src: 'http://elsewhere.test/' })": 'frame-src',
  "append('base', { href: 'http://elsewhere.test/' })": 'base-uri',
  "fetch('http://elsewhere.test/').catch(() => {})": 'connect-src',
  // The last, for the browser leaves the page, if only for an empty one.
  "append('form', { action: 'http://elsewhere.test/' }).submit()": 'form-action',
};

test.each(['/swagger', '/swagger/'])('the policy of the page is in force at %s', (path) =>
  visit(path, async (page) => {
    await page.evaluate(`
      append = (name, properties) =>
        document.body.appendChild(Object.assign(document.createElement(name), properties));
      addEventListener('securitypolicyviolation', (refusal) =>
        console.debug('refused by', refusal.effectiveDirective, refusal.disposition));
    `);
    for (const [code, directive] of Object.entries(intrusions)) {
      const [refusal] = await Promise.all([
        page.waitForEvent('console', (message) => message.text().startsWith('refused by')),
        page.evaluate(`${code}; undefined`),
      ]);
      expect({ code, refusal: refusal.text() }).toEqual({
        code,
        refusal: `refused by ${directive} enforce`,
      });
    }
  }),
);

/** Opens a page of Swagger UI and waits until its operations are shown. */
const visit = (path: string, act: (page: Page, faults: string[]) => Promise<void>) =>
  open(api.url + path, '.opblock', act);

async function authorize(page: Page, username: string, password: string) {
  await page.getByRole('button', { name: 'Authorize' }).click();
  await page.getByLabel('username:').fill(username);
  await page.getByLabel('password:').fill(password);
  await page.getByRole('button', { name: 'Apply given OAuth2 credentials' }).click();
}

/** Tries an operation out as it stands, example body and all. @returns what the page shows of the answer. */
async function execute(
  page: Page,
  method: string,
  path: string,
): Promise<{ status: string; body: unknown }> {
  const operation = page.locator(`.opblock-${method.toLowerCase()}`, {
    has: page.locator(`[data-path="${path}"]`),
  });
  await operation.locator('.opblock-summary-control').click();
  await operation.getByRole('button', { name: 'Try it out' }).click();
  await operation.getByRole('button', { name: 'Execute' }).click();
  const answer = operation.locator('.live-responses-table');
  const status = await read(answer.locator('.response .response-col_status'));
  const body = await read(answer.locator('.response .highlight-code code').first());
  await screenshot(operation, `${method.toLowerCase()}${path.replaceAll('/', '-')}`);
  return { status, body: JSON.parse(body) };
}

/** What a person can read there. */
async function read(place: Locator): Promise<string> {
  await place.waitFor();
  return (await place.textContent()) ?? '';
}

/** The tags of the page, each with its operations, in the order in which they stand there. */
async function shownGroups(page: Page): Promise<{ name: string | null; lines: string[] }[]> {
  const groups = [];
  for (const section of await page.locator('.opblock-tag-section').all()) {
    const lines = [];
    for (const operation of await section.locator('.opblock').all()) {
      const method = await read(operation.locator('.opblock-summary-method'));
      const path = await operation.locator('.opblock-summary-path').getAttribute('data-path');
      const summary = await read(operation.locator('.opblock-summary-description'));
      lines.push(`${method} ${path} ${summary}`);
    }
    groups.push({
      name: await section.locator('.opblock-tag').getAttribute('data-tag'),
      lines,
    });
  }
  return groups;
}

interface Document {
  info: { title: string };
  tags: { name: string }[];
  paths: Record<string, Record<string, { tags: string[]; summary: string }>>;
  components: { schemas: object; securitySchemes: object };
}

async function readDocument(): Promise<Document> {
  const { body } = await api.anonymous.get('/swagger/json');
  return body;
}

async function projectsOf(persona: Persona): Promise<unknown[]> {
  const { body } = await persona.get('/projects/');
  return body.items;
}
