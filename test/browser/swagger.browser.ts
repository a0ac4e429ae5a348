/**
 * The documentation as a person meets it: a real browser on a real server, with nothing else to be reached.
 * Run by `bun run test:browser`. What it saw is kept in `screenshots/`.
 */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Browser,
  type BrowserContext,
  chromium,
  type Locator,
  type Page,
} from 'playwright-core';
import { type Persona, useApi } from '../support/api.ts';

const CHROMIUM_PATH = process.env.CHROMIUM_PATH || '/usr/bin/chromium';
const SCREENSHOTS = join(import.meta.dir, 'screenshots');

/** How long the page may take over one step; a test has several, and a cold browser is slow to start. */
const STEP_TIMEOUT_MS = 15_000;
const TEST_TIMEOUT_MS = 90_000;
setDefaultTimeout(TEST_TIMEOUT_MS);

// Hooks run in the order of this file: the browser lets go of its connections before the server stops.
let browser: Browser | undefined;
beforeAll(async () => {
  if (!existsSync(CHROMIUM_PATH))
    throw new Error(
      `There is no Chromium at ${CHROMIUM_PATH}: apt-get install chromium, or set CHROMIUM_PATH`,
    );
  browser = await chromium.launch({
    executablePath: CHROMIUM_PATH,
    timeout: STEP_TIMEOUT_MS,
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--disable-quic',
      '--no-first-run',
      // A page that asks for another host is found out, and still nothing leaves the machine.
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
    ],
  });
}, TEST_TIMEOUT_MS);
afterAll(async () => {
  await browser?.close();
});

const api = useApi();

test.each(['/swagger', '/swagger/'])('a person authorizes and tries requests out at %s', (path) =>
  visit(path, async (page, faults) => {
    const ada = await api.person('ada');

    await authorize(page, ada.username, ada.password);
    await page.getByRole('button', { name: 'Remove authorization' }).waitFor();
    await screenshot(page, 'authorized');
    await page.locator('.close-modal').click();
    await page.locator('.dialog-ux').waitFor({ state: 'hidden' });

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

    const schemas = page.locator('section.models .json-schema-2020-12__title');
    await schemas.last().waitFor();
    expect(await schemas.allInnerTexts()).toEqual(Object.keys(components.schemas));
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

test('a wrong password is told in the dialog', () =>
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

/**
 * Opens a page of the server, in a browser context of its own, and waits until it is drawn.
 * @param act gets the page and the list of what has gone wrong on it so far, which the context keeps up to date.
 */
async function visit(path: string, act: (page: Page, faults: string[]) => Promise<void>) {
  if (!browser) throw new Error('the browser did not start');
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  context.setDefaultTimeout(STEP_TIMEOUT_MS);
  const faults = noteFaults(context);
  const page = await context.newPage();
  try {
    const response = await page.goto(api.url + path);
    expect(response?.status()).toBe(200);
    expect(response?.headers()['content-security-policy']).toStartWith("default-src 'none';");
    await page.locator('.opblock').first().waitFor();
    await act(page, faults);
  } catch (error) {
    await screenshot(page, 'failed');
    // What went wrong on the page is mostly why something did not show up on it.
    throw new Error(`at ${path}: ${faults.join('\n') || 'no fault of the page'}`, { cause: error });
  } finally {
    await context.close();
  }
}

/** Follows every page and request of a context. @returns a list that grows with each fault. */
function noteFaults(context: BrowserContext): string[] {
  const faults: string[] = [];
  const { host } = new URL(api.url);
  context.on('request', (request) => {
    if (new URL(request.url()).host !== host)
      faults.push(`a request to another host: ${request.url()}`);
  });
  context.on('requestfailed', (request) =>
    faults.push(`${request.failure()?.errorText} of ${request.method()} ${request.url()}`),
  );
  context.on('response', (response) => {
    if (response.status() >= 400)
      faults.push(`${response.status()} of ${response.request().method()} ${response.url()}`);
  });
  context.on('console', (message) => {
    if (message.type() === 'error') faults.push(`on the console: ${message.text()}`);
  });
  context.on('weberror', (error) => faults.push(`thrown on the page: ${error.error().message}`));
  return faults;
}

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

/** Of a page, what is in view; of a place on it, the whole. */
const screenshot = (target: Page | Locator, name: string) =>
  target.screenshot({ path: join(SCREENSHOTS, `${name}.png`) });
