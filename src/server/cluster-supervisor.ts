/**
 * Several worker processes at one port (`WORKERS`). The supervisor serves no request: it starts the workers, restarts
 * those that crash, replaces all of them on SIGHUP, and stops them. The kernel distributes the connections
 * (SO_REUSEPORT), so nothing stands between a client and its worker.
 *
 * The states of a worker, and what leads from one to the next:
 *
 *     starting ── it accepts requests ──> serving ── its successor serves ──> draining ──> exited
 *        │                                   ├────── the cluster stops ─────> stopping ──> exited
 *        └── it cannot start, it crashes ────┴── it crashes ──────────────────────────────> exited, and is restarted
 */
// Decision: docs/decisions/20-worker-processes.md
import { StartupError } from '../errors/startup-error.ts';
import type { Log } from '../lib/log.ts';
import { createMutex, type Mutex } from '../lib/mutex.ts';
import { waitUpTo } from '../lib/sleep.ts';
import type { Settings } from '../settings.ts';
import type { Urls } from './cluster-channel.ts';
import { createRelay } from './cluster-relay.ts';
import { inUse, listen, type Place } from './listen.ts';
import {
  reasonOf,
  requestExit,
  spawnWorker,
  type WorkerProcess,
  workerEnvironment,
} from './worker-process.ts';

/** A crashed worker restarts at once; one that crashes again within this time restarts after a delay that doubles. */
const STABLE_AFTER_MS = 10_000;
const RESTART_DELAY_MS_MIN = 100;
const RESTART_DELAY_MS_MAX = 5000;
/** Longer than a worker takes to drain with requests in flight. */
const DRAIN_TIMEOUT_MS = 75_000;
/** How much later this process may handle a signal that the whole group got. */
const GROUP_SIGNAL_TIMEOUT_MS = 1000;
/** Workers give themselves 9 s. */
const STOP_TIMEOUT_MS = 9500;

/** The place of one worker. Starts and replacements in one slot run one after the other. */
interface Slot {
  worker: WorkerProcess | undefined;
  readonly mutex: Mutex;
  restartDelayMs: number;
}

export class Supervisor {
  /** Resolves once all workers accept requests. Rejects with a StartupError if one of the first workers cannot start. */
  readonly started: Promise<Urls>;

  readonly #settings: Settings;
  readonly #log: Log;
  readonly #relay = createRelay();
  readonly #slots: Slot[];
  /** All workers that run, also those that start or drain. */
  readonly #running = new Set<WorkerProcess>();
  readonly #stopping = Promise.withResolvers<void>();
  readonly #replacement = createMutex();
  #isStopping = false;
  #isReplacementDue = false;
  #urls: Urls | undefined;

