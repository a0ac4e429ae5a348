/** The servers that are compared, each a process of its own. */
import { join } from 'node:path';
import { JWT_SECRET } from './data.ts';

const POLL_MS = 50;

const root = join(import.meta.dir, '../..');

export interface Running {
  readonly url: string;
  /** Undefined for a server on another machine. */
  readonly pid: number | undefined;
  stop(): Promise<void>;
}

/** Runs a program and discards its log, which costs it as little as a file. */
function run(command: string[], environment: Record<string, string>, cwd = root) {
  const child = Bun.spawn(command, {
    cwd,
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...environment },
    stdout: 'pipe',
    stderr: Bun.file('/dev/null'),
  });
  return {
    child,
    async stop() {
      child.kill('SIGTERM');
      await child.exited;
    },
  };
}

/** Runs a program that prints its URL at the end of a line. */
export async function start(
  command: string[],
  environment: Record<string, string>,
  folder?: string,
): Promise<Running> {
  const { child, stop } = run(command, environment, folder);
  return { url: await printedUrl(child.stdout), pid: child.pid, stop };
}

/** Runs a program that listens on a port, and waits until it does. */
export async function startAt(
  port: number,
  command: string[],
  environment: Record<string, string>,
): Promise<Running> {
  const { child, stop } = run(command, environment);
  const url = `http://127.0.0.1:${port}`;
  while (!(await answers(url))) {
    if (child.exitCode !== null) throw new Error(`${command[0]} ended with ${child.exitCode}`);
    await Bun.sleep(POLL_MS);
  }
  return { url, pid: child.pid, stop };
}

const answers = (url: string) =>
  fetch(`${url}/health`).then(
    () => true,
    () => false,
  );

/** Returns a free port. */
export async function freePort(): Promise<number> {
  const server = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data: () => undefined } });
  const { port } = server;
  server.stop(true);
  return port;
}

async function printedUrl(output: ReadableStream<Uint8Array>): Promise<string> {
  let printed = '';
  for await (const chunk of output) {
    printed += new TextDecoder().decode(chunk);
    const [, url] = /listening on (\S+)\n/.exec(printed) ?? [];
    if (url) return url;
  }
  throw new Error(`the server ended: ${printed}`);
}

/** This API as it ships, with its limits, checks and log on. */
export const startMantou = (databaseUrl: string, settings: Record<string, string> = {}) =>
  start([process.execPath, 'src/server/main.ts'], {
    ...serverEnvironment(databaseUrl),
    ...settings,
  });

/** The settings of the servers under test. The load names its addresses as a proxy does. */
export const serverEnvironment = (databaseUrl: string) => ({
  DATABASE_URL: databaseUrl,
  JWT_SECRET,
  ACCESS_TOKEN_TTL: '15m',
  TRUST_PROXY: '1',
  PORT: '0',
});

export const startFloor = (databaseUrl: string, driver: 'bun' | 'postgres.js') =>
  start([process.execPath, 'bench/speed/floor.ts', driver], {
    DATABASE_URL: databaseUrl,
    JWT_SECRET,
  });

/**
 * Returns the user and system time of a process and its children so far, in microseconds, and their memory; undefined where
 * /proc has no figures.
 */
export async function usageOf(pid: number | undefined) {
  if (pid === undefined) return undefined;
  try {
    const usages = await Promise.all((await withChildren(pid)).map(usageOfOne));
    return {
      cpu_us: usages.reduce((sum, { cpu_us }) => sum + cpu_us, 0),
      memory_mib: usages.reduce((sum, { memory_mib }) => sum + memory_mib, 0),
    };
  } catch {
    return undefined;
  }
}

async function withChildren(pid: number): Promise<number[]> {
  const text = await Bun.file(`/proc/${pid}/task/${pid}/children`).text();
  const children = text.split(' ').filter(Boolean).map(Number);
  return [pid, ...(await Promise.all(children.map(withChildren))).flat()];
}

async function usageOfOne(pid: number) {
  const stat = await Bun.file(`/proc/${pid}/stat`).text();
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const status = await Bun.file(`/proc/${pid}/status`).text();
  const [, kib = ''] = /VmRSS:\s+(\d+)/.exec(status) ?? [];
  return {
    // proc(5): fields 14 to 17, in hundredths of a second. The last two are those of children that have ended.
    cpu_us: fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) * 10_000,
    memory_mib: Number(kib) / 1024,
  };
}
