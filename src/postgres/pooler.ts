/** Tells a pooler in transaction mode, behind which a prepared statement can be another client's. */
import type { SQL } from 'bun';
import { StartupError } from '../errors/startup-error.ts';
import type { Settings } from '../settings.ts';
import { identifyBackend, sessionMark } from './backend.ts';
import { openClient } from './client.ts';
import { explainFailure } from './connection.ts';

/** Other clients of the pooler may use the connection between the two statements of one attempt. */
const ATTEMPTS_MAX = 3;
const MARK_MS = 60_000;

/** The cause and the cure of statements that are prepared behind a pooler in transaction mode. */
export const PREPARED_BEHIND_POOLER =
  'DATABASE_URL leads to a pooler in transaction mode, where prepared statements of different clients meet: set DATABASE_PREPARE=false, and DATABASE_SESSION_URL to the server itself';

/**
 * Every client of Bun's gives its statements the same names. Before PgBouncer 1.21 one of them can run the statement of
 * another and get its rows, without an error.
 * @throws {StartupError} where statements are prepared behind a pooler in transaction mode.
 */
export async function assertPreparable(
  url: string,
  { databasePrepare }: Pick<Settings, 'databasePrepare'>,
): Promise<void> {
  if (databasePrepare && (await isTransactionPooler(url)))
    throw new StartupError(PREPARED_BEHIND_POOLER);
}

/**
 * Returns whether what one connection sets is what another one finds. A startup parameter that arrives at the server rules a
 * pooler out.
 * @throws {StartupError} when the database cannot be used, with the cause and the cure.
 */
export async function isTransactionPooler(url: string): Promise<boolean> {
  const [first, second] = [openMarked(url), openMarked(url)];
  try {
    if (!(await identifyBackend(first, MARK_MS)).isPooled) return false;
    await second.unsafe('select 1');
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      const mark = crypto.randomUUID();
      await first.unsafe(`select set_config('mantou.probe', '${mark}', false)`);
      const [row] = await second.unsafe(`select current_setting('mantou.probe', true) as mark`);
      await first.unsafe(`select set_config('mantou.probe', '', false)`);
      if (row.mark === mark) return true;
    }
    return false;
  } catch (error) {
    throw new StartupError(await explainFailure(error, url, 'used'));
  } finally {
    for (const client of [first, second]) client.close({ timeout: 0 }).catch(() => undefined);
  }
}

const openMarked = (url: string): SQL =>
  openClient(url, {
    purpose: 'pooler check',
    prepare: false,
    parameters: { idle_in_transaction_session_timeout: sessionMark(MARK_MS) },
  });
