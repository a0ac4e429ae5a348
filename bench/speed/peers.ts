/**
 * Peers: Fastify and FastAPI, which a project could choose instead, as they are in a folder, with `schema.sql` for tables of
 * their own and the routes that list projects, list tasks and create tasks.
 */
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { SQL } from 'bun';
import { SignJWT } from 'jose';
import { addressOf, JWT_SECRET, PEOPLE, type Person } from './data.ts';
import { freePort, type Running, startAt } from './servers.ts';

/** The packages of Debian are for its own Python. */
const PYTHON = '/usr/bin/python3';

/** FastAPI as its tutorial shows it, and at its best: an asynchronous driver, JSON from PostgreSQL, a process a core. */
const pythonPeers = [
  {
    name: 'FastAPI',
    folder: 'fastapi',
    packages: 'fastapi, uvicorn, sqlalchemy, jwt, psycopg2, uvloop, httptools',
    options: [],
  },
  {
    name: 'FastAPI with asyncpg',
    folder: 'fastapi-async',
    packages: 'fastapi, uvicorn, asyncpg, jwt, uvloop, httptools',
    options: ['--workers', String(navigator.hardwareConcurrency)],
  },
];

interface Peer {
  name: string;
  start(databaseUrl: string): Promise<Running>;
}

/** Returns the peers that can run here, and prints what the others lack. */
export async function findPeers(folder: string, scratch: string): Promise<Peer[]> {
  const environment = (databaseUrl: string, port: number) => ({
    DATABASE_URL: databaseUrl,
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
  for (const one of pythonPeers) {
    const imports = `import ${one.packages}`;
    const { exitCode } = await Bun.$`${PYTHON} -c ${imports}`.nothrow().quiet();
    if (exitCode !== 0) {
      console.error(`${one.name} is left out: Python cannot ${imports}`);
      continue;
    }
    peers.push({
      name: one.name,
      async start(url) {
        const port = await freePort();
        const module = ['--app-dir', join(folder, one.folder), 'main:app', ...one.options];
        const command = [PYTHON, '-m', 'uvicorn', ...module, '--port', String(port)];
        return startAt(port, [...command, '--log-level', 'error'], environment(url, port));
      },
    });
  }
  return peers;
}

/** Returns as many people as the fixed data has, with the projects that `schema.sql` gives them. */
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
