/**
 * What Elysia compiles around each handler. It reads the source of hooks and handlers, and prepares whatever they may use of the
 * context: one that passes its context on makes it parse cookies and copy all headers, for each request of each route.
 */
import { expect, test } from 'bun:test';
import { drizzle } from 'drizzle-orm/bun-sql';
import { createApp } from '../../src/app.ts';
import { buildDocument } from '../../src/openapi/document.ts';
import { bunPasswords } from '../../src/passwords/bun.ts';
import { readSettings } from '../../src/settings.ts';

const app = createApp({
  settings: readSettings({}),
  jwtSecret: 'unused'.repeat(8),
  database: drizzle.mock(),
  passwords: bunPasswords(),
  log: () => undefined,
  now: () => new Date(),
  remoteAddress: () => undefined,
  bindStream: (pieces) => pieces,
  runUnbounded: (work) => work(),
  openapiDocument: buildDocument,
  docsFile: async () => undefined,
});
/** CalDAV is seldom called, and its handlers share what they make of the context. */
const routes = app.routes.filter(({ path }) => !/^\/(dav\b|$)/.test(path));

test.each(routes.map((route) => [`${route.method} ${route.path}`, route] as const))(
  '%s parses no cookies and copies no headers',
  (_, route) => {
    const source = route.compile().toString();
    expect(source).toContain('e.afterResponse[0](c)');
    expect(source).not.toMatch(/parseCookie\(|headers\.toJSON\(|defineProperty\(c,'server'/);
  },
);
