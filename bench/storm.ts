/**
 * `bun run bench:storm [hostile]`: read latency under hostile load: 256 concurrent log-ins, enough clients to fill the pool
 * and its queue, 1,000 idle connections, 500 clients that send a byte at a time; and two attackers within the rate limits
 * beside one user, for each kind of costly request in `hostile.ts`. Then the memory of the process after ten thousand, a
 * hundred thousand and a million requests, and of PostgreSQL after ten thousand different queries. Each storm is measured
 * beside a lull before it. `hostile` measures the attackers alone. Prints tables, and keeps figures under `bench/results`;
 * asserts nothing.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { SQL } from 'bun';
import { attackRequest, attacksOf, documentedOperations } from './hostile.ts';
import { machineFacts, median } from './report.ts';
import { openFixedData, PASSWORD, type Person } from './speed/data.ts';
import { type LoadResult, load } from './speed/load.ts';
import { measureMemory } from './speed/memory.ts';
import { type Mix, requestsOf } from './speed/mixes.ts';
import { type Running, startMantou } from './speed/servers.ts';

const RESULTS = join(import.meta.dir, 'results');
const ROUNDS = 5;
const SECONDS = 4;
const WARM_UP_SECONDS = 10;
const READERS = 8;
const LOGGING_IN = 256;
/** More than the pool's ten connections and the two hundred places in its queue. */
const FILLING_THE_POOL = 256;
const IDLE = 1000;
const SLOW = 500;
const SLOW_BYTE_EVERY_MS = 50;
const ATTACKERS = 2;
const READINESS = 300;
const DIFFERENT_QUERIES = 10_000;

// --- The hostile clients, in a process of their own ----------------------------------------------------------------------------

type Role = keyof typeof roles;
type Play = (url: string, people: Person[]) => void | Promise<void>;

/** Runs this file again in a role, until it is stopped. */
async function play(role: Role, url: string, people: readonly Person[]) {
  const child = Bun.spawn([process.execPath, import.meta.path, role, url], {
    stdin: new Blob([JSON.stringify(people)]),
    stdout: 'pipe',
    stderr: 'inherit',
  });
  const output = child.stdout.getReader();
  // It prints a word once all clients have begun.
  await output.read();
  return async () => {
    child.kill('SIGTERM');
    await child.exited;
  };
}

/** Each client sends its next request when it has the response, or after Retry-After. */
function askForEver(clients: number, ask: (client: number) => Promise<Response>) {
  for (let client = 0; client < clients; client += 1)
    void (async () => {
      for (;;) {
        const answer = await ask(client);
        await answer.text();
        await Bun.sleep(Number(answer.headers.get('retry-after') ?? 0) * 1000);
      }
    })();
}

/** Two attackers, each on one connection, send the attacks on these operations in turn. */
function attackForEver(url: string, people: readonly Person[], names: readonly string[]) {
  const requests = documentedOperations
    .filter(({ name }) => names.includes(name))
    .flatMap((operation) => attacksOf(operation).map((attack) => ({ operation, attack })));
  let sent = 0;
  askForEver(ATTACKERS, (client) => {
    const person = people[client] as Person;
    const { operation, attack } = requests[sent++ % requests.length] as (typeof requests)[number];
    return attackRequest(operation, url, person, attack)();
  });
}

