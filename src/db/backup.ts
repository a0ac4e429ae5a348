/** Reads everything the application keeps, as of one instant, while it serves. The format is in `backup-format.ts`. */

import { entries } from '../../drizzle/meta/_journal.json';
import { version } from '../../package.json';
import { CannotStart } from '../cannot-start.ts';
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

/**
 * The script of a backup. Memory stays flat: rows are read as fast as the script is.
 * @param onProgress the table that is being read, and how many bytes of rows there were so far.
 * @returns how many rows there were.
 * @throws {CannotStart} when the database cannot be read, or is of another version than this program.
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
      throw new CannotStart(
        `${nameDatabase(url)} is of another version than this program: run the version that serves it, or "bun run migrate"`,
      );
    const [server] = await client`select current_setting('server_version') as version`;
    const created_at = new Date().toISOString();
    yield Buffer.from(headerLine({ version, migration, created_at, postgres: server.version }));
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
    if (error instanceof CannotStart) throw error;
    throw new CannotStart(explainFailure(error, url, 'read'));
  } finally {
    await client.close({ timeout: 0 });
  }
}
