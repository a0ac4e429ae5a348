/** `bun run restore FILE`: fills an empty database from a backup, all or nothing. */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { loadSettings } from '../environment.ts';
import { restoreDatabase, verifyBackup } from '../postgres/restore.ts';
import { formatRowCounts, runCommand, showProgress, withConnection } from './command.ts';

const usage = `bun run restore FILE

Fills an empty database from a backup of this or an earlier version: the database in DATABASE_URL, or the embedded one
in DATA_DIR, which is made if it is missing. The file is verified before anything is written, and one transaction writes
everything: if it fails, nothing has changed. Start the API afterwards, not meanwhile.`;

await runCommand({ usage, arguments: 1 }, process.argv.slice(2), async ([file = '']) => {
  const settings = loadSettings();
  const progress = showProgress('restoring');
  // Check the file before the command creates a data folder.
  await verifyBackup(file);
  const isNew = settings.databaseUrl === undefined && !existsSync(settings.dataDir);
  try {
    const rows = await withConnection(settings, (url) =>
      restoreDatabase(url, file, progress.update),
    );
    progress.wipe();
    console.error(`Restored ${formatRowCounts(rows)} from ${file}`);
  } catch (error) {
    // Another process may have begun to use the folder meanwhile: then its server runs.
    if (isNew && !existsSync(join(settings.dataDir, 'postgres/postmaster.pid')))
      await rm(settings.dataDir, { recursive: true, force: true });
    throw error;
  }
});
