/**
 * `bun run test:edge [file …]`: every test that talks to the API, unchanged, on the API in workerd; then the tests of
 * the worker itself. A new file is taken in by itself.
 */
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundledAssets, bundleWorker } from '../support/edge.ts';
import { joinTestPostgres } from '../support/postgres.ts';
import { exceptions, fullNames } from './exceptions.ts';

const root = join(import.meta.dir, '../..');
const postgres = await joinTestPostgres();
const folder = await mkdtemp(join(tmpdir(), 'mantou-worker-'));
const [tested, deployed, assets] = ['tested', 'deployed', 'assets'].map((name) =>
  join(folder, name),
) as [string, string, string];

/** Starts the API by `test/support`, which knows both runtimes. */
const STARTS_API = /\buseApi\(|\bApi\.start\(/;
/**
 * Left out, because they test what a worker does not have: `cli` the commands; `webhooks` the delivery, where
 * `statuses.test.ts` and `worker.edge.ts` hold each operation to its 501; `topology`, `hosts` and `replica` the choice of the
 * server, which is Hyperdrive's.
 */
const OF_BUN = /^test\/(cli\/|api\/webhooks\.|process\/(topology|hosts|replica)\.)/;

/** Most tests wait for workerd or PostgreSQL some of the time. */
const FILES_AT_ONCE = 4;

async function findSuite(): Promise<string[]> {
  const files = [...new Bun.Glob('test/**/*.test.ts').scanSync(root)]
    .filter((file) => !OF_BUN.test(file))
    .sort();
  const texts = await Promise.all(files.map((file) => Bun.file(join(root, file)).text()));
  return files.filter((_, index) => STARTS_API.test(texts[index] ?? ''));
}

const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
/** Returns a pattern. Bun matches names without the `>` that it prints. */
const patternOf = (names: readonly string[]) =>
  `(?:${names.map((name) => escaped(name.replaceAll(' > ', ' '))).join('|')})$`;

/** @returns the exit code, and what was printed unless it was shown. */
async function runTests(files: string[], options: string[], shown: boolean) {
  const command = [
    process.execPath,
    'test',
    `--parallel=${FILES_AT_ONCE}`,
    '--no-isolate',
    '--timeout=180000',
    // The files that take longest start first.
    '--timings=test/timings.json',
    ...options,
    ...files.map((file) => `./${file}`),
  ];
  const child = Bun.spawn(command, {
    cwd: root,
    env: {
      ...process.env,
      TEST_WORKER: tested,
      DEPLOYED_WORKER: deployed,
      WORKER_ASSETS: assets,
      TEST_POSTGRES_URL: postgres.url,
    },
    stdout: shown ? 'inherit' : 'ignore',
    stderr: shown ? 'inherit' : 'pipe',
  });
  const printed = shown ? '' : await new Response(child.stderr as ReadableStream).text();
  return { code: await child.exited, printed };
}

/** An exception that passes, or that no test is named by, is none. */
async function checkExceptions(): Promise<boolean> {
  const checked = exceptions.filter(({ waits }) => !waits);
  const names = fullNames(checked);
  const files = [...new Set(checked.map(({ file }) => `test/${file}`))];
  const only = ['--test-name-pattern', `^${patternOf(names)}`];
  const { printed } = await runTests(files, only, false);
  const results = Bun.stripANSI(printed).matchAll(/^\((pass|fail)\) (.*) \[[\d.]+ms\]$/gm);
  const outcomes = new Map([...results].map(([, outcome, name]) => [name, outcome]));
  const unneeded = names.filter((name) => outcomes.get(name) !== 'fail');
  for (const name of unneeded)
    console.error(`no exception: ${name} (${outcomes.get(name) ?? 'there is no such test'})`);
  return unneeded.length === 0;
}

try {
  await bundleWorker('test/edge/worker.ts', tested);
  await bundleWorker('src/edge/worker.ts', deployed);
  await cp(bundledAssets, assets, { recursive: true });
  const asked = process.argv.slice(2);
  const suite = asked.length > 0 ? asked : [...(await findSuite()), 'test/edge/worker.edge.ts'];
  const { code } = await runTests(
    suite,
    ['--test-name-pattern', `^(?!${patternOf(fullNames(exceptions))})`],
    true,
  );
  const holds = asked.length > 0 || (await checkExceptions());
  process.exitCode = code === 0 && holds ? 0 : 1;
} finally {
  await postgres.leave();
  await rm(folder, { recursive: true, force: true });
}
