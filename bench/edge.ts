/**
 * `bun run bench:edge`: how long a log-in and a list take on workerd beside Bun, on one PostgreSQL, and how many
 * statements and round trips each request takes. A pool on loopback stands for Hyperdrive. Prints figures; asserts nothing.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectDatabase } from '../src/postgres/embedded.ts';
import { serve } from '../src/server/serve.ts';
import { readSettings } from '../src/settings.ts';
import { bundleWorker, startWorker } from '../test/support/edge.ts';
import { openPool } from '../test/support/pool.ts';
import { quantile } from './report.ts';

const LOG_INS = 40;
const LISTS = 400;
const WARM_UP = 10;
const TASKS = 50;

const account = {
  username: 'bench',
  email: 'bench@example.org',
  password: 'correct horse battery staple',
};
const environment = {
  JWT_SECRET: 'for the bench alone, of 32 bytes',
  RATE_LIMIT: 'off',
  LOG_LEVEL: 'silent',
};

type Send = (url: string) => Promise<unknown>;

async function request(method: string, url: string, token?: string, body?: object) {
  const headers = {
    'content-type': 'application/json',
    ...(token && { authorization: `Bearer ${token}` }),
  };
  const answer = await fetch(url, { method, headers, ...(body && { body: JSON.stringify(body) }) });
  if (!answer.ok) throw new Error(`${method} ${url} answered ${answer.status}`);
  return answer.status === 204 ? {} : ((await answer.json()) as Record<string, string>);
}

/** Sends one request at a time to each runtime in turn, so that other load on the machine affects both. */
async function compare(what: string, times: number, urls: Record<string, string>, send: Send) {
  const taken = new Map(Object.keys(urls).map((name) => [name, [] as number[]]));
  for (let n = 0; n < times + WARM_UP; n += 1)
    for (const [name, url] of Object.entries(urls)) {
      const begun = performance.now();
      await send(url);
      if (n >= WARM_UP) taken.get(name)?.push(performance.now() - begun);
    }
  for (const [name, values] of taken) {
    const [median, p95] = [quantile(values, 0.5), quantile(values, 0.95)];
    console.log(
      `${what.padEnd(16)} ${name.padEnd(8)} p50 ${median.toFixed(1)} ms, p95 ${p95.toFixed(1)} ms (${times})`,
    );
  }
}

/** Returns the memory of workerd, a child of this process, in MiB. */
async function residentMemory(): Promise<number> {
  const children = await Bun.file(`/proc/self/task/${process.pid}/children`).text();
  for (const pid of children.trim().split(' ')) {
    const status = await Bun.file(`/proc/${pid}/status`).text();
    if (/^Name:\tworkerd$/m.test(status)) return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
  }
  throw new Error('workerd does not run');
}

const folder = await mkdtemp(join(tmpdir(), 'mantou-bench-'));
const bundle = join(folder, 'worker');
await bundleWorker('src/edge/worker.ts', bundle);
const settings = { ...readSettings(environment), port: 0, dataDir: join(folder, 'data') };
const joined = await connectDatabase(settings);
const bun = await serve({ ...settings, databaseUrl: joined.url });
const pool = await openPool(joined.url);
const edge = await startWorker(bundle, environment, pool.url);
try {
  const urls = { Bun: bun.url, workerd: edge.url };
  const { username, password } = account;
  const logIn: Send = (url) =>
    request('POST', `${url}/users/login`, undefined, { username, password });
  await request('POST', `${bun.url}/users/register`, undefined, account);
  await request('GET', `${edge.url}/health/ready`);
  const memoryBefore = await residentMemory();
  await logIn(edge.url);
  const memoryAfter = await residentMemory();
  await compare('log-in', LOG_INS, urls, logIn);

  const { access_token: token, refresh_token } = (await logIn(edge.url)) as Record<string, string>;
  const project = await request('POST', `${bun.url}/projects`, token, { name: 'Bench' });
  const tasks = `/tasks/projects/${project.id}`;
  let task: Record<string, string> = {};
  for (let n = 0; n < TASKS; n += 1)
    task = await request('POST', bun.url + tasks, token, { title: `Task ${n}` });

  await compare('list of 50 tasks', LISTS, urls, (url) => request('GET', url + tasks, token));
  await compare('alive', LISTS, urls, (url) => request('GET', `${url}/health/live`));
  console.log(
    `memory of workerd: ${memoryBefore.toFixed(0)} MiB, ${memoryAfter.toFixed(0)} MiB once it has hashed`,
  );

  /** Counts the statements of one request whose user is cached already. */
  async function count(what: string, send: Send) {
    await request('GET', `${edge.url}/users/me`, token);
    const [statements, roundTrips] = [pool.statements, pool.roundTrips];
    await send(edge.url);
    const asked = `${pool.statements - statements} statements, ${pool.roundTrips - roundTrips} round trips`;
    console.log(`${what.padEnd(25)} ${asked}`);
  }
  await count('log-in', logIn);
  await count('refresh', (url) =>
    request('POST', `${url}/users/refresh`, undefined, { refresh_token }),
  );
  await count('who I am', (url) => request('GET', `${url}/users/me`, token));
  await count('list of projects', (url) => request('GET', `${url}/projects`, token));
  await count('list of tasks', (url) => request('GET', url + tasks, token));
  await count('new task', (url) => request('POST', url + tasks, token, { title: 'New' }));
  await count('change of a task', (url) =>
    request('PATCH', `${url}/tasks/${task.id}`, token, { priority: 1 }),
  );
} finally {
  await edge.stop();
  await pool.close();
  await bun.stop();
  await joined.leave();
  await rm(folder, { recursive: true, force: true });
}
