/** The types of the app outside of this repository: they can be written as declarations, and a typed client costs little. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

setDefaultTimeout(300_000);

/** What the compiler may do with a client beside what it does for the app alone. */
const COST_MAX = 1.3;

const root = join(import.meta.dir, '../..');
let folder: string;

beforeAll(async () => {
  await mkdir(join(root, '.data'), { recursive: true });
  // In the repository: the compiler looks for packages above its configuration.
  folder = await mkdtemp(join(root, '.data/types-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Compiles a file. @returns what the compiler printed, of which the last lines are its figures. */
async function compile(file: string, compilerOptions: object): Promise<string> {
  const config = join(folder, `${crypto.randomUUID()}.json`);
  const options = { extends: '../../tsconfig.json', compilerOptions, include: [] };
  await writeFile(config, JSON.stringify({ ...options, files: [join(root, file)] }));
  const child = Bun.spawn(
    [process.execPath, 'x', 'tsc', '--project', config, '--extendedDiagnostics'],
    { cwd: root, stdout: 'pipe', stderr: 'pipe' },
  );
  const printed = await child.stdout.text();
  await child.exited;
  return printed;
}

const errorsIn = (printed: string) => printed.split('\n').filter((line) => /error TS/.test(line));
const instantiationsIn = (printed: string) => Number(/Instantiations:\s+(\d+)/.exec(printed)?.[1]);

test('the app is written as declarations without an error', async () => {
  const outDir = join(folder, 'out');
  const printed = await compile('src/app.ts', {
    noEmit: false,
    declaration: true,
    emitDeclarationOnly: true,
    rewriteRelativeImportExtensions: true,
    rootDir: root,
    outDir,
  });
  expect(errorsIn(printed)).toEqual([]);
  expect(existsSync(join(outDir, 'src/app.d.ts'))).toBe(true);
});

test(`a client of App takes the compiler up to ${COST_MAX} times the work of the app`, async () => {
  const [app, client] = [
    await compile('src/app.ts', { noEmit: true }),
    await compile('examples/eden.ts', { noEmit: true }),
  ];
  expect([...errorsIn(app), ...errorsIn(client)]).toEqual([]);
  const ratio = instantiationsIn(client) / instantiationsIn(app);
  console.log(`a client of App: ${ratio.toFixed(2)} times the instantiations of the app alone`);
  expect(ratio).toBeLessThanOrEqual(COST_MAX);
});
