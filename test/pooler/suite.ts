/**
 * `bun run test:pooler`: the tests of the API through a PgBouncer in transaction and in session mode (`apt-get install
 * pgbouncer`), and what a start does there. Arguments name other files.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { joinTestPostgres } from '../support/postgres.ts';
import { startPgBouncer } from './pgbouncer.ts';

const root = join(import.meta.dir, '../..');
/** One file for each kind of statement: single and batched writes, reads, transactions, imports, streams. */
const defaults = [
  'projects',
  'tasks',
  'batch',
  'idempotency',
  'lists',
  'members',
  'project-imports',
];

/** Far beyond what a test takes, also on a busy machine: what reaches it hangs. */
const TEST_TIMEOUT_MS = 180_000;

if (!Bun.which('pgbouncer')) {
  console.error('pgbouncer is not installed: apt-get install pgbouncer');
  process.exit(1);
}
const postgres = await joinTestPostgres();
const folder = await mkdtemp(join(tmpdir(), 'mantou-pooler-'));
const files =
  process.argv.length > 2
    ? process.argv.slice(2)
    : defaults.map((name) => `./test/api/${name}.test.ts`);
let failures = 0;
for (const mode of ['transaction', 'session'] as const) {
  const pooler = await startPgBouncer(postgres.url, mode, folder);
  console.log(`--- PgBouncer in ${mode} mode`);
  for (const run of [['./test/pooler/start.pooler.ts'], files]) {
    const options = ['--parallel=2', '--no-isolate', `--timeout=${TEST_TIMEOUT_MS}`];
    const child = Bun.spawn([process.execPath, 'test', ...options, ...run], {
      cwd: root,
      env: {
        ...process.env,
        TEST_POSTGRES_URL: postgres.url,
        TEST_POOLER: String(pooler.port),
        TEST_POOLER_MODE: mode,
      },
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    if ((await child.exited) !== 0) failures += 1;
  }
  await pooler.stop();
}
await rm(folder, { recursive: true, force: true });
await postgres.leave();
process.exit(failures === 0 ? 0 : 1);
