/** `bun run backup FILE`: one consistent snapshot in a file, while the API serves. */
import { link, lstat, open, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { loadSettings } from '../environment.ts';
import { StartupError } from '../errors/startup-error.ts';
import { dumpDatabase } from '../postgres/backup.ts';
import { compress, type RowCounts } from '../postgres/backup-format.ts';
import { findUpToDateReplica } from '../postgres/replica.ts';
import type { Settings } from '../settings.ts';
import {
  formatBytes,
  formatRowCounts,
  runCommand,
  showProgress,
  withConnection,
} from './command.ts';

const usage = `bun run backup FILE

Writes one consistent snapshot of the whole database to a new FILE, while the API serves. Only its owner may read the
file, because it holds emails and password hashes. The file is complete or absent, and no file is ever overwritten. It
does not hold the settings, nor what DATA_DIR holds beside the database, such as JWT_SECRET. With DATABASE_REPLICA_URL it
is read from that standby, once it has everything that was written before.

FILE may be - for standard output. Then check the exit code, and try the copy with "bun run restore".`;

await runCommand({ usage, arguments: 1 }, process.argv.slice(2), async ([file = '']) => {
  const settings = loadSettings();
  const progress = showProgress('backing up');
  let rows: RowCounts = {};
  let size = 0;
  /** The bytes of the backup. */
  async function* frames(url: string) {
    async function* script() {
      rows = yield* dumpDatabase(url, progress.update);
    }
    for await (const frame of compress(script())) {
      size += frame.length;
      yield frame;
    }
  }
  const read = (write: (frames: AsyncIterable<Uint8Array>) => Promise<void>) =>
    withConnection(settings, async (url) => write(frames(await chooseSource(settings, url))));
  if (file === '-') await read(writeToStdout);
  else await writeAtomically(file, (draft) => read((pieces) => writeTo(draft, pieces)));
  progress.wipe();
  console.error(`Backed up ${formatRowCounts(rows)} to ${file}: ${formatBytes(size)}`);
});

/** Returns the URL of a standby that has everything that was written before, or else of the primary. */
async function chooseSource({ databaseReplicaUrl }: Settings, primaryUrl: string): Promise<string> {
  if (databaseReplicaUrl === undefined) return primaryUrl;
  try {
    return await findUpToDateReplica(databaseReplicaUrl, primaryUrl);
  } catch (error) {
    if (!(error instanceof StartupError)) throw error;
    console.error(`The backup is read from the primary: ${error.message}`);
    return primaryUrl;
  }
}

/** Lets the work write a draft, which becomes the file once it is complete and on disk. A failure leaves no file. */
async function writeAtomically(file: string, work: (draft: string) => Promise<void>) {
  if (await lstat(file).catch(() => undefined)) throw exists(file);
  const draft = `${file}.${crypto.randomUUID()}.unfinished`;
  try {
    await work(draft);
    // Unlike a rename, a link never replaces a file that appeared in the meantime.
    await link(draft, file);
    await sync(dirname(file));
  } catch (error) {
    throw explainFileError(file, error);
  } finally {
    await rm(draft, { force: true });
  }
}

async function writeTo(draft: string, frames: AsyncIterable<Uint8Array>) {
  const handle = await open(draft, 'wx', 0o600);
  try {
    for await (const frame of frames) await handle.appendFile(frame);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function sync(folder: string) {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function writeToStdout(frames: AsyncIterable<Uint8Array>) {
  if (process.stdout.isTTY)
    throw new StartupError('a backup is not for a terminal: name a file, or redirect the output');
  const out = Bun.stdout.writer();
  for await (const frame of frames) {
    out.write(frame);
    await out.flush();
  }
  await out.end();
}

function explainFileError(file: string, error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (error instanceof StartupError || typeof code !== 'string') return error;
  if (code === 'EEXIST') return exists(file);
  if (code === 'ENOSPC') return new StartupError(`the disk is full: nothing is left of ${file}`);
  return new StartupError(`${file} cannot be written (${code})`);
}

function exists(file: string): StartupError {
  return new StartupError(`${file} exists: name another file, nothing is overwritten`);
}
