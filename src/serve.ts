/** Puts the parts together on Bun: database, app, socket; and takes them apart again in order. */
import { createApp } from './app.ts';
import { CannotStart } from './cannot-start.ts';
import { keepSecret } from './data-folder.ts';
import { openPool, type Pool } from './db/client.ts';
import { joinDatabase } from './db/embedded.ts';
import { migrate } from './db/migrate.ts';
import { createLog, type Log } from './log.ts';
import { bunPasswords } from './passwords/bun.ts';
import type { Settings } from './settings.ts';

/** Requests in flight get this long to finish once a stop is asked for. */
const DRAIN_TIMEOUT_MS = 5000;
/** What a request may take beyond its slowest statement before Bun cuts the connection without an answer. */
const IDLE_MARGIN_SECONDS = 20;
const IDLE_TIMEOUT_SECONDS_MAX = 255;

export interface RunningServer {
  /** Without a slash at the end. */
  readonly url: string;
  /** Finishes what is in flight, then closes the sockets, the database, and the embedded server. */
  stop(): Promise<void>;
}

/** What a test may replace. */
interface Surroundings {
  log?: Log;
  now?: () => Date;
}

/**
 * Starts the API: migrates the database, then listens.
 * @throws {CannotStart} with the cause and the cure.
 */
export async function serve(
  settings: Settings,
  surroundings: Surroundings = {},
): Promise<RunningServer> {
  const jwt_secret = settings.jwt_secret ?? (await developmentSecret(settings));
  const joined = await joinDatabase(settings);
  let pool: Pool | undefined;
  const close = async () => {
    await pool?.close();
    await joined.leave();
  };
  try {
    await migrate(joined.url);
    pool = openPool(joined.url, settings);
    const app = createApp({
      settings,
      jwt_secret,
      database: pool.database,
      passwords: bunPasswords(),
      log: surroundings.log ?? createLog(settings, (line) => console.error(line)),
      now: surroundings.now ?? (() => new Date()),
      address_of: (request) => server.requestIP(request)?.address,
      swagger_ui_file: swaggerUiFile,
    });
    const server = listen(settings, app.fetch);
    return {
      url: `http://${settings.host.includes(':') ? `[${settings.host}]` : settings.host}:${server.port}`,
      async stop() {
        await Promise.race([server.stop(), Bun.sleep(DRAIN_TIMEOUT_MS)]);
        await server.stop(true);
        await close();
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function developmentSecret(settings: Settings): Promise<string> {
  if (settings.production)
    throw new CannotStart(
      'JWT_SECRET must be set in production: make one with "openssl rand -base64 48"',
    );
  return keepSecret(settings.data_dir, 'jwt-secret');
}

function listen(
  { host, port, database_statement_timeout_seconds }: Settings,
  fetch: (request: Request) => Response | Promise<Response>,
) {
  try {
    return Bun.serve({
      hostname: host,
      port,
      // Off unless asked for: two servers would share the port without a word.
      reusePort: false,
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
    throw new CannotStart(
      code === 'EADDRINUSE'
        ? `port ${port} on ${host} is in use: stop what listens there, or set PORT`
        : `cannot listen on ${host}:${port} (${code}): correct HOST and PORT`,
    );
  }
}

async function swaggerUiFile(name: string): Promise<Blob | undefined> {
  const file = Bun.file(Bun.resolveSync(`swagger-ui-dist/${name}`, import.meta.dir));
  return (await file.exists()) ? file : undefined;
}
