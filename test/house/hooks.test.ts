/**
 * What Elysia compiles around each handler. It reads the source of hooks and handlers, and prepares whatever they may use of the
 * context: one that passes its context on makes it parse cookies and copy all headers, for each request of each route.
 */
import { expect, test } from 'bun:test';
import { createApp } from '../../src/app.ts';
import { unservedPlatform } from '../../src/cli/unserved-platform.ts';

const app = createApp(unservedPlatform());
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
