/**
 * `bun run bench`: this API as it ships beside the floor, which does the same without a framework, on its own PostgreSQL.
 * The servers take turns, in another order each round, each on a fresh copy of the fixed data, and answer each mix of
 * requests after a warm-up. Prints a table, and keeps figures and a plot under `bench/results`; asserts nothing.
 *
 *   --vs DIR         another checkout of this project joins, with its own migrations (may be repeated)
 *   --vs URL         any server that has the routes for registration, log-in, projects and tasks joins
 *   --peers DIR      Fastify and FastAPI, as they are in that folder, join
 *   --clients 1,8    for all mixes, instead of the number of connections that each mix has
 *   --rate 200,1000  also an open loop: requests start at this many a second, whether or not others are answered
 *   --pinned         PostgreSQL has a core of its own; the servers and the load share the others (Linux)
 *   --memory         then the memory of this API after a million requests
 *   --rounds 5 --seconds 3 --mixes "list tasks,read"
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { SQL } from 'bun';
import { connectEmbeddedPostgres } from '../src/postgres/embedded.ts';
import { draw, requirePlotter } from './plot.ts';
import { machineFacts, median } from './report.ts';
import { migrateWith, startCheckout } from './speed/checkouts.ts';
import { makeFixedData, type Person, readPeople } from './speed/data.ts';
import { load, requireLoadTool } from './speed/load.ts';
import { measureMemory } from './speed/memory.ts';
import { type Mix, mixes, requestsOf } from './speed/mixes.ts';
import { openLoad } from './speed/open-load.ts';
import { findPeers, readPeerPeople } from './speed/peers.ts';
import { pinPostgres, postgresPid } from './speed/pinning.ts';
import { registerPeople } from './speed/remote.ts';
import { type Running, startFloor, startMantou, usageOf } from './speed/servers.ts';

const RESULTS = join(import.meta.dir, 'results');
/** A server is slow until its code is compiled. */
const WARM_UP_SECONDS = 2;
const FIRST_WARM_UP_SECONDS = 10;
const LATENCY_CONNECTIONS = [1, 2, 4, 8, 16, 32, 64, 128];

const { values: options } = parseArgs({
  options: {
    vs: { type: 'string', multiple: true, default: [] },
    peers: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    mixes: { type: 'string', default: Object.keys(mixes).join(',') },
    clients: { type: 'string' },
    rate: { type: 'string' },
    pinned: { type: 'boolean', default: false },
    memory: { type: 'boolean', default: false },
  },
});
const rounds = Number(options.rounds);
const seconds = Number(options.seconds);
const chosen = options.mixes.split(',') as Mix[];
const numbersOf = (list?: string) => list?.split(',').map(Number);
const clientsOf = (mix: Mix) => numbersOf(options.clients) ?? [mixes[mix].connections];
const rates = numbersOf(options.rate) ?? [];
/** Connections of an open loop. A request without a free one waits, and the wait counts. */
const OPEN_CONNECTIONS = 128;

interface Contender {
  name: string;
  people: Person[];
  mixes: readonly Mix[];
  /** Starts it on a fresh copy of its data. A server that is named by its URL keeps its data. */
  start(): Promise<Running>;
}

interface Sample {
  mix: Mix;
  server: string;
  /** How the requests were sent: `32 clients`, or `500/s` for an open loop. */
  load: string;
  requests_per_second: number;
  p50_ms: number;
  p99_ms: number;
  failed: number;
  /** User and system time of the server's processes for one request; unknown for a server that is named by its URL. */
  cpu_us: number | undefined;
  /** The same of PostgreSQL. */
  postgres_us: number | undefined;
  /** Both together. */
  all_us: number | undefined;
  memory_mib: number | undefined;
}

type Way = { clients: number } | { rate: number };

const ways = (mix: Mix): Way[] => [
  ...clientsOf(mix).map((clients) => ({ clients })),
  ...rates.map((rate) => ({ rate })),
];

