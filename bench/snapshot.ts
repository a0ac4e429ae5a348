/**
 * `bun run bench:snapshot`: how long a snapshot of 10,000 and 100,000 tasks takes through the client, in one project and in many,
 * and the most memory that the process of the API holds meanwhile. Prints figures; asserts nothing.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SQL } from 'bun';
import { createClient } from '../client/src/index.ts';
import { connectEmbeddedPostgres } from '../src/postgres/embedded.ts';

const SIZES = (process.env.BENCH_TASKS ?? '10000,100000').split(',').map(Number);
const PROJECTS_MANY = 5000;
const SAMPLE_MS = 50;
const password = 'correct horse battery staple';

const folder = await mkdtemp(join(tmpdir(), 'mantou-bench-'));
const postgres = await connectEmbeddedPostgres(folder);
const server = Bun.spawn([process.execPath, 'src/server/main.ts'], {
  cwd: join(import.meta.dir, '..'),
  env: {
    PATH: process.env.PATH,
    PORT: '0',
    DATABASE_URL: postgres.url,
    JWT_SECRET: 'unused'.repeat(8),
    RATE_LIMIT: 'off',
    LOG_LEVEL: 'silent',
  },
  stdout: 'pipe',
  stderr: 'inherit',
});
const sql = new SQL({ url: postgres.url, max: 1 });

async function firstUrl(): Promise<string> {
  let text = '';
  for await (const chunk of server.stdout) {
    text += new TextDecoder().decode(chunk);
    const [, found] = / (http:\S+)\n/.exec(text) ?? [];
    if (found) return found;
  }
  throw new Error('the server has not started');
}

async function memoryMb(): Promise<number> {
  const text = await readFile(`/proc/${server.pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+)/m.exec(text)?.[1]) / 1024;
}

/** Fills projects of a user with tasks, in all so many. */
async function fill(userId: string, projects: number, count: number) {
  await sql`with made as (
      insert into projects (id, name) select gen_random_uuid(), 'Bench ' || n from generate_series(1, ${projects}::int) n
      returning id),
    owned as (insert into project_members (project_id, user_id, role) select id, ${userId}, 'owner' from made),
    numbered as (select id, row_number() over () as n from made)
    insert into tasks (id, project_id, title, description, labels)
    select gen_random_uuid(), numbered.id, 'Task ' || t, repeat('word ', 20), '{shopping}'
    from generate_series(1, ${count}::int) t join numbered on numbered.n = t % ${projects}::int + 1`;
}

try {
  const url = await firstUrl();
  console.log(
    '| tasks | projects | pages | seconds | slowest page, ms | memory before, MiB | peak, MiB |',
  );
  console.log('| --- | --- | --- | --- | --- | --- | --- |');
  for (const count of SIZES)
    for (const projects of [1, PROJECTS_MANY]) {
      const username = `bench-${count}-${projects}`;
      const client = createClient(url);
      const { id } = await client.users.register({
        username,
        email: `${username}@example.org`,
        password,
      });
      await client.login(username, password);
      await fill(id, projects, count);
      // Positions are given, and then statistics are made, as autovacuum makes them.
      await client.changes.page();
      await sql`vacuum analyze`;
      // Warm: the first requests compile what all later ones use.
      for await (const page of client.changes.snapshot()) if (page.tasks.length > 0) break;
      const before = await memoryMb();
      let peak = before;
      const timer = setInterval(async () => {
        peak = Math.max(peak, await memoryMb());
      }, SAMPLE_MS);
      const begun = performance.now();
      let [tasks, pages, slowestMs, pageBegun] = [0, 0, 0, begun];
      for await (const page of client.changes.snapshot()) {
        tasks += page.tasks.length;
        pages += 1;
        slowestMs = Math.max(slowestMs, performance.now() - pageBegun);
        pageBegun = performance.now();
      }
      const seconds = (performance.now() - begun) / 1000;
      clearInterval(timer);
      if (tasks !== count) throw new Error(`${tasks} tasks in place of ${count}`);
      console.log(
        `| ${tasks} | ${projects} | ${pages} | ${seconds.toFixed(1)} | ${slowestMs.toFixed(0)} | ${before.toFixed(0)} | ${peak.toFixed(0)} |`,
      );
    }
} finally {
  await sql.close();
  server.kill();
  await server.exited;
  await postgres.leave();
  await rm(folder, { recursive: true, force: true });
}
