/** A PostgreSQL of the suite's own, at a port of its own, with fsync on: to be killed, stopped and started again. */
import { chown, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SQL } from 'bun';
import { commandRunner, findPrograms, postgresUser } from '../../src/db/embedded.ts';
import { isRunning, makeFolder, until } from '../support/process.ts';
import { freePort } from './service.ts';

export interface Cluster {
  /** Of an empty database, as the account that owns it: for the API. */
  readonly url: string;
  /** The same as the superuser: for whoever breaks and checks. */
  readonly admin_url: string;
  start(): Promise<void>;
  /** Waits for the end. Immediate: as a crash; fast: connections are cut, what is committed is written. */
  stop(mode: 'immediate' | 'fast'): Promise<void>;
  /** Of the postmaster alone: its children notice, and end by themselves. */
  kill(): Promise<void>;
  postmaster(): Promise<number>;
  /** Makes another empty database. @returns its URL. */
  createDatabase(name: string): Promise<string>;
}

const CONNECTIONS_MAX = 200;
/** An account that owns the database and nothing else. */
const ROLE = 'mantou';

/** Makes a cluster below `parent` and starts it. It is ended and removed with the folder. */
export async function createCluster(parent = makeFolder()): Promise<Cluster> {
  const folder = join(parent, 'cluster');
  const { initdb, pg_ctl } = await findPrograms();
  if (process.getuid?.() === 0) {
    const { uid, gid } = await postgresUser();
    await chown(parent, uid, gid);
  }
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
  const port = freePort();
  const options = [
    `-p ${port}`,
    ...[
      `listen_addresses=127.0.0.1`,
      `unix_socket_directories=`,
      `max_connections=${CONNECTIONS_MAX}`,
    ],
  ].join(' -c ');
  const control = (command: string, ...rest: string[]) =>
    run(pg_ctl, command, '-D', folder, '-w', '-t', '60', ...rest);
  const urlOf = (role: string, name: string) => `postgres://${role}@127.0.0.1:${port}/${name}`;

  const cluster: Cluster = {
    url: urlOf(ROLE, 'faults'),
    admin_url: urlOf('postgres', 'faults'),
    async start() {
      const begin = () => control('start', '-l', join(folder, 'server.log'), '-o', options);
      // The children of a postmaster that was killed take a moment to go, and hold its memory until then.
      await until('PostgreSQL starts', () =>
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
      await until('the end of the postmaster', async () => !(await isRunning(pid)));
    },
    async postmaster() {
      return Number.parseInt(await readFile(join(folder, 'postmaster.pid'), 'utf8'), 10);
    },
    async createDatabase(name) {
      const sql = new SQL({ url: urlOf('postgres', 'postgres'), max: 1 });
      await sql.unsafe(`create database ${name} owner ${ROLE}`);
      await sql.close();
      return urlOf(ROLE, name);
    },
  };
  await cluster.start();
  const sql = new SQL({ url: urlOf('postgres', 'postgres'), max: 1 });
  await sql.unsafe(`create role ${ROLE} login`);
  await sql.close();
  await cluster.createDatabase('faults');
  return cluster;
}
