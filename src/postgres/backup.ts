/** Reads a snapshot of all tables while the API serves. The format is in `backup-format.ts`. */

import { entries } from '../../drizzle/meta/_journal.json';
import { version } from '../../package.json';
import { StartupError } from '../errors/startup-error.ts';
import { parseDatabaseError } from '../lib/database-error.ts';
import {
  copyStatement,
  END_OF_DATA,
  endLine,
  headerLine,
  type RowCounts,
} from './backup-format.ts';
import { explainFailure, nameDatabase, openConnection } from './connection.ts';
import { findLatestMigration, setSessionForCopies } from './migrate.ts';
import { copiedTables } from './tables.ts';

/** Of a statement that a standby cancels (PostgreSQL, "Handling Query Conflicts"). A snapshot that only reads has no other cause for it. */
const CONFLICT_WITH_RECOVERY = '40001';

/**
 * Yields the script of a backup. Memory stays flat: it reads rows as fast as the caller reads the script.
 * @param onProgress gets the table that is being read, and how many bytes of rows there were so far.
 * @returns the number of rows of each table.
 * @throws {StartupError} when the database cannot be read, or is of another version than this program.
 */
export async function* dumpDatabase(
  url: string,
  onProgress: (table: string, bytes: number) => void = () => undefined,
): AsyncGenerator<Uint8Array, RowCounts> {
  const client = openConnection(url, 'backup');
  try {
    await client`begin isolation level repeatable read read only`;
    await setSessionForCopies(client);
    const migration = await findLatestMigration(client);
    if (migration === undefined || migration !== entries.at(-1)?.when)
      throw new StartupError(
        `${nameDatabase(url)} is of another version than this program: run the version that serves it, or "bun run migrate"`,
      );
    const [server] = await client`select current_setting('server_version') as version`;
    const createdAt = new Date().toISOString();
    yield Buffer.from(
      headerLine({ version, migration, created_at: createdAt, postgres: server.version }),
    );
    const rows: RowCounts = {};
    let bytes = 0;
    for (const { name, columns } of copiedTables()) {
      const statement = copyStatement(name, columns);
      yield Buffer.from(`${statement} FROM stdin;\n`);
      const query = client.unsafe(`${statement} TO stdout`);
      for await (const chunk of query.readable()) {
        bytes += chunk.length;
        onProgress(name, bytes);
        yield chunk;
      }
      rows[name] = (await query).count;
      yield Buffer.from(END_OF_DATA);
    }
    yield Buffer.from(endLine(rows));
    await client`commit`;
    return rows;
  } catch (error) {
    if (error instanceof StartupError) throw error;
    if (parseDatabaseError(error)?.sqlstate === CONFLICT_WITH_RECOVERY)
      throw new StartupError(
        `${nameDatabase(url)} has ended the backup, because it held up the replication: set hot_standby_feedback to on there, or raise max_standby_streaming_delay`,
      );
    throw new StartupError(await explainFailure(error, url, 'read'));
  } finally {
    await client.close({ timeout: 0 });
  }
}