const roles = {
  'log-ins': (url, people) =>
    askForEver(LOGGING_IN, (client) => {
      const { username, address } = people[client % people.length] as Person;
      return fetch(`${url}/users/login`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-forwarded-for': address },
        body: JSON.stringify({ username, password: PASSWORD }),
      });
    }),
  lists: (url, people) =>
    askForEver(FILLING_THE_POOL, (client) => {
      const { access_token, address } = people[client % people.length] as Person;
      const headers = { authorization: `Bearer ${access_token}`, 'x-forwarded-for': address };
      return fetch(`${url}/tasks/?q=thing&limit=200`, { headers });
    }),
  async idle(url) {
    const { hostname, port } = new URL(url);
    const opened = Array.from({ length: IDLE }, async () => {
      const first = Promise.withResolvers<void>();
      const socket = await Bun.connect({
        hostname,
        port: Number(port),
        socket: { data: () => first.resolve() },
      });
      socket.write(`GET /health/live HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`);
      await first.promise;
    });
    await Promise.all(opened);
  },
  slow(url, people) {
    const { hostname, port } = new URL(url);
    const { access_token } = people[0] as Person;
    const text = `POST /tasks/projects/${people[0]?.projects[0]?.id} HTTP/1.1\r\nHost: ${hostname}\r\nAuthorization: Bearer ${access_token}\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n`;
    for (let client = 0; client < SLOW; client += 1)
      void (async () => {
        const socket = await Bun.connect({
          hostname,
          port: Number(port),
          socket: { data: () => undefined },
        });
        socket.write(text);
        for (;;) {
          socket.write(' ');
          await Bun.sleep(SLOW_BYTE_EVERY_MS);
        }
      })();
  },
  bodies: (url, people) =>
    attackForEver(url, people, ['createTask', 'patchTask', 'batchTasks', 'createProject']),
  forms: (url, people) => attackForEver(url, people, ['logIn', 'refreshSession']),
  queries: (url, people) => attackForEver(url, people, ['listAllTasks', 'listTasks', 'countTasks']),
  transfers: (url, people) =>
    attackForEver(url, people, ['importProject', 'exportAccount', 'exportProject']),
  readiness: (url) => askForEver(READINESS, () => fetch(`${url}/health/ready`)),
} satisfies Record<string, Play>;

// --- Measuring --------------------------------------------------------------------------------------------------------

interface Storm {
  cast: Role[];
  /** The requests of the others meanwhile, and their connections. */
  mix: Mix;
  readers: number;
}

const crowds: Record<string, Storm> = {
  [`${LOGGING_IN} clients log in`]: { cast: ['log-ins'], mix: 'read', readers: READERS },
  [`${FILLING_THE_POOL} clients fill the pool`]: { cast: ['lists'], mix: 'read', readers: READERS },
  [`${IDLE} idle and ${SLOW} slow clients`]: {
    cast: ['idle', 'slow'],
    mix: 'read',
    readers: READERS,
  },
};
const beside = (role: Role): Storm => ({ cast: [role], mix: 'list projects', readers: 1 });
const attacks: Record<string, Storm> = {
  'two attackers send costly bodies': beside('bodies'),
  'two attackers send costly forms without a log-in': beside('forms'),
  'two attackers search': beside('queries'),
  'two attackers export and import': beside('transfers'),
  [`${READINESS} connections ask for readiness`]: beside('readiness'),
};

async function measureStorms(
  { url }: Running,
  everyone: readonly Person[],
  storms: Record<string, Storm>,
) {
  // The attackers are the first: their rate limits are not those of the readers.
  const people = everyone.slice(ATTACKERS);
  await load(url, requestsOf('list projects', people), READERS, WARM_UP_SECONDS);
  const measured: Record<string, { lulls: LoadResult[]; storms: LoadResult[] }> = {};
  for (let round = 0; round < ROUNDS; round += 1)
    for (const [name, { cast, mix, readers }] of Object.entries(storms)) {
      const read = () => load(url, requestsOf(mix, people), readers, SECONDS);
      measured[name] ??= { lulls: [], storms: [] };
      const both = measured[name];
      both.lulls.push(await read());
      const stops = await Promise.all(cast.map((role) => play(role, url, everyone)));
      both.storms.push(await read());
      await Promise.all(stops.map((stop) => stop()));
    }
  return measured;
}

function printStorms(measured: Awaited<ReturnType<typeof measureStorms>>) {
  console.log('| while | reads/s before · then | p50 ms | p99 ms | p99 to before | failed |');
  console.log(`|${' --- |'.repeat(6)}`);
  for (const [name, { lulls, storms }] of Object.entries(measured)) {
    const of = (results: LoadResult[], what: 'p50_ms' | 'p99_ms') =>
      median(results.map((one) => one[what]));
    const rate = (results: LoadResult[]) =>
      median(results.map((one) => one.requests / one.seconds));
    const ratio = median(storms.map((one, n) => one.p99_ms / (lulls[n]?.p99_ms ?? Number.NaN)));
    const failed = storms.reduce((sum, one) => sum + one.failed, 0);
    console.log(
      `| ${name} | ${rate(lulls).toFixed(0)} · ${rate(storms).toFixed(0)} | ${of(lulls, 'p50_ms').toFixed(2)} · ${of(storms, 'p50_ms').toFixed(2)} | ${of(lulls, 'p99_ms').toFixed(2)} · ${of(storms, 'p99_ms').toFixed(2)} | ${ratio.toFixed(2)} | ${failed} |`,
    );
  }
}

