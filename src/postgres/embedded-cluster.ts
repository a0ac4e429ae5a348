/** The cluster of the embedded PostgreSQL: its files, and the server that runs on them. */
import { chown, mkdir, readdir, readFile, realpath, rename, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { SQL } from 'bun';
import { StartupError } from '../errors/startup-error.ts';
import { parseDatabaseError } from '../lib/database-error.ts';
import { type Programs, postgresUser, type Run } from './embedded-programs.ts';

export const POSTGRES_MAJOR = '18';
/** The major versions that `bun run upgrade` starts from. */
const UPGRADABLE = ['17'];
/** Where an upgrade builds the new cluster, in the data folder, and the file in it that says that it is complete. */
export const UPGRADE_FOLDER = 'upgrade';
export const UPGRADED = 'complete';
const START_TIMEOUT_SECONDS = 60;
const START_ATTEMPTS_MAX = 5;
const START_RETRY_MS = 500;
const STOP_TIMEOUT_SECONDS = 30;
const POLL_INTERVAL_MS = 20;
/** The log line of a failed statement would hold what the client sent, such as an email address. */
const SERVER_OPTIONS = [
  'listen_addresses=127.0.0.1',
  'unix_socket_directories=',
  'log_min_messages=log',
  'log_min_error_statement=panic',
  'log_error_verbosity=terse',
  'log_checkpoints=off',
];
export const EMBEDDED_DATABASE = 'mantou';

/** Returns the major version of PostgreSQL that made the cluster; undefined where there is none. */
export async function readMajor(cluster: string): Promise<string | undefined> {
  const version = await readFile(join(cluster, 'PG_VERSION'), 'utf8').catch(() => undefined);
  return version?.trim();
}

/** Whether an upgrade was interrupted after it had made the new cluster. */
export const hasUnfinishedUpgrade = (folder: string): Promise<boolean> =>
  Bun.file(join(folder, UPGRADE_FOLDER, UPGRADED)).exists();

/**
 * Whether the folder holds a cluster.
 * @throws {StartupError} for one of another major version, and where an upgrade was interrupted.
 */
export async function hasCluster(cluster: string): Promise<boolean> {
  if (await hasUnfinishedUpgrade(dirname(cluster)))
    throw new StartupError(`an upgrade of ${cluster} was interrupted: run "bun run upgrade" again`);
  const major = await readMajor(cluster);
  if (major !== undefined && major !== POSTGRES_MAJOR)
    throw new StartupError(
      `${cluster} was made by PostgreSQL ${major}, this is ${POSTGRES_MAJOR}: ${UPGRADABLE.includes(major) ? 'stop what uses it, and run "bun run upgrade"' : 'restore a backup into a new DATA_DIR'}`,
    );
  return major !== undefined;
}

export const urlOf = (password: string, port: number, database: string) =>
  `postgres://postgres:${password}@127.0.0.1:${port}/${database}`;

/** Makes the cluster under a temporary name and renames it when it is complete, so that a crash leaves no half of one. */
export async function createCluster(run: Run, { initdb }: Programs, folder: string) {
  const names = await readdir(folder);
  for (const name of names.filter((one) => one.startsWith('postgres.new')))
    await rm(join(folder, name), { recursive: true, force: true });
  const unfinished = join(folder, `postgres.new-${process.pid}`);
  await mkdir(unfinished, { mode: 0o700 });
  if (process.getuid?.() === 0) {
    const { uid, gid } = await postgresUser();
    await chown(unfinished, uid, gid);
    await chown(join(folder, 'postgres-password'), uid, gid);
  }
  await run(
    initdb,
    ...['-D', unfinished, '--username', 'postgres', '--pwfile', join(folder, 'postgres-password')],
    ...['--auth', 'scram-sha-256', '--encoding', 'UTF8', '--no-instructions'],
    // The same order and folding of text on every machine.
    ...['--locale', 'C', '--locale-provider', 'builtin', '--builtin-locale', 'C.UTF-8'],
  );
  await rename(unfinished, join(folder, 'postgres'));
}

/** Returns the port of the server that runs on this cluster, once it is ready; undefined where none runs. */
export async function findRunning(cluster: string): Promise<number | undefined> {
  const pidFile = join(cluster, 'postmaster.pid');
  const deadline = Date.now() + START_TIMEOUT_SECONDS * 1000;
  while (Date.now() < deadline) {
    // Lines of postmaster.pid: 1 is the process, 4 the port, 8 the state.
    const lines = (await readFile(pidFile, 'utf8').catch(() => '')).split('\n');
    const [pid, port, state] = [Number(lines[0]), Number(lines[3]), lines[7]?.trim()];
    if (!pid) return undefined;
    if (!(await isServer(pid, cluster))) {
      // After a reboot another process may have this id, and PostgreSQL would take it for a server.
      await rm(pidFile, { force: true });
      return undefined;
    }
    if (state === 'ready') return port;
    await Bun.sleep(POLL_INTERVAL_MS);
  }
  throw new StartupError(
    `the embedded PostgreSQL in ${cluster} neither starts nor stops: see its server.log`,
  );
}

/** Whether this process is the server of this cluster. In doubt it is: two servers must never share the files. */
async function isServer(pid: number, cluster: string): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  if (process.platform !== 'linux') return true;
  // Of another user's process, root without CAP_SYS_PTRACE (in a container) can read nothing else in /proc.
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => undefined);
  if (command === undefined) return true;
  const args = command.split('\0');
  const served = args[args.indexOf('-D') + 1] ?? '';
  const real = await realpath(cluster);
  return (
    basename(args[0] ?? '') === 'postgres' && (await realpath(served).catch(() => real)) === real
  );
}

