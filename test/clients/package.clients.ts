/**
 * The package `@mantou/client` as `npm publish` would send it, on Node: it is built, packed and unpacked, and the cases of
 * `test/support/client-suite.ts` run with it. Run by `bun run test:clients`.
 */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { $ } from 'bun';
import { useApi } from '../support/api.ts';
import { bundleClientCases } from '../support/client-bundle.ts';
import { clientCases } from '../support/client-suite.ts';

setDefaultTimeout(180_000);
const api = useApi();
const root = join(import.meta.dir, '../..');
const folder = mkdtempSync(join(tmpdir(), 'mantou-client-'));
const installed = join(folder, 'node_modules/@mantou/client');
afterAll(() => rmSync(folder, { recursive: true }));

let paths: string[] = [];
beforeAll(async () => {
  await $`bun run client:build`.cwd(root).quiet();
  const packed: { files: { path: string }[]; filename: string }[] =
    await $`npm pack --json --pack-destination ${folder}`.cwd(join(root, 'client')).json();
  paths = packed[0]?.files.map(({ path }) => path) ?? [];
  mkdirSync(installed, { recursive: true });
  await $`tar xzf ${packed[0]?.filename} -C ${installed} --strip-components=1`.cwd(folder);
  for (const name of ['openapi-fetch', 'openapi-typescript-helpers'])
    cpSync(join(root, 'node_modules', name), join(folder, 'node_modules', name), {
      recursive: true,
      dereference: true,
    });
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
}, 180_000);

test('the package has its module, its types and nothing else, and Node runs all cases with it', async () => {
  expect(paths.filter((path) => !/^dist\/[\w-]+\.d\.ts$/.test(path)).sort()).toEqual([
    'LICENSE',
    'README.md',
    'dist/index.js',
    'package.json',
  ]);
  writeFileSync(join(folder, 'cases.js'), await bundleClientCases('@mantou/client'));
  expect(readFileSync(join(folder, 'cases.js'), 'utf8')).toContain('from "@mantou/client"');
  writeFileSync(
    join(folder, 'run.js'),
    // Garbage is collected all the time: what a signal has to reach may be gone by chance otherwise.
    `import { runClientCases } from './cases.js';
setInterval(gc, 20);
console.log(JSON.stringify(await runClientCases(process.argv[2])));
process.exit();`,
  );
  const failures = await $`node --expose-gc run.js ${api.url}`.cwd(folder).json();
  expect(failures).toEqual({});
  expect(Object.keys(clientCases).length).toBeGreaterThan(10);
});

test('a strict TypeScript program compiles with its types, and a wrong one does not', async () => {
  const compile = async (program: string) => {
    writeFileSync(
      join(folder, 'program.ts'),
      `import { createClient } from '@mantou/client';\n${program}`,
    );
    const flags = [
      '--ignoreConfig',
      '--strict',
      '--noEmit',
      '--module',
      'nodenext',
      '--target',
      'es2022',
    ];
    const { exitCode, stdout } =
      await $`${process.execPath} x tsc ${flags} --types "" --lib es2022,dom,dom.iterable ${join(folder, 'program.ts')}`
        .cwd(root)
        .nothrow()
        .quiet();
    return exitCode === 0 ? '' : stdout.toString();
  };
  const readme = readFileSync(join(root, 'client/README.md'), 'utf8');
  const [, sample = ''] = /```ts\n[^\n]+\n([\s\S]*?)```/.exec(readme) ?? [];
  expect(await compile(`${sample}\nexport {};`)).toBe('');
  const wrong = "await createClient('').tasks.list({ status: ['nonsense'] }).next();";
  expect(await compile(wrong)).toContain('nonsense');
});
