/** One worker process of the cluster, as its supervisor sees it: it is spawned, sends messages, and exits. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Subprocess } from 'bun';
import type { Log } from '../lib/log.ts';
import { waitUpTo } from '../lib/sleep.ts';
import type { Settings } from '../settings.ts';
import { type FromWorker, SUPERVISED, type Urls } from './cluster-channel.ts';
import { type Relay, send } from './cluster-relay.ts';

/** The last messages of a process may arrive after the event of its exit. */
const LAST_MESSAGES_TIMEOUT_MS = 1000;

export interface WorkerProcess {
  readonly child: Subprocess;
  /** Where it accepts requests; undefined if it exits before it does. */
  readonly accepting: Promise<Urls | undefined>;
  readonly exited: Promise<void>;
  acceptingSinceMs: number;
  /** Why it cannot start, in its own words. */
  reason: string | undefined;
  /** Whether the supervisor asked it to exit. If not, its exit is a crash. */
  exitRequested: boolean;
}

const entry = join(import.meta.dir, 'main.ts');

/** Flags of Bun, such as `--smol`. Without those that watch files: they restart the supervisor, and with it the workers. */
const bunFlags = () => process.execArgv.filter((flag) => !/^--(watch|hot)\b/.test(flag));

/** Starts a worker. @throws when the system cannot start a process. */
export function spawnWorker(
  environment: Record<string, string>,
  relay: Relay,
  log: Log,
): WorkerProcess {
  const accepting = Promise.withResolvers<Urls | undefined>();
  const disconnected = Promise.withResolvers<void>();
  const child = Bun.spawn([process.execPath, ...bunFlags(), entry, SUPERVISED], {
    env: environment,
    stdio: ['ignore', 'inherit', 'inherit'],
    ipc: receive,
    onDisconnect: () => disconnected.resolve(),
  });
  const exited = child.exited.then(async () => {
    await waitUpTo(LAST_MESSAGES_TIMEOUT_MS, disconnected.promise);
    relay.leave(child);
    accepting.resolve(undefined);
  });
  const worker: WorkerProcess = {
    child,
    accepting: accepting.promise,
    exited,
    acceptingSinceMs: Number.POSITIVE_INFINITY,
    reason: undefined,
    exitRequested: false,
  };
  return worker;

  function receive(message: FromWorker) {
    if (message.kind === 'accepting') {
      worker.acceptingSinceMs = performance.now();
      relay.join(child);
      log('info', 'worker_started', { pid: child.pid });
      accepting.resolve(message.urls);
    } else if (message.kind === 'cannot_start') worker.reason = message.reason;
    else relay.receive(child, message);
  }
}

/** `drain`: another worker serves in its place. `stop`: the whole cluster stops. */
export function requestExit(worker: WorkerProcess, kind: 'drain' | 'stop') {
  worker.exitRequested = true;
  send(worker.child, { kind });
}

/** Why the worker exited before it accepted requests. */
export const reasonOf = ({ reason, child: { exitCode, signalCode } }: WorkerProcess) =>
  reason ??
  `a worker exited with ${signalCode ?? exitCode} before it accepted requests: its log says why`;

/**
 * Returns the environment that the supervisor was started with, so that each worker reads `.env` anew, but with the
 * settings that all workers must have alike.
 */
export function workerEnvironment(
  { host, port, metricsPort, workers }: Settings,
  urls: Urls | undefined,
): Record<string, string> {
  const entries = readFileSync('/proc/self/environ', 'utf8')
    .split('\0')
    .map((line) => /^([^=]+)=(.*)$/s.exec(line)?.slice(1) ?? [])
    .filter(([name]) => name !== undefined && !name.startsWith('NODE_CHANNEL_'));
  const portOf = (url: string | undefined) => url && new URL(url).port;
  return {
    ...Object.fromEntries(entries),
    HOST: host,
    PORT: portOf(urls?.url) ?? String(port),
    METRICS_PORT: portOf(urls?.metricsUrl) ?? String(metricsPort ?? ''),
    WORKERS: String(workers),
  };
}
