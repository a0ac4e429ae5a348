/**
 * `bun run bench:docs URL`: prints what the documentation of a running server costs a browser: CPU time until the first
 * operation is shown, the height of an open operation, and the bytes transferred. Needs Chromium
 * (`apt-get install chromium`).
 */
import { chromium, type Page } from 'playwright-core';

const [url = 'http://127.0.0.1:3000'] = Bun.argv.slice(2);
const RUNS = 5;
const OPERATION = 'createTask';

const views = [
  {
    path: '/docs',
    first: 'nav li a',
    hash: `#operation/${OPERATION}`,
    open: '.try',
    whole: 'main',
  },
  {
    path: '/swagger',
    first: '.opblock',
    hash: `#/Tasks/${OPERATION}`,
    open: '.opblock-body',
    whole: '.opblock.is-open',
  },
];

const median = (values: number[]) =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

/** The CPU time of the page's main thread, by its own clock, so that a busy machine counts less. */
async function watch(page: Page) {
  const devtools = await page.context().newCDPSession(page);
  await devtools.send('Performance.enable', { timeDomain: 'threadTicks' });
  await devtools.send('Network.enable');
  const counted = { bytes: 0 };
  devtools.on('Network.loadingFinished', ({ encodedDataLength }) => {
    counted.bytes += encodedDataLength;
  });
  const seconds = async () => {
    const { metrics } = await devtools.send('Performance.getMetrics');
    return metrics.find(({ name }) => name === 'TaskDuration')?.value ?? Number.NaN;
  };
  return { counted, seconds };
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM_PATH || '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking'],
});
for (const { path, first, hash, open, whole } of views) {
  const cpu: number[] = [];
  let height = 0;
  let bytes = 0;
  for (let run = 0; run < RUNS; run += 1) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
    const page = await context.newPage();
    const { counted, seconds } = await watch(page);
    await page.goto(url + path);
    await page.locator(first).first().waitFor();
    cpu.push(await seconds());
    await page.waitForLoadState('networkidle');
    bytes = counted.bytes;
    await page.goto('about:blank');
    await page.goto(url + path + hash);
    await page.locator(open).first().waitFor();
    await page.waitForLoadState('networkidle');
    height = await page
      .locator(whole)
      .first()
      .evaluate(({ scrollHeight }) => scrollHeight);
    await context.close();
  }
  const all = cpu.map((one) => one.toFixed(2)).join(' ');
  console.log(
    `${path}: ${median(cpu).toFixed(2)} s of CPU to the first operation (median of ${all}), ${OPERATION} open: ${height} px high, ${Math.round(bytes / 1000)} KB transferred`,
  );
}
await browser.close();
