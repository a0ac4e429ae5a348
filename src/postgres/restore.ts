/** Fills an empty database from a backup, in one transaction. */
import { pipeline } from 'node:stream/promises';
import { createZstdDecompress } from 'node:zlib';
import type { SQL } from 'bun';
import { entries } from '../../drizzle/meta/_journal.json';
import { StartupError } from '../errors/startup-error.ts';
import {
  type BackupHeader,
  copyStatement,
  END_OF_DATA,
  FORMAT_VERSION,
  type RowCounts,
  readFrames,
} from './backup-format.ts';
import { explainFailure, nameDatabase, openConnection } from './connection.ts';
import {
  applyMigrations,
  findLatestMigration,
  MIGRATION_LOCK,
  migrateWithin,
  setSessionForCopies,
} from './migrate.ts';
import { copiedTables } from './tables.ts';

/**
 * Verifies the file, then in one transaction makes the tables as they were when it was written, fills them, and
 * migrates on to this version.
 * @param onProgress gets the table that is being filled, and how many bytes of the script have been read.
 * @returns the number of rows of each table.
 * @throws {StartupError} when the file or the database does not allow it; then nothing has changed.
 */
export async function restoreDatabase(
  url: string,
  file: string,
  onProgress: (table: string, bytes: number) => void = () => undefined,
): Promise<RowCounts> {
  await verifyBackup(file);
  const client = openConnection(url, 'restore');
  try {
    // A process that starts meanwhile neither migrates nor finds half of a schema.
    await client`begin`;
    await setSessionForCopies(client);
    await client`select pg_advisory_xact_lock(${MIGRATION_LOCK})`;
    let rows: RowCounts = {};
    await pipeline(readFrames(file), createZstdDecompress(), async (script) => {
      rows = await fill(client, readScript(script), { url, file, onProgress });
    });
    await client`commit`;
    return rows;
  } catch (error) {
    if (error instanceof StartupError) throw error;
    throw new StartupError(await explainFailure(error, url, 'restored'));
  } finally {
    // Without a commit, this rolls back.
    await client.close({ timeout: 0 });
  }
}

/** Reads the whole file once, for its checksum. @throws {StartupError} when it is not a complete backup. */
export async function verifyBackup(file: string): Promise<void> {
  for await (const _ of readFrames(file));
}

interface Source {
  url: string;
  file: string;
  onProgress: (table: string, bytes: number) => void;
}

async function fill(client: SQL, script: Script, { url, file, onProgress }: Source) {
  const header = readHeader(await script.line(), file);
  await makeTables(client, url, header);
  const rows: RowCounts = {};
  const dropped: DroppedObjects = { indexes: [], keys: [] };
  let line = await script.line();
  for (; !line.startsWith('-- end '); line = await script.line()) {
    const { table, statement } = readCopy(line, file);
    // The triggers would record the restored rows as new events.
    await client.unsafe(`alter table "${table}" disable trigger user`);
    await dropKeysAndIndexes(client, table, dropped);
    const query = client.unsafe(statement);
    const writer = query.writable().getWriter();
    for await (const bytes of script.data()) {
      onProgress(table, script.bytes);
      await writer.write(bytes);
    }
    await writer.close();
    rows[table] = (await query).count;
    await client.unsafe(`alter table "${table}" enable trigger user`);
  }
  const end: { rows: RowCounts } = JSON.parse(line.slice('-- end '.length));
  if (!Bun.deepEquals(rows, end.rows) || !(await script.isAtEnd()))
    throw new StartupError(`${file} does not hold the rows that it says it does`);
  for (const statement of [...dropped.indexes, ...dropped.keys]) await client.unsafe(statement);
  await migrateWithin(client);
  await restartIdentities(client);
  // Positions of the old feed are invalid here.
  await client`delete from feed`;
  // Without statistics the server plans as if the tables were empty.
  await client`analyze`;
  return rows;
}

/** Makes the tables of the version that wrote the backup. */
async function makeTables(client: SQL, url: string, { migration, version }: BackupHeader) {
  if (!entries.some(({ when }) => when === migration))
    throw new StartupError(
      `the backup was made by mantou ${version}, which this version does not know: restore it with that or a later one`,
    );
  for (const { name } of copiedTables()) {
    const [existing] = await client`select to_regclass(${name}) as name`;
    if (existing.name === null) continue;
    await client.unsafe(`lock table "${name}" in access exclusive mode`);
    const [row] = await client.unsafe(`select from "${name}" limit 1`);
    if (row !== undefined)
      throw new StartupError(
        `${nameDatabase(url)} is not empty: the table ${name} holds rows. Name another database, or another DATA_DIR`,
      );
  }
  if (((await findLatestMigration(client)) ?? 0) > migration)
    throw new StartupError(
      `${nameDatabase(url)} is of a later version than the backup: name a database without tables, which is brought up to date afterwards`,
    );
  await applyMigrations(client, migration);
}

