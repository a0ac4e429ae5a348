/**
 * `bun run bench:batching [--kinds "log in"] [DIR …]`: what a request costs while 32 clients send the same kind: processor time of
 * the server's main thread, which computes no hash, and of PostgreSQL, and latency. Other checkouts of this project join. The servers take turns in short windows, so that
 * other load disturbs all of them alike, and a figure is that of the better windows: a tenth and half of all were below.
 * On Linux alone, which has the times of each process in /proc. Prints a table; asserts nothing.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { SQL } from 'bun';
import { connectEmbeddedPostgres } from '../src/postgres/embedded.ts';
import { quantile } from './report.ts';
import { migrateWith, startCheckout } from './speed/checkouts.ts';
import { makeFixedData, type Person, readPeople } from './speed/data.ts';
import type { LoadRequest } from './speed/load.ts';
import { requestsOf } from './speed/mixes.ts';
import type { Running } from './speed/servers.ts';

const CLIENTS = 32;
const WINDOWS = 16;
const WARM_UP_WINDOWS = 12;
const REQUESTS_PER_WINDOW = 320;
/** A hash takes as long as many statements. */
const LOG_INS_PER_WINDOW = 64;
const requestsIn = (kind: string) => (kind === 'log in' ? LOG_INS_PER_WINDOW : REQUESTS_PER_WINDOW);

const { values: options, positionals: checkouts } = parseArgs({
  options: { kinds: { type: 'string' } },
  allowPositionals: true,
});

type Next = () => LoadRequest;

/** The kinds of requests, each from these people in turn. */
function kindsOf(people: readonly Person[]): Record<string, Next> {
  const inTurn = (mix: 'read' | 'update' | 'create' | 'log in') => {
    const requests = requestsOf(mix, people);
    let sent = 0;
    return () => requests[sent++ % requests.length] as LoadRequest;
  };
  const create = inTurn('create');
  const tasks = [0, 1, 2, 3].flatMap((place) =>
    people.flatMap(({ projects, access_token, address }) =>
      projects.map(({ task_ids }) => ({
        method: 'DELETE',
        path: `/tasks/${task_ids[place]}`,
        headers: { Authorization: `Bearer ${access_token}`, 'X-Forwarded-For': address },
      })),
    ),
  );
  const withKey = ({ headers, ...rest }: LoadRequest) => ({
    ...rest,
    headers: { ...headers, 'Idempotency-Key': crypto.randomUUID() },
  });
  return {
    'create a task': create,
    'create a task with a key': () => withKey(create()),
    'create a project': () => ({ ...create(), path: '/projects/', body: '{"name":"Kitchen"}' }),
    'update a task': inTurn('update'),
    'read a task': inTurn('read'),
    'log in': inTurn('log in'),
    // Last, because the others need the tasks.
    'delete a task': () => tasks.shift() as LoadRequest,
  };
}

interface Contender {
  name: string;
  database: string;
  running: Running;
  kinds: Record<string, Next>;
}

/** Returns the latency of each request, in ms. */
async function sendWindow({ running, kinds }: Contender, kind: string): Promise<number[]> {
  const latencies: number[] = [];
  let left = requestsIn(kind);
  const client = async () => {
    for (; left > 0; ) {
      left -= 1;
      const { path, ...request } = (kinds[kind] as Next)();
      const beganMs = performance.now();
      const answer = await fetch(running.url + path, request);
      await answer.text();
      if (!answer.ok) throw new Error(`${kind}: ${answer.status}`);
      latencies.push(performance.now() - beganMs);
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  return latencies;
}

/** Returns how long the main threads of the processes have run, in µs (proc(5), schedstat). */
async function timeOf(pids: readonly number[]): Promise<number> {
  const times = pids.map(async (pid) => {
    const [ns = ''] = (await Bun.file(`/proc/${pid}/schedstat`).text()).split(' ');
    return Number(ns) / 1000;
  });
  return (await Promise.all(times)).reduce((sum, one) => sum + one, 0);
}

const root = join(import.meta.dir, '..');
const folder = await mkdtemp(join(tmpdir(), 'mantou-bench-'));
const postgres = await connectEmbeddedPostgres(folder);
const admin = new SQL({ url: postgres.url, max: 1 });
const contenders: Contender[] = [];
try {
  for (const [n, name] of [root, ...checkouts].entries()) {
    const database = `bench_${n}`;
    await admin.unsafe(`create database ${database}`);
    const url = new URL(postgres.url);
    url.pathname = `/${database}`;
    await makeFixedData(url.href, (target) => migrateWith(name, target));
    const kinds = kindsOf(await readPeople(url.href));
    contenders.push({ name, database, kinds, running: await startCheckout(name, url.href) });
  }
  const backendsOf = async ({ database }: Contender): Promise<number[]> => {
    const rows =
      await admin`select pid from pg_stat_activity where datname = ${database} and backend_type = 'client backend'`;
    return rows.map(({ pid }: { pid: number }) => pid);
  };
  console.log('| request | checkout | server µs | PostgreSQL µs | p50 ms | p99 ms |');
  console.log(`|${' --- |'.repeat(6)}`);
  const kinds = options.kinds?.split(',') ?? Object.keys(contenders[0]?.kinds ?? {});
  for (const kind of kinds) {
    const samples = contenders.map(() => ({
      server: [] as number[],
      postgres: [] as number[],
      p50: [] as number[],
      p99: [] as number[],
    }));
    for (let window = 0; window < WARM_UP_WINDOWS + WINDOWS; window += 1)
      for (const [n, contender] of contenders.entries()) {
        const own = [contender.running.pid ?? 0];
        const backends = await backendsOf(contender);
        const before = [await timeOf(own), await timeOf(backends)] as const;
        const latencies = await sendWindow(contender, kind);
        const after = [await timeOf(own), await timeOf(backends)] as const;
        if (window < WARM_UP_WINDOWS) continue;
        samples[n]?.server.push((after[0] - before[0]) / requestsIn(kind));
        samples[n]?.postgres.push((after[1] - before[1]) / requestsIn(kind));
        samples[n]?.p50.push(quantile(latencies, 0.5));
        samples[n]?.p99.push(quantile(latencies, 0.99));
      }
    const shown = (values: number[] = [], digits = 0) =>
      [0.1, 0.5].map((share) => quantile(values, share).toFixed(digits)).join(' · ');
    for (const [n, { name }] of contenders.entries()) {
      const one = samples[n];
      console.log(
        `| ${kind} | ${name} | ${shown(one?.server)} | ${shown(one?.postgres)} | ${shown(one?.p50, 1)} | ${shown(one?.p99, 1)} |`,
      );
    }
  }
} finally {
  for (const { running } of contenders) await running.stop();
  await admin.close();
  await postgres.leave();
  await rm(folder, { recursive: true, force: true });
}
