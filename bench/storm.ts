/**
 * `bun run bench:storm`: how long reads take while others do their worst: 256 people who log in at once, clients enough to
 * fill the pool and its line, a thousand idle connections, five hundred clients that send a byte at a time. Then what the
 * process holds after ten thousand, a hundred thousand and a million requests. Each storm is measured beside a lull before
 * it. Prints tables, and keeps figures under `bench/results`; asserts nothing.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SQL } from 'bun';
import { joinEmbeddedPostgres } from '../src/db/embedded.ts';
import { machineFacts, median } from './report.ts';
import { makeFixedData, PASSWORD, type Person, readPeople } from './speed/data.ts';
import { type LoadResult, load } from './speed/load.ts';
import { requestsOf } from './speed/mixes.ts';
import { type Running, startMantou, usageOf } from './speed/servers.ts';

const RESULTS = join(import.meta.dir, 'results');
const ROUNDS = 5;
const SECONDS = 4;
const WARM_UP_SECONDS = 10;
const READERS = 8;
const LOGGING_IN = 256;
/** Ten connections and two hundred in line. */
const FILLING_THE_POOL = 256;
const IDLE = 1000;
const SLOW = 500;
const SLOW_BYTE_EVERY_MS = 50;
const MEMORY_AFTER = [10_000, 100_000, 1_000_000];

// --- The others, in a process of their own ----------------------------------------------------------------------------

type Role = 'log-ins' | 'lists' | 'idle' | 'slow';

/** Runs this file again in a role, until it is stopped. */
async function play(role: Role, url: string, people: readonly Person[]) {
  const child = Bun.spawn([process.execPath, import.meta.path, role, url], {
    stdin: new Blob([JSON.stringify(people)]),
    stdout: 'pipe',
    stderr: 'inherit',
  });
  const output = child.stdout.getReader();
  // It says a word once all have begun.
  await output.read();
  return async () => {
    child.kill('SIGTERM');
    await child.exited;
  };
}

/** Each asks again as soon as it is answered, or when it is told to. */
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

const roles: Record<Role, (url: string, people: Person[]) => void | Promise<void>> = {
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
};

// --- Measuring --------------------------------------------------------------------------------------------------------

const storms = {
  [`${LOGGING_IN} clients log in`]: ['log-ins'],
  [`${FILLING_THE_POOL} clients fill the pool`]: ['lists'],
  [`${IDLE} idle and ${SLOW} slow clients`]: ['idle', 'slow'],
} satisfies Record<string, Role[]>;

async function measureStorms({ url }: Running, people: readonly Person[]) {
  const requests = requestsOf('read', people);
  const read = () => load(url, requests, READERS, SECONDS);
  await load(url, requests, READERS, WARM_UP_SECONDS);
  const measured: Record<string, { lulls: LoadResult[]; storms: LoadResult[] }> = {};
  for (let round = 0; round < ROUNDS; round += 1)
    for (const [name, cast] of Object.entries(storms)) {
      measured[name] ??= { lulls: [], storms: [] };
      const both = measured[name];
      both.lulls.push(await read());
      const stops = await Promise.all(cast.map((role) => play(role, url, people)));
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

async function measureMemory({ url, pid }: Running, people: readonly Person[]) {
  const requests = requestsOf('blend', people);
  const found: { requests: number; memory_mib: number }[] = [];
  let sent = 0;
  for (const target of MEMORY_AFTER) {
    while (sent < target)
      sent += (await load(url, requests, 32, target - sent > 50_000 ? 10 : 1)).requests;
    found.push({ requests: sent, memory_mib: (await usageOf(pid))?.memory_mib ?? Number.NaN });
    console.log(`after ${sent} requests: ${found.at(-1)?.memory_mib.toFixed(0)} MiB`);
  }
  return found;
}

async function main() {
  const folder = await mkdtemp(join(tmpdir(), 'mantou-bench-'));
  const postgres = await joinEmbeddedPostgres(folder);
  const admin = new SQL({ url: postgres.url, max: 1 });
  const url = new URL(postgres.url);
  url.pathname = '/fixed';
  try {
    await admin.unsafe('create database fixed');
    await makeFixedData(url.href);
    const people = await readPeople(url.href);
    const first = await startMantou(url.href);
    const measured = await measureStorms(first, people).finally(() => first.stop());
    printStorms(measured);
    // A process that has seen nothing yet.
    const second = await startMantou(url.href);
    const memory = await measureMemory(second, people).finally(() => second.stop());
    await mkdir(RESULTS, { recursive: true });
    const figures = { machine: await machineFacts(postgres.url), storms: measured, memory };
    await Bun.write(join(RESULTS, 'storm.json'), JSON.stringify(figures, null, 2));
  } finally {
    await admin.close();
    await postgres.leave();
    await rm(folder, { recursive: true, force: true });
  }
}

const [role, url = ''] = process.argv.slice(2);
if (role === undefined) await main();
else {
  await roles[role as Role](url, JSON.parse(await Bun.stdin.text()));
  console.log('begun');
}
