/** `bun run backup FILE`: one consistent snapshot in a file, while the API serves. */
import { link, lstat, open, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CannotStart } from '../cannot-start.ts';
import { dumpDatabase } from '../db/backup.ts';
import { compress, type RowCounts } from '../db/backup-format.ts';
import { readSettings } from '../settings.ts';
import { countRows, inMegabytes, runCommand, showProgress, usingDatabase } from './command.ts';

const usage = `bun run backup FILE

Writes everything the database holds, as of one instant, to a new FILE, while the API serves. The file is for its owner
alone, because it holds emails and password hashes; it is complete, or it is not there. Nothing is ever overwritten.
It does not hold what is in the environment and in DATA_DIR beside the database, such as JWT_SECRET.

FILE may be - for standard output: then look at the exit code, and try the copy with "bun run restore".`;

await runCommand({ usage, arguments: 1 }, process.argv.slice(2), async ([file = '']) => {
  const settings = readSettings(process.env);
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
  if (file === '-') await usingDatabase(settings, (url) => writeOut(frames(url)));
  else
    await writeWhole(file, (draft) =>
      usingDatabase(settings, (url) => writeTo(draft, frames(url))),
    );
  progress.wipe();
  console.error(`Backed up ${countRows(rows)} to ${file}: ${inMegabytes(size)}`);
});

/** Has the work write a draft, which becomes the file once it is whole and on disk; of a failure nothing is left. */
async function writeWhole(file: string, work: (draft: string) => Promise<void>) {
  if (await lstat(file).catch(() => undefined)) throw exists(file);
  const draft = `${file}.${crypto.randomUUID()}.unfinished`;
  try {
    await work(draft);
    // Unlike a rename, a link never replaces what somebody else has put there meanwhile.
    await link(draft, file);
    await sync(dirname(file));
  } catch (error) {
    throw explain(file, error);
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

async function writeOut(frames: AsyncIterable<Uint8Array>) {
  if (process.stdout.isTTY)
    throw new CannotStart('a backup is not for a terminal: name a file, or redirect the output');
  const out = Bun.stdout.writer();
  for await (const frame of frames) {
    out.write(frame);
    await out.flush();
  }
  await out.end();
}

function explain(file: string, error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (error instanceof CannotStart || typeof code !== 'string') return error;
  if (code === 'EEXIST') return exists(file);
  if (code === 'ENOSPC') return new CannotStart(`the disk is full: nothing is left of ${file}`);
  return new CannotStart(`${file} cannot be written (${code})`);
}

function exists(file: string): CannotStart {
  return new CannotStart(`${file} exists: name another file, nothing is overwritten`);
}
