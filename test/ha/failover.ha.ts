/**
 * `bun run test:ha`: a PostgreSQL that fails over by itself loses no acknowledged write, and a follower of the feed misses
 * none. Two processes of the API serve, one through HAProxy and one that names all hosts. It needs programs of Debian's:
 * `apt-get install patroni etcd-server haproxy postgresql`. `HA_ROUNDS=10` repeats the faults, and adds those of etcd and
 * HAProxy.
 */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { beginLoad, checkLedger, createWriter, type Load, type Writer } from '../faults/ledger.ts';
import { type Service, startService } from '../faults/service.ts';
import { makeFolder, useProcesses, waitFor } from '../support/process.ts';
import { type HaCluster, startHaCluster } from './cluster.ts';
import { FeedFollower } from './feed-follower.ts';

/** Far beyond what a round takes: what reaches it hangs. */
const TEST_TIMEOUT_MS = 1_200_000;
const ROUNDS = Number(process.env.HA_ROUNDS || 1);
/** Acknowledged tasks before and after each fault. */
const WRITES_AROUND = 400;

interface Row {
  runs: number;
  longest_gap_ms: number;
  acknowledged: number;
  repeated: number;
  replayed: number;
  lost: number;
  doubled: number;
  torn: number;
  missed: number;
}

/** By fault and way to the primary. */
const rows = new Map<string, Row>();
let cluster: HaCluster;
let services: Record<'through HAProxy' | 'several hosts', Service>;

// Before the folders are removed.
afterAll(async () => {
  for (const service of Object.values(services ?? {})) await service.stop();
  await cluster?.stop();
  printReport();
});

useProcesses();
setDefaultTimeout(TEST_TIMEOUT_MS);

beforeAll(async () => {
  cluster = await startHaCluster(makeFolder());
  services = {
    'through HAProxy': await startService({ DATABASE_URL: cluster.proxyUrl }),
    'several hosts': await startService({ DATABASE_URL: cluster.hostsUrl }),
  };
});

/** A fault, and what takes it back once writes are acknowledged again. */
type Fault = () => Promise<() => Promise<void>>;

const shortForm: Record<string, Fault> = {
  switchover: async () => {
    await cluster.switchOver();
    return async () => undefined;
  },
  'kill -9 of the primary': () => cluster.killPrimary(),
  'SIGSTOP of the primary': () => cluster.pausePrimary(),
};
const longForm: Record<string, Fault> = {
  ...shortForm,
  'SIGSTOP of etcd': () => cluster.pauseEtcd(),
  'HAProxy is killed and started': async () => {
    await cluster.restartProxy();
    return async () => undefined;
  },
};
const faults = ROUNDS > 1 ? longForm : shortForm;

for (let round = 1; round <= ROUNDS; round += 1)
  for (const [name, fault] of Object.entries(faults))
    test(`round ${round}: ${name}`, () => runFault(name, fault));

interface Run {
  way: string;
  service: Service;
  writer: Writer;
  load: Load;
  follower: FeedFollower;
}

async function runFault(name: string, fault: Fault) {
  await cluster.settled();
  const primaryUrl = await cluster.primaryUrl();
  const runs: Run[] = [];
  for (const [way, service] of Object.entries(services)) {
    const writer = await createWriter(primaryUrl);
    const follower = await FeedFollower.start(service.url, writer.token);
    runs.push({ way, service, writer, follower, load: beginLoad(writer, () => service.url) });
  }
  await Promise.all(runs.map(({ load }) => load.more(WRITES_AROUND)));
  const faultMs = performance.now();
  const takeBack = await fault();
  await Promise.all(runs.map(({ load }) => load.firstSince(faultMs)));
  await cluster.primaryUrl();
  const promotedMs = performance.now();
  await Promise.all(runs.map(({ load }) => load.firstSince(promotedMs)));
  await takeBack();
  await cluster.settled();
  await Promise.all(runs.map(({ load }) => load.more(WRITES_AROUND)));
  const verdicts = await Promise.all(runs.map((one) => judge(name, one)));
  for (const verdict of verdicts)
    expect(verdict).toEqual({ lost: 0, doubled: 0, invented: 0, torn: 0, missed: 0, improper: [] });
}

async function judge(name: string, { way, service, writer, load, follower }: Run) {
  const ledger = await load.end();
  const url = await cluster.primaryUrl();
  const { acknowledged, ...verdict } = await checkLedger(url, writer, ledger.outcomes);
  const told = [...ledger.outcomes].flatMap(([title, outcome]) =>
    outcome === 'acknowledged' ? [title] : [],
  );
  // The feed has an end: what a read that began after the last write does not tell was missed.
  await follower.catchUp();
  const missed = told.filter((title) => !follower.titles.has(title)).length;
  await waitFor('it is ready', async () => (await service.status('/health/ready')) === 200);
  const key = `${name}, ${way}`;
  const row = rows.get(key);
  rows.set(key, {
    runs: (row?.runs ?? 0) + 1,
    longest_gap_ms: Math.max(row?.longest_gap_ms ?? 0, ledger.longest_gap_ms),
    acknowledged: (row?.acknowledged ?? 0) + acknowledged,
    repeated: (row?.repeated ?? 0) + ledger.repeated,
    replayed: (row?.replayed ?? 0) + ledger.replayed,
    lost: (row?.lost ?? 0) + verdict.lost,
    doubled: (row?.doubled ?? 0) + verdict.doubled,
    torn: (row?.torn ?? 0) + verdict.torn,
    missed: (row?.missed ?? 0) + missed,
  });
  return { ...verdict, missed, improper: [...new Set(ledger.improper)] };
}

function printReport() {
  const lines = [...rows].map(([fault, { longest_gap_ms, ...counts }]) => ({
    fault,
    ...counts,
    'longest gap (s)': Number((longest_gap_ms / 1000).toFixed(1)),
  }));
  console.table(lines);
  console.log(`Patroni's ttl: ${cluster?.ttlSeconds} s`);
}
