/** `bun run client:types` writes `client/src/api.ts`: the types of `openapi.json`. */
import { join } from 'node:path';
import { plugin } from 'bun';

const TARGET = join(import.meta.dir, 'src/api.ts');
const head = '/** Made of `openapi.json` by `bun run openapi`: do not edit. */\n';

/** `openapi-typescript` calls the compiler as a library, which TypeScript 7 no longer is. */
plugin({
  name: 'typescript-5',
  setup: (build) =>
    void build.module('typescript', async () => {
      const typescript = await import('typescript-5');
      return { loader: 'object', exports: { ...typescript, default: typescript.default } };
    }),
});

/** Returns the text of the types. */
export async function clientTypes(): Promise<string> {
  const { astToString, default: openapiTypescript } = await import('openapi-typescript');
  const document = await Bun.file(join(import.meta.dir, '../openapi.json')).text();
  return head + astToString(await openapiTypescript(document));
}

if (import.meta.main) await Bun.write(TARGET, await clientTypes());