  /** @throws {StartupError} where processes cannot share a port, or another server has it. */
  constructor(settings: Settings, log: Log) {
    assertLinux(process.platform);
    claimPort(settings, 'PORT', settings.port);
    claimPort(settings, 'METRICS_PORT', settings.metricsPort);
    this.#settings = settings;
    this.#log = log;
    this.#slots = Array.from({ length: settings.workers }, () => ({
      worker: undefined,
      mutex: createMutex(),
      restartDelayMs: 0,
    }));
    this.started = this.#start();
  }

  /** Replaces the workers one by one, each once its successor accepts requests. */
  replaceWorkers() {
    // Workers that have been replaced already may have started before the change that this call is about.
    if (this.#isReplacementDue || this.#isStopping) return;
    this.#isReplacementDue = true;
    void this.#replacement(async () => {
      await this.started;
      this.#isReplacementDue = false;
      this.#log('info', 'replacement_started');
      try {
        for (const slot of this.#slots) await this.#replaceIn(slot);
        this.#log('info', 'replacement_finished');
      } catch (error) {
        this.#log('error', 'replacement_stopped', { reason: (error as Error).message });
      }
    });
  }

  /** Stops all workers. Resolves when they have exited; it kills those that run after 9.5 s. */
  async stop() {
    this.#isStopping = true;
    this.#stopping.resolve();
    for (const worker of this.#running) requestExit(worker, 'stop');
    const exits = [...this.#running].map(({ exited }) => exited);
    await waitUpTo(STOP_TIMEOUT_MS, Promise.all(exits));
    this.kill();
  }

  kill() {
    for (const { child } of this.#running) child.kill('SIGKILL');
  }

  /** The first worker finds the port and migrates; then the others start together. */
  async #start(): Promise<Urls> {
    const [first, ...others] = this.#slots;
    try {
      this.#urls = await this.#startFirst(first as Slot);
      await Promise.all(others.map((slot) => this.#startFirst(slot)));
      return this.#urls;
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  async #startFirst(slot: Slot): Promise<Urls> {
    const worker = this.#isStopping ? undefined : this.#spawnFor(slot);
    const urls = await worker?.accepting;
    // A signal to the group ends a worker that has no handler yet, and its exit may be noticed before our own signal.
    if (worker && !urls && diedOfStop(worker))
      await waitUpTo(GROUP_SIGNAL_TIMEOUT_MS, this.#stopping.promise);
    // `stop` is under way, and its caller ends this process.
    if (!worker || this.#isStopping) return new Promise(() => undefined);
    if (!urls) throw new StartupError(reasonOf(worker));
    return urls;
  }

  /** Starts a worker, and puts it into the slot if that is empty. @throws {StartupError} when the cluster stops. */
  #spawnFor(slot: Slot): WorkerProcess {
    if (this.#isStopping) throw new StartupError('the server is stopping');
    const environment = workerEnvironment(this.#settings, this.#urls);
    const worker = spawnWorker(environment, this.#relay, this.#log);
    this.#running.add(worker);
    slot.worker ??= worker;
    worker.exited.then(() => this.#onExit(worker, slot));
    return worker;
  }

  #onExit(worker: WorkerProcess, slot: Slot) {
    const { child, reason, exitRequested } = worker;
    const { pid, exitCode: code, signalCode } = child;
    const signal = signalCode ?? undefined;
    this.#log(exitRequested ? 'info' : 'error', 'worker_exited', { pid, code, signal, reason });
    this.#running.delete(worker);
    if (slot.worker !== worker) return;
    slot.worker = undefined;
    if (performance.now() - worker.acceptingSinceMs > STABLE_AFTER_MS) slot.restartDelayMs = 0;
    void slot.mutex(() => this.#restartIn(slot));
  }

  async #restartIn(slot: Slot) {
    if (slot.worker || this.#isStopping) return;
    await waitUpTo(slot.restartDelayMs, this.#stopping.promise);
    const doubled = Math.max(RESTART_DELAY_MS_MIN, slot.restartDelayMs * 2);
    slot.restartDelayMs = Math.min(RESTART_DELAY_MS_MAX, doubled);
    if (this.#isStopping) return;
    try {
      // If this worker exits as well, its `onExit` restarts it again.
      await this.#spawnFor(slot).accepting;
    } catch (error) {
      // The system cannot start a process now; it may soon.
      this.#log('error', 'worker_not_started', { reason: (error as Error).message });
      void slot.mutex(() => this.#restartIn(slot));
    }
  }

  /** @throws {StartupError} when the successor cannot start: then the old worker goes on. */
  async #replaceIn(slot: Slot) {
    const old = await slot.mutex(async () => {
      const successor = this.#spawnFor(slot);
      if (!(await successor.accepting)) throw new StartupError(reasonOf(successor));
      const { worker } = slot;
      slot.worker = successor;
      return worker;
    });
    // `old` is undefined if it crashed in the meantime.
    if (!old || old === slot.worker) return;
    requestExit(old, 'drain');
    await waitUpTo(DRAIN_TIMEOUT_MS, old.exited);
    old.child.kill('SIGKILL');
  }
}

const diedOfStop = ({ child: { signalCode } }: WorkerProcess) =>
  signalCode === 'SIGINT' || signalCode === 'SIGTERM';

/** @throws {StartupError} on other systems. */
export function assertLinux(platform: NodeJS.Platform) {
  if (platform !== 'linux')
    throw new StartupError(
      `WORKERS must be 1 on ${platform}: only Linux distributes the connections to a port over processes`,
    );
}

/**
 * Makes sure that no other server has the port: with SO_REUSEPORT the workers would share it silently. An abstract
 * socket, which the kernel frees when this process ends, excludes another supervisor that starts at the same moment.
 * @throws {StartupError}.
 */
function claimPort(settings: Settings, setting: Place['setting'], port: number | undefined) {
  if (!port) return;
  const name = `\0mantou ${Bun.hash(`${settings.host} ${port}`)}`;
  try {
    Bun.listen({ unix: name, socket: { data() {} } });
  } catch {
    throw inUse(settings.host, setting, port);
  }
  listen(settings, { setting, port, shared: false }, () => new Response()).stop(true);
}
