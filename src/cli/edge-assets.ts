/**
 * `bun run build:edge`: gathers what the worker reads at run time where `wrangler.jsonc` expects it: the docs, and the
 * common passwords, which are as large as the whole program.
 */
import { copyFile, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { commonPasswords } from '../passwords/common-passwords.ts';
import { docsFiles } from '../plugins/docs.ts';

const root = join(import.meta.dir, '../..');
const folder = join(root, 'dist/edge-assets');

await rm(folder, { recursive: true, force: true });
await mkdir(folder, { recursive: true });
await copyFile(join(root, 'openapi.json'), join(folder, 'openapi.json'));
for (const [name, { source }] of Object.entries(docsFiles))
  await copyFile(Bun.resolveSync(source, join(root, 'src')), join(folder, name));
const passwords = JSON.stringify([...(await commonPasswords())]);
await Bun.write(join(folder, 'common-passwords.json'), passwords);
