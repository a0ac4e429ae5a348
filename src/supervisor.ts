/**
 * Several processes at one port. This one serves nothing: it starts the workers, starts again who falls, replaces all of
 * them when asked, and stops them. The kernel gives each connection to one of them (SO_REUSEPORT), so nothing stands
 * between a client and its answer.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Subprocess } from 'bun';
import { CannotStart } from './cannot-start.ts';
import { inUse, listen, type Place } from './listen.ts';
import type { Log } from './log.ts';
import { createRelay, type Relay, send, withTimeout } from './relay.ts';
import type { Settings } from './settings.ts';
import { type FromWorker, SUPERVISED, type Urls } from './siblings.ts';

/** Who falls is started again at once; who falls again before this, after a pause that doubles. */
const STEADY_MS = 10_000;
const PAUSE_MS_MIN = 100;
const PAUSE_MS_MAX = 5000;
/** Longer than a worker takes to retire, with requests in flight. */
const RETIRE_TIMEOUT_MS = 75_000;
/** Workers give themselves 9 s. */
const STOP_TIMEOUT_MS = 9500;
/** The last words of a process may arrive after the news of its end. */
const LAST_WORDS_TIMEOUT_MS = 1000;

export interface Service {
  /** Resolves once all workers accept requests. @throws {CannotStart} where one of the first cannot. */
  readonly started: Promise<Urls>;
  /** Replaces the workers one by one, each once its successor accepts requests. */
  replace(): void;
  /** Stops all workers, and resolves when they have ended; after 9.5 s they are killed. */
  stop(): Promise<void>;
  kill(): void;
}

/** A process that serves, from its start to its end. */
interface Worker {
  readonly child: Subprocess;
  /** Where it accepts requests; undefined if it has ended before. */
  readonly accepting: Promise<Urls | undefined>;
  readonly ended: Promise<void>;
  accepting_since_ms: number;
  /** Why it cannot start, in its own words. */
  reason: string | undefined;
  /** That it ends is no fall. */
  dismissed: boolean;
}

/** Where there has to be a worker. */
interface Slot {
  worker: Worker | undefined;
  /** One after the other, whatever is done about it. */
  turn: Promise<unknown>;
  pause_ms: number;
}

/** @throws {CannotStart} where processes cannot share a port, or somebody else has it. */
export function supervise(settings: Settings, log: Log): Service {
  refuseElsewhere(process.platform);
  claim(settings, 'PORT', settings.port);
  claim(settings, 'METRICS_PORT', settings.metrics_port);

  const relay = createRelay();
  const slots = Array.from(
    { length: settings.workers },
    (): Slot => ({ worker: undefined, turn: Promise.resolve(), pause_ms: 0 }),
  );
  /** All that run, also those that start or retire. */
  const workers = new Set<Worker>();
  const stopping = Promise.withResolvers<void>();
  let is_stopping = false;
  let urls: Urls | undefined;
  let replacing: Promise<void> = Promise.resolve();
  let is_replacement_due = false;

  const started = start();
  return { started, replace, stop, kill };

  /** The first finds the port and migrates; the others follow, all at once. */
  async function start(): Promise<Urls> {
    const [first, ...others] = slots;
    try {
      urls = await startFirst(first as Slot);
      await Promise.all(others.map(startFirst));
      return urls;
    } catch (error) {
      await stop();
      throw error;
    }
  }

  async function startFirst(slot: Slot): Promise<Urls> {
    const worker = is_stopping ? undefined : begin(slot);
    const found = await worker?.accepting;
    // Whoever has asked for the stop ends this process.
    if (!worker || is_stopping) return new Promise(() => undefined);
    if (!found) throw new CannotStart(reasonOf(worker));
    return found;
  }

  /** @throws {CannotStart} when all have been stopped. */
  function begin(slot: Slot): Worker {
    if (is_stopping) throw new CannotStart('it is being stopped');
    const worker = spawn(environmentOf(settings, urls), relay, log);
    workers.add(worker);
    slot.worker ??= worker;
    worker.ended.then(() => bury(worker, slot));
    return worker;
  }

  function bury(worker: Worker, slot: Slot) {
    const { child, reason, dismissed } = worker;
    const { pid, exitCode: code, signalCode } = child;
    const signal = signalCode ?? undefined;
    log(dismissed ? 'info' : 'error', 'worker_exited', { pid, code, signal, reason });
    workers.delete(worker);
    if (slot.worker !== worker) return;
    slot.worker = undefined;
    if (performance.now() - worker.accepting_since_ms > STEADY_MS) slot.pause_ms = 0;
    void inTurn(slot, () => fill(slot));
  }

  async function fill(slot: Slot) {
    if (slot.worker || is_stopping) return;
    await withTimeout(slot.pause_ms, stopping.promise);
    slot.pause_ms = Math.min(PAUSE_MS_MAX, Math.max(PAUSE_MS_MIN, slot.pause_ms * 2));
    if (is_stopping) return;
    try {
      // If this one ends as well, it is filled again.
      await begin(slot).accepting;
    } catch (error) {
      // The system has no room for a process. It may have soon.
      log('error', 'worker_not_started', { reason: (error as Error).message });
      void inTurn(slot, () => fill(slot));
    }
  }

  /** Whoever asks while it is under way gets another one after it: what he has changed came too late for some. */
  function replace() {
    if (is_replacement_due || is_stopping) return;
    is_replacement_due = true;
    replacing = replacing.then(async () => {
      await started;
      is_replacement_due = false;
      log('info', 'replacement_started');
      try {
        for (const slot of slots) await replaceIn(slot);
        log('info', 'replacement_finished');
      } catch (error) {
        log('error', 'replacement_stopped', { reason: (error as Error).message });
      }
    });
  }

  /** @throws {CannotStart} where no new one can take over: the old one goes on. */
  async function replaceIn(slot: Slot) {
    const old = await inTurn(slot, async () => {
      const next = begin(slot);
      if (!(await next.accepting)) throw new CannotStart(reasonOf(next));
      const { worker } = slot;
      slot.worker = next;
      return worker;
    });
    // There is none where it has fallen meanwhile.
    if (!old || old === slot.worker) return;
    dismiss(old, 'retire');
    await withTimeout(RETIRE_TIMEOUT_MS, old.ended);
    old.child.kill('SIGKILL');
  }

  async function stop() {
    is_stopping = true;
    stopping.resolve();
    for (const worker of workers) dismiss(worker, 'stop');
    await withTimeout(STOP_TIMEOUT_MS, Promise.all([...workers].map(({ ended }) => ended)));
    kill();
  }

  function kill() {
    for (const { child } of workers) child.kill('SIGKILL');
  }
}

