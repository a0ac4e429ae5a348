/**
 * `bun run bench:growth`: how long each list, search and write takes as tables grow, through HTTP: at ten thousand tasks,
 * a million and ten million, a tenth of them in one project, with one user who is in all projects. All databases are on
 * one PostgreSQL and take turns. Then the lists of the largest run again beside two writers, which keep the list of pending entries
 * of the index of words full. Prints two tables and keeps figures, plot and plans under `bench/results/growth`; asserts nothing. `BENCH_TASKS=10000,1000000` is a smaller run; the databases stay under `.data/growth` for the next.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { SQL } from 'bun';
import { connectEmbeddedPostgres } from '../src/postgres/embedded.ts';
import { migrate } from '../src/postgres/migrate.ts';
import { type RunningServer, serve } from '../src/server/serve.ts';
import { readSettings } from '../src/settings.ts';
import { asked, type Dataset, fill } from '../test/support/dataset.ts';
import { type Lists, openLists } from '../test/support/statements.ts';
import { draw, requirePlotter } from './plot.ts';
import { machineFacts, median } from './report.ts';

const SIZES = (process.env.BENCH_TASKS ?? '10000,1000000,10000000').split(',').map(Number);
const SKEW = { large_share: 1 / 10, tasks_per_project: 900 };
const FOLDER = process.env.BENCH_DATA_DIR ?? join(import.meta.dir, '../.data/growth');
const RESULTS = join(import.meta.dir, 'results/growth');
/** PostgreSQL decides on a generic plan for a prepared statement after its first five executions. */
const WARM_UP_ROUNDS = 7;
const ROUNDS = 9;
/** A slower query runs fewer times. PostgreSQL cancels it after ten seconds, which is a 503. */
const SLOW_MS = 1000;
const SLOW_ROUNDS = 3;

const account = { password: 'correct horse battery staple' };

/** A user with an access token. */
interface Reader {
  id: string;
  headers: Record<string, string>;
}

interface Side {
  tasks: number;
  server: RunningServer;
  dataset: Dataset;
  /** In nine projects, one of them the large one. */
  reader: Reader;
  /** In all projects. */
  busy: Reader;
  lists: Record<'reader' | 'busy', Lists>;
}

// --- The databases ---------------------------------------------------------------------------------------------------

async function open(adminUrl: string, tasks: number): Promise<Side> {
  const url = urlOf(adminUrl, nameOf(tasks));
  const settings = readSettings({
    DATABASE_URL: url,
    JWT_SECRET: 'unused'.repeat(8),
    ACCESS_TOKEN_TTL: '1h',
    RATE_LIMIT: 'off',
    LOG_LEVEL: 'silent',
  });
  const server = await serve({ ...settings, port: 0 });
  const [reader, busy] = [await logIn(server, 'reader'), await logIn(server, 'busy')];
  const sql = new SQL({ url, max: 1 });
  const [projects] = await sql`select
    (select id from projects where name = 'Project 0') as large, (select id from projects where name = 'Project 1') as small`;
  await sql.close();
  const lists = { reader: openLists(url, reader.id), busy: openLists(url, busy.id) };
  return { tasks, server, dataset: projects, reader, busy, lists };
}

const nameOf = (tasks: number) => `tasks_${tasks}`;

function urlOf(adminUrl: string, database: string): string {
  const url = new URL(adminUrl);
  url.pathname = `/${database}`;
  return url.href;
}