/** Returns the memory of all backends of the pool before and after that many different queries, in MiB. */
async function measureQueries({ url }: Running, people: readonly Person[], admin: SQL) {
  const memory = async () => {
    const rows: { pid: number }[] =
      await admin`select pid from pg_stat_activity where application_name like 'mantou%'`;
    const parts = await Promise.all(rows.map(({ pid }) => privateMib(pid)));
    return parts.reduce((sum, mib) => sum + mib, 0);
  };
  await load(url, requestsOf('list tasks', people), READERS, WARM_UP_SECONDS);
  const before = await memory();
  let refused = 0;
  for (let n = 0; n < DIFFERENT_QUERIES; n += people.length)
    await Promise.all(
      people.map(async ({ access_token, address }, m) => {
        const response = await fetch(`${url}/tasks/?${differentQuery(n + m)}`, {
          headers: { authorization: `Bearer ${access_token}`, 'x-forwarded-for': address },
        });
        await response.arrayBuffer();
        if (!response.ok) refused += 1;
      }),
    );
  const after = await memory();
  if (refused > 0) console.log(`${refused} queries were refused`);
  console.log(
    `PostgreSQL, ${DIFFERENT_QUERIES} different queries: ${before.toFixed(0)} → ${after.toFixed(0)} MiB, ${(after / before).toFixed(2)} times`,
  );
  return { before_mib: before, after_mib: after };
}

/** Returns the n-th combination of filters and sorts. */
function differentQuery(n: number): string {
  const choices: Record<string, string[]> = {
    q: ['paint', 'paint wall', 'a b c', 'thing number 7'],
    status: ['todo', 'todo,done', 'done'],
    status_not: ['cancelled'],
    label: ['red', 'red,blue', ''],
    label_all: ['green', 'green,brown'],
    label_not: ['black'],
    priority_min: ['1'],
    priority_max: ['3'],
    assignee_id: ['me', 'none'],
    due_before: ['2030-01-01T00:00:00Z'],
    due_from: ['2020-01-01T00:00:00Z'],
    created_from: ['2020-01-01T00:00:00Z'],
    updated_before: ['2030-01-01T00:00:00Z'],
    archived: ['any', 'true'],
    sort: ['created_at', '-updated_at', 'due_at', '-due_at', 'title', '-priority', 'completed_at'],
  };
  const query = new URLSearchParams();
  let rest = n;
  for (const [name, values] of Object.entries(choices)) {
    const choice = rest % (values.length + 1);
    rest = Math.floor(rest / (values.length + 1)) + (n % 97);
    if (choice > 0) query.set(name, values[choice - 1] ?? '');
  }
  return query.toString();
}

/** The memory that a process has for itself alone, in MiB: not the shared buffers (proc(5), smaps_rollup). */
async function privateMib(pid: number): Promise<number> {
  const text = await Bun.file(`/proc/${pid}/smaps_rollup`).text();
  const [, kib = ''] = /^Anonymous:\s+(\d+)/m.exec(text) ?? [];
  return Number(kib) / 1024;
}

async function main(storms: Record<string, Storm>) {
  await using fixed = await openFixedData();
  const { people } = fixed;
  const first = await startMantou(fixed.url);
  const measured = await measureStorms(first, people, storms).finally(() => first.stop());
  printStorms(measured);
  const memory = [];
  if (storms !== attacks) {
    // A new process.
    const second = await startMantou(fixed.url);
    memory.push(...(await measureMemory(second, people).finally(() => second.stop())));
  }
  const third = await startMantou(fixed.url);
  const queries = await measureQueries(third, people, fixed.admin).finally(() => third.stop());
  await mkdir(RESULTS, { recursive: true });
  const figures = {
    machine: await machineFacts(fixed.url),
    storms: measured,
    memory,
    queries,
  };
  await Bun.write(join(RESULTS, 'storm.json'), JSON.stringify(figures, null, 2));
}

const [role, url = ''] = process.argv.slice(2);
if (role === undefined) await main({ ...crowds, ...attacks });
else if (role === 'hostile') await main(attacks);
else {
  await (roles[role as Role] as Play)(url, JSON.parse(await Bun.stdin.text()));
  console.log('begun');
}