async function sample(
  { name, people }: Contender,
  running: Running,
  mix: Mix,
  way: Way,
  postgres: number,
): Promise<Sample> {
  const { url } = running;
  const requests = requestsOf(mix, people);
  const send = (duration: number) =>
    'clients' in way
      ? load(url, requests, way.clients, duration)
      : openLoad({
          url,
          requests,
          requestsPerSecond: way.rate,
          connections: OPEN_CONNECTIONS,
          seconds: duration,
        });
  await send(WARM_UP_SECONDS);
  const pids = [running.pid, postgres];
  const before = await Promise.all(pids.map(usageOf));
  const found = await send(seconds);
  const after = await Promise.all(pids.map(usageOf));
  const [cpuUs, postgresUs] = pids.map((_, n) => {
    const [first, last] = [before[n], after[n]];
    return first && last && (last.cpu_us - first.cpu_us) / found.requests;
  });
  return {
    mix,
    server: name,
    load: 'clients' in way ? `${way.clients} clients` : `${way.rate}/s`,
    requests_per_second: found.requests / found.seconds,
    p50_ms: found.p50_ms,
    p99_ms: found.p99_ms,
    failed: found.failed,
    cpu_us: cpuUs,
    postgres_us: cpuUs && postgresUs,
    all_us: cpuUs && postgresUs && cpuUs + postgresUs,
    memory_mib: after[0]?.memory_mib,
  };
}

/** Measures all mixes of one server, those that read first. */
async function turn(contender: Contender, postgres: number): Promise<Sample[]> {
  const running = await contender.start();
  try {
    const samples: Sample[] = [];
    const blend = requestsOf(
      contender.mixes.includes('blend') ? 'blend' : 'list tasks',
      contender.people,
    );
    await load(running.url, blend, mixes.blend.connections, FIRST_WARM_UP_SECONDS);
    for (const mix of chosen.filter((mix) => contender.mixes.includes(mix)))
      for (const way of ways(mix))
        samples.push(await sample(contender, running, mix, way, postgres));
    return samples;
  } finally {
    await running.stop();
  }
}

/** Returns a figure as text; a dash where it could not be measured. */
const shown = (value: number, digits: number) =>
  Number.isNaN(value) ? '–' : value.toFixed(digits);

const shuffled = <T>(items: readonly T[]) =>
  items
    .map((item) => ({ item, place: Math.random() }))
    .sort((a, b) => a.place - b.place)
    .map(({ item }) => item);

// --- Hashes ------------------------------------------------------------------------------------------------------

/** Returns how many hashes Bun alone computes in a second, in a process of its own: the upper bound of log-ins. */
async function hashesPerSecond(): Promise<number> {
  return Number(
    await Bun.$`${process.execPath} bench/logins.ts hasher`.cwd(join(import.meta.dir, '..')).text(),
  );
}

// --- Latency against load ------------------------------------------------------------------------------------------

async function measureLatency(contenders: readonly Contender[]) {
  const lines: { name: string; values: number[] }[] = [];
  for (const contender of contenders) {
    const running = await contender.start();
    const requests = requestsOf('list tasks', contender.people);
    const p50 = { name: `${contender.name}, median`, values: [] as number[] };
    const p99 = { name: `${contender.name}, p99`, values: [] as number[] };
    try {
      await load(running.url, requests, 32, FIRST_WARM_UP_SECONDS);
      for (const connections of LATENCY_CONNECTIONS) {
        const found = await load(running.url, requests, connections, seconds);
        p50.values.push(found.p50_ms);
        p99.values.push(found.p99_ms);
      }
    } finally {
      await running.stop();
    }
    lines.push(p50, p99);
  }
  return lines;
}

async function memoryOf({ people, start }: Contender) {
  const running = await start();
  return measureMemory(running, people).finally(running.stop);
}

// --- The tables ------------------------------------------------------------------------------------------------------

interface Summary {
  mix: Mix;
  server: string;
  load: string;
  requests_per_second: number;
  least: number;
  most: number;
  p50_ms: number;
  p99_ms: number;
  cpu_us: number;
  postgres_us: number;
  memory_mib: number;
  failed: number;
}