/** Creates the database unless it exists. It has another name until it is complete. */
async function make(admin: SQL, adminUrl: string, tasks: number) {
  const name = nameOf(tasks);
  const [there] = await admin`select from pg_database where datname = ${name}`;
  if (there) return;
  const begun = performance.now();
  const draft = urlOf(adminUrl, `${name}_draft`);
  await admin.unsafe(`drop database if exists ${name}_draft with (force)`);
  await admin.unsafe(`create database ${name}_draft`);
  await migrate(draft);
  const server = await serve({
    ...readSettings({
      DATABASE_URL: draft,
      JWT_SECRET: 'unused'.repeat(8),
      LOG_LEVEL: 'silent',
    }),
    port: 0,
  });
  const [reader, busy] = [await register(server, 'reader'), await register(server, 'busy')];
  await server.stop();
  await fill(draft, reader, tasks, SKEW);
  const sql = new SQL({ url: draft, max: 1 });
  await sql`insert into project_members (project_id, user_id, role) select id, ${busy.id}::uuid, 'editor' from projects`;
  await sql.unsafe('vacuum (analyze) project_members');
  await sql.close();
  await admin.unsafe(`alter database ${name}_draft rename to ${name}`);
  console.error(`${tasks} tasks are in after ${((performance.now() - begun) / 1000).toFixed(0)} s`);
}

async function post(server: RunningServer, path: string, body: object) {
  const headers = { 'content-type': 'application/json' };
  const init = { method: 'POST', headers, body: JSON.stringify(body) };
  return (await (await fetch(server.url + path, init)).json()) as Record<string, string>;
}

const register = async (server: RunningServer, username: string) => {
  const { id } = await post(server, '/users/register', {
    ...account,
    username,
    email: `${username}@example.org`,
  });
  return { id: String(id) };
};

async function logIn(server: RunningServer, username: string): Promise<Reader> {
  const { access_token } = await post(server, '/users/login', { ...account, username });
  const headers = { authorization: `Bearer ${access_token}`, 'content-type': 'application/json' };
  const { id } = (await (await fetch(`${server.url}/users/me`, { headers })).json()) as {
    id: string;
  };
  return { id, headers };
}

// --- The requests -----------------------------------------------------------------------------------------------------

interface Question {
  place: string;
  name: string;
  /** Sends the request once. */
  ask(side: Side): Promise<void>;
  explain?(side: Side): Promise<Lists>;
}

