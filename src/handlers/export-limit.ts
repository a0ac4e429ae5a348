/** Exports take turns page by page, so that many large ones do not delay the requests of others. */
import type { Database } from '../db/database.ts';
import { Problem } from '../errors/problem.ts';
import { limitFairly } from '../lib/fair-concurrency-limit.ts';
import { sleep } from '../lib/sleep.ts';
import { timeout } from '../lib/timeout.ts';
import type { Platform } from '../platform.ts';
import type { CurrentUser } from '../schemas/current-user.ts';

/** Exports that are open in a process. Each holds up to one page. */
const EXPORTS_MAX = 200;
const EXPORTS_PER_USER_MAX = 20;
/** Pages that are read and written at once. */
const PAGES_MAX = 2;
const PAGES_PER_USER_MAX = 1;
const WAIT_MAX_MS = 60_000;
/** After this time an export lets the event loop serve other requests. */
const YIELD_AFTER_MS = 5;

/**
 * Wraps the pieces of an export, and chooses the database that it reads: a standby, if there is one that is up to date.
 * @throws {Problem} `overloaded` before the first piece.
 */
export type ExportLimit = (
  user: Pick<CurrentUser, 'id'>,
  write: (db: Database) => AsyncGenerator<string>,
) => AsyncGenerator<string>;

/** Returns the limit of exports. On Workers, where a request may not wait for another one, it limits nothing. */
export function limitExports({
  subscribe,
  database,
  databaseForExport = async () => database,
}: Pick<Platform, 'subscribe' | 'database' | 'databaseForExport'>): ExportLimit {
  if (!subscribe) return (_, write) => write(database);
  async function* begin(write: (db: Database) => AsyncGenerator<string>) {
    yield* write(await databaseForExport());
  }
  const pages = limitFairly(
    'exports',
    {
      inFlightMax: PAGES_MAX,
      inFlightPerClientMax: PAGES_PER_USER_MAX,
      waitingMax: EXPORTS_MAX,
    },
    timeout(WAIT_MAX_MS),
  );
  const openByUser = new Map<string, number>();
  let open = 0;

  function count(userId: string, by: 1 | -1) {
    const ofUser = (openByUser.get(userId) ?? 0) + by;
    open += by;
    if (ofUser === 0) openByUser.delete(userId);
    else openByUser.set(userId, ofUser);
  }

  return async function* inTurns({ id }, write) {
    if (open >= EXPORTS_MAX || (openByUser.get(id) ?? 0) >= EXPORTS_PER_USER_MAX)
      throw new Problem('overloaded', { limit: 'exports' });
    count(id, 1);
    const pieces = begin(write);
    let yieldedAtMs = performance.now();
    try {
      for (;;) {
        const { value, done } = await pages.run(id, () => pieces.next());
        if (done) return;
        yield value;
        if (performance.now() - yieldedAtMs < YIELD_AFTER_MS) continue;
        await sleep();
        yieldedAtMs = performance.now();
      }
    } finally {
      count(id, -1);
      await pieces.return(undefined);
    }
  };
}
