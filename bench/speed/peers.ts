/**
 * What somebody would pick instead: Fastify and FastAPI as they lie in a folder, with `schema.sql` for tables of their
 * own and the routes that list projects, list tasks and create tasks.
 */
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { SQL } from 'bun';
import { SignJWT } from 'jose';
import { addressOf, JWT_SECRET, PEOPLE, type Person } from './data.ts';
import { freePort, type Running, startAt } from './servers.ts';

interface Peer {
  name: string;
  start(database_url: string): Promise<Running>;
}

/** Those that can run here; says of the others what they lack. */
export async function findPeers(folder: string, scratch: string): Promise<Peer[]> {
  const environment = (database_url: string, port: number) => ({
    DATABASE_URL: database_url,
    JWT_SECRET,
    PORT: String(port),
  });
  const fastify = join(scratch, 'fastify');
  await cp(join(folder, 'fastify'), fastify, { recursive: true });
  await Bun.$`npm install --silent --no-audit --no-fund`.cwd(fastify).quiet();
  const peers: Peer[] = [
    {
      name: 'Fastify',
      async start(url) {
        const port = await freePort();
        return startAt(port, ['node', join(fastify, 'app.mjs')], environment(url, port));
      },
    },
  ];
  const python =
    await Bun.$`/usr/bin/python3 -c "import fastapi, uvicorn, sqlalchemy, jwt, psycopg2, uvloop, httptools"`
      .nothrow()
      .quiet();
  if (python.exitCode !== 0) {
    console.error('FastAPI is left out: its Python packages are not installed');
    return peers;
  }
  peers.push({
    name: 'FastAPI',
    async start(url) {
      const port = await freePort();
      const module = ['--app-dir', join(folder, 'fastapi'), 'main:app'];
      const command = ['/usr/bin/python3', '-m', 'uvicorn', ...module, '--port', String(port)];
      return startAt(port, [...command, '--log-level', 'error'], environment(url, port));
    },
  });
  return peers;
}

/** As many people as ours, with the projects that `schema.sql` gives them. */
export async function readPeerPeople(url: string): Promise<Person[]> {
  const sql = new SQL({ url, max: 1 });
  try {
    const rows =
      await sql`select users.id, username, json_agg(json_build_object('id', projects.id, 'task_ids', '[]'::json)) as projects
      from users join projects on owner_id = users.id group by users.id order by username limit ${PEOPLE}`;
    return Promise.all(
      rows.map(async (person: Pick<Person, 'id' | 'username' | 'projects'>, n: number) => ({
        ...person,
        address: addressOf(n),
        access_token: await new SignJWT()
          .setProtectedHeader({ alg: 'HS256' })
          .setSubject(person.id)
          .setExpirationTime('1d')
          .sign(new TextEncoder().encode(JWT_SECRET)),
      })),
    );
  } finally {
    await sql.close();
  }
}
