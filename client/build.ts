/** `bun run client:build` writes the package into `client/dist`: one module, and its types. */
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { $ } from 'bun';

const folder = import.meta.dir;
const dist = join(folder, 'dist');
rmSync(dist, { recursive: true, force: true });
const { success, logs } = await Bun.build({
  entrypoints: [join(folder, 'src/index.ts')],
  outdir: dist,
  target: 'browser',
  format: 'esm',
  external: ['openapi-fetch'],
});
if (!success) throw new Error(logs.join('\n'));
await $`${process.execPath} x tsc -p ${join(folder, 'tsconfig.json')}`;
cpSync(join(folder, '../LICENSE'), join(folder, 'LICENSE'));
