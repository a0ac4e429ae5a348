/**
 * Tells the log once when the database becomes unavailable, why, and once when it is back. Where a server that was away
 * comes back as one that cannot be used, the log says that too: the first cause would mislead.
 */
import { type DatabaseError, parseDatabaseError, remedyOf } from '../lib/database-error.ts';
import type { Log } from '../lib/log.ts';

/** An outage has ended when this much time has passed without a failure. */
const CALM_MS = 1000;

/** States that concern writes, or some statements, and that a probe does not see. */
const PARTIAL = /^(53...|25006|58000|08P01|42P05|26000)$/;

/** Causes that do not pass by themselves: a standby, an account or database that the server refuses. */
const LASTING = /^(NO_PRIMARY|28...|3D000)$/;

const SYNC_WAIT: DatabaseError = {
  sqlstate: undefined,
  code: 'SYNC_WAIT',
  constraint: undefined,
  detail: undefined,
  unavailable: true,
  message: '',
};

export interface OutageLog {
  /** A statement has failed because of the database. */
  failed(failure: DatabaseError): void;
  succeeded(isWrite: () => boolean): void;
  /** A write waits for a synchronous standby. */
  syncWait(): void;
  close(): void;
}

/** @param probe fails while the database cannot be used. */
export function createOutageLog(log: Log, probe: () => Promise<unknown>): OutageLog {
  let outage: { beganMs: number; isPartial: boolean; readonly logged: Set<string> } | undefined;
  let lastFailureMs = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isProbing = false;
  let isClosed = false;

  function begin(failure: DatabaseError, isPartial: boolean) {
    lastFailureMs = performance.now();
    if (isClosed) return;
    const code = failure.sqlstate ?? failure.code ?? '';
    if (outage) {
      if (LASTING.test(code) && !outage.logged.has(code)) logOnce(failure, outage.logged);
      return;
    }
    outage = { beganMs: lastFailureMs, isPartial, logged: new Set() };
    logOnce(failure, outage.logged);
    if (!isPartial) schedule();
  }

  function logOnce(failure: DatabaseError, logged: Set<string>) {
    const code = failure.sqlstate ?? failure.code;
    logged.add(code ?? '');
    const remedy = remedyOf(failure);
    log('error', 'database_unavailable', {
      code,
      ...(remedy && { cause: `the database ${remedy.cause}`, cure: remedy.cure }),
    });
  }

  function end() {
    if (!outage || performance.now() - lastFailureMs < CALM_MS) return;
    const seconds = (performance.now() - outage.beganMs) / 1000;
    outage = undefined;
    log('info', 'database_available', { after_seconds: Number(seconds.toFixed(1)) });
  }

  /** Without requests nothing else would find out that it is back. */
  function schedule() {
    timer = setTimeout(async () => {
      await check();
      if (outage && !outage.isPartial && !isClosed) schedule();
    }, CALM_MS);
    timer.unref();
  }

  async function check(): Promise<void> {
    if (isProbing) return;
    isProbing = true;
    try {
      await probe();
      if (outage && !outage.isPartial) end();
    } catch (error) {
      const failure = parseDatabaseError(error);
      if (failure?.unavailable) begin(failure, false);
    } finally {
      isProbing = false;
    }
  }

  return {
    failed(failure) {
      const code = failure.sqlstate ?? failure.code ?? '';
      // A statement that took too long, or lost against another transaction.
      if (/^(57014|40001|40P01)$/.test(code)) return;
      if (PARTIAL.test(code)) return begin(failure, true);
      if (outage) lastFailureMs = performance.now();
      // One connection may be cut while the database serves.
      else void check();
    },
    succeeded(isWrite) {
      if (outage && (!outage.isPartial || isWrite())) end();
    },
    syncWait: () => begin(SYNC_WAIT, true),
    close() {
      isClosed = true;
      clearTimeout(timer);
    },
  };
}
