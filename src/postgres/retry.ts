/** Which statements may run again after a failure, and when. */
import { parseDatabaseError } from '../lib/database-error.ts';

/** Each dead connection fails one statement, and the next connection may be dead too. */
const READ_ATTEMPTS_MAX = 3;
/** A connection that was already dead fails at once; after a long silence another wait would take too long. */
const RETRY_WITHIN_MS = 1000;

/** Runs a statement, and again if it only reads and its connection was dead. A write may have happened, so only its client may repeat it. */
export async function retryRead<T>(text: string, attempt: () => Promise<T>): Promise<T> {
  const begunMs = performance.now();
  for (let attempts = 1; ; attempts += 1) {
    try {
      return await attempt();
    } catch (error) {
      const again =
        isRead(text) &&
        isDeadConnection(error) &&
        attempts < READ_ATTEMPTS_MAX &&
        performance.now() - begunMs < RETRY_WITHIN_MS;
      if (!again) throw error;
    }
  }
}

/** Functions that write, send or lock. Statements that call one count as writes. */
const WRITING_FUNCTIONS =
  /\b(sequence_events|(delete|record)_comments_of|free_dav_name|nextval|setval|set_config|pg_notify|pg_(try_)?advisory_\w+|pg_logical_emit_message|pg_(cancel|terminate)_backend|lo_\w+)\s*\(/i;

/** Whether a statement reads, and nothing else. In doubt it writes. */
export const isRead = (text: string): boolean =>
  /^\s*(select|with)\b/i.test(text) &&
  !/\b(insert|update|delete|merge|truncate|call|into|share)\b/i.test(text) &&
  !WRITING_FUNCTIONS.test(text);

/** Whether a connection was closed, or its server process terminated; a connection that cannot be made does not count. */
function isDeadConnection(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return (
    code === 'ERR_POSTGRES_CONNECTION_CLOSED' || parseDatabaseError(error)?.sqlstate === '57P01'
  );
}
