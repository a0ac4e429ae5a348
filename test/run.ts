/**
 * `bun run test [file or option …]`: the tests, several files at a time. One PostgreSQL serves all of them: it is started
 * here and stopped after the last file. Those that start programs run only when they are named, as `bun run test:process` does. `bun run test:long` tries many more generated cases in the files that have any.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isLongRun } from './support/generated.ts';
import { joinTestPostgres } from './support/postgres.ts';
import { makeRunFolder } from './support/temporary.ts';

const root = join(import.meta.dir, '..');

/** Most tests wait for a process or for PostgreSQL some of the time, so more files than cores keep the cores busy. */
const FILES_PER_CORE = 3;
const FILES_AT_ONCE_MAX = 8;
/** Far beyond what a test takes, also on a busy machine: what reaches it hangs. */
const TEST_TIMEOUT_MS = 180_000;
const filesAtOnce = Math.min(FILES_AT_ONCE_MAX, FILES_PER_CORE * navigator.hardwareConcurrency);

async function findGeneratedTests(): Promise<string[]> {
  const files = [...new Bun.Glob('test/**/*.test.ts').scanSync(root)].sort();
  const texts = await Promise.all(files.map((file) => Bun.file(join(root, file)).text()));
  return files.filter((_, index) => texts[index]?.includes("/generated.ts'"));
}

/** The tests here start the server, a command or a PostgreSQL of their own, several times over. */
const ofPrograms = ['test/process', 'test/cli'];
const given = process.argv.slice(2);
const ignored = ofPrograms
  .filter((folder) => !given.some((argument) => argument.includes(folder)))
  .map((folder) => `--path-ignore-patterns=${folder}/**`);
const selected = given.length === 0 && isLongRun ? await findGeneratedTests() : given;

const folder = await makeRunFolder();
const postgres = await joinTestPostgres();
// From a terminal the signal reaches the tests as well. They end first, then PostgreSQL.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => tests.kill(signal));
const tests = Bun.spawn(
  [
    ...[process.execPath, 'test', `--parallel=${filesAtOnce}`, '--no-isolate'],
    `--timeout=${TEST_TIMEOUT_MS}`,
    // The files that take longest start first.
    ...['--timings=test/timings.json', ...ignored, ...selected],
  ],
  {
    cwd: root,
    env: {
      ...process.env,
      TEST_POSTGRES_URL: postgres.url,
      TMPDIR: folder,
      BUN_RUNTIME_TRANSPILER_CACHE_PATH: join(folder, 'transpiled'),
    },
    stdio: ['inherit', 'inherit', 'inherit'],
  },
);
try {
  process.exitCode = await tests.exited;
} finally {
  await postgres.leave();
  await rm(folder, { recursive: true, force: true });
}
