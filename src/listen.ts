/** A port of HOST, taken or refused with the cause and the cure. */
import { CannotStart } from './cannot-start.ts';
import type { Settings } from './settings.ts';

/** What a request may take beyond its slowest statement before Bun cuts the connection without an answer. */
const IDLE_MARGIN_SECONDS = 20;
const IDLE_TIMEOUT_SECONDS_MAX = 255;

export interface Place {
  readonly setting: 'PORT' | 'METRICS_PORT';
  /** 0: any that is free. */
  readonly port: number;
  /** With processes that ask for the same. Otherwise two servers would share the port without a word. */
  readonly shared: boolean;
}

/** @throws {CannotStart} where the port is in use, or the address is another machine's. */
export function listen(
  { host, database_statement_timeout_seconds }: Settings,
  { setting, port, shared }: Place,
  fetch: (request: Request) => Response | Promise<Response>,
): Bun.Server<undefined> {
  try {
    return Bun.serve({
      hostname: host,
      port,
      reusePort: shared,
      // The app counts the bytes of a body itself; Bun's own bound would answer 413 without a word.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      idleTimeout: Math.min(
        database_statement_timeout_seconds + IDLE_MARGIN_SECONDS,
        IDLE_TIMEOUT_SECONDS_MAX,
      ),
      // Bun's own page for errors would show a stack.
      development: false,
      fetch,
    });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw code === 'EADDRINUSE'
      ? inUse(host, setting, port)
      : new CannotStart(`cannot listen on ${host}:${port} (${code}): correct HOST and ${setting}`);
  }
}

export const inUse = (host: string, setting: Place['setting'], port: number) =>
  new CannotStart(`port ${port} on ${host} is in use: stop what listens there, or set ${setting}`);

export const urlOf = ({ host }: Settings, { port }: Bun.Server<undefined>) =>
  `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
