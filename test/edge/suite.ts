/**
 * `bun run test:edge [file …]`: every test that talks to the API, unchanged, on the API in workerd; then the tests of
 * the worker itself. A new file is taken in by itself.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundleWorker } from '../support/edge.ts';
import { exceptions, fullNames } from './exceptions.ts';

const root = join(import.meta.dir, '../..');
const folder = await mkdtemp(join(tmpdir(), 'mantou-worker-'));
const [tested, deployed] = [join(folder, 'tested'), join(folder, 'deployed')];

/** Starts the API by `test/support`, which knows both runtimes. Of a command there is only one. */
const STARTS_API = /\buseApi\(|\bApi\.start\(/;
const OF_COMMANDS = /^test\/cli\//;

/** A quarter of what Bun gets: each costs a connection to the database here, and what they try is the same code. */
const PROPERTY_RUNS = 200;

async function findSuite(): Promise<string[]> {
  const files = [...new Bun.Glob('test/**/*.test.ts').scanSync(root)]
    .filter((file) => !OF_COMMANDS.test(file))
    .sort();
  const texts = await Promise.all(files.map((file) => Bun.file(join(root, file)).text()));
  return files.filter((_, index) => STARTS_API.test(texts[index] ?? ''));
}

const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
/** Bun matches names without what it prints between them. */
const named = fullNames.map((name) => escaped(name.replaceAll(' > ', ' '))).join('|');

/** @returns the exit code, and what was printed unless it was shown. */
async function runTests(files: string[], options: string[], shown: boolean) {
  const command = [
    process.execPath,
    'test',
    '--parallel=2',
    ...options,
    ...files.map((file) => `./${file}`),
  ];
  const child = Bun.spawn(command, {
    cwd: root,
    env: {
      ...process.env,
      TEST_WORKER: tested,
      DEPLOYED_WORKER: deployed,
      PROPERTY_RUNS: String(PROPERTY_RUNS),
    },
    stdout: shown ? 'inherit' : 'ignore',
    stderr: shown ? 'inherit' : 'pipe',
  });
  const printed = shown ? '' : await new Response(child.stderr as ReadableStream).text();
  return { code: await child.exited, printed };
}

/** An exception that passes, or that no test is named by, is none. */
async function checkExceptions(): Promise<boolean> {
  const files = [...new Set(exceptions.map(({ file }) => `test/${file}`))];
  const only = ['--test-name-pattern', `^(?:${named})$`];
  const { printed } = await runTests(files, only, false);
  const results = Bun.stripANSI(printed).matchAll(/^\((pass|fail)\) (.*) \[[\d.]+ms\]$/gm);
  const outcomes = new Map([...results].map(([, outcome, name]) => [name, outcome]));
  const unneeded = fullNames.filter((name) => outcomes.get(name) !== 'fail');
  for (const name of unneeded)
    console.error(`no exception: ${name} (${outcomes.get(name) ?? 'there is no such test'})`);
  return unneeded.length === 0;
}

try {
  // Before any test, because a bundle makes the assets anew.
  await bundleWorker('test/edge/worker.ts', tested);
  await bundleWorker('src/worker.ts', deployed);
  const asked = process.argv.slice(2);
  const suite = asked.length > 0 ? asked : [...(await findSuite()), 'test/edge/worker.edge.ts'];
  const { code } = await runTests(suite, ['--test-name-pattern', `^(?!(?:${named})$)`], true);
  const holds = asked.length > 0 || (await checkExceptions());
  process.exitCode = code === 0 && holds ? 0 : 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}
