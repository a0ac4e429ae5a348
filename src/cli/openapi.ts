/** `bun run openapi`: writes the OpenAPI document, as `/swagger/json` gives it, to openapi.json. */
import { createApi } from '../app.ts';
import { buildDocument } from '../openapi/document.ts';
import { unservedPlatform } from './unserved-platform.ts';

// The document needs no database: the app serves no request.
const api = createApi(unservedPlatform());
const file = new URL('../../openapi.json', import.meta.url);
await Bun.write(file, `${JSON.stringify(await buildDocument(api), null, 2)}\n`);
