/**
 * `bun run bench:backup`: how fast a database is backed up and restored, in MB of rows a second, and how much memory
 * that takes. Asserts nothing.
 */
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SQL } from 'bun';
import { dumpDatabase } from '../src/postgres/backup.ts';
import { compress } from '../src/postgres/backup-format.ts';
import { connectEmbeddedPostgres } from '../src/postgres/embedded.ts';
import { migrate } from '../src/postgres/migrate.ts';
import { restoreDatabase } from '../src/postgres/restore.ts';
import { fill } from '../test/support/dataset.ts';

const TASKS = Number(process.env.BENCH_TASKS ?? 200_000);
const MB = 1e6;

/** Runs the work. @returns the seconds it took and the most memory that the process held meanwhile, in MB. */
async function measure(work: () => Promise<unknown>) {
  let peak = 0;
  const sample = () => {
    peak = Math.max(peak, process.memoryUsage.rss());
  };
  const timer = setInterval(sample, 50);
  const begun = performance.now();
  await work();
  clearInterval(timer);
  sample();
  return { seconds: (performance.now() - begun) / 1000, peak_mb: peak / MB };
}

async function prepare(url: string) {
  const sql = new SQL({ url, max: 1 });
  const [reader] = await sql`
    insert into users (id, username, email, password_hash)
    values (uuidv7(), 'bench', 'bench@example.org', 'none') returning id`;
  await fill(url, reader, TASKS);
  await sql`checkpoint`;
  await sql.close();
}

const folder = await mkdtemp(join(tmpdir(), 'mantou-bench-'));
try {
  const [full, empty] = await Promise.all([
    connectEmbeddedPostgres(join(folder, 'full')),
    connectEmbeddedPostgres(join(folder, 'empty')),
  ]);
  await migrate(full.url);
  await prepare(full.url);
  const file = join(folder, 'backup');
  const atRest = process.memoryUsage.rss() / MB;

  let bytes = 0;
  const backup = await measure(async () => {
    async function* counted() {
      for await (const chunk of dumpDatabase(full.url)) {
        bytes += chunk.length;
        yield chunk;
      }
    }
    const out = Bun.file(file).writer();
    for await (const frame of compress(counted())) {
      out.write(frame);
      await out.flush();
    }
    await out.end();
  });
  const restored = await measure(() => restoreDatabase(empty.url, file));
  const { size } = await stat(file);

  const rate = ({ seconds }: { seconds: number }) => `${(bytes / MB / seconds).toFixed(0)} MB/s`;
  console.log(
    `${TASKS} tasks and the events that made them, ${(bytes / MB).toFixed(0)} MB of rows`,
  );
  console.log(`the file:   ${(size / MB).toFixed(0)} MB`);
  console.log(`back up:    ${rate(backup)}, ${backup.peak_mb.toFixed(0)} MB of memory`);
  console.log(`restore:    ${rate(restored)}, ${restored.peak_mb.toFixed(0)} MB of memory`);
  console.log(`before:     ${atRest.toFixed(0)} MB of memory`);
  await Promise.all([full.leave(), empty.leave()]);
} finally {
  await rm(folder, { recursive: true, force: true });
}
