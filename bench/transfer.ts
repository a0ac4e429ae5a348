/**
 * `bun run bench:transfer`: how fast a project is exported and imported at 10,000 and 100,000 tasks, and the most memory
 * that the process of the API holds meanwhile. Prints figures; asserts nothing.
 */
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { logIn, MB, measure, start } from './own-server.ts';

const SIZES = (process.env.BENCH_TASKS ?? '10000,100000').split(',').map(Number);

const TASK = {
  description: null as string | null,
  status: 'todo',
  priority: 2,
  due_at: '2026-12-24T17:00:00.000Z',
  assignee: 'bench',
  completed_at: null,
  created_at: '2026-11-23T03:14:07.123Z',
  updated_at: '2026-11-24T03:14:07.123Z',
  created_by: 'bench',
};

/** A document as an export writes it, with texts of ordinary length. */
async function writeDocument(file: string, count: number) {
  const head = {
    format: 'mantou-project',
    format_version: 1,
    exported_at: TASK.created_at,
    project: {
      name: `Bench ${count}`,
      description: null,
      archived_at: null,
      created_at: TASK.created_at,
      updated_at: TASK.created_at,
    },
  };
  const out = Bun.file(file).writer();
  out.write(`${JSON.stringify(head).slice(0, -1)},"tasks":[`);
  for (let n = 0; n < count; n += 1) {
    const words = Array.from({ length: 12 }, (_, place) => `word${(n * (place + 7)) % 5000}`);
    const task = {
      ...TASK,
      title: `Task ${n} ${words.slice(0, 4).join(' ')}`,
      description: n % 2 === 0 ? words.join(' ') : null,
      labels: [`label${n % 40}`],
    };
    out.write(`${n === 0 ? '' : ','}\n${JSON.stringify(task)}`);
    if (n % 1000 === 0) await out.flush();
  }
  out.write('\n]}\n');
  await out.end();
}

const folder = await mkdtemp(join(tmpdir(), 'mantou-bench-'));
const { child, url } = await start(join(folder, 'data'));
try {
  const authorization = await logIn(url);

  console.log('| | tasks | MB | tasks/s | memory before, MB | peak, MB |');
  console.log('| --- | --- | --- | --- | --- | --- |');
  for (const count of SIZES) {
    const file = join(folder, `${count}.json`);
    await writeDocument(file, count);
    const sizeMb = (await stat(file)).size / MB;
    const print = (
      what: string,
      { seconds, before_mb, peak_mb }: Awaited<ReturnType<typeof measure>>,
    ) =>
      console.log(
        `| ${what} | ${count} | ${sizeMb.toFixed(1)} | ${(count / seconds).toFixed(0)} | ${before_mb.toFixed(0)} | ${peak_mb.toFixed(0)} |`,
      );
    const imported = await measure(child.pid, async () => {
      const answer = await fetch(`${url}/projects/import`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization },
        body: Bun.file(file),
      });
      const body = (await answer.json()) as { project: { id: string }; tasks: number };
      if (body.tasks !== count) throw new Error(`answered ${answer.status}`);
      return body.project.id;
    });
    print('import', imported);
    for (const format of ['json', 'csv']) {
      const exported = await measure(child.pid, async () => {
        const answer = await fetch(`${url}/projects/${imported.result}/export?format=${format}`, {
          headers: { authorization },
        });
        let bytes = 0;
        for await (const chunk of answer.body ?? []) bytes += chunk.length;
        return bytes;
      });
      print(`export ${format}`, exported);
    }
    print(
      'calendar',
      await measure(child.pid, async () => {
        const answer = await fetch(`${url}/tasks/calendar.ics`, { headers: { authorization } });
        for await (const _ of answer.body ?? []);
      }),
    );
  }
} finally {
  child.kill('SIGTERM');
  await child.exited;
  await rm(folder, { recursive: true, force: true });
}
