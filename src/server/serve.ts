/** Wires database, app and socket on Bun, and closes them again in order. */
import { join } from 'node:path';
import { createApp, createMetricsApp } from '../app.ts';
import { StartupError } from '../errors/startup-error.ts';
import { clientOf } from '../http/request-state.ts';
import { loadOrCreateSecret } from '../lib/data-dir.ts';
import type { Log } from '../lib/log.ts';
import { sleep, waitUpTo } from '../lib/sleep.ts';
import { buildDocument } from '../openapi/document.ts';
import { bunPasswords } from '../passwords/bun.ts';
import type { PeerChannel, Platform } from '../platform.ts';
import { nameDatabase } from '../postgres/connection.ts';
import { type ConnectedDatabase, connectDatabase, type Located } from '../postgres/embedded.ts';
import { assertCapable } from '../postgres/engine.ts';
import { migrate } from '../postgres/migrate.ts';
import { createPool, type Pool } from '../postgres/pool.ts';
import { assertPreparable } from '../postgres/pooler.ts';
import { createReplicaReads, openStandbyPool } from '../postgres/replica.ts';
import type { Settings } from '../settings.ts';
import type { Urls } from './cluster-channel.ts';
import { listen, urlOf } from './listen.ts';
import { createShutdown } from './shutdown.ts';
import { openStderrLog } from './stderr-log.ts';
import { startTrashPurge } from './trash-purge.ts';
import { createWebhookSender } from './webhook-sender.ts';

/** How long requests in flight may take once a stop has begun and the readiness check has failed. */
const STOP_TIMEOUT_MS = 4000;
/** How long a draining worker still answers on kept connections, with `Connection: close`, so that clients reconnect. */
const DRAIN_NOTICE_MS = 2000;
/** A draining worker blocks no other, so requests in flight may finish; streams are ended. */
const DRAIN_TIMEOUT_MS = 60_000;

const SOURCE_DIR = join(import.meta.dir, '..');

export interface RunningServer extends Urls {
  /**
   * Fails the readiness, refuses new connections, finishes what is in flight, then closes the sockets, the database,
   * and the embedded server.
   */
  stop(): Promise<void>;
  /** Stops while other workers keep serving the port: the readiness check stays OK. */
  drain(): Promise<void>;
}

/** A test replaces these; a worker process gives its peers. */
interface ServeOptions {
  log?: Log;
  now?: () => Date;
  /** How long a statement waits for a connection. Tests wait longer, because other tests keep the machine busy. */
  waitTimeoutMs?: number;
  /** The other workers at the same port; undefined where this process serves alone. */
  peers?: PeerChannel;
}

/**
 * Starts the API: migrates the database, then listens.
 * @throws {StartupError} with the cause and the cure.
 */
