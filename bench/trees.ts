/**
 * `bun run bench:trees`: what the trash, subtasks and the order by hand cost, on a server of its own. A project of 100,000 tasks is
 * deleted and restored while others write; 50 writers move 1,000 tasks in a tree for a minute; tasks are dropped 100,000 times.
 * Prints figures; asserts nothing.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SQL } from 'bun';
import { connectEmbeddedPostgres } from '../src/postgres/embedded.ts';
import { logIn, start } from './own-server.ts';

const PROJECT_TASKS = Number(process.env.BENCH_TASKS ?? 100_000);
const TREE_TASKS = 1000;
const WRITERS = 50;
const TREE_SECONDS = Number(process.env.BENCH_SECONDS ?? 60);
const DROPS = Number(process.env.BENCH_DROPS ?? 100_000);
/** After so many drops the table is vacuumed, as autovacuum does. */
const VACUUM_DROPS = 1000;
const LEVELS_MAX = 5;

const folder = await mkdtemp(join(tmpdir(), 'mantou-bench-'));
const postgres = await connectEmbeddedPostgres(folder);
const { child, url } = await start(folder);
const sql = new SQL({ url: postgres.url, max: 2 });
const authorization = await logIn(url);

async function send(method: string, path: string, body?: object) {
  const answer = await fetch(url + path, {
    method,
    headers: { authorization, 'content-type': 'application/json' },
    ...(body && { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  return { status: answer.status, body: text === '' ? undefined : JSON.parse(text) };
}

/** Creates a project with so many tasks. @returns its id. */
async function fill(name: string, count: number): Promise<string> {
  const { id } = (await send('POST', '/projects', { name })).body;
  await sql`insert into tasks (id, project_id, title, description, labels, created_at)
    select gen_random_uuid(), ${id}::uuid, 'Task ' || n, repeat('word ', 20), '{shopping}', now() - n * interval '1 second'
    from generate_series(1, ${count}::int) n`;
  await sql`vacuum analyze tasks`;
  return id;
}

const at = (times: number[], share: number) =>
  times.toSorted((a, b) => a - b)[Math.floor(share * (times.length - 1))] ?? 0;

async function trash() {
  const project = await fill('Large', PROJECT_TASKS);
  const other = await fill('Other', 100);
  let isOver = false;
  const waits: number[] = [];
  const others = Array.from({ length: 4 }, async () => {
    while (!isOver) {
      const begun = performance.now();
      await send('POST', `/tasks/projects/${other}`, { title: 'Meanwhile' });
      await send('GET', `/tasks/projects/${other}?limit=20`);
      waits.push(performance.now() - begun);
    }
  });
  await Bun.sleep(2000);
  const idle = waits.splice(0);
  const timed = async (method: string, path: string, status: number) => {
    const begun = performance.now();
    const answer = await send(method, path);
    if (answer.status !== status) throw new Error(`${method} ${path}: ${answer.status}`);
    return performance.now() - begun;
  };
  const since = (await send('GET', '/changes')).body.next_cursor;
  const changes = async () =>
    (await send('GET', `/changes?since=${since}&limit=200&project_id=${project}`)).body.items
      .map(({ action }: { action: string }) => action)
      .join(', ');
  const deletedMs = await timed('DELETE', `/projects/${project}`, 204);
  const feedAfterDelete = await changes();
  const restoredMs = await timed('POST', `/trash/${project}/restore`, 200);
  const feedAfterRestore = await changes();
  isOver = true;
  await Promise.all(others);
  const [{ count }] =
    await sql`select count(*)::int as count from tasks where project_id = ${project}`;
  console.log(`
| project of ${PROJECT_TASKS.toLocaleString('en')} tasks | |
| --- | --- |
| delete, ms | ${deletedMs.toFixed(0)} |
| restore, ms | ${restoredMs.toFixed(0)} |
| a create and a list of another project, longest: before, meanwhile, ms | ${at(idle, 1).toFixed(0)}, ${at(waits, 1).toFixed(0)} |
| feed after the delete | ${feedAfterDelete} |
| feed after the restore | ${feedAfterRestore} |
| tasks counted after it | ${count} |`);
}

async function tree() {
  const project = await fill('Tree', TREE_TASKS);
  const rows: { id: string }[] = await sql`select id from tasks where project_id = ${project}`;
  const pick = () => rows[Math.floor(Math.random() * rows.length)]?.id;
  const statuses = new Map<number, number>();
  const times: number[] = [];
  const endMs = performance.now() + TREE_SECONDS * 1000;
  await Promise.all(
    Array.from({ length: WRITERS }, async () => {
      while (performance.now() < endMs) {
        const parentId = Math.random() < 0.3 ? null : pick();
        const begun = performance.now();
        const { status } = await send('PATCH', `/tasks/${pick()}`, { parent_id: parentId });
        times.push(performance.now() - begun);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      }
    }),
  );
  const [found] = await sql`
    with recursive up as (
      select id, project_id, parent_id, 1 as level from tasks where project_id = ${project}
      union all
      select up.id, up.project_id, t.parent_id, level + 1 from up join tasks t on t.id = up.parent_id where level <= ${LEVELS_MAX}
    ) select count(distinct id)::int as tasks, max(level) as deepest,
      count(*) filter (where level > ${LEVELS_MAX})::int as cycles from up`;
  const counts = [...statuses].sort().map(([status, count]) => `${status}: ${count}`);
  console.log(`
| ${WRITERS} writers move ${TREE_TASKS.toLocaleString('en')} tasks for ${TREE_SECONDS} s | |
| --- | --- |
| answers (422: a cycle or too many levels) | ${counts.join(', ')} |
| p50, p99, ms | ${at(times, 0.5).toFixed(0)}, ${at(times, 0.99).toFixed(0)} |
| tasks in cycles or below level ${LEVELS_MAX} | ${found.cycles} |
| tasks lost | ${TREE_TASKS - found.tasks} |
| deepest level | ${found.deepest} |`);
}

/** Drops tasks in one statement each, as a patch does. */
async function order() {
  console.log('\n| drops | tasks | where | longest key, characters | ms each |');
  console.log('| --- | --- | --- | --- | --- |');
  const anchors = {
    anywhere: `ids[1 + floor(random() * ${TREE_TASKS})::int]`,
    'after one task': 'ids[1]',
    first: 'null',
    last: 'null',
  };
  const places = process.env.BENCH_WHERE?.split(',') ?? Object.keys(anchors);
  for (const where of places as (keyof typeof anchors)[]) {
    const project = await fill(`Order ${where}`, TREE_TASKS);
    const begun = performance.now();
    for (let done = 0; done < DROPS; done += VACUUM_DROPS) {
      await sql.unsafe(`do $$ declare ids uuid[]; anchor uuid; begin
        select array_agg(id) into ids from tasks where project_id = '${project}';
        for n in 1..${VACUUM_DROPS} loop
          anchor := ${anchors[where]};
          update tasks set position = place_task(id, project_id, anchor, ${where !== 'last'})
          where id = ids[2 + floor(random() * ${TREE_TASKS - 1})::int] and id is distinct from anchor;
          if n % 50 = 0 then commit; end if;
        end loop;
      end $$`);
      await sql`vacuum tasks`;
    }
    const ms = (performance.now() - begun) / DROPS;
    const [{ length }] =
      await sql`select max(length(position))::int as length from tasks where project_id = ${project}`;
    console.log(
      `| ${DROPS.toLocaleString('en')} | ${TREE_TASKS} | ${where} | ${length} | ${ms.toFixed(2)} |`,
    );
  }
}

try {
  await trash();
  await tree();
  await order();
} finally {
  await sql.close();
  child.kill();
  await child.exited;
  await postgres.leave();
  await rm(folder, { recursive: true, force: true });
}
