/**
 * Three PostgreSQL servers of Debian's under Patroni, etcd and HAProxy, all on loopback, with the examples of `deploy/`. The
 * addresses and ports differ, and etcd is asked by its second API: Debian's Patroni 3.0.2 can lose acknowledged writes with
 * the third.
 */
import { chown, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SQL, YAML } from 'bun';
import { postgresUser } from '../../src/postgres/embedded-programs.ts';
import { freePort, isRunning, waitFor } from '../support/process.ts';

const examples = join(import.meta.dir, '../../deploy');
const NODES = ['pg1', 'pg2', 'pg3'] as const;
type NodeName = (typeof NODES)[number];
const SUPERUSER_PASSWORD = 'superuser';
/** Owns the database and nothing else. */
export const ROLE = 'mantou';
export const ROLE_PASSWORD = 'hunter2';
const DATABASE = 'mantou';
const ETCD_AWAY_EXTRA_SECONDS = 10;
const PROGRAMS = ['patroni', 'etcd', 'haproxy'];

// biome-ignore lint/suspicious/noExplicitAny: configurations and answers are looked into freely.
type Json = any;

interface Node {
  readonly name: NodeName;
  readonly port: number;
  readonly restPort: number;
  readonly folder: string;
  patroni: Bun.Subprocess;
}

export interface HaCluster {
  /** The URL of the database through HAProxy. */
  readonly proxyUrl: string;
  /** The connection string with all hosts. */
  readonly hostsUrl: string;
  readonly ttlSeconds: number;
  /** The URL of the database on the present primary, as the superuser. */
  primaryUrl(): Promise<string>;
  /** Waits until there is a primary with two standbys, of which one is synchronous. */
  settled(): Promise<void>;
  /** `kill -9` of the primary's Patroni, postmaster and server processes; later the node is started again. */
  killPrimary(): Promise<() => Promise<void>>;
  /** SIGSTOP of the same processes; later they go on. */
  pausePrimary(): Promise<() => Promise<void>>;
  /** A planned change of the primary by Patroni. */
  switchOver(): Promise<void>;
  /** SIGSTOP of etcd, for longer than the primary may do without it unless Patroni has `failsafe_mode`. */
  pauseEtcd(): Promise<() => Promise<void>>;
  /** `kill -9` of HAProxy, and its start at the same port. */
  restartProxy(): Promise<void>;
  stop(): Promise<void>;
}

/** Returns the programs that are not installed, and the folder of PostgreSQL's. */
export async function findInstallation(): Promise<{ missing: string[]; bin: string | undefined }> {
  const versions = await readdir('/usr/lib/postgresql').catch(() => []);
  const latest = versions.map(Number).sort((one, other) => other - one)[0];
  const missing = PROGRAMS.filter((name) => !Bun.which(name));
  if (latest === undefined) missing.push('postgres');
  return { missing, bin: latest === undefined ? undefined : `/usr/lib/postgresql/${latest}/bin` };
}

