/** The API as a process of its own, as an operator runs it, and the PostgreSQL that such a process starts. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, setDefaultTimeout } from 'bun:test';
import { mkdtempSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dir, '../..');
const POLL_INTERVAL_MS = 10;
/** Far beyond what anything here takes, also on a busy machine: what reaches it hangs. */
const DEADLINE_MS = 180_000;
const TEST_TIMEOUT_MS = 3 * DEADLINE_MS;

type Environment = Record<string, string>;

/** What a process takes over from the tests. Bun keeps there what it has compiled, which is a quarter of a start. */
export const inherited = {
  PATH: process.env.PATH,
  BUN_RUNTIME_TRANSPILER_CACHE_PATH: process.env.BUN_RUNTIME_TRANSPILER_CACHE_PATH,
};

interface Options {
  /** Below the project's root. */
  script?: string;
  /** The project's root; another holds a copy of it. */
  project?: string;
  /** What the command is run by, with its arguments. */
  prefix?: string[];
}

export interface Process {
  readonly pid: number;
  /** What it has said so far. */
  readonly stdout: string;
  readonly stderr: string;
  /** Its exit code, once it and its output have ended. */
  readonly ended: Promise<number>;
  /** The URL at the end of its first line, once it says so. */
  url(): Promise<string>;
  kill(signal: NodeJS.Signals): void;
  /** Sends the signal. @returns the exit code. */
  stop(signal?: NodeJS.Signals): Promise<number>;
}

class Leftovers {
  readonly processes = new Set<Process>();
  /** The servers in these are ended before the folders go. */
  readonly dataDirs = new Set<string>();
  readonly folders = new Set<string>();

  async takeAway() {
    for (const one of this.processes) one.kill('SIGKILL');
    await Promise.all([...this.processes].map(({ ended }) => ended));
    for (const dataDir of this.dataDirs) await endServer(dataDir);
    for (const folder of this.folders) await rm(folder, { recursive: true, force: true });
  }
}

let leftovers = new Leftovers();

/** Takes away what each test leaves, and what `beforeAll` has made after the last one. */
export function useProcesses() {
  setDefaultTimeout(TEST_TIMEOUT_MS);
  const ofFile = new Leftovers();
  leftovers = ofFile;
  beforeEach(() => {
    leftovers = new Leftovers();
  });
  afterEach(async () => {
    await leftovers.takeAway();
    leftovers = ofFile;
  });
  afterAll(() => ofFile.takeAway());
}

/** Starts the API with this environment and no other, away from any `.env`. */
export function start(
  environment: Environment,
  { script = 'src/server/main.ts', project = root, prefix = [] }: Options = {},
): Process {
  if (environment.DATA_DIR) leftovers.dataDirs.add(environment.DATA_DIR);
  const child = Bun.spawn([...prefix, process.execPath, join(project, script)], {
    cwd: makeFolder(),
    env: {
      ...inherited,
      HOST: '127.0.0.1',
      PORT: '0',
      LOG_LEVEL: 'warn',
      // A request may wait for a lock as long as the test needs on a busy machine.
      DATABASE_STATEMENT_TIMEOUT: '60s',
      ...environment,
    },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
  });
  const said = { stdout: '', stderr: '' };
  const collect = async (name: 'stdout' | 'stderr') => {
    const decoder = new TextDecoder();
    for await (const bytes of child[name]) said[name] += decoder.decode(bytes, { stream: true });
  };
  const ended = Promise.all([child.exited, collect('stdout'), collect('stderr')]).then(
    ([code]) => code,
  );
  let running = true;
  ended.then(() => {
    running = false;
  });
  const one: Process = {
    pid: child.pid,
    ended,
    get stdout() {
      return said.stdout;
    },
    get stderr() {
      return said.stderr;
    },
    async url() {
      await waitFor('the server listens or ends', () => said.stdout.includes('\n') || !running);
      const [, url] = /^[^\n]* (http:\S+)\n/.exec(said.stdout) ?? [];
      if (url === undefined) throw new Error(`no URL, but: ${said.stdout}${said.stderr}`);
      return url;
    },
    kill: (signal) => child.kill(signal),
    async stop(signal = 'SIGTERM') {
      child.kill(signal);
      return inTime(`the end after ${signal}`, ended);
    },
  };
  leftovers.processes.add(one);
  return one;
}

