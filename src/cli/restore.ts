/** `bun run restore FILE`: fills an empty database from a backup, all or nothing. */
import { restoreDatabase } from '../db/restore.ts';
import { readSettings } from '../settings.ts';
import { countRows, runCommand, showProgress, usingDatabase } from './command.ts';

const usage = `bun run restore FILE

Fills an empty database from a backup of this or an earlier version: the one in DATABASE_URL, or the embedded one in
DATA_DIR, which is made where it is missing. The file is verified before anything is written. Everything happens in one
transaction: when it fails, nothing has changed. Start the API afterwards, not meanwhile.`;

await runCommand({ usage, arguments: 1 }, process.argv.slice(2), async ([file = '']) => {
  const progress = showProgress('restoring');
  const rows = await usingDatabase(readSettings(process.env), (url) =>
    restoreDatabase(url, file, progress.update),
  );
  progress.wipe();
  console.error(`Restored ${countRows(rows)} from ${file}`);
});
