/** `bun run openapi`: writes the OpenAPI document, as `/swagger/json` gives it, to openapi.json. */
import { drizzle } from 'drizzle-orm/bun-sql';
import { createApi } from '../app.ts';
import { bunPasswords } from '../passwords/bun.ts';
import { buildDocument } from '../plugins/openapi.ts';
import { readSettings } from '../settings.ts';

// Nothing is served, so nothing needs to be there.
const api = createApi({
  settings: readSettings({}),
  jwt_secret: 'unused'.repeat(8),
  database: drizzle.mock(),
  passwords: bunPasswords(),
  log: () => undefined,
  now: () => new Date(),
  address_of: () => undefined,
  streamed: (pieces) => pieces,
  openapi_document: buildDocument,
  swagger_ui_file: async () => undefined,
});
const file = new URL('../../openapi.json', import.meta.url);
await Bun.write(file, `${JSON.stringify(await buildDocument(api), null, 2)}\n`);
