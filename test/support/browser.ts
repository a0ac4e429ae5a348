/** A Chromium that can reach nothing but this machine. What a test saw is kept in `test/browser/screenshots`. */
import { afterAll, beforeAll, expect, setDefaultTimeout } from 'bun:test';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Browser,
  type BrowserContext,
  type BrowserContextOptions,
  chromium,
  type Locator,
  type Page,
} from 'playwright-core';

const CHROMIUM_PATH = process.env.CHROMIUM_PATH || '/usr/bin/chromium';
const SCREENSHOTS = join(import.meta.dir, '../browser/screenshots');

/** How long the page may take over one step; a test has several, and a cold browser is slow to start. */
const STEP_TIMEOUT_MS = 60_000;
const TEST_TIMEOUT_MS = 180_000;

/** Starts a browser for the tests of a file. Call it before `useApi`, so that its connections close before the server stops. */
export function useBrowser() {
  setDefaultTimeout(TEST_TIMEOUT_MS);
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

  /**
   * Opens a page in a browser context of its own, and waits until `ready` is shown.
   * @param act gets the page and the list of what has gone wrong on it so far, which the context keeps up to date.
   */
  async function visit(
    url: string,
    ready: string,
    act: (page: Page, faults: string[]) => Promise<void>,
    options: BrowserContextOptions = { viewport: { width: 1280, height: 900 } },
  ) {
    if (!browser) throw new Error('the browser did not start');
    const context = await browser.newContext(options);
    context.setDefaultTimeout(STEP_TIMEOUT_MS);
    const faults = noteFaults(context, new URL(url).host);
    const page = await context.newPage();
    try {
      const response = await page.goto(url);
      expect(response?.status()).toBe(200);
      expect(response?.headers()['content-security-policy']).toStartWith("default-src 'none';");
      await page.locator(ready).first().waitFor();
      await act(page, faults);
    } catch (error) {
      await screenshot(page, 'failed');
      // What went wrong on the page is mostly why something did not show up on it.
      throw new Error(`at ${url}: ${faults.join('\n') || 'no fault of the page'}`, {
        cause: error,
      });
    } finally {
      await context.close();
    }
  }

  /** Opens a page of another site than the API's, in a browser context of its own. */
  async function open(url: string, act: (page: Page) => Promise<void>) {
    if (!browser) throw new Error('the browser did not start');
    const context = await browser.newContext();
    context.setDefaultTimeout(STEP_TIMEOUT_MS);
    const said: string[] = [];
    context.on('console', (message) => said.push(message.text()));
    const page = await context.newPage();
    try {
      await page.goto(url);
      await act(page);
    } catch (error) {
      throw new Error(`at ${url}: ${said.join('\n') || 'nothing on the console'}`, {
        cause: error,
      });
    } finally {
      await context.close();
    }
  }

  return { visit, open, screenshot };
}

/** Follows every page and request of a context. @returns a list that grows with each fault. */
function noteFaults(context: BrowserContext, host: string): string[] {
  const faults: string[] = [];
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

/** Of a page, what is in view; of a place on it, the whole. */
const screenshot = (target: Page | Locator, name: string) =>
  target.screenshot({ path: join(SCREENSHOTS, `${name}.png`) });