/** Sets each identity column to continue after the restored rows. */
async function restartIdentities(client: SQL) {
  const numbered: Record<'table' | 'column', string>[] = await client`
    select table_name as table, column_name as column from information_schema.columns
    where table_schema = current_schema() and is_identity = 'YES'`;
  for (const { table, column } of numbered)
    await client.unsafe(
      `select setval(pg_get_serial_sequence('"${table}"', '${column}'), coalesce(max("${column}"), 0) + 1, false) from "${table}"`,
    );
}

/** Statements that create the dropped indexes and foreign keys again, and so check every row. */
interface DroppedObjects {
  indexes: string[];
  keys: string[];
}

/**
 * Drops the foreign keys and indexes of a table: creating them once over all rows takes half the time of maintaining
 * them row by row.
 */
async function dropKeysAndIndexes(client: SQL, table: string, { indexes, keys }: DroppedObjects) {
  const foreignKeys: Record<string, string>[] = await client`
    select conrelid::regclass as table, quote_ident(conname) as name, pg_get_constraintdef(oid) as definition
    from pg_constraint where contype = 'f' and to_regclass(${table}) in (conrelid, confrelid)`;
  for (const { table, name, definition } of foreignKeys) {
    await client.unsafe(`alter table ${table} drop constraint ${name}`);
    keys.push(`alter table ${table} add constraint ${name} ${definition}`);
  }
  const plainIndexes: Record<string, string>[] = await client`
    select indexrelid::regclass as name, pg_get_indexdef(indexrelid) as definition
    from pg_index where indrelid = to_regclass(${table})
      and not exists (select from pg_constraint where conindid = indexrelid)`;
  for (const { name, definition = '' } of plainIndexes) {
    await client.unsafe(`drop index ${name}`);
    indexes.push(definition);
  }
}

function readHeader(line: string, file: string): BackupHeader {
  const [, format, json = ''] = /^-- mantou backup (\d+) (\{.*\})$/.exec(line) ?? [];
  if (format === undefined) throw new StartupError(`${file} is no backup of mantou`);
  if (Number(format) !== FORMAT_VERSION)
    throw new StartupError(
      `${file} has the format ${format}, this version reads ${FORMAT_VERSION}: restore it with the version that wrote it`,
    );
  return JSON.parse(json);
}

/** Checks the names, so that no other SQL of the file can run. */
function readCopy(line: string, file: string): { table: string; statement: string } {
  const [, table = '', list = ''] = /^COPY "([a-z]\w*)" \((.*)\) FROM stdin;$/.exec(line) ?? [];
  const columns = [...list.matchAll(/"([a-z]\w*)"/g)].map(([, name]) => name ?? '');
  const statement = `${copyStatement(table, columns)} FROM stdin`;
  if (`${statement};` !== line || table.startsWith('pg_'))
    throw new StartupError(`${file} holds what no backup of mantou does`);
  return { table, statement };
}

// --- The script ------------------------------------------------------------------------------------------------

interface Script {
  /** The number of bytes that have been read. */
  readonly bytes: number;
  /** Returns the next line outside the data of a table. */
  line(): Promise<string>;
  /** Yields the data of a table up to their end, in pieces that are not lines. */
  data(): AsyncGenerator<Uint8Array>;
  isAtEnd(): Promise<boolean>;
}

const END_OF_LATER_DATA = `\n${END_OF_DATA}`;

function readScript(source: AsyncIterable<Buffer>): Script {
  const chunks = source[Symbol.asyncIterator]();
  let rest: Buffer = Buffer.alloc(0);
  let bytes = 0;
  const more = async () => {
    const next = await chunks.next();
    if (next.done) return false;
    bytes += next.value.length;
    rest = rest.length === 0 ? next.value : Buffer.concat([rest, next.value]);
    return true;
  };
  const requireMore = async () => {
    if (!(await more())) throw new StartupError('the backup ends before its end');
  };
  const take = (length: number) => {
    const taken = rest.subarray(0, length);
    rest = rest.subarray(length);
    return taken;
  };
  return {
    get bytes() {
      return bytes;
    },
    async line() {
      while (!rest.includes('\n')) await requireMore();
      return take(rest.indexOf('\n') + 1)
        .toString()
        .slice(0, -1);
    },
    async *data() {
      while (rest.length < END_OF_DATA.length) await requireMore();
      if (rest.toString('latin1', 0, END_OF_DATA.length) === END_OF_DATA) {
        take(END_OF_DATA.length);
        return;
      }
      for (;;) {
        const end = rest.indexOf(END_OF_LATER_DATA);
        if (end >= 0) {
          yield take(end + 1);
          take(END_OF_DATA.length);
          return;
        }
        // The last bytes may be the beginning of the end marker, so they wait for the next chunk.
        const safe = rest.length - END_OF_LATER_DATA.length + 1;
        if (safe > 0) yield take(safe);
        await requireMore();
      }
    },
    isAtEnd: async () => rest.length === 0 && !(await more()),
  };
}
