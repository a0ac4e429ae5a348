/** A PostgreSQL of the suite's own, at a port of its own, with fsync on: to be killed, stopped and started again. */
import { appendFile, chown, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SQL } from 'bun';
import {
  commandRunner,
  findPrograms,
  postgresUser,
  type Run,
} from '../../src/postgres/embedded-programs.ts';
import { isRunning, makeFolder, waitFor } from '../support/process.ts';
import { freePort } from './service.ts';

export interface Cluster {
  readonly port: number;
  /** Of an empty database, as the account that owns it: for the API. */
  readonly url: string;
  /** The same as the superuser: for whoever breaks and checks. */
  readonly admin_url: string;
  start(): Promise<void>;
  /** Waits for the end. Immediate: as a crash; fast: connections are cut, what is committed is written. */
  stop(mode: 'immediate' | 'fast'): Promise<void>;
  /** Of the postmaster alone: its children notice, and end by themselves. */
  kill(): Promise<void>;
  /** Starts it, once stopped, as a standby of no server, which only reads until it is promoted. */
  startAsStandby(): Promise<void>;
  postmaster(): Promise<number>;
  /** Makes another empty database. @returns its URL. */
  createDatabase(name: string): Promise<string>;
  /** Copies the running cluster. @returns a standby that replicates from it, at a port of its own or at this one. */
  createStandby(port?: number): Promise<Cluster>;
  /** Starts it, once stopped, as a standby of this primary. */
  follow(primary: Cluster): Promise<void>;
  /** Makes a standby the primary, on a timeline of its own. */
  promote(): Promise<void>;
  /** Waits until this standby has replayed everything that the primary has written by now. */
  caughtUpWith(primary: Cluster): Promise<void>;
}

const CONNECTIONS_MAX = 200;
/** An account that owns the database and nothing else. */
const ROLE = 'mantou';

/** Makes a cluster below `parent` and starts it. It is ended and removed with the folder. */
export async function createCluster(parent = makeFolder()): Promise<Cluster> {
  const folder = join(parent, 'cluster');
  const { initdb, pg_ctl } = await findPrograms();
  await giveToPostgres(parent);
  const run = await commandRunner({ initdb, pg_ctl }, parent);
  await run(
    initdb,
    '-D',
    folder,
    '-U',
    'postgres',
    '-A',
    'trust',
    '-E',
    'UTF8',
    '--no-instructions',
  );
  const cluster = clusterIn(folder, run, pg_ctl);
  await cluster.start();
  const sql = new SQL({ url: urlOf('postgres', cluster.port, 'postgres'), max: 1 });
  await sql.unsafe(`create role ${ROLE} login`);
  await sql.close();
  await cluster.createDatabase('faults');
  return cluster;
}

const urlOf = (role: string, port: number, name: string) =>
  `postgres://${role}@127.0.0.1:${port}/${name}`;

async function giveToPostgres(folder: string) {
  if (process.getuid?.() !== 0) return;
  const { uid, gid } = await postgresUser();
  await chown(folder, uid, gid);
}

/** The cluster whose files are in the folder. */
function clusterIn(folder: string, run: Run, pgCtl: string, port = freePort()): Cluster {
  const options = [
    `-p ${port}`,
    ...[
      `listen_addresses=127.0.0.1`,
      `unix_socket_directories=`,
      `max_connections=${CONNECTIONS_MAX}`,
      'wal_keep_size=256MB',
    ],
  ].join(' -c ');
  const control = (command: string, ...rest: string[]) =>
    run(pgCtl, command, '-D', folder, '-w', '-t', '60', ...rest);

  const cluster: Cluster = {
    port,
    url: urlOf(ROLE, port, 'faults'),
    admin_url: urlOf('postgres', port, 'faults'),
    async start() {
      const begin = () => control('start', '-l', join(folder, 'server.log'), '-o', options);
      // The children of a postmaster that was killed take a moment to go, and hold its memory until then.
      await waitFor('PostgreSQL starts', () =>
        begin().then(
          () => true,
          () => false,
        ),
      );
    },
    stop: (mode) => control('stop', '-m', mode),
    async kill() {
      const pid = await cluster.postmaster();
      process.kill(pid, 'SIGKILL');
      await waitFor('the end of the postmaster', async () => !(await isRunning(pid)));
    },
    async startAsStandby() {
      await writeFile(join(folder, 'standby.signal'), '');
      await cluster.start();
    },
    async postmaster() {
      return Number.parseInt(await readFile(join(folder, 'postmaster.pid'), 'utf8'), 10);
    },
    async createDatabase(name) {
      const sql = new SQL({ url: urlOf('postgres', port, 'postgres'), max: 1 });
      await sql.unsafe(`create database ${name} owner ${ROLE}`);
      await sql.close();
      return urlOf(ROLE, port, name);
    },
    async createStandby(port = freePort()) {
      const copy = join(dirname(folder), `standby-${crypto.randomUUID()}`);
      const sql = new SQL({ url: cluster.admin_url, max: 1 });
      await sql`select pg_backup_start('standby', true)`;
      // Files may change and go while they are copied: what is missing then is in the write-ahead log.
      await Bun.spawn(['cp', '-a', folder, copy], { stderr: 'ignore' }).exited;
      const [label] = await sql`select labelfile from pg_backup_stop()`;
      await sql.close();
      await writeFile(join(copy, 'backup_label'), label.labelfile);
      await giveToPostgres(join(copy, 'backup_label'));
      await rm(join(copy, 'postmaster.pid'), { force: true });
      await appendFile(
        join(copy, 'postgresql.auto.conf'),
        `primary_conninfo = 'host=127.0.0.1 port=${cluster.port} user=postgres'\n`,
      );
      const standby = clusterIn(copy, run, pgCtl, port);
      await standby.startAsStandby();
      return standby;
    },
    async follow({ port: primaryPort }) {
      await appendFile(
        join(folder, 'postgresql.auto.conf'),
        `primary_conninfo = 'host=127.0.0.1 port=${primaryPort} user=postgres'\n`,
      );
      await cluster.startAsStandby();
    },
    async promote() {
      const sql = new SQL({ url: cluster.admin_url, max: 1 });
      await sql`select pg_promote()`;
      await sql.close();
    },
    async caughtUpWith(primary) {
      const source = new SQL({ url: primary.admin_url, max: 1 });
      const [{ position }] = await source`select pg_current_wal_lsn()::text as position`;
      await source.close();
      const sql = new SQL({ url: cluster.admin_url, max: 1 });
      await waitFor('the standby has replayed what the primary has written', async () => {
        const [row] = await sql`select pg_last_wal_replay_lsn() >= ${position}::pg_lsn as done`;
        return row.done;
      });
      await sql.close();
    },
  };
  return cluster;
}