/** @throws {CannotStart}. */
export function refuseElsewhere(platform: NodeJS.Platform) {
  if (platform !== 'linux')
    throw new CannotStart(
      `WORKERS must be 1 on ${platform}: Linux alone spreads the connections to a port over processes`,
    );
}

/**
 * Makes sure that nobody else has the port: with SO_REUSEPORT the workers would share it without a word. A name that the
 * kernel frees with this process, in the same network, keeps out another supervisor that starts at the same moment.
 * @throws {CannotStart}.
 */
function claim(settings: Settings, setting: Place['setting'], port: number | undefined) {
  if (!port) return;
  const name = `\0mantou ${Bun.hash(`${settings.host} ${port}`)}`;
  try {
    Bun.listen({ unix: name, socket: { data() {} } });
  } catch {
    throw inUse(settings.host, setting, port);
  }
  listen(settings, { setting, port, shared: false }, () => new Response()).stop(true);
}

// --- Processes -----------------------------------------------------------------------------------------------------

const entry = join(import.meta.dir, 'server.ts');

/** Of Bun, such as `--smol`. Whoever watches the files starts this process again, and with it the workers. */
const flags = () => process.execArgv.filter((flag) => !/^--(watch|hot)\b/.test(flag));

function spawn(environment: Record<string, string>, relay: Relay, log: Log): Worker {
  const accepting = Promise.withResolvers<Urls | undefined>();
  const silent = Promise.withResolvers<void>();
  const child = Bun.spawn([process.execPath, ...flags(), entry, SUPERVISED], {
    env: environment,
    stdio: ['ignore', 'inherit', 'inherit'],
    ipc: hear,
    onDisconnect: () => silent.resolve(),
  });
  const ended = child.exited.then(async () => {
    await withTimeout(LAST_WORDS_TIMEOUT_MS, silent.promise);
    relay.leave(child);
    accepting.resolve(undefined);
  });
  const worker: Worker = {
    child,
    accepting: accepting.promise,
    ended,
    accepting_since_ms: Number.POSITIVE_INFINITY,
    reason: undefined,
    dismissed: false,
  };
  return worker;

  function hear(message: FromWorker) {
    if (message.kind === 'accepting') {
      worker.accepting_since_ms = performance.now();
      relay.join(child);
      log('info', 'worker_started', { pid: child.pid });
      accepting.resolve(message.urls);
    } else if (message.kind === 'cannot_start') worker.reason = message.reason;
    else relay.hear(child, message);
  }
}

/**
 * The environment that this process was started with, so that a worker reads `.env` as it is by then; but for what all
 * workers must have alike.
 */
function environmentOf({ host, port, metrics_port, workers }: Settings, urls: Urls | undefined) {
  const entries = readFileSync('/proc/self/environ', 'utf8')
    .split('\0')
    .map((line) => /^([^=]+)=(.*)$/s.exec(line)?.slice(1) ?? [])
    .filter(([name]) => name !== undefined && !name.startsWith('NODE_CHANNEL_'));
  const portOf = (url: string | undefined) => url && new URL(url).port;
  return {
    ...Object.fromEntries(entries),
    HOST: host,
    PORT: portOf(urls?.url) ?? String(port),
    METRICS_PORT: portOf(urls?.metrics_url) ?? String(metrics_port ?? ''),
    WORKERS: String(workers),
  };
}

function dismiss(worker: Worker, kind: 'retire' | 'stop') {
  worker.dismissed = true;
  send(worker.child, { kind });
}

function inTurn<T>(slot: Slot, work: () => Promise<T>): Promise<T> {
  const mine = slot.turn.then(work);
  slot.turn = mine.catch(() => undefined);
  return mine;
}

const reasonOf = ({ reason, child: { exitCode, signalCode } }: Worker) =>
  reason ?? `a worker has ended with ${signalCode ?? exitCode} before it served: its log says why`;
