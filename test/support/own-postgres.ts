/** A PostgreSQL of a test file's own, with TLS by a CA of its own, and a socket. */
import { chmod, chown, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { $ } from 'bun';
import { loadOrCreateSecret } from '../../src/lib/data-dir.ts';
import { createCluster } from '../../src/postgres/embedded-cluster.ts';
import { commandRunner, findPrograms, postgresUser } from '../../src/postgres/embedded-programs.ts';

export interface OwnPostgres {
  readonly port: number;
  /** Of the role `postgres`. */
  readonly password: string;
  /** The certificate of the CA. */
  readonly ca: string;
  /** The folder of the socket. */
  readonly sockets: string;
  stop(): Promise<void>;
}

/** TCP needs TLS and a password, the socket a password. The certificate is for `localhost`. */
const HBA = `
local all all scram-sha-256
hostssl all all 127.0.0.1/32 scram-sha-256
hostssl all all ::1/128 scram-sha-256
`;

/** Starts it in an empty folder. */
export async function startOwnPostgres(folder: string): Promise<OwnPostgres> {
  const password = await loadOrCreateSecret(folder, 'postgres-password');
  const programs = await findPrograms();
  const run = await commandRunner(programs, folder);
  await createCluster(run, programs, folder);
  const cluster = join(folder, 'postgres');
  const sockets = join(folder, 'sockets');
  const ca = join(folder, 'ca.pem');
  const [key, certificate] = [join(cluster, 'server.key'), join(cluster, 'server.crt')];
  const shell = $.cwd(folder);
  await shell`openssl req -new -x509 -days 2 -nodes -subj /CN=tests -keyout ca.key -out ca.pem`.quiet();
  await shell`openssl req -new -nodes -subj /CN=localhost -keyout ${key} -out server.csr`.quiet();
  await writeFile(join(folder, 'names'), 'subjectAltName=DNS:localhost');
  await shell`openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out ${certificate}`.quiet();
  await chmod(key, 0o600);
  await mkdir(sockets);
  if (process.getuid?.() === 0) {
    const { uid, gid } = await postgresUser();
    for (const path of [key, certificate, sockets]) await chown(path, uid, gid);
  }
  await writeFile(join(cluster, 'pg_hba.conf'), HBA);
  const port = freePort();
  const options = `-p ${port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=${sockets} -c ssl=on -c fsync=off`;
  await run(
    programs.pg_ctl,
    ...['start', '-D', cluster, '-l', join(cluster, 'server.log'), '-o', options, '-w'],
  );
  return {
    port,
    password,
    ca,
    sockets,
    // The folder may have been removed before: then the server ends by itself.
    stop: () =>
      run(programs.pg_ctl, 'stop', '-D', cluster, '-m', 'immediate').catch(() => undefined),
  };
}

export function freePort(): number {
  using listener = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } });
  return listener.port;
}
