/** Puts the parts together on Bun: database, app, socket; and takes them apart again in order. */
import { createApp, createMetricsApp } from './app.ts';
import { CannotStart } from './cannot-start.ts';
import { keepSecret } from './data-folder.ts';
import { openPool, type Pool } from './db/client.ts';
import { type JoinedDatabase, joinDatabase } from './db/embedded.ts';
import { migrate } from './db/migrate.ts';
import { listen, urlOf } from './listen.ts';
import type { Log } from './log.ts';
import { bunPasswords } from './passwords/bun.ts';
import type { Platform, Siblings } from './platform.ts';
import { buildDocument } from './plugins/openapi.ts';
import type { Settings } from './settings.ts';
import { createShutdown } from './shutdown.ts';
import { openLog } from './standard-error.ts';

/** Requests in flight get this long to finish once a stop is asked for and the readiness has told so. */
const DRAIN_TIMEOUT_MS = 4000;
/** How long a process that retires tells those who have a connection, with an answer, to make their next one elsewhere. */
const RETIRE_NOTICE_MS = 2000;
/** Nobody waits for it, so requests in flight get as long as they take, but for those without an end. */
const RETIRE_TIMEOUT_MS = 60_000;

export interface RunningServer {
  /** Without a slash at the end. */
  readonly url: string;
  /** Where `/metrics` is served, if on a port of its own. */
  readonly metrics_url: string | undefined;
  /**
   * Fails the readiness, refuses new connections, finishes what is in flight, then closes the sockets, the database,
   * and the embedded server.
   */
  stop(): Promise<void>;
  /** Ends as well, while others go on at the same port: nobody who asks for the readiness hears of it. */
  retire(): Promise<void>;
}

/** What a test may replace. */
interface Surroundings {
  log?: Log;
  now?: () => Date;
  /** The processes that serve the same port; undefined: the port is this process's alone. */
  siblings?: Siblings;
}

/**
 * Starts the API: migrates the database, then listens.
 * @throws {CannotStart} with the cause and the cure.
 */
export async function serve(
  settings: Settings,
  { log = openLog(settings), now = () => new Date(), siblings }: Surroundings = {},
): Promise<RunningServer> {
  // It takes a while to load, which the database needs as well.
  const loading = import('./metrics.ts');
  const jwt_secret = settings.jwt_secret ?? (await developmentSecret(settings));
  const joined = await joinDatabase(settings);
  let pool: Pool | undefined;
  let metrics_server: Bun.Server<undefined> | undefined;
  const close = once(async () => {
    await metrics_server?.stop(true);
    await pool?.close();
    await joined.leave();
  });
  try {
    await migrate(joined.url);
    pool = openPool(joined.url, settings, () => locate(joined, log));
    const passwords = bunPasswords(siblings && settings.workers);
    const { createMetrics } = await loading;
    const metrics = createMetrics({ database: pool, passwords }, siblings);
    const shutdown = createShutdown(siblings);
    const platform: Platform = {
      settings,
      jwt_secret,
      database: pool.database,
      passwords,
      log,
      now,
      address_of: (request) => server.requestIP(request)?.address,
      streamed: (pieces) => pieces,
      openapi_document: buildDocument,
      swagger_ui_file: swaggerUiFile,
      listen: pool.listen,
      metrics,
      shutdown,
      siblings,
    };
    const { port, metrics_port } = settings;
    const shared = siblings !== undefined;
    if (metrics_port !== undefined) {
      const place = { setting: 'METRICS_PORT', port: metrics_port, shared } as const;
      metrics_server = listen(settings, place, createMetricsApp(platform).fetch);
    }
    const server = listen(settings, { setting: 'PORT', port, shared }, createApp(platform).fetch);
    /** Finishes what is in flight, if it takes no longer than this, and takes everything apart. */
    const end = async (timeout_ms: number) => {
      await Promise.race([server.stop(), Bun.sleep(timeout_ms)]);
      await server.stop(true);
      // The line of a request has a turn of the event loop to itself, after its answer.
      await new Promise((turn) => setImmediate(turn));
      await close();
    };
    return {
      url: urlOf(settings, server),
      metrics_url: metrics_server && urlOf(settings, metrics_server),
      async stop() {
        await shutdown.begin();
        await end(DRAIN_TIMEOUT_MS);
      },
      async retire() {
        shutdown.retire();
        await Bun.sleep(RETIRE_NOTICE_MS);
        await end(RETIRE_TIMEOUT_MS);
        // What this process has counted has happened.
        await siblings?.tell('metrics', await metrics.snapshot());
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Two ends may meet: who retires can be stopped. */
function once(work: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () => {
    done ??= work();
    return done;
  };
}

/** Where the database is by now. An embedded server that has died is started again, and somebody should know. */
async function locate(joined: JoinedDatabase, log: Log): Promise<string> {
  try {
    const { url, restarted } = await joined.locate();
    if (restarted) log('warn', 'database_restarted');
    return url;
  } catch (error) {
    log('error', 'database_not_restarted', { message: (error as Error).message });
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

async function swaggerUiFile(name: string): Promise<Blob | undefined> {
  const file = Bun.file(Bun.resolveSync(`swagger-ui-dist/${name}`, import.meta.dir));
  return (await file.exists()) ? file : undefined;
}
