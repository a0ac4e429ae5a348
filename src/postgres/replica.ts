/**
 * A standby for exports and backups. It is read only once it has replayed everything that the primary had written before, so
 * that a client finds in its export what it wrote. Where it cannot be used, the primary is read.
 */
import type { SQL } from 'bun';
import { drizzle } from 'drizzle-orm/bun-sql';
import type { Database } from '../db/database.ts';
import { StartupError } from '../errors/startup-error.ts';
import { type DatabaseError, parseDatabaseError, remedyOf } from '../lib/database-error.ts';
import type { Log } from '../lib/log.ts';
import { hostUrls } from '../lib/postgres-url.ts';
import { sleep, waitUpTo } from '../lib/sleep.ts';
import { clientAdapter } from './client-adapter.ts';
import { explainFailure, nameDatabase, openConnection } from './connection.ts';
import { findStandby, nameSetting } from './hosts.ts';
import { createPool, type Pool, type PoolOptions, type PoolSettings } from './pool.ts';

const SETTING = 'DATABASE_REPLICA_URL';
/** As many pages of exports are read at once. */
const CONNECTIONS = 2;
/** An export waits this long for the standby, then reads the primary. */
const EXPORT_WAIT_MS = 2000;
/** A backup takes long anyway. */
const BACKUP_WAIT_MS = 60_000;
const POLL_INTERVAL_MS = 50;
/** A standby that was not usable is tried again after this time. */
const RETRY_MS = 5000;

/** On the primary: what it has written to its log so far. */
const WRITTEN = 'select pg_current_wal_lsn()::text as position';
/** On a standby: whether it has replayed that. A primary has. The position becomes part of the statement. */
function replayed(position: string): string {
  if (!/^[0-9A-F]+\/[0-9A-F]+$/i.test(position)) throw new Error('not a position of the log');
  return `select coalesce(pg_last_wal_replay_lsn() >= '${position}'::pg_lsn, true) as done`;
}

const rowsOf = async <Row>(pool: Pool, text: string) =>
  (await pool.query(text, [], (query) => query)) as Row[];

export interface ReplicaReads {
  /** Returns what an export reads that begins now: the standby, if it is up to date, or the primary. */
  databaseForExport(): Promise<Database>;
}

/**
 * Reads from a standby where that is possible. A statement that fails there because of the standby runs on the primary.
 * @param standby a pool for reads that accepts a standby.
 */
export function createReplicaReads(primary: Pool, standby: Pool, log: Log): ReplicaReads {
  let isUsed = true;
  let failedAtMs = Number.NEGATIVE_INFINITY;

  function failed(reason: string) {
    failedAtMs = performance.now();
    if (isUsed) log('warn', 'replica_not_used', { reason });
    isUsed = false;
  }

  function succeeded() {
    if (!isUsed) log('info', 'replica_used');
    isUsed = true;
  }

  const adapter = clientAdapter<SQL>({
    async query(text, parameters, shape) {
      try {
        return await standby.query(text, parameters, shape);
      } catch (error) {
        const failure = parseDatabaseError(error);
        if (!failure?.unavailable) throw error;
        failed(reasonOf(failure));
        return primary.query(text, parameters, shape);
      }
    },
    begin: () => Promise.reject(new Error('a standby takes no transaction')),
  });
  const reads: Database = drizzle({ client: adapter as unknown as SQL });

  /** Waits until the standby has replayed up to a position, but not for long. @throws what the standby fails with. */
  async function catchesUp(position: string): Promise<boolean> {
    const begunMs = performance.now();
    while (performance.now() - begunMs < EXPORT_WAIT_MS) {
      const [row] = await rowsOf<{ done: boolean }>(standby, replayed(position));
      if (row?.done) return true;
      await sleep(POLL_INTERVAL_MS);
    }
    return false;
  }

  return {
    async databaseForExport() {
      if (performance.now() - failedAtMs < RETRY_MS) return primary.database;
      const [written] = await rowsOf<{ position: string }>(primary, WRITTEN);
      const position = written?.position ?? '';
      let isUpToDate = false;
      const caughtUp = catchesUp(position).then((done) => {
        isUpToDate = done;
      });
      try {
        // A standby that is silent would take the time limit of a statement.
        await waitUpTo(EXPORT_WAIT_MS, caughtUp);
      } catch (error) {
        const failure = parseDatabaseError(error);
        if (!failure?.unavailable) throw error;
        failed(reasonOf(failure));
        return primary.database;
      } finally {
        caughtUp.catch(() => undefined);
      }
      if (!isUpToDate) {
        failed(
          `the standby has not caught up with the primary in ${EXPORT_WAIT_MS} ms, or does not answer`,
        );
        return primary.database;
      }
      succeeded();
      return reads;
    },
  };
}

const reasonOf = (failure: DatabaseError): string =>
  nameSetting(
    `the standby ${remedyOf(failure)?.cause ?? `fails (${failure.sqlstate ?? failure.code})`}`,
    SETTING,
  );

/** Opens the pool of `createReplicaReads`. The first host is used until one is found to be a standby. */
export async function openStandbyPool(
  url: string,
  settings: PoolSettings,
  options: Pick<PoolOptions, 'waitTimeoutMs'>,
): Promise<Pool> {
  const resolveUrl = async () => ({ url: await findStandby(url, SETTING) });
  const [first = url] = hostUrls(url);
  const found = await resolveUrl().catch(() => ({ url: first }));
  return createPool(
    found.url,
    { ...settings, databasePoolSize: CONNECTIONS },
    { ...options, resolveUrl, acceptsStandby: true },
  );
}

/**
 * Returns the URL of a standby that has replayed everything that the primary has written by now.
 * @param replicaUrl may name several hosts.
 * @throws {StartupError} where none is usable, with the cause.
 */
export async function findUpToDateReplica(replicaUrl: string, primaryUrl: string): Promise<string> {
  const primary = openConnection(primaryUrl, 'backup');
  let position: string;
  try {
    const [row] = await primary.unsafe(WRITTEN);
    position = row.position;
  } catch (error) {
    throw new StartupError(await explainFailure(error, primaryUrl, 'read'));
  } finally {
    await primary.close({ timeout: 0 });
  }
  const url = await findStandby(replicaUrl, SETTING);
  const standby = openConnection(url, 'backup');
  try {
    const begunMs = performance.now();
    while (performance.now() - begunMs < BACKUP_WAIT_MS) {
      const [row] = await standby.unsafe(replayed(position));
      if (row.done) return url;
      await sleep(POLL_INTERVAL_MS);
    }
  } catch (error) {
    throw new StartupError(nameSetting(await explainFailure(error, url, 'read'), SETTING));
  } finally {
    await standby.close({ timeout: 0 });
  }
  throw new StartupError(
    `${nameDatabase(url)} has not caught up with the primary in ${BACKUP_WAIT_MS / 1000} s`,
  );
}
