/**
 * Connections whose statement missed its deadline, or that a dead network has cut from here: nothing waits for them, but
 * the server still has them. They are looked at until the server has ended each, so that their number stays bounded.
 */
import type { SQL } from 'bun';
import { type Backend, type Connection, readBackends, terminateBackend } from './backend.ts';

const LOOK_INTERVAL_MS = 1000;
/** A statement that ended while its answer was on the way is seen as idle for a moment. */
const IDLE_LOOKS = 2;
/** Behind a pooler nothing can be looked at, so a connection counts for this long. */
const POOLED_TIMEOUT_MS = 15_000;

interface Options {
  max: number;
  discard(connection: Connection): void;
  /** Runs a statement on a connection beside the others. */
  ask<T>(work: (client: SQL) => PromiseLike<T>): Promise<T>;
  /** Hears that a write waits for a standby. */
  onSyncWait(): void;
}

export function createDetachedConnections({ max, discard, ask, onSyncWait }: Options) {
  /** With how often each was seen idle. */
  const detached = new Map<Connection, { idleLooks: number; sinceMs: number }>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isClosed = false;

  function schedule() {
    if (timer !== undefined || detached.size === 0 || isClosed) return;
    timer = setTimeout(async () => {
      // While the server cannot be asked they count, and so they do while it is gone.
      await look().catch(() => undefined);
      timer = undefined;
      schedule();
    }, LOOK_INTERVAL_MS);
    timer.unref();
  }

  async function look() {
    const known = [...detached.keys()].flatMap((connection) =>
      connection.backend && !connection.backend.isPooled
        ? [{ connection, backend: connection.backend as Backend }]
        : [],
    );
    for (const [connection, { sinceMs }] of detached)
      if (connection.backend?.isPooled && performance.now() - sinceMs > POOLED_TIMEOUT_MS)
        discard(connection);
    if (known.length === 0) return;
    const states = await ask((client) =>
      readBackends(
        client,
        known.map(({ backend }) => backend),
      ),
    );
    for (const { connection, backend } of known) {
      const entry = detached.get(connection);
      if (entry === undefined) continue;
      const found = states.get(backend.pid);
      if (found === undefined) discard(connection);
      else if (found.waitEvent === 'SyncRep') onSyncWait();
      else if (found.state === 'idle' && ++entry.idleLooks >= IDLE_LOOKS)
        await ask((client) => terminateBackend(client, backend));
    }
  }

  return {
    get size() {
      return detached.size;
    },
    /** @returns whether there was room. */
    add(connection: Connection): boolean {
      if (connection.isClosed || detached.size >= max) return false;
      detached.set(connection, { idleLooks: 0, sinceMs: performance.now() });
      schedule();
      return true;
    },
    forget(connection: Connection) {
      detached.delete(connection);
    },
    close() {
      isClosed = true;
      clearTimeout(timer);
    },
  };
}
