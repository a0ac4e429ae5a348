/**
 * Moves an embedded database to the major version of PostgreSQL that this version of the API runs. The old programs serve
 * the old cluster, a backup of it is restored into a new cluster, and two renames put that in its place. The old cluster
 * is kept.
 */
// Decision: docs/decisions/37-upgrade-by-backup-and-restore.md
import {
  copyFile,
  mkdir,
  open,
  readdir,
  rename,
  rm,
  stat,
  statfs,
  writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { StartupError } from '../errors/startup-error.ts';
import { loadOrCreateSecret, makeDataDir } from '../lib/data-dir.ts';
import { dumpDatabase } from './backup.ts';
import { compress, type RowCounts } from './backup-format.ts';
import { connectEmbeddedPostgres } from './embedded.ts';
import {
  EMBEDDED_DATABASE,
  findRunning,
  hasUnfinishedUpgrade,
  POSTGRES_MAJOR,
  readMajor,
  startServer,
  stopServer,
  UPGRADE_FOLDER,
  UPGRADED,
  urlOf,
} from './embedded-cluster.ts';
import { exclusively, isFree, openLock } from './embedded-locks.ts';
import { commandRunner, type Programs } from './embedded-programs.ts';
import { migrate } from './migrate.ts';
import { restoreDatabase } from './restore.ts';

/** The backup and the new cluster are at most as large as the old cluster, each. */
const DISK_FACTOR = 2;

export interface Upgrade {
  /** The major version of the old cluster. */
  from: string;
  /** Where the old cluster is now. */
  kept: string;
  rows: RowCounts;
  /** The size of the new cluster. */
  bytes: number;
}

export interface UpgradeSteps {
  /** Finds the programs of an earlier major version. @param folder is deleted after the upgrade. */
  findPrograms(major: string, folder: string): Promise<Programs>;
  onProgress(step: string, bytes: number): void;
}

/**
 * Upgrades the cluster in a data folder, or finishes an upgrade that was interrupted.
 * @returns undefined where the cluster is of this major version already.
 * @throws {StartupError} where it cannot; then the old cluster serves as before.
 */
export async function upgradeCluster(
  dataDir: string,
  steps: UpgradeSteps,
): Promise<Upgrade | 'finished' | undefined> {
  const folder = await makeDataDir(dataDir);
  const lock = openLock(join(folder, 'lock.sqlite'));
  return exclusively(lock, async () => {
    if (!isFree(openLock(join(folder, 'presence.sqlite'))))
      throw new StartupError(`the database in ${folder} is in use: stop the API, then try again`);
    const cluster = join(folder, 'postgres');
    if (await hasUnfinishedUpgrade(folder)) {
      await takePlace(folder);
      return 'finished';
    }
    const from = await readMajor(cluster);
    if (from === undefined) throw new StartupError(`${folder} holds no database`);
    if (from === POSTGRES_MAJOR) return undefined;
    const draft = join(folder, UPGRADE_FOLDER);
    await rm(draft, { recursive: true, force: true });
    await assertRoom(cluster, folder);
    await mkdir(draft, { mode: 0o700 });
    try {
      const backup = join(draft, 'backup');
      const programs = await steps.findPrograms(from, join(draft, 'programs'));
      await backUpOld(programs, folder, backup, steps);
      await copyFile(join(folder, 'postgres-password'), join(draft, 'postgres-password'));
      const rows = await restoreNew(draft, backup, steps);
      await Promise.all(
        ['backup', 'programs'].map((name) =>
          rm(join(draft, name), { recursive: true, force: true }),
        ),
      );
      const bytes = await sizeOf(join(draft, 'postgres'));
      await writeFile(join(draft, UPGRADED), '', { flush: true });
      return { from, kept: await takePlace(folder), rows, bytes };
    } catch (error) {
      if (!(await hasUnfinishedUpgrade(folder)))
        await rm(draft, { recursive: true, force: true }).catch(() => undefined);
      throw error;
    }
  });
}

/** Writes a backup of the old cluster, which its own programs serve. Migrations only add, so it stays as usable as it was. */
async function backUpOld(
  programs: Programs,
  folder: string,
  backup: string,
  { onProgress }: UpgradeSteps,
) {
  const cluster = join(folder, 'postgres');
  const run = await commandRunner(programs, folder);
  const port = (await findRunning(cluster)) ?? (await startServer(run, programs, cluster));
  try {
    const password = await loadOrCreateSecret(folder, 'postgres-password');
    const url = urlOf(password, port, EMBEDDED_DATABASE);
    await migrate(url);
    const file = await open(backup, 'wx', 0o600);
    try {
      const script = dumpDatabase(url, (table, bytes) => onProgress(`reading ${table}`, bytes));
      for await (const frame of compress(script)) await file.appendFile(frame);
    } finally {
      await file.close();
    }
  } finally {
    await stopServer(run, programs, cluster);
  }
}

async function restoreNew(draft: string, backup: string, { onProgress }: UpgradeSteps) {
  const { url, leave } = await connectEmbeddedPostgres(draft);
  try {
    return await restoreDatabase(url, backup, (table, bytes) =>
      onProgress(`writing ${table}`, bytes),
    );
  } finally {
    await leave();
  }
}

/**
 * Puts the new cluster in the place of the old one, which it returns the new path of. Between the two renames the folder
 * has no cluster: then `hasUnfinishedUpgrade` keeps a start from making an empty one.
 */
async function takePlace(folder: string): Promise<string> {
  const cluster = join(folder, 'postgres');
  const draft = join(folder, UPGRADE_FOLDER);
  const from = await readMajor(cluster);
  const kept = join(folder, `postgres-${from}`);
  if (from !== undefined && from !== POSTGRES_MAJOR) {
    if (await stat(kept).catch(() => undefined))
      throw new StartupError(`${kept} exists: move it elsewhere, then try again`);
    await rename(cluster, kept);
  }
  if ((await readMajor(cluster)) === undefined) await rename(join(draft, 'postgres'), cluster);
  await syncFolder(folder);
  await rm(draft, { recursive: true, force: true });
  return kept;
}

async function syncFolder(folder: string) {
  const handle = await open(folder, 'r');
  await handle.sync().finally(() => handle.close());
}

async function assertRoom(cluster: string, folder: string) {
  const [bytes, disk] = [await sizeOf(cluster), await statfs(folder)];
  const free = disk.bavail * disk.bsize;
  const needed = bytes * DISK_FACTOR;
  if (free < needed)
    throw new StartupError(
      `the upgrade needs ${inMegabytes(needed)} beside the database, and ${inMegabytes(free)} are free in ${dirname(cluster)}`,
    );
}

const inMegabytes = (bytes: number) => `${Math.ceil(bytes / 1e6)} MB`;

/** Returns the bytes of all files in a folder. */
async function sizeOf(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const sizes = await Promise.all(
    entries
      .filter((entry) => entry.isFile())
      .map((entry) => stat(join(entry.parentPath, entry.name)).then(({ size }) => size)),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}
