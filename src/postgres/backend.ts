/** What a new connection is connected to: the primary or a standby, and which server process. */
import type { SQL } from 'bun';

/** A server process. Ids are used again, so the time of its start is part of its name. */
export interface Backend {
  readonly pid: number;
  readonly startedAt: string;
  /** When its server was started: another server, or the same after a crash, has another time. */
  readonly server: string;
  /** Whether a pooler is in between, which hands statements to processes as it likes. */
  readonly isPooled: boolean;
}

/** A connection of a pool. */
export interface Connection {
  readonly client: SQL;
  /** Unknown until it is connected. */
  backend: Backend | undefined;
  isClosed: boolean;
  /** Whether the pool was replaced since; it is closed then instead of kept. */
  isStale: boolean;
}

export interface BackendState {
  readonly state: string;
  readonly waitEvent: string | null;
}

/** A value that no configuration has by chance: where it does not arrive, a pooler dropped it. */
export const sessionMark = (timeoutMs: number) => timeoutMs + 1;

/** Refused by a client that asks for the primary. `parseDatabaseError` knows the code. */
export class NotPrimary extends Error {
  readonly code = 'NO_PRIMARY';

  constructor() {
    super('the server is a standby');
  }
}

/**
 * Identifies the server process of a new connection.
 * @throws {NotPrimary} for a standby. Unlike most standbys a primary answers writes, so a pool must not keep such a connection.
 */
export async function identifyBackend(
  client: SQL,
  idleInTransactionMs: number,
  acceptsStandby = false,
): Promise<Backend> {
  const [row] = await client.unsafe(
    `select pg_is_in_recovery() as standby, pg_backend_pid() as pid, pg_postmaster_start_time()::text as server,
      (select backend_start::text from pg_stat_activity where pid = pg_backend_pid()) as started_at,
      current_setting('idle_in_transaction_session_timeout') as mark`,
  );
  if (row.standby && !acceptsStandby) throw new NotPrimary();
  return {
    pid: row.pid,
    startedAt: row.started_at,
    server: row.server,
    isPooled: row.mark !== `${sessionMark(idleInTransactionMs)}ms`,
  };
}

/** Returns the states of those server processes that still exist, by process id. */
export async function readBackends(
  client: SQL,
  backends: readonly Backend[],
): Promise<Map<number, BackendState>> {
  const rows: { pid: number; started_at: string; server: string; state: string; wait: string }[] =
    await client.unsafe(
      `select pid, backend_start::text as started_at, pg_postmaster_start_time()::text as server, state, wait_event as wait
       from pg_stat_activity where pid in (${backends.map(({ pid }) => Number(pid)).join(', ')})`,
    );
  const known = new Map(backends.map((backend) => [backend.pid, backend]));
  return new Map(
    rows
      .filter(({ pid, started_at, server }) => {
        const backend = known.get(pid);
        return backend?.startedAt === started_at && backend.server === server;
      })
      .map(({ pid, state, wait }) => [pid, { state, waitEvent: wait }]),
  );
}

/** Ends a server process of this role. */
export const terminateBackend = (client: SQL, { pid }: Backend) =>
  client.unsafe(`select pg_terminate_backend(${Number(pid)})`);
