/**
 * Tells an engine that speaks PostgreSQL's protocol but does not keep what the API builds on. It is tried, not asked: an
 * engine may accept a statement that then does nothing.
 */
// Decision: docs/decisions/36-distributed-engines.md
import type { SQL } from 'bun';
import { StartupError } from '../errors/startup-error.ts';
import { parseDatabaseError } from '../lib/database-error.ts';
import { explainFailure, openConnection } from './connection.ts';

/** The key of an advisory lock that nothing else takes: the ASCII codes of "probe". */
const PROBE_LOCK = 0x70726f6265;
/** Insufficient privilege, and a server that only reads (PostgreSQL, appendix A). */
const NOT_ALLOWED = ['42501', '25006'];

/** To call before a migration. @throws {StartupError} where the engine lacks what the API builds on. */
export async function assertCapable(url: string): Promise<void> {
  const lacks = await findLacking(url).catch(async (error) => {
    throw new StartupError(await explainFailure(error, url, 'migrated'));
  });
  if (lacks.length > 0)
    throw new StartupError(
      `DATABASE_URL leads to an engine on which ${lacks.join(', and ')}: use PostgreSQL (docs/operations.md says more under "Distributed PostgreSQL")`,
    );
}

/** Returns what the engine does not keep, each as a sentence. Nothing is changed. */
export async function findLacking(url: string): Promise<string[]> {
  const [first, second] = [openConnection(url, 'engine'), openConnection(url, 'engine')];
  try {
    const lacks: string[] = [];
    if (!(await excludesByAdvisoryLock(first, second)))
      lacks.push('an advisory lock does not exclude others');
    if (!(await hasTransitionTables(first)))
      lacks.push('a trigger does not see the rows of a statement (transition tables)');
    return lacks;
  } finally {
    await Promise.all([first, second].map((client) => client.close({ timeout: 0 })));
  }
}

/** In transactions, so that it also works through a pooler. */
async function excludesByAdvisoryLock(first: SQL, second: SQL): Promise<boolean> {
  await first`begin`;
  try {
    // Another process that starts may hold it for a moment; then this waits.
    await first`select pg_advisory_xact_lock(${PROBE_LOCK}::bigint)`;
    const [row] = await second`select pg_try_advisory_xact_lock(${PROBE_LOCK}::bigint) as taken`;
    return row.taken === false;
  } catch (error) {
    if (isOfServer(error)) return false;
    throw error;
  } finally {
    await first`rollback`;
  }
}

/** A statement trigger on a temporary table counts the rows of an insert. A role that may not make one is not asked. */
async function hasTransitionTables(client: SQL): Promise<boolean> {
  await client`begin`;
  try {
    await client`create temporary table probe (seen int)`;
    await client`create function pg_temp.count_rows() returns trigger language plpgsql as
      $$ begin perform set_config('mantou.probe', (select count(*) from added)::text, true); return null; end $$`;
    await client`create trigger probe after insert on probe referencing new table as added
      for each statement execute function pg_temp.count_rows()`;
    await client`insert into probe values (1), (2)`;
    const [row] = await client`select current_setting('mantou.probe', true) as counted`;
    return row.counted === '2';
  } catch (error) {
    const { sqlstate = '' } = parseDatabaseError(error) ?? {};
    if (NOT_ALLOWED.includes(sqlstate)) return true;
    if (isOfServer(error)) return false;
    throw error;
  } finally {
    await client`rollback`;
  }
}

/** Whether the server refused the statement, rather than the connection failed. */
function isOfServer(error: unknown): boolean {
  const failure = parseDatabaseError(error);
  return failure?.sqlstate !== undefined && !failure.unavailable;
}