/** Starts everything below the folder, and waits until it is settled. */
export async function startHaCluster(folder: string): Promise<HaCluster> {
  const { missing, bin } = await findInstallation();
  if (missing.length > 0 || bin === undefined)
    throw new Error(
      `${missing.join(', ')} not found: apt-get install patroni etcd-server haproxy postgresql`,
    );
  const become = await ownFolder(folder);
  const etcdPort = freePort();
  const log = (name: string) => Bun.file(join(folder, `${name}.log`));
  const run = (name: string, command: string[]) =>
    Bun.spawn([...become, ...command], {
      cwd: folder,
      stdin: 'ignore',
      stdout: log(name),
      stderr: log(name),
      env: { PATH: `${bin}:${process.env.PATH}`, LC_ALL: 'C.UTF-8', HOME: folder },
    });

  const etcd = run('etcd', [
    'etcd',
    ...['--data-dir', join(folder, 'etcd'), '--enable-v2=true', '--log-level', 'error'],
    ...['--listen-client-urls', `http://127.0.0.1:${etcdPort}`],
    ...['--advertise-client-urls', `http://127.0.0.1:${etcdPort}`],
    ...['--listen-peer-urls', `http://127.0.0.1:${freePort()}`],
  ]);
  const example = await readFile(join(examples, 'patroni.yml'), 'utf8');
  const startNode = (node: Omit<Node, 'patroni'>) =>
    run(node.name, ['patroni', join(node.folder, 'patroni.yml')]);

  const nodes: Node[] = [];
  for (const name of NODES) {
    const node = { name, port: freePort(), restPort: freePort(), folder: join(folder, name) };
    await mkdir(node.folder);
    await ownFolder(node.folder);
    const settings = settingsOf(example, node, etcdPort, bin);
    await writeFile(join(node.folder, 'patroni.yml'), JSON.stringify(settings));
    nodes.push({ ...node, patroni: startNode(node) });
  }
  const proxyPort = freePort();
  const proxyFile = join(folder, 'haproxy.cfg');
  await writeFile(proxyFile, await proxyConfiguration(nodes, proxyPort));
  const startProxy = () => run('haproxy', ['haproxy', '-db', '-f', proxyFile]);
  let haproxy = startProxy();
  const { ttl } = (YAML.parse(example) as Json).bootstrap.dcs;

  const urlOf = (role: string, password: string, hosts: string, name: string) =>
    `postgres://${role}:${password}@${hosts}/${name}`;

  async function roleOf({ restPort }: Node): Promise<{ role?: string; sync_standby?: boolean }> {
    try {
      const response = await fetch(`http://127.0.0.1:${restPort}/patroni`, {
        signal: AbortSignal.timeout(1000),
      });
      const state: Json = await response.json();
      return state.state === 'running' ? state : {};
    } catch {
      return {};
    }
  }

  const isPrimary = ({ role }: { role?: string }) => role === 'master' || role === 'primary';

  const findPrimary = () =>
    waitFor('there is a primary', async () => {
      const states = await Promise.all(nodes.map(roleOf));
      return nodes.find((_, at) => isPrimary(states[at] ?? {}));
    });

  /** Patroni alone can stop postmaster and children by itself; a dead node has none of them. */
  async function signal(node: Node, name: NodeJS.Signals) {
    const file = join(node.folder, 'data/postmaster.pid');
    const postmaster = Number.parseInt(await readFile(file, 'utf8'), 10);
    const pids = [node.patroni.pid, postmaster, ...(await childrenOf(postmaster))];
    for (const pid of pids) process.kill(pid, name);
    return pids;
  }

  const cluster: HaCluster = {
    proxyUrl: urlOf(ROLE, ROLE_PASSWORD, `127.0.0.1:${proxyPort}`, DATABASE),
    hostsUrl: urlOf(
      ROLE,
      ROLE_PASSWORD,
      nodes.map(({ port }) => `127.0.0.1:${port}`).join(','),
      DATABASE,
    ),
    ttlSeconds: ttl,
    async primaryUrl() {
      const { port } = await findPrimary();
      return urlOf('postgres', SUPERUSER_PASSWORD, `127.0.0.1:${port}`, DATABASE);
    },
    async settled() {
      await waitFor('a primary, and two standbys that replicate', async () => {
        const states = await Promise.all(nodes.map(roleOf));
        const leader = nodes.find((_, at) => isPrimary(states[at] ?? {}));
        if (!leader) return false;
        const standbys = states.filter(({ role }) => role === 'replica');
        if (standbys.length !== 2 || !standbys.some((one) => one.sync_standby)) return false;
        return countSynchronous(leader.port);
      });
    },
    async killPrimary() {
      const node = await findPrimary();
      const pids = await signal(node, 'SIGKILL');
      return async () => {
        for (const pid of pids)
          await waitFor('the end of the processes', async () => !(await isRunning(pid)));
        node.patroni = startNode(node);
      };
    },
    async pausePrimary() {
      const pids = await signal(await findPrimary(), 'SIGSTOP');
      return async () => {
        for (const pid of pids) if (await isRunning(pid)) process.kill(pid, 'SIGCONT');
      };
    },
    async switchOver() {
      const leader = await findPrimary();
      const response = await fetch(`http://127.0.0.1:${leader.restPort}/switchover`, {
        method: 'POST',
        body: JSON.stringify({ leader: leader.name }),
      });
      if (!response.ok) throw new Error(`switchover: ${await response.text()}`);
      await waitFor('another primary', async () => (await findPrimary()) !== leader);
    },
    async pauseEtcd() {
      etcd.kill('SIGSTOP');
      await Bun.sleep((ttl + ETCD_AWAY_EXTRA_SECONDS) * 1000);
      return async () => void etcd.kill('SIGCONT');
    },
    async restartProxy() {
      haproxy.kill('SIGKILL');
      await haproxy.exited;
      haproxy = startProxy();
    },
    async stop() {
      etcd.kill('SIGCONT');
      for (const node of nodes) {
        // A node that is starting may have no server yet.
        await signal(node, 'SIGKILL').catch(() => undefined);
        node.patroni.kill('SIGKILL');
      }
      for (const one of [haproxy, etcd]) one.kill('SIGKILL');
      await Promise.all([haproxy.exited, etcd.exited, ...nodes.map((one) => one.patroni.exited)]);
    },
  };

  await cluster.settled();
  const { port } = await findPrimary();
  const admin = new SQL(urlOf('postgres', SUPERUSER_PASSWORD, `127.0.0.1:${port}`, 'postgres'), {
    max: 1,
  });
  await admin.unsafe(`create role ${ROLE} login password '${ROLE_PASSWORD}'`);
  await admin.unsafe(`create database ${DATABASE} owner ${ROLE}`);
  await admin.close();
  return cluster;

  /** Whether both standbys stream, and one of them is waited for. */
  async function countSynchronous(port: number): Promise<boolean> {
    const sql = new SQL(urlOf('postgres', SUPERUSER_PASSWORD, `127.0.0.1:${port}`, 'postgres'), {
      max: 1,
    });
    try {
      const [row] = await sql`
        select count(*)::int as all, count(*) filter (where sync_state = 'sync')::int as sync
        from pg_stat_replication where state = 'streaming'`;
      return row.all === 2 && row.sync === 1;
    } catch {
      return false;
    } finally {
      await sql.close({ timeout: 0 });
    }
  }
}

