import { parseDatabaseError } from '../lib/database-error.ts';
import { describeError } from '../lib/describe-error.ts';
import type { Platform } from '../platform.ts';
import { purgeTrash } from '../postgres/purge-trash.ts';

const PURGE_INTERVAL_MS = 60_000;

/** Purges the trash now and every minute. @returns a function that ends it. */
export function startTrashPurge({
  database,
  settings: { trashRetentionSeconds },
  log,
  waitFor,
}: Pick<Platform, 'database' | 'settings' | 'log' | 'waitFor'>): () => void {
  let running: Promise<void> | undefined;
  const purge = () => {
    running ??= purgeTrash(database, trashRetentionSeconds)
      // An outage has a line of its own, and the next purge follows in a minute.
      .catch((error: Error) => {
        const isOutage = parseDatabaseError(error)?.unavailable ?? false;
        log(isOutage ? 'debug' : 'warn', 'trash_not_purged', describeError(error));
      })
      .finally(() => {
        running = undefined;
      });
    waitFor?.(running);
  };
  purge();
  const timer = setInterval(purge, PURGE_INTERVAL_MS);
  return () => clearInterval(timer);
}
