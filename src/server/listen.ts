/** Binds a port of HOST, or throws with the cause and the cure. */
// Decision: docs/decisions/21-port-handover.md
import { StartupError } from '../errors/startup-error.ts';
import type { Settings } from '../settings.ts';

/**
 * How long a request may take beyond its slowest statement before Bun closes the connection without an answer. A long poll
 * waits for up to 30 seconds before its last statement.
 */
const IDLE_MARGIN_SECONDS = 50;
const IDLE_TIMEOUT_SECONDS_MAX = 255;

export interface Place {
  readonly setting: 'PORT' | 'METRICS_PORT';
  /** 0: any free port. */
  readonly port: number;
  /** `reusePort`, for workers only: without it, a second server at the port gets an error instead of half of the connections. */
  readonly shared: boolean;
}

/** @throws {StartupError} where the port is in use, or the address is another machine's. */
export function listen(
  { host, databaseStatementTimeoutSeconds }: Settings,
  { setting, port, shared }: Place,
  fetch: (request: Request) => Response | Promise<Response>,
): Bun.Server<undefined> {
  try {
    return Bun.serve({
      hostname: host,
      port,
      reusePort: shared,
      // The app counts the bytes of a body itself; Bun's own limit would answer 413 without a body.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      idleTimeout: Math.min(
        databaseStatementTimeoutSeconds + IDLE_MARGIN_SECONDS,
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
      : new StartupError(`cannot listen on ${host}:${port} (${code}): correct HOST and ${setting}`);
  }
}

export const inUse = (host: string, setting: Place['setting'], port: number) =>
  new StartupError(`port ${port} on ${host} is in use: stop what listens there, or set ${setting}`);

export const urlOf = ({ host }: Settings, { port }: Bun.Server<undefined>) =>
  `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