async function send(reader: Reader, method: string, url: string, body?: object) {
  const init = { method, headers: reader.headers, ...(body && { body: JSON.stringify(body) }) };
  const answer = await fetch(url, init);
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${url} answered ${answer.status}`);
  return text;
}

const places = {
  'a project of 900': { who: 'reader', project: ({ small }: Dataset): string | undefined => small },
  'the large project': { who: 'reader', project: ({ large }: Dataset) => large },
  'nine projects': { who: 'reader', project: () => undefined },
  'all projects': { who: 'busy', project: () => undefined },
} as const;

/** The user in ten thousand projects sends fewer requests: most filters look into each project. */
const ASKED_OF_BUSY = [
  'newest first',
  'oldest first',
  'by title',
  'open',
  'a rare label',
  'assigned to me',
  'q: a rare word',
];

const lists: Question[] = Object.entries(places).flatMap(([place, { who, project }]) =>
  Object.entries(asked)
    .filter(([name]) => who === 'reader' || ASKED_OF_BUSY.includes(name))
    .map(([name, parameters]) => ({
      place,
      name,
      async ask(side: Side) {
        const id = project(side.dataset);
        const path = id === undefined ? '/tasks' : `/tasks/projects/${id}`;
        await send(side[who], 'GET', `${side.server.url}${path}?${parameters}`);
      },
      async explain(side: Side) {
        await side.lists[who].list(project(side.dataset), parameters);
        return side.lists[who];
      },
    })),
);

const ofProjects: Question[] = ['', 'sort=name', 'q=project', 'archived=any'].map((parameters) => ({
  place: 'projects of one user',
  name: parameters || 'newest first',
  ask: async ({ busy, server }) =>
    void (await send(busy, 'GET', `${server.url}/projects?${parameters}`)),
}));

const made = new Map<Side, string>();
const writes: Question[] = (<Omit<Question, 'place'>[]>[
  {
    name: 'create',
    async ask(side) {
      const body = { title: 'Paint word1 walls', description: 'word2 coats', labels: ['label1'] };
      const url = `${side.server.url}/tasks/projects/${side.dataset.large}`;
      made.set(side, JSON.parse(await send(side.reader, 'POST', url, body)).id);
    },
  },
  {
    name: 'update',
    async ask(side) {
      const url = `${side.server.url}/tasks/${made.get(side)}`;
      await send(side.reader, 'PATCH', url, {
        title: `Paint word${Math.floor(performance.now())}`,
      });
    },
  },
  {
    name: 'read',
    ask: async (side) =>
      void (await send(side.reader, 'GET', `${side.server.url}/tasks/${made.get(side)}`)),
  },
]).map((question) => ({ ...question, place: 'a task of the large project' }));

// --- Measuring --------------------------------------------------------------------------------------------------------

interface Measured {
  place: string;
  name: string;
  /** In the order of the sizes. */
  medians_ms: number[];
  rows_read: number[];
}

/** Returns the median of each side in milliseconds. The sides take turns. */
async function time(sides: readonly Side[], question: Question): Promise<number[]> {
  const times: number[][] = sides.map(() => []);
  for (let round = 0; round < WARM_UP_ROUNDS + ROUNDS; round += 1)
    for (const [index, side] of sides.entries()) {
      const taken = times[index] as number[];
      if (round >= SLOW_ROUNDS && median(taken) > SLOW_MS) continue;
      const begun = performance.now();
      const answered = await question.ask(side).then(
        () => true,
        () => false,
      );
      taken.push(answered ? performance.now() - begun : Number.POSITIVE_INFINITY);
    }
  return times.map((taken) =>
    median(taken.length > WARM_UP_ROUNDS ? taken.slice(WARM_UP_ROUNDS) : taken),
  );
}

async function measure(sides: Side[], question: Question): Promise<Measured> {
  const mediansMs = await time(sides, question);
  const rowsRead: number[] = [];
  if (question.explain)
    for (const [index, side] of sides.entries()) {
      // The plan is the final one only after several executions, which would take minutes here.
      if ((mediansMs[index] ?? 0) > SLOW_MS) continue;
      const explained = await question.explain(side);
      rowsRead[index] = Math.round(await explained.rowsRead());
      await keepPlan(side, question, await explained.explain());
    }
  return { place: question.place, name: question.name, medians_ms: mediansMs, rows_read: rowsRead };
}

/** Two clients that create tasks in a project of their own, each one after the other, until they are stopped. */
async function startWriters({ server, busy }: Side) {
  let isStopped = false;
  const { id } = JSON.parse(
    await send(busy, 'POST', `${server.url}/projects`, { name: 'Writers' }),
  );
  const write = async () => {
    for (let n = 0; !isStopped; n += 1) {
      const task = { title: `Paint word${n % 5000} walls`, labels: ['label1'] };
      await send(busy, 'POST', `${server.url}/tasks/projects/${id}`, task);
    }
  };
  const writing = Promise.all([write(), write()]);
  return {
    async stop() {
      isStopped = true;
      await writing;
      await send(busy, 'DELETE', `${server.url}/projects/${id}`);
    },
  };
}

/** A list of one database at rest, and beside two writers. */
interface Disturbed {
  place: string;
  name: string;
  rest_ms: number;
  disturbed_ms: number;
}

async function measureBesideWriters(side: Side): Promise<Disturbed[]> {
  const measured: Disturbed[] = [];
  for (const question of lists) {
    const [restMs = Number.NaN] = await time([side], question);
    const writers = await startWriters(side);
    const [disturbedMs = Number.NaN] = await time([side], question);
    await writers.stop();
    const { place, name } = question;
    measured.push({ place, name, rest_ms: restMs, disturbed_ms: disturbedMs });
  }
  return measured;
}

function printDisturbed(measured: readonly Disturbed[]) {
  console.log('| where | what | at rest, ms | beside two writers, ms | ratio |');
  console.log('| --- | --- | --- | --- | --- |');
  for (const { place, name, rest_ms: rest, disturbed_ms: disturbed } of measured)
    console.log(
      `| ${place} | ${name} | ${rest.toFixed(2)} | ${disturbed.toFixed(2)} | ${(disturbed / rest).toFixed(2)} |`,
    );
}

async function keepPlan({ tasks }: Side, { place, name }: Question, plan: string) {
  const file = Bun.file(join(RESULTS, `plans-${tasks}.txt`));
  const before = (await file.exists()) ? await file.text() : '';
  await file.write(`${before}## ${place}: ${name}\n${plan}\n\n`);
}