function summarize(samples: readonly Sample[]): Summary[] {
  const groups = Map.groupBy(samples, ({ mix, server, load }) => `${mix} ${load} ${server}`);
  return [...groups.values()].map((group) => {
    const of = (name: keyof Sample) => group.map((one) => Number(one[name] ?? Number.NaN));
    const { mix, server, load } = group[0] as Sample;
    return {
      mix,
      server,
      load,
      requests_per_second: median(of('requests_per_second')),
      least: Math.min(...of('requests_per_second')),
      most: Math.max(...of('requests_per_second')),
      p50_ms: median(of('p50_ms')),
      p99_ms: median(of('p99_ms')),
      cpu_us: median(of('cpu_us')),
      postgres_us: median(of('postgres_us')),
      memory_mib: median(of('memory_mib')),
      failed: of('failed').reduce((sum, one) => sum + one, 0),
    };
  });
}

type Measure = 'requests_per_second' | 'p50_ms' | 'p99_ms' | 'all_us';

/** Returns the median of the ratios to another server within each round, which other load disturbs least. */
function ratio(
  samples: readonly Sample[],
  { mix, load }: Pick<Sample, 'mix' | 'load'>,
  server: string,
  measure: Measure,
) {
  const of = (server: string) =>
    samples
      .filter((one) => one.mix === mix && one.load === load && one.server === server)
      .map((one) => Number(one[measure]));
  const [mine, theirs] = [of('mantou'), of(server)];
  return median(mine.map((value, round) => value / (theirs[round] ?? Number.NaN)));
}

function printTables(samples: readonly Sample[], hashes: readonly number[]) {
  const summaries = summarize(samples).sort(
    (a, b) =>
      chosen.indexOf(a.mix) - chosen.indexOf(b.mix) ||
      a.load.localeCompare(b.load, 'en', { numeric: true }) ||
      b.requests_per_second - a.requests_per_second,
  );
  console.log(
    '| mix | load | server | requests/s (least to most) | p50 ms | p99 ms | server µs | PostgreSQL µs | MiB |',
  );
  console.log(`|${' --- |'.repeat(9)}`);
  for (const one of summaries)
    console.log(
      `| ${one.mix} | ${one.load} | ${one.server} | ${one.requests_per_second.toFixed(0)} (${one.least.toFixed(0)} to ${one.most.toFixed(0)}) | ${one.p50_ms.toFixed(1)} | ${one.p99_ms.toFixed(1)} | ${shown(one.cpu_us, 0)} | ${shown(one.postgres_us, 0)} | ${shown(one.memory_mib, 0)} |${one.failed > 0 ? ` ${one.failed} failed` : ''}`,
    );
  console.log('\n| mantou over | mix | load | requests/s | p50 | p99 | CPU of both |');
  console.log(`|${' --- |'.repeat(7)}`);
  const others = summaries
    .filter(({ server }) => server !== 'mantou')
    .sort((a, b) => a.server.localeCompare(b.server));
  for (const one of others) {
    const cells = (['requests_per_second', 'p50_ms', 'p99_ms', 'all_us'] as const).map((measure) =>
      shown(ratio(samples, one, one.server, measure), 2),
    );
    console.log(`| ${one.server} | ${one.mix} | ${one.load} | ${cells.join(' | ')} |`);
  }
  const [way] = clientsOf('log in').map((clients) => `${clients} clients`);
  const logIns = samples.filter(
    (one) => one.server === 'mantou' && one.mix === 'log in' && one.load === way,
  );
  if (logIns.length === 0) return;
  const shares = logIns.map(
    (one, round) => one.requests_per_second / (hashes[round] ?? Number.NaN),
  );
  console.log(
    `\nlog-ins over bare hashes: ${median(shares).toFixed(2)} (${median(hashes).toFixed(1)} hashes/s)`,
  );
}

// --- The run ---------------------------------------------------------------------------------------------------------

