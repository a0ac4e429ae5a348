/** `bun run openapi`: writes the OpenAPI document, as `/swagger/json` gives it, to openapi.json. */
import { drizzle } from 'drizzle-orm/bun-sql';
import { createApi } from '../app.ts';
import { buildDocument } from '../openapi/document.ts';
import { bunPasswords } from '../passwords/bun.ts';
import { readSettings } from '../settings.ts';

// The document needs no database: the app serves no request.
const api = createApi({
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
const file = new URL('../../openapi.json', import.meta.url);
await Bun.write(file, `${JSON.stringify(await buildDocument(api), null, 2)}\n`);