const ratioOf = ({ medians_ms }: Measured) => (medians_ms.at(-1) ?? 0) / (medians_ms[0] ?? 1);

function printTable(measured: Measured[]) {
  console.log(
    `| where | what | ${SIZES.map((size) => `${size}: ms · rows read`).join(' | ')} | ratio |`,
  );
  console.log(`| --- | --- |${' --- |'.repeat(SIZES.length)} --- |`);
  for (const one of measured) {
    const cells = one.medians_ms.map((ms, n) => `${ms.toFixed(2)} · ${one.rows_read[n] ?? ''}`);
    console.log(
      `| ${one.place} | ${one.name} | ${cells.join(' | ')} | ${ratioOf(one).toFixed(2)} |`,
    );
  }
}

/** Of each place, a few queries that stand for the others. */
const DRAWN = ['newest first', 'open', 'q: a common word', 'create'];

export function drawGrowth(
  sizes: readonly number[],
  measured: readonly Measured[],
): Promise<string> {
  const lines = measured.filter(
    ({ place, name }) =>
      DRAWN.includes(name) && place !== 'a project of 900' && place !== 'all projects',
  );
  return draw({
    title: 'Growth: medians by the number of tasks',
    x: 'tasks',
    y: 'milliseconds',
    xs: sizes,
    lines: lines.map(({ place, name, medians_ms }) => ({
      name: `${place}: ${name}`,
      values: medians_ms,
    })),
  });
}

async function main() {
  requirePlotter();
  const postgres = await connectEmbeddedPostgres(FOLDER);
  const admin = new SQL({ url: postgres.url, max: 1 });
  const sides: Side[] = [];
  try {
    // While the tables are filled: data lost in a crash is made again.
    for (const setting of [
      'fsync = off',
      'autovacuum = off',
      "max_wal_size = '8GB'",
      "maintenance_work_mem = '1GB'",
    ])
      await admin.unsafe(`alter system set ${setting}`);
    await admin`select pg_reload_conf()`;
    for (const size of SIZES) await make(admin, postgres.url, size);
    for (const size of SIZES) sides.push(await open(postgres.url, size));
    await mkdir(RESULTS, { recursive: true });
    for (const size of SIZES) await Bun.file(join(RESULTS, `plans-${size}.txt`)).write('');
    const measured: Measured[] = [];
    for (const question of [...lists, ...ofProjects, ...writes]) {
      measured.push(await measure(sides, question));
      console.error(`${question.place}: ${question.name}`);
    }
    printTable(measured);
    const disturbed = await measureBesideWriters(sides.at(-1) as Side);
    printDisturbed(disturbed);
    const figures = {
      machine: await machineFacts(postgres.url),
      sizes: SIZES,
      measured,
      disturbed,
    };
    await Bun.write(join(RESULTS, 'growth.json'), JSON.stringify(figures, null, 2));
    await Bun.write(join(RESULTS, 'growth.svg'), await drawGrowth(SIZES, measured));
  } finally {
    for (const { server, lists } of sides) {
      await Promise.all([lists.reader.close(), lists.busy.close()]);
      await server.stop();
    }
    await admin.close();
    await postgres.leave();
  }
}

if (import.meta.main) await main();
