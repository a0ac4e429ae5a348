/** The PostgreSQL of the tests: one server under `.data/test`, which runs at the same time share. */
import { join } from 'node:path';
import { SQL } from 'bun';
import { type ConnectedDatabase, connectEmbeddedPostgres } from '../../src/postgres/embedded.ts';

const DATA_DIR = join(import.meta.dir, '../../.data/test');
/** For several files at a time, each with a few pools. */
const CONNECTIONS_MAX = 300;

/** Starts the server, or joins it where it runs. Call `leave` at the end. */
export async function joinTestPostgres(): Promise<ConnectedDatabase> {
  const postgres = await connectEmbeddedPostgres(DATA_DIR);
  const admin = new SQL({ url: postgres.url, max: 1 });
  // Tests lose nothing that matters if the machine goes down.
  await admin.unsafe('alter system set fsync = off');
  await admin.unsafe(`alter system set max_connections = ${CONNECTIONS_MAX}`);
  await admin`select pg_reload_conf()`;
  const [{ max_connections }] = await admin`show max_connections`;
  await admin.close();
  if (Number(max_connections) === CONNECTIONS_MAX) return postgres;
  // This setting takes a restart, once in the life of the folder.
  await postgres.leave();
  return connectEmbeddedPostgres(DATA_DIR);
}
