/**
 * What Prometheus reads, kept with prom-client. Of its default metrics only those are here that say something true
 * under Bun: its heap spaces, handles and garbage collections are V8's and read 0.
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
import { version } from '../package.json';
import type { Metrics, Siblings } from './platform.ts';

/** From a cached answer to the longest wait that the bounds allow. */
const REQUEST_BUCKETS_SECONDS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20,
];
const EVENT_LOOP_RESOLUTION_MS = 20;
const NANOSECONDS = 1e9;
const MICROSECONDS = 1e6;

/** How the values of several processes become one. */
type Aggregator = 'sum' | 'min';

/** Something that is done so many at once, while others wait. */
interface Gate {
  readonly in_flight: number;
  readonly waiting: number;
}

export interface Gates {
  /** Statements and transactions, each on a connection of its own. */
  readonly database: Gate;
  readonly passwords: Gate;
}

/** What one process shows, to be added up with what others do. */
export type Snapshot = MetricObjectWithValues<MetricValue<string>>[];

export interface ProcessMetrics extends Metrics {
  snapshot(): Promise<Snapshot>;
}

/** Begins to measure. The gates are read when somebody asks. @param siblings are shown together with this process. */
export function createMetrics({ database, passwords }: Gates, siblings?: Siblings): ProcessMetrics {
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
  const gauge = (name: string, help: string, read: () => number, aggregator: Aggregator = 'sum') =>
    new Gauge({
      name,
      help,
      registers,
      aggregator,
      collect() {
        this.set(read());
      },
    });
  const counter = (name: string, help: string, read: () => number) =>
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(read());
      },
    });

  gauge('mantou_processes', 'Processes that serve the port and are counted here.', () => 1);
  gauge(
    'mantou_database_connections_in_use',
    'Connections of the pool that run a statement or a transaction.',
    () => database.in_flight,
  );
  gauge(
    'mantou_database_statements_waiting',
    'Statements and transactions that wait for a connection.',
    () => database.waiting,
  );
  gauge(
    'mantou_password_hashes_in_flight',
    'Password hashes being computed.',
    () => passwords.in_flight,
  );
  gauge(
    'mantou_password_hashes_waiting',
    'Password hashes that wait for a core.',
    () => passwords.waiting,
  );
  const streams = new Gauge({
    name: 'mantou_streams_open',
    help: 'Clients that follow changes as they happen.',
    registers,
  });
  eventLoopDelay(registers);
  counter(
    'process_cpu_seconds_total',
    'Total user and system CPU time spent in seconds.',
    () => (process.cpuUsage().user + process.cpuUsage().system) / MICROSECONDS,
  );
  gauge('process_resident_memory_bytes', 'Resident memory size in bytes.', () =>
    process.memoryUsage.rss(),
  );
  gauge(
    'mantou_heap_used_bytes',
    'Memory that JavaScript holds, in bytes.',
    () => process.memoryUsage().heapUsed,
  );
  const started_at_seconds = Date.now() / 1000 - process.uptime();
  gauge(
    'process_start_time_seconds',
    'Start time of the process since unix epoch in seconds.',
    () => started_at_seconds,
    'min',
  );
  new Gauge({
    name: 'mantou_build_info',
    help: 'Always 1; the labels name the versions.',
    labelNames: ['version', 'bun'],
    registers,
    aggregator: 'first',
  }).set({ version, bun: Bun.version }, 1);

  const snapshot = () => registry.getMetricsAsJSON() as Promise<Snapshot>;
  siblings?.on('metrics', snapshot);
  async function printAll(siblings: Siblings) {
    const own = await snapshot();
    const others = (await siblings.ask('metrics', own)) as Snapshot[];
    return AggregatorRegistry.aggregate([own, ...others]).metrics();
  }

  return {
    countRequest: (method, route, status, seconds) =>
      requests.observe({ method, route, status }, seconds),
    countLimit: (limit) => limits.inc({ limit }),
    showStreams: (open) => streams.set(open),
    print: siblings ? () => printAll(siblings) : () => registry.metrics(),
    snapshot,
  };
}

/** How late timers come, since somebody asked last: what a request waits when another one computes. */
function eventLoopDelay(registers: Registry[]) {
  const delays = monitorEventLoopDelay({ resolution: EVENT_LOOP_RESOLUTION_MS });
  delays.enable();
  new Gauge({
    name: 'mantou_event_loop_delay_seconds',
    help: 'How late the event loop runs its timers, since the last scrape; quantile 1 is the longest.',
    labelNames: ['quantile'],
    registers,
    aggregator: 'max',
    collect() {
      for (const quantile of [0.5, 0.99])
        this.set({ quantile }, delays.percentile(quantile * 100) / NANOSECONDS);
      this.set({ quantile: 1 }, delays.max / NANOSECONDS);
      delays.reset();
    },
  });
}

/** What has happened, without what is. */
export const countsOf = (snapshot: Snapshot): Snapshot =>
  snapshot.filter(({ type }) => ['counter', 'histogram'].includes(String(type)));

/**
 * What has happened in processes that are gone. Without it sums would fall, and Prometheus take that for a new beginning.
 * @param counts of a process that has just ended.
 */
export async function addToPast(past: Snapshot, counts: Snapshot): Promise<Snapshot> {
  return AggregatorRegistry.aggregate([past, counts]).getMetricsAsJSON() as Promise<Snapshot>;
}
