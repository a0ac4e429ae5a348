/**
 * The format of a backup, version 1: a SQL script, compressed with zstd (RFC 8878).
 *
 *     -- mantou backup 1 {"version":"0.1.0","migration":1795442978417,"created_at":"…","postgres":"18.4"}
 *     COPY "users" ("id", "username", …) FROM stdin;
 *     …rows in PostgreSQL's text format…
 *     \.
 *     …the other tables, none before one that it refers to…
 *     -- end {"rows":{"users":2,…}}
 *
 * The last frame is one that decompressors skip: it holds the SHA-256 of all bytes before it. So `zstd -dc` prints the
 * script, `psql` can run it in a database that is migrated and empty, and no byte of a file can be missing or another
 * without being noticed. The digest is not a signature: a person who can write the file can forge it.
 */
// Decision: docs/decisions/32-own-backup-format.md
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { StartupError } from '../errors/startup-error.ts';

export const FORMAT_VERSION = 1;
export const END_OF_DATA = '\\.\n';

/** What a restore needs to know before the first row. */
export interface BackupHeader {
  /** Of mantou. */
  version: string;
  /** When the latest migration of the database was generated, as Drizzle's own table records it. */
  migration: number;
  created_at: string;
  /** The version of the server. */
  postgres: string;
}

/** The number of rows of each table. */
export type RowCounts = Record<string, number>;

export const headerLine = (header: BackupHeader) =>
  `-- mantou backup ${FORMAT_VERSION} ${JSON.stringify(header)}\n`;

export const endLine = (rows: RowCounts) => `-- end ${JSON.stringify({ rows })}\n`;

export const copyStatement = (table: string, columns: readonly string[]) =>
  `COPY "${table}" (${columns.map((column) => `"${column}"`).join(', ')})`;

// --- Frames ----------------------------------------------------------------------------------------------------

/** The size of a compressed block: large enough to compress well, small enough to hold in memory. */
const BLOCK_BYTES = 1024 ** 2;
const COMPRESSION_LEVEL = 3;

/** RFC 8878 §3.1.2: a magic number and the length, both little-endian. */
const DIGEST_BYTES = 32;
const SKIPPABLE_FRAME_MAGIC = 0x184d2a50;
const digestFrameHeader = Buffer.alloc(8);
digestFrameHeader.writeUInt32LE(SKIPPABLE_FRAME_MAGIC, 0);
digestFrameHeader.writeUInt32LE(DIGEST_BYTES, 4);
const DIGEST_FRAME_BYTES = digestFrameHeader.length + DIGEST_BYTES;

/** Yields the bytes of the file that holds this script. */
export async function* compress(script: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const hash = new Bun.CryptoHasher('sha256');
  // One block is compressed while the next is read.
  let compressing: Promise<Uint8Array> | undefined;
  async function* finished() {
    if (!compressing) return;
    const frame = await compressing;
    hash.update(frame);
    yield frame;
  }
  for await (const block of blocksOf(script)) {
    yield* finished();
    compressing = Bun.zstdCompress(block, { level: COMPRESSION_LEVEL });
  }
  yield* finished();
  yield Buffer.concat([digestFrameHeader, hash.digest()]);
}

async function* blocksOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer<ArrayBuffer>> {
  let [collected, length]: [Uint8Array[], number] = [[], 0];
  for await (const chunk of chunks) {
    collected.push(chunk);
    length += chunk.length;
    if (length < BLOCK_BYTES) continue;
    yield Buffer.concat(collected);
    [collected, length] = [[], 0];
  }
  if (length > 0) yield Buffer.concat(collected);
}

/**
 * Yields the compressed bytes of a backup, without the digest.
 * @throws {StartupError} after the last of them, when the checksum of the file does not match.
 */
export async function* readFrames(file: string): AsyncGenerator<Buffer> {
  const end = (await sizeOf(file)) - DIGEST_FRAME_BYTES;
  if (end <= 0) throw new StartupError(`${file} is too short for a backup`);
  const hash = new Bun.CryptoHasher('sha256');
  for await (const chunk of createReadStream(file, { end: end - 1 })) {
    hash.update(chunk);
    yield chunk;
  }
  const written = Buffer.from(await Bun.file(file).slice(end).arrayBuffer());
  if (!written.equals(Buffer.concat([digestFrameHeader, hash.digest()])))
    throw new StartupError(
      `${file} is damaged, incomplete or no backup: its checksum does not match`,
    );
}

async function sizeOf(file: string): Promise<number> {
  try {
    return (await stat(file)).size;
  } catch (error) {
    throw new StartupError(`${file} cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
}
