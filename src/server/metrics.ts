/**
 * The metrics of this process, kept with prom-client, and of all workers together. Of prom-client's default metrics only
 * those are here that are true under Bun: its heap spaces, handles and garbage collections are V8's and read 0.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import {
  AggregatorRegistry,
  Counter,
  Gauge,
  Histogram,
  type MetricObjectWithValues,
  type MetricValue,
  Registry,
} from 'prom-client';
import { version } from '../../package.json';
import type { Metrics, PeerChannel } from '../platform.ts';

/** From a cached answer to the longest wait that the limits allow. */
const REQUEST_BUCKETS_SECONDS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20,
];
const EVENT_LOOP_RESOLUTION_MS = 20;
const NANOSECONDS = 1e9;
const MICROSECONDS = 1e6;

/** A queue with a concurrency limit. */
interface QueueStats {
  readonly inFlight: number;
  readonly waiting: number;
}

export interface QueueStatsByName {
  /** Statements and transactions, each on a connection of its own. */
  readonly database: QueueStats & { readonly preparedTexts: number };
  readonly passwords: QueueStats;
}

/** The metrics of one process, to be aggregated with those of its peers. */
export type Snapshot = MetricObjectWithValues<MetricValue<string>>[];

export interface ProcessMetrics extends Metrics {
  snapshot(): Promise<Snapshot>;
}

/** A metric that is read when it is scraped. */
interface Reading {
  name: string;
  help: string;
  read: () => number;
  /** How the values of several processes become one. Default: sum. */
  aggregator?: 'sum' | 'min';
}

function gauges({ database, passwords }: QueueStatsByName): Reading[] {
  const startedAtSeconds = Date.now() / 1000 - process.uptime();
  return [
    {
      name: 'mantou_processes',
      help: 'Processes that serve the port and are counted here.',
      read: () => 1,
    },
    {
      name: 'mantou_database_connections_in_use',
      help: 'Connections of the pool that run a statement or a transaction.',
      read: () => database.inFlight,
    },
    {
      name: 'mantou_database_statements_waiting',
      help: 'Statements and transactions that wait for a connection.',
      read: () => database.waiting,
    },
    {
      name: 'mantou_database_prepared_statements',
      help: 'Prepared statements that each connection may keep.',
      read: () => database.preparedTexts,
    },
    {
      name: 'mantou_password_hashes_in_flight',
      help: 'Password hashes being computed.',
      read: () => passwords.inFlight,
    },
    {
      name: 'mantou_password_hashes_waiting',
      help: 'Password hashes that wait for a core.',
      read: () => passwords.waiting,
    },
    {
      name: 'process_resident_memory_bytes',
      help: 'Resident memory size in bytes.',
      read: () => process.memoryUsage.rss(),
    },
    {
      name: 'mantou_heap_used_bytes',
      help: 'Memory that JavaScript holds, in bytes.',
      read: () => process.memoryUsage().heapUsed,
    },
    {
      name: 'process_start_time_seconds',
      help: 'Start time of the process since unix epoch in seconds.',
      read: () => startedAtSeconds,
      aggregator: 'min',
    },
  ];
}

const counters: Reading[] = [
  {
    name: 'process_cpu_seconds_total',
    help: 'Total user and system CPU time spent in seconds.',
    read: () => (process.cpuUsage().user + process.cpuUsage().system) / MICROSECONDS,
  },
];

/** Starts measuring. @param peers are scraped together with this process. */
export function createMetrics(queues: QueueStatsByName, peers?: PeerChannel): ProcessMetrics {
  const registry = new Registry();
  const registers = [registry];
  const requests = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'Requests answered, by method, route and status, and how long each took.',
    labelNames: ['method', 'route', 'status'],
    buckets: REQUEST_BUCKETS_SECONDS,
    registers,
  });
  const limits = new Counter({
    name: 'mantou_limits_reached_total',
    help: 'Requests refused because a limit was reached, by its name.',
    labelNames: ['limit'],
    registers,
  });
  const webhookTries = new Histogram({
    name: 'mantou_webhook_try_duration_seconds',
    help: 'Tries to deliver an event to a webhook, by outcome, and how long each took.',
    labelNames: ['outcome'],
    buckets: REQUEST_BUCKETS_SECONDS,
    registers,
  });
  const webhooksServed = new Gauge({
    name: 'mantou_webhooks_served',
    help: 'Webhooks that this process delivers to.',
    registers,
  });
  const streams = new Gauge({
    name: 'mantou_streams_open',
    help: 'Clients that follow changes as they happen.',
    registers,
  });
  for (const { name, help, read, aggregator = 'sum' } of gauges(queues))
    new Gauge({
      name,
      help,
      registers,
      aggregator,
      collect() {
        this.set(read());
      },
    });
  for (const { name, help, read } of counters)
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  measureEventLoopDelay(registers);
  new Gauge({
    name: 'mantou_build_info',
    help: 'Always 1; the labels name the versions.',
    labelNames: ['version', 'bun'],
    registers,
    aggregator: 'first',
  }).set({ version, bun: Bun.version }, 1);

  const snapshot = () => registry.getMetricsAsJSON() as Promise<Snapshot>;
  peers?.on('metrics', snapshot);
  async function renderAll(peers: PeerChannel) {
    const own = await snapshot();
    const others = (await peers.request('metrics', own)) as Snapshot[];
    return AggregatorRegistry.aggregate([own, ...others]).metrics();
  }

  return {
    countRequest: (method, route, status, seconds) =>
      requests.observe({ method, route, status }, seconds),
    countRateLimited: (limit) => limits.inc({ limit }),
    countWebhookTry: (outcome, seconds) => webhookTries.observe({ outcome }, seconds),
    setWebhooksServed: (served) => webhooksServed.set(served),
    setOpenStreams: (open) => streams.set(open),
    render: peers ? () => renderAll(peers) : () => registry.metrics(),
    snapshot,
  };
}

/**
 * Measures how late timers fire: what a request waits while another one computes. The label is not `quantile`, which
 * only summaries may carry.
 */
function measureEventLoopDelay(registers: Registry[]) {
  const delays = monitorEventLoopDelay({ resolution: EVENT_LOOP_RESOLUTION_MS });
  delays.enable();
  new Gauge({
    name: 'mantou_event_loop_delay_seconds',
    help: 'How late the event loop ran its timers since the last scrape; percentile 100 is the longest delay.',
    labelNames: ['percentile'],
    registers,
    aggregator: 'max',
    collect() {
      for (const percentile of [50, 99])
        this.set({ percentile }, delays.percentile(percentile) / NANOSECONDS);
      this.set({ percentile: 100 }, delays.max / NANOSECONDS);
      delays.reset();
    },
  });
}

/** Returns the counters and histograms of a snapshot, no gauges. */
export const countersOf = (snapshot: Snapshot): Snapshot =>
  snapshot.filter(({ type }) => ['counter', 'histogram'].includes(String(type)));

/**
 * Adds the counters of a process that has just exited to those of the processes before it. Without them the totals would
 * fall, which Prometheus takes for a restart.
 */
export async function mergeCounters(exited: Snapshot, counters: Snapshot): Promise<Snapshot> {
  return AggregatorRegistry.aggregate([exited, counters]).getMetricsAsJSON() as Promise<Snapshot>;
}
