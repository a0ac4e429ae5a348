/**
 * `bun run bench:lists`: how long each list takes, and how many rows it reads, at a million tasks beside ten thousand.
 * Both databases stand on one PostgreSQL, and the lists take turns between them, through HTTP. Then fifty writers
 * change one task at once. Prints figures; asserts nothing.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SQL } from 'bun';
import { joinEmbeddedPostgres } from '../src/db/embedded.ts';
import { migrate } from '../src/db/migrate.ts';
import { type RunningServer, serve } from '../src/serve.ts';
import { readSettings } from '../src/settings.ts';
import { asked, type Dataset, fill } from '../test/support/dataset.ts';
import { type Lists, openLists } from '../test/support/statements.ts';

const SIZES = [10_000, Number(process.env.BENCH_TASKS ?? 1_000_000)];
/** PostgreSQL makes up its mind about a prepared statement in the first six. */
const WARM_UP_ROUNDS = 8;
const ROUNDS = 21;
const WRITERS = 50;
const WRITES = 20;

interface Side {
  server: RunningServer;
  dataset: Dataset;
  lists: Lists;
  headers: Record<string, string>;
}

const median = (values: number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

async function open(database: string, admin_url: string, tasks: number): Promise<Side> {
  const url = new URL(admin_url);
  url.pathname = `/${database}`;
  const settings = readSettings({
    DATABASE_URL: url.href,
    JWT_SECRET: 'unused'.repeat(8),
    RATE_LIMIT: 'off',
    LOG_LEVEL: 'silent',
    PORT: '0',
  });
  await migrate(url.href);
  const server = await serve({ ...settings, port: 0 });
  const post = async (path: string, body: object): Promise<Record<string, string>> => {
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch(server.url + path, {
      method: 'POST',
      headers,
      body: JSON.stringify(body),
    });
    return (await answer.json()) as Record<string, string>;
  };
  const account = { username: 'reader', password: 'correct horse battery staple' };
  const user = await post('/users/register', { ...account, email: 'reader@example.org' });
  const { access_token } = await post('/users/login', account);
  const dataset = await fill(url.href, { id: String(user.id) }, tasks);
  const lists = openLists(url.href, String(user.id));
  return { server, dataset, lists, headers: { authorization: `Bearer ${access_token}` } };
}

const places = {
  'a project of a thousand': ({ small }: Dataset) => `/tasks/projects/${small}`,
  'the large project': ({ large }: Dataset) => `/tasks/projects/${large}`,
  'all projects': () => '/tasks',
};

async function time(side: Side, path: string): Promise<number> {
  const begun = performance.now();
  const answer = await fetch(side.server.url + path, { headers: side.headers });
  await answer.text();
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return performance.now() - begun;
}

async function compareLists(sides: Side[]) {
  console.log(
    `| list | ${SIZES.map((size) => `${size} tasks: ms · rows read`).join(' | ')} | ratio |`,
  );
  console.log(`| --- |${' --- |'.repeat(SIZES.length)} --- |`);
  for (const [place, pathOf] of Object.entries(places))
    for (const [name, parameters] of Object.entries(asked)) {
      const times: number[][] = sides.map(() => []);
      for (let round = 0; round < WARM_UP_ROUNDS + ROUNDS; round += 1)
        for (const [index, side] of sides.entries()) {
          const taken = await time(side, `${pathOf(side.dataset)}?${parameters}`);
          if (round >= WARM_UP_ROUNDS) times[index]?.push(taken);
        }
      const read: number[] = [];
      for (const { lists, dataset } of sides) {
        await lists.list(pathOf(dataset).split('/')[3], parameters);
        read.push(await lists.rowsRead());
      }
      const medians = times.map(median);
      const cells = medians.map(
        (ms, index) => `${ms.toFixed(2)} · ${Math.round(read[index] ?? 0)}`,
      );
      const ratio = (medians.at(-1) ?? 0) / (medians[0] ?? 1);
      console.log(`| ${place}: ${name} | ${cells.join(' | ')} | ${ratio.toFixed(2)} |`);
    }
}

/** Each writer appends to one task on the version it has read, and reads again where another was faster. */
async function countLostUpdates({ server, dataset, headers }: Side) {
  const json = { ...headers, 'content-type': 'application/json' };
  const made = await fetch(`${server.url}/tasks/projects/${dataset.small}`, {
    method: 'POST',
    headers: json,
    body: JSON.stringify({ title: 'Contended', description: '' }),
  });
  const { id } = (await made.json()) as { id: string };
  const read = async () =>
    (await (await fetch(`${server.url}/tasks/${id}`, { headers })).json()) as {
      description: string;
      version: number;
    };
  let refused = 0;
  async function write(mark: string) {
    for (;;) {
      const { description, version } = await read();
      const { status } = await fetch(`${server.url}/tasks/${id}`, {
        method: 'PATCH',
        headers: { ...json, 'if-match': `"${version}"` },
        body: JSON.stringify({ description: description + mark }),
      });
      if (status === 200) return;
      refused += 1;
    }
  }
  await Promise.all(
    Array.from({ length: WRITERS }, async (_, writer) => {
      for (let n = 0; n < WRITES; n += 1) await write(`<${writer}.${n}>`);
    }),
  );
  const { description, version } = await read();
  const written = WRITERS * WRITES;
  const kept = description.match(/<\d+\.\d+>/g)?.length ?? 0;
  console.log(
    `\n${WRITERS} writers, ${written} updates of one task: ${written - kept} lost, ${version - 1 - written} doubled, ${refused} refused with 412 and tried again`,
  );
}

const folder = await mkdtemp(join(tmpdir(), 'mantou-bench-'));
const postgres = await joinEmbeddedPostgres(folder);
const admin = new SQL({ url: postgres.url, max: 1 });
const sides: Side[] = [];
try {
  for (const [index, size] of SIZES.entries()) {
    await admin.unsafe(`create database side_${index}`);
    sides.push(await open(`side_${index}`, postgres.url, size));
    console.error(`${size} tasks are in`);
  }
  await compareLists(sides);
  await countLostUpdates(sides[0] as Side);
} finally {
  for (const { server, lists } of sides) {
    await lists.close();
    await server.stop();
  }
  await admin.close();
  await postgres.leave();
  await rm(folder, { recursive: true, force: true });
}
