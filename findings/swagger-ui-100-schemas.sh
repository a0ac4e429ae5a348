#!/usr/bin/env bash
# Swagger UI opens the section "Schemas" of an OpenAPI 3.1 document with a line for each schema in `components.schemas`: with 99 of them,
# the page has 99 lines. With 100 or more it draws a window of the list, and the page has only the lines in view. So "find in page", a
# printed page and a test that counts the lines miss the others, although nothing on the page says so.
# Needs Debian's `chromium`. Prints the version and the lines on the page. Exits with 1 when that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --save-exact swagger-ui-dist@5.35.0 playwright-core@1.65.1

cat >check.cjs <<'SCRIPT'
const { createServer } = require('node:http');
const { readFileSync } = require('node:fs');
const { chromium } = require('playwright-core');

const page = `<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="/swagger-ui.css"><div id="ui"></div>
<script src="/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({ url: location.search.slice(1), dom_id: '#ui', defaultModelsExpandDepth: 0 })</script>`;
const documentOf = (count) => ({
  openapi: '3.1.0',
  info: { title: 'Schemas', version: '1' },
  paths: {},
  components: {
    schemas: Object.fromEntries(
      Array.from({ length: count }, (_, n) => [`Schema${n}`, { type: 'object', properties: { id: { type: 'string' } } }]),
    ),
  },
});

const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, 'http://localhost');
  const count = /^\/document\/(\d+)$/.exec(pathname)?.[1];
  if (count) return response.end(JSON.stringify(documentOf(Number(count))));
  if (pathname === '/favicon.ico') return response.end();
  if (pathname === '/') return response.setHeader('content-type', 'text/html').end(page);
  const type = pathname.endsWith('.css') ? 'text/css' : 'text/javascript';
  response.setHeader('content-type', type).end(readFileSync(`node_modules/swagger-ui-dist${pathname}`));
});

server.listen(0, '127.0.0.1', async () => {
  const origin = `http://127.0.0.1:${server.address().port}`;
  const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
  const lines = {};
  for (const count of [99, 100, 200]) {
    const tab = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    await tab.goto(`${origin}/?/document/${count}`);
    await tab.locator('section.models h4 button').click();
    const titles = tab.locator('section.models .json-schema-2020-12__title');
    await titles.first().waitFor();
    // Two frames, so that all that is drawn at once is there.
    await tab.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
    lines[count] = await titles.count();
    await tab.close();
  }
  await browser.close();
  server.close();
  server.closeAllConnections();
  console.log('swagger-ui-dist', require('swagger-ui-dist/package.json').version);
  for (const [count, shown] of Object.entries(lines)) console.log(`${count} schemas: ${shown} lines on the page`);
  process.exitCode = lines[99] === 99 && lines[100] < 50 && lines[200] === lines[100] ? 0 : 1;
});
SCRIPT
node check.cjs