async function main() {
  requireLoadTool();
  requirePlotter();
  const folder = await mkdtemp(join(tmpdir(), 'mantou-bench-'));
  const postgres = await connectEmbeddedPostgres(folder);
  const postgresServer = await postgresPid(folder);
  if (options.pinned) await pinPostgres(postgresServer);
  const admin = new SQL({ url: postgres.url, max: 1 });
  const urlOf = (database: string) => {
    const url = new URL(postgres.url);
    url.pathname = `/${database}`;
    return url.href;
  };
  /** Copies a database that has no connection. @returns the URL of the copy. */
  async function freshCopyOf(template: string): Promise<string> {
    await admin.unsafe('drop database if exists work with (force)');
    await admin.unsafe(`create database work template ${template} strategy file_copy`);
    await admin.unsafe('checkpoint');
    return urlOf('work');
  }
  const all = Object.keys(mixes) as Mix[];
  /** Returns a server that is known by its URL alone. It has no ids of tasks to read or change. */
  async function remote(url: string): Promise<Contender> {
    return {
      name: url,
      people: await registerPeople(url),
      mixes: all.filter((mix) => !['read', 'update', 'blend', 'blend alone'].includes(mix)),
      start: async () => ({ url, pid: undefined, stop: async () => undefined }),
    };
  }
  /** Returns another checkout, with the same data in tables of its own migrations. */
  async function checkout(folder: string, template: string): Promise<Contender> {
    await admin.unsafe(`create database ${template}`);
    await makeFixedData(urlOf(template), (url) => migrateWith(folder, url));
    return {
      name: folder,
      people: await readPeople(urlOf(template)),
      mixes: all,
      start: async () => startCheckout(folder, await freshCopyOf(template)),
    };
  }
  try {
    await admin.unsafe('create database fixed');
    await makeFixedData(urlOf('fixed'));
    const people = await readPeople(urlOf('fixed'));
    const own = (name: string, start: (url: string) => Promise<Running>): Contender => ({
      name,
      people,
      mixes: all,
      start: async () => start(await freshCopyOf('fixed')),
    });
    const contenders: Contender[] = [
      own('mantou', startMantou),
      own('floor', (url) => startFloor(url, 'bun')),
      own('floor on postgres.js', (url) => startFloor(url, 'postgres.js')),
    ];
    if (options.peers !== undefined) {
      await admin.unsafe('create database peers');
      const schema = new SQL({ url: urlOf('peers'), max: 1 });
      await schema.file(join(options.peers, 'schema.sql'));
      await schema.close();
      const theirPeople = await readPeerPeople(urlOf('peers'));
      for (const peer of await findPeers(options.peers, folder))
        contenders.push({
          name: peer.name,
          people: theirPeople,
          mixes: ['list projects', 'list tasks', 'create'],
          start: async () => peer.start(await freshCopyOf('peers')),
        });
    }
    for (const [n, other] of options.vs.entries())
      contenders.push(
        URL.canParse(other) ? await remote(other) : await checkout(other, `checkout_${n}`),
      );

    const samples: Sample[] = [];
    const hashes: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      for (const contender of shuffled(contenders)) {
        samples.push(...(await turn(contender, postgresServer)));
        console.error(`round ${round + 1}: ${contender.name}`);
      }
      if (chosen.includes('log in')) hashes.push(await hashesPerSecond());
    }
    printTables(samples, hashes);
    const latency = await measureLatency(contenders.slice(0, 2));
    const memory = options.memory ? await memoryOf(contenders[0] as Contender) : undefined;
    await mkdir(RESULTS, { recursive: true });
    const machine = { ...(await machineFacts(postgres.url)), load: 'wrk', pinned: options.pinned };
    await Bun.write(
      join(RESULTS, 'speed.json'),
      JSON.stringify(
        {
          machine,
          samples,
          hashes,
          latency: { connections: LATENCY_CONNECTIONS, lines: latency },
          memory,
        },
        null,
        2,
      ),
    );
    await Bun.write(
      join(RESULTS, 'latency.svg'),
      await draw({
        title: 'List of 20 tasks: latency against load',
        x: 'connections that ask all the time',
        y: 'milliseconds',
        xs: LATENCY_CONNECTIONS,
        lines: latency,
      }),
    );
    console.log(`\n${JSON.stringify(machine)}`);
  } finally {
    await admin.close();
    await postgres.leave();
    await rm(folder, { recursive: true, force: true });
  }
}

await main();