/**
 * Starts a server before the tests of a block, for all of them. Read its fields inside tests only.
 * @param startOne as the block wants it.
 */
export function useServer(startOne: () => Process): Process {
  let server: Process | undefined;
  beforeAll(async () => {
    server = startOne();
    await server.url();
  });
  return new Proxy({} as Process, { get: (_, name) => Reflect.get(server as Process, name) });
}

/** Starts what cannot start. @returns its one line, without the name of the program. */
export async function refusalOf(environment: Environment, options?: Options): Promise<string> {
  const one = start(environment, options);
  const code = await inTime('the refusal', one.ended);
  expect({ code, stdout: one.stdout, stderr: one.stderr }).toEqual({
    code: 1,
    stdout: '',
    // The dot takes no line break: one line, so no stack.
    stderr: expect.stringMatching(/^mantou: .+\n$/),
  });
  return one.stderr.slice('mantou: '.length, -1);
}

/** Waits until the condition holds. @returns what it gave. */
export async function waitFor<T>(
  what: string,
  condition: () => T | Promise<T>,
): Promise<Exclude<T, false | null | undefined>> {
  const deadline = Date.now() + DEADLINE_MS;
  for (;;) {
    const held = await condition();
    if (held) return held as Exclude<T, false | null | undefined>;
    if (Date.now() > deadline) throw new Error(`waited in vain: ${what}`);
    await Bun.sleep(POLL_INTERVAL_MS);
  }
}

/** The status of a GET; 0 where nothing listens. */
export async function statusOf(url: string): Promise<number> {
  try {
    const response = await fetch(url, { keepalive: false });
    await response.arrayBuffer();
    return response.status;
  } catch {
    return 0;
  }
}

/** An empty folder, for its owner alone. */
export function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'mantou-test-'));
  leftovers.folders.add(folder);
  return folder;
}

/** A port that is free at this moment. */
export function freePort(): number {
  using listener = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } });
  return listener.port;
}

// --- The embedded PostgreSQL -----------------------------------------------------------------------------------

/** The process that serves the cluster of a data folder; undefined where none does. */
export async function findPostmaster(dataDir: string): Promise<number | undefined> {
  const file = join(dataDir, 'postgres/postmaster.pid');
  const pid = Number.parseInt(await readFile(file, 'utf8').catch(() => ''), 10);
  return pid > 0 && pid !== process.pid && (await isRunning(pid)) ? pid : undefined;
}

/** A second request to stop ends a server at once if it comes this long after the first. */
export const SECOND_SIGNAL_AFTER_MS = 1000;

/**
 * Signals a server a second time, once the time is up; and again until it has ended, because on a busy machine the server may not
 * have run for all of that time.
 * @returns its exit code.
 */
export async function signalAgain(send: () => void, ended: Promise<number>): Promise<number> {
  await Bun.sleep(SECOND_SIGNAL_AFTER_MS);
  send();
  const timer = setInterval(() => {
    try {
      send();
    } catch {
      // It has just ended.
    }
  }, SECOND_SIGNAL_AFTER_MS);
  try {
    return await inTime('the end after a second signal', ended);
  } finally {
    clearInterval(timer);
  }
}

/** Whether the process exists and has not ended. A zombie keeps its number. */
export async function isRunning(pid: number): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return !/\) [ZX] /.test(status);
}

export async function killPostmaster(pid: number, signal: NodeJS.Signals) {
  process.kill(pid, signal);
  await waitFor(`the end of postgres ${pid}`, async () => !(await isRunning(pid)));
}

/** Copies a data folder with its owners and rights. @returns the copy, in `parent`. */
export function copyDataFolder(from: string, parent = makeFolder()): string {
  const copy = join(parent, 'data');
  expect(Bun.spawnSync(['cp', '-a', from, copy]).exitCode).toBe(0);
  return copy;
}

async function endServer(dataDir: string) {
  const postmaster = await findPostmaster(dataDir);
  // An immediate shutdown: what it holds goes away with it.
  if (postmaster !== undefined) await killPostmaster(postmaster, 'SIGQUIT');
}

async function inTime<T>(what: string, promise: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`waited in vain: ${what}`)), DEADLINE_MS);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