export async function serve(
  settings: Settings,
  {
    log = openStderrLog(settings),
    now = () => new Date(),
    waitTimeoutMs,
    peers,
  }: ServeOptions = {},
): Promise<RunningServer> {
  // Load it while the database starts.
  const loading = import('./metrics.ts');
  const jwtSecret = settings.jwtSecret ?? (await developmentSecret(settings));
  const joined = await connectDatabase(settings, (step, folder) =>
    log('info', `database_${step}`, { data_dir: folder }),
  );
  let pool: Pool | undefined;
  let standby: Pool | undefined;
  let metricsServer: Bun.Server<undefined> | undefined;
  const close = once(async () => {
    await metricsServer?.stop(true);
    await Promise.all([pool?.close(), standby?.close()]);
    await joined.leave();
  });
  try {
    const sessionUrl = joined.sessionUrl ?? joined.url;
    if (settings.databaseUrl) await assertCapable(sessionUrl);
    const migrations = await migrate(sessionUrl);
    log('info', 'database_ready', { database: nameDatabase(joined.url), migrations });
    if (settings.databaseUrl) await assertPreparable(joined.url, settings);
    pool = createPool(joined.url, settings, {
      resolveUrl: createLocator(joined, log),
      sessionUrl: joined.sessionUrl,
      ...(waitTimeoutMs && { waitTimeoutMs }),
      log,
    });
    const { databaseReplicaUrl } = settings;
    if (databaseReplicaUrl !== undefined)
      standby = await openStandbyPool(databaseReplicaUrl, settings, {
        waitTimeoutMs,
      });
    const replica = standby && createReplicaReads(pool, standby, log);
    const passwords = bunPasswords(peers && settings.workers);
    const { createMetrics } = await loading;
    const metrics = createMetrics({ database: pool, passwords }, peers);
    const shutdown = createShutdown(peers);
    const background = new Set<Promise<unknown>>();
    const platform: Platform = {
      settings,
      jwtSecret,
      database: pool.database,
      databaseForExport: replica?.databaseForExport,
      probe: pool.probe,
      countLosses: pool.countLosses,
      passwords,
      log,
      now,
      remoteAddress: (request) => server.requestIP(request)?.address,
      bindStream: pool.scopes.bindStream,
      runUnbounded: pool.scopes.runUnbounded,
      openapiDocument: buildDocument,
      docsFile,
      compress: async (bytes) => Bun.gzipSync(bytes, { level: 9 }),
      subscribe: pool.listen,
      sendWebhook: createWebhookSender(settings),
      waitFor: (work) => {
        background.add(work);
        work.finally(() => background.delete(work));
      },
      metrics,
      shutdown,
      peers,
    };
    const { port, metricsPort } = settings;
    const shared = peers !== undefined;
    if (metricsPort !== undefined) {
      const place = { setting: 'METRICS_PORT', port: metricsPort, shared } as const;
      metricsServer = listen(settings, place, createMetricsApp(platform).fetch);
    }
    const app = createApp(platform);
    const { scopes } = pool;
    const place = { setting: 'PORT', port, shared } as const;
    const server = listen(settings, place, (request) =>
      scopes.runRequest(
        () => clientOf(request),
        () => app.fetch(request),
      ),
    );
    const stopPurge = startTrashPurge(platform);
    /** Waits up to this time for requests in flight, then closes everything. */
    const finish = async (timeoutMs: number) => {
      stopPurge();
      await waitUpTo(timeoutMs, Promise.all([server.stop(), ...background]));
      await server.stop(true);
      // Elysia writes the log line of a request in a task of its own, once it has answered.
      await sleep();
      await close();
    };
    return {
      url: urlOf(settings, server),
      metricsUrl: metricsServer && urlOf(settings, metricsServer),
      async stop() {
        await shutdown.begin();
        await finish(STOP_TIMEOUT_MS);
      },
      async drain() {
        shutdown.drain();
        await sleep(DRAIN_NOTICE_MS);
        await finish(DRAIN_TIMEOUT_MS);
        // Hand over our counters, so that the totals do not fall.
        await peers?.broadcast('metrics', await metrics.snapshot());
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Runs the work once: a draining process can still be asked to stop. */
function once(work: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () => {
    done ??= work();
    return done;
  };
}

/** Returns a function that finds the database, restarts an embedded server that has crashed, and logs both. */
function createLocator(joined: ConnectedDatabase, log: Log): () => Promise<Located> {
  let latest = joined.url;
  const onMissing = (reason: string) => log('error', 'database_without_primary', { reason });
  return async () => {
    try {
      const located = await joined.locate(onMissing);
      const { url, restarted } = located;
      if (restarted) log('warn', 'database_restarted');
      else if (url !== latest) log('warn', 'database_moved', { database: nameDatabase(url) });
      latest = url;
      return located;
    } catch (error) {
      log('error', 'database_not_restarted', { message: (error as Error).message });
      throw error;
    }
  };
}

async function developmentSecret(settings: Settings): Promise<string> {
  if (settings.production)
    throw new StartupError(
      'JWT_SECRET must be set in production: make one with "openssl rand -base64 48"',
    );
  return loadOrCreateSecret(settings.dataDir, 'jwt-secret');
}

async function docsFile(source: string): Promise<Blob | undefined> {
  const file = Bun.file(Bun.resolveSync(source, SOURCE_DIR));
  return (await file.exists()) ? file : undefined;
}
