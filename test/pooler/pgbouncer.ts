/** A PgBouncer of Debian's on loopback, before the PostgreSQL of a URL. */
import { chmod, chown, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { postgresUser } from '../../src/postgres/embedded-programs.ts';
import { freePort } from '../faults/service.ts';

export interface PgBouncer {
  readonly port: number;
  stop(): Promise<void>;
}

export async function startPgBouncer(
  databaseUrl: string,
  mode: 'session' | 'transaction',
  folder: string,
): Promise<PgBouncer> {
  const { hostname, port: serverPort, username, password } = new URL(databaseUrl);
  const port = freePort();
  const file = join(folder, `pgbouncer-${mode}.ini`);
  await writeFile(
    file,
    `[databases]
* = host=${hostname} port=${serverPort} user=${username} password=${decodeURIComponent(password)}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = ${mode}
max_client_conn = 1000
default_pool_size = 40
ignore_startup_parameters = jit, statement_timeout, idle_in_transaction_session_timeout
`,
  );
  let become: string[] = [];
  // It refuses to run as root.
  if (process.getuid?.() === 0) {
    const { uid, gid } = await postgresUser();
    await chown(folder, uid, gid);
    await chown(file, uid, gid);
    await chmod(file, 0o600);
    become = ['setpriv', '--reuid', `${uid}`, '--regid', `${gid}`, '--clear-groups'];
  }
  const child = Bun.spawn([...become, 'pgbouncer', '--quiet', file], {
    stdout: 'ignore',
    stderr: 'inherit',
  });
  for (;;) {
    const reached = await Bun.connect({
      hostname: '127.0.0.1',
      port,
      socket: { data() {} },
    }).catch(() => undefined);
    reached?.end();
    if (reached) break;
    if (child.exitCode !== null) throw new Error(`pgbouncer ended with ${child.exitCode}`);
    await Bun.sleep(50);
  }
  return {
    port,
    async stop() {
      child.kill('SIGKILL');
      await child.exited;
    },
  };
}