/**
 * Starts the server on a free port and returns the port. It retries: another program may take the port first, and the
 * children of a killed server take a moment to end.
 */
export async function startServer(
  run: Run,
  { pg_ctl }: Programs,
  cluster: string,
): Promise<number> {
  const log = join(cluster, 'server.log');
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    const options = `-p ${port} ${SERVER_OPTIONS.map((option) => `-c ${option}`).join(' ')}`;
    try {
      await run(
        pg_ctl,
        ...['start', '-D', cluster, '-l', log, '-o', options],
        ...['-w', '-t', `${START_TIMEOUT_SECONDS}`],
      );
      return port;
    } catch (error) {
      if (attempt === START_ATTEMPTS_MAX) throw (await explainStart(log)) ?? error;
      await Bun.sleep(START_RETRY_MS);
    }
  }
}

/** Returns the reason from the server's log; pg_ctl prints none. */
async function explainStart(log: string): Promise<StartupError | undefined> {
  const text = await readFile(log, 'utf8').catch(() => '');
  const [, reason] = [...text.matchAll(/ FATAL: +(.*)/g)].at(-1) ?? [];
  return reason === undefined
    ? undefined
    : new StartupError(`the embedded PostgreSQL does not start: ${reason}; ${log} says more`);
}

function freePort(): Promise<number> {
  return new Promise((done, fail) => {
    const server = createServer();
    server.once('error', fail);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => done(typeof address === 'object' && address ? address.port : 0));
    });
  });
}

/** Makes the database where it is missing. It retries, because on a busy machine a ready server may refuse a connection. */
export async function createDatabase(url: string, folder: string, attempt = 1): Promise<void> {
  const client = new SQL({ url, max: 1, connectionTimeout: START_TIMEOUT_SECONDS });
  try {
    const [existing] = await client`select from pg_database where datname = ${EMBEDDED_DATABASE}`;
    if (!existing) await client.unsafe(`create database ${EMBEDDED_DATABASE}`);
  } catch (error) {
    if (parseDatabaseError(error)?.unavailable && attempt < START_ATTEMPTS_MAX) {
      await Bun.sleep(START_RETRY_MS);
      return createDatabase(url, folder, attempt + 1);
    }
    throw new StartupError(
      parseDatabaseError(error)?.sqlstate === '28P01'
        ? `the cluster in ${folder} has another password than its file postgres-password: restore both together`
        : `the embedded PostgreSQL in ${folder} failed: ${String(error)}`,
    );
  } finally {
    await client.close({ timeout: 0 });
  }
}

export const stopServer = (run: Run, { pg_ctl }: Programs, cluster: string) =>
  run(pg_ctl, ...['stop', '-D', cluster, '-m', 'fast', '-t', `${STOP_TIMEOUT_SECONDS}`]);
