/** The servers that are compared, each a process of its own. */
import { join } from 'node:path';
import { JWT_SECRET } from './data.ts';

const POLL_MS = 50;

const root = join(import.meta.dir, '../..');

export interface Running {
  readonly url: string;
  /** Undefined where it runs elsewhere. */
  readonly pid: number | undefined;
  stop(): Promise<void>;
}

/** Runs a program. What it logs goes nowhere, as cheaply as to a file. */
function run(command: string[], environment: Record<string, string>) {
  const child = Bun.spawn(command, {
    cwd: root,
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
): Promise<Running> {
  const { child, stop } = run(command, environment);
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

/** A port that nobody listens on now. */
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
export const startMantou = (database_url: string, settings: Record<string, string> = {}) =>
  start([process.execPath, 'src/server.ts'], {
    DATABASE_URL: database_url,
    JWT_SECRET,
    ACCESS_TOKEN_TTL: '15m',
    TRUST_PROXY: '1',
    PORT: '0',
    ...settings,
  });

export const startFloor = (database_url: string, driver: 'bun' | 'postgres.js') =>
  start([process.execPath, 'bench/speed/floor.ts', driver], {
    DATABASE_URL: database_url,
    JWT_SECRET,
  });

/** User and system time of a process so far, in microseconds, and its memory; undefined where Linux does not tell. */
export async function usageOf(pid: number | undefined) {
  if (pid === undefined) return undefined;
  try {
    const stat = await Bun.file(`/proc/${pid}/stat`).text();
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const status = await Bun.file(`/proc/${pid}/status`).text();
    const [, kib = ''] = /VmRSS:\s+(\d+)/.exec(status) ?? [];
    return {
      // proc(5): fields 14 and 15, in hundredths of a second.
      cpu_us: (Number(fields[11]) + Number(fields[12])) * 10_000,
      memory_mib: Number(kib) / 1024,
    };
  } catch {
    return undefined;
  }
}