/** The example of `deploy/` for one node. */
function settingsOf(
  example: string,
  node: Omit<Node, 'patroni'>,
  etcdPort: number,
  bin: string,
): object {
  const { etcd3: _, ...settings } = YAML.parse(example) as Json;
  const [rest, server] = [`127.0.0.1:${node.restPort}`, `127.0.0.1:${node.port}`];
  return {
    ...settings,
    name: node.name,
    restapi: { listen: rest, connect_address: rest },
    etcd: { hosts: [`127.0.0.1:${etcdPort}`] },
    postgresql: {
      ...settings.postgresql,
      listen: server,
      connect_address: server,
      data_dir: join(node.folder, 'data'),
      bin_dir: bin,
      pgpass: join(node.folder, 'pgpass'),
      authentication: {
        replication: { username: 'replicator', password: 'replicator' },
        superuser: { username: 'postgres', password: SUPERUSER_PASSWORD },
      },
      parameters: { unix_socket_directories: node.folder },
      pg_hba: [
        'local all all trust',
        'host replication replicator 127.0.0.1/32 scram-sha-256',
        'host all all 127.0.0.1/32 scram-sha-256',
      ],
    },
  };
}

async function proxyConfiguration(nodes: Node[], port: number): Promise<string> {
  const example = await readFile(join(examples, 'haproxy.cfg'), 'utf8');
  return nodes.reduce(
    (text, node) =>
      text.replace(
        new RegExp(`server ${node.name} .*`),
        `server ${node.name} 127.0.0.1:${node.port} check port ${node.restPort}`,
      ),
    example.replace('127.0.0.1:5000', `127.0.0.1:${port}`),
  );
}

/** PostgreSQL refuses to run as root. @returns what a command begins with to run as the user who does. */
async function ownFolder(folder: string): Promise<string[]> {
  if (process.getuid?.() !== 0) return [];
  const { uid, gid } = await postgresUser();
  await chown(folder, uid, gid);
  return ['setpriv', '--reuid', `${uid}`, '--regid', `${gid}`, '--clear-groups'];
}

async function childrenOf(pid: number): Promise<number[]> {
  const text = await Bun.file(`/proc/${pid}/task/${pid}/children`).text();
  return text.split(' ').filter(Boolean).map(Number);
}
