import { drizzle } from 'drizzle-orm/bun-sql';
import type { createApp } from '../app.ts';
import { buildDocument } from '../openapi/document.ts';
import { bunPasswords } from '../passwords/bun.ts';
import { readSettings } from '../settings.ts';

/** Returns what an app is built from that serves no request. It has no database. */
export const unservedPlatform = (): Parameters<typeof createApp>[0] => ({
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
