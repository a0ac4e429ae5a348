/** The API as a supervised process: at one port, and started again after each end. */
import { type Process, start, waitFor } from '../support/process.ts';

export const JWT_SECRET = 'a secret of thirty-two bytes or more, for faults';
export const STATEMENT_TIMEOUT_SECONDS = 2;
export const POOL_SIZE = 5;

export interface Service {
  readonly url: string;
  /** The process that serves now. */
  readonly process: Process;
  /** Starts it and waits until it is ready. */
  start(): Promise<void>;
  /** `kill -9`, and waits for the end. */
  kill(): Promise<void>;
  /** Tells it to end. @returns the exit code. */
  stop(): Promise<number>;
  status(path: '/health/live' | '/health/ready'): Promise<number>;
}

export async function startService(environment: Record<string, string>): Promise<Service> {
  const port = freePort();
  const url = `http://127.0.0.1:${port}`;
  let running: Process;
  const service: Service = {
    url,
    get process() {
      return running;
    },
    async start() {
      running = start({
        PORT: String(port),
        JWT_SECRET,
        RATE_LIMIT: 'off',
        LOG_LEVEL: 'error',
        DATABASE_POOL_SIZE: String(POOL_SIZE),
        DATABASE_STATEMENT_TIMEOUT: `${STATEMENT_TIMEOUT_SECONDS}s`,
        ...environment,
      });
      await running.url();
      await waitFor('it is ready', async () => (await service.status('/health/ready')) === 200);
    },
    async kill() {
      running.kill('SIGKILL');
      await running.ended;
    },
    stop: () => running.stop(),
    async status(path) {
      try {
        return (await fetch(url + path, { signal: AbortSignal.timeout(10_000), keepalive: false }))
          .status;
      } catch {
        return 0;
      }
    },
  };
  await service.start();
  return service;
}

export function freePort(): number {
  using listener = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } });
  return listener.port;
}
