/** The API as an operator meets it: a process that starts, says why it cannot, and ends when told to. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { cp, readdir, readFile, stat, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { SQL } from 'bun';
import { entries } from '../../drizzle/meta/_journal.json';
import { version } from '../../package.json';
import { loadOrCreateSecret } from '../../src/lib/data-dir.ts';
import { registerAt, signUpAt } from '../support/accounts.ts';
import { JWT_SECRET } from '../support/api.ts';
import { createDatabase, createEmptyDatabase, dropDatabase } from '../support/cluster.ts';
import { isWaiting, whileTableIsLocked } from '../support/locks.ts';
import {
  makeFolder,
  refusalOf,
  signalAgain,
  start,
  statusOf,
  useProcesses,
  waitFor,
} from '../support/process.ts';
import { openProxy } from '../support/proxy.ts';

useProcesses();

/** A signal that comes earlier than this after the first one is the same request to stop. */

const root = join(import.meta.dir, '../..');
let DATABASE_URL: string;
let sql: SQL;
/** What the start says on a server that takes connections and never answers. It waits for seconds, beside the tests. */
let wordsOnSilence: Promise<string>;
const silentServer = occupyPort();

beforeAll(async () => {
  DATABASE_URL = await createDatabase();
  wordsOnSilence = refusalOf({ ...elsewhere({ port: silentServer.port }), JWT_SECRET });
  wordsOnSilence.catch(() => undefined);
  sql = new SQL({ url: DATABASE_URL, max: 2 });
});

afterAll(async () => {
  silentServer.stop(true);
  await sql.close();
  await dropDatabase(DATABASE_URL);
});

describe('a start', () => {
  test('prints one line that ends in the URL once it accepts requests', async () => {
    const api = start({ DATABASE_URL, JWT_SECRET });
    const url = await api.url();
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect(await statusOf(`${url}/health/ready`)).toBe(200);
    expect(await api.stop()).toBe(0);
    expect(api.stdout).toBe(`mantou listening on ${url}\n`);
    expect(api.stderr).toBe('');
  });

  test('listens at PORT', async () => {
    const PORT = String(freePort());
    const api = start({ DATABASE_URL, JWT_SECRET, PORT });
    expect(await api.url()).toBe(`http://127.0.0.1:${PORT}`);
  });

  test('makes no data folder when the database and the secret are given', async () => {
    const DATA_DIR = join(makeFolder(), 'data');
    const api = start({ DATABASE_URL, JWT_SECRET, DATA_DIR });
    await api.url();
    await expect(stat(DATA_DIR)).rejects.toThrow('ENOENT');
  });

  test('works from a folder whose name has spaces and a percent sign', async () => {
    const project = join(makeFolder(), 'my projects 100%25');
    for (const name of ['src', 'drizzle', 'package.json'])
      await cp(join(root, name), join(project, name), { recursive: true });
    await symlink(join(root, 'node_modules'), join(project, 'node_modules'));
    const api = start({ DATABASE_URL, JWT_SECRET }, { project });
    expect(await statusOf(`${await api.url()}/health/ready`)).toBe(200);
  });
});

describe('the log of a start', () => {
  // biome-ignore lint/suspicious/noExplicitAny: lines are looked into freely.
  const linesOf = (stderr: string): any[] =>
    stderr
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));

  test('names version, database, data folder and migrations, then the stop', async () => {
    const DATA_DIR = join(makeFolder(), 'data');
    const api = start({ DATABASE_URL, JWT_SECRET, DATA_DIR, LOG_LEVEL: 'info' });
    await api.url();
    expect(await api.stop()).toBe(0);
    const lines = linesOf(api.stderr);
    expect(lines.map(({ event }) => event)).toEqual([
      'starting',
      'database_ready',
      'stopping',
      'stopped',
    ]);
    const database = `the database${pathname()} at ${new URL(DATABASE_URL).host}`;
    expect(lines[0]).toMatchObject({ version, database, data_dir: DATA_DIR, workers: 1 });
    expect(lines[1]).toMatchObject({ database, migrations: 0 });
    expect(lines[2]).toMatchObject({ signal: 'SIGTERM' });
    expect(api.stderr).not.toContain(new URL(DATABASE_URL).password);
  });

  test('begins in production without DATABASE_URL with the embedded database, and shows how it is made', async () => {
    const DATA_DIR = join(makeFolder(), 'data');
    const environment = { JWT_SECRET, DATA_DIR, LOG_LEVEL: 'info', NODE_ENV: 'production' };
    const api = start(environment);
    await api.url();
    // The log is written at the end of a turn of the event loop, so after the line with the URL.
    await waitFor('its last line', () => api.stderr.includes('"event":"database_ready"'));
    const lines = linesOf(api.stderr);
    expect(lines[0]).toMatchObject({ level: 'warn', data_dir: DATA_DIR });
    expect(lines[0].cure).toContain('DATABASE_URL is not set, so the embedded PostgreSQL serves');
    expect(lines.map(({ event }) => event)).toEqual([
      'embedded_database_in_production',
      'starting',
      'database_creating',
      'database_starting',
      'database_ready',
    ]);
    expect(lines[4]).toMatchObject({ migrations: entries.length });
  });

  test('warns of a misspelt setting, and resolves a relative DATA_DIR against the project', async () => {
    const misspelt = { DATABSE_URL: 'postgres://ada:hunter2@localhost/', RATELIMIT: 'off' };
    const environment = { DATABASE_URL, JWT_SECRET, DATA_DIR: './some/data', LOG_LEVEL: 'info' };
    const api = start({ ...environment, ...misspelt });
    await api.url();
    await waitFor('its last line', () => api.stderr.includes('"event":"database_ready"'));
    const [first, second, starting] = linesOf(api.stderr);
    expect([first.reason, second.reason]).toEqual([
      'DATABSE_URL is no setting: write DATABASE_URL',
      'RATELIMIT is no setting: write RATE_LIMIT',
    ]);
    expect(starting.data_dir).toBe(join(root, 'some/data'));
    expect(api.stderr).not.toContain('hunter2');
  });
});

describe('a start that fails prints the reason in one line and exits with 1', () => {
  test('with unknown names in .env.local and wrong values, all of them', async () => {
    const script = `printf 'DATABSE_URL=hunter2\nPORT=1\nexport COLOUR=red\nTZ=UTC\n' >.env.local; exec "$@"`;
    const prefix = ['bash', '-c', script, 'bash'];
    const line = await refusalOf({ JWT_SECRET, WORKERS: 'x', NODE_ENV: 'prod' }, { prefix });
    expect(line).toBe(
      '.env.local names DATABSE_URL, which is no setting: write DATABASE_URL; .env.local names COLOUR, which is no setting; NODE_ENV must be one of production, development, test; WORKERS must be a whole number from 1 to 64',
    );
  });

  test.each([
    ['PORT', 'http', 'PORT must be a whole number from 0 to 65535'],
    ['JWT_SECRET', 'hunter2', 'JWT_SECRET must be at least 32 bytes long: make one with "openssl'],
    ['DATABASE_URL', 'mysql://ada:hunter2@localhost/', 'DATABASE_URL must be a URL such as'],
  ])('%s=%s', async (name, value, line) => {
    const said = await refusalOf({ [name]: value });
    expect(said).toStartWith(line);
    expect(said).not.toContain('hunter2');
  });

  test('in production without a secret', async () => {
    const line = await refusalOf({ DATABASE_URL, NODE_ENV: 'production' });
    expect(line).toBe(
      'JWT_SECRET must be set in production: make one with "openssl rand -base64 48"',
    );
  });

  test('with a data folder that cannot be made', async () => {
    const file = join(makeFolder(), 'file');
    await Bun.write(file, '');
    expect(await refusalOf({ DATA_DIR: join(file, 'data') })).toBe(
      `${file}/data cannot be written (ENOTDIR): make it writable, or set DATA_DIR to a folder that is`,
    );
  });

  test('with a port that another mantou uses', async () => {
    const { port: PORT } = new URL(await start({ DATABASE_URL, JWT_SECRET }).url());
    expect(await refusalOf({ DATABASE_URL, JWT_SECRET, PORT })).toBe(
      `port ${PORT} on 127.0.0.1 is in use: stop what listens there, or set PORT`,
    );
  });

  test('with an address of another machine', async () => {
    expect(await refusalOf({ DATABASE_URL, JWT_SECRET, HOST: '203.0.113.1' })).toBe(
      'cannot listen on 203.0.113.1:0 (EADDRNOTAVAIL): correct HOST and PORT',
    );
  });

  test('with a database that cannot be reached', async () => {
    const port = freePort();
    const line = await refusalOf({ ...elsewhere({ port }), JWT_SECRET });
    expect(line).toBe(
      `the database${pathname()} at 127.0.0.1:${port} cannot be reached: start PostgreSQL, or correct DATABASE_URL`,
    );
  });

  test('with a database that does not exist', async () => {
    const line = await refusalOf({ ...elsewhere({ pathname: '/nowhere' }), JWT_SECRET });
    expect(line).toMatch(
      /^the database\/nowhere at \S+ does not exist: create it, or correct DATABASE_URL$/,
    );
  });

  test.each(['hunter2', ''])(
    'with the wrong password "%s", without repeating it',
    async (password) => {
      const line = await refusalOf({ ...elsewhere({ password }), JWT_SECRET });
      expect(line).toEndWith(' refuses the user name or password in DATABASE_URL: correct them');
      expect(line).not.toContain('hunter2');
    },
  );

  test('with a URL that the driver refuses', async () => {
    const line = await refusalOf({ ...elsewhere({ search: '?sslmode=maybe' }), JWT_SECRET });
    expect(line).toMatch(/^DATABASE_URL must be a URL whose sslmode is one of disable, /);
  });

  test('with a role that may not create tables', async () => {
    await usingEmptyDatabase(async (empty) => {
      const role = `reader_${process.pid}`;
      await sql.unsafe(`create role ${role} login password 'reader'`);
      const as = (user: object) => ({ DATABASE_URL: Object.assign(new URL(empty), user).href });
      const line = await refusalOf({ ...as({ username: role, password: 'reader' }), JWT_SECRET });
      await sql.unsafe(`drop role ${role}`);
      expect(line).toEndWith('grant it CREATE on the database and on its schema public');
    });
  });

  test('with a read-only database', async () => {
    await usingEmptyDatabase(async (empty) => {
      const name = new URL(empty).pathname.slice(1);
      await sql.unsafe(`alter database ${name} set default_transaction_read_only = on`);
      const line = await refusalOf({ DATABASE_URL: empty, JWT_SECRET });
      expect(line).toEndWith('is read-only: name the primary server in DATABASE_URL');
    });
  });

  test('with a database that has the tables of another program', async () => {
    await usingEmptyDatabase(async (empty) => {
      const other = new SQL({ url: empty, max: 1 });
      await other`create table users (name text)`;
      await other.close();
      const line = await refusalOf({ DATABASE_URL: empty, JWT_SECRET });
      expect(line).toEndWith(' cannot be migrated: relation "users" already exists');
    });
  });

  test('with an empty file of the secret', async () => {
    const DATA_DIR = makeFolder();
    await Bun.write(join(DATA_DIR, 'jwt-secret'), '');
    expect(await refusalOf({ DATABASE_URL, DATA_DIR })).toBe(
      `${DATA_DIR}/jwt-secret holds no secret: restore it from a backup, or delete it to have a new one made`,
    );
  });
});

describe('the secret', () => {
  test('of development is made once, readable by its owner only, and never printed', async () => {
    const DATA_DIR = join(makeFolder(), 'data');
    const both = [1, 2].map(() => start({ DATABASE_URL, DATA_DIR }));
    const urls = await Promise.all(both.map((api) => api.url()));

    const file = join(DATA_DIR, 'jwt-secret');
    const secret = await readFile(file, 'utf8');
    expect(secret).toMatch(/^[\w-]{43}$/);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await stat(DATA_DIR)).mode & 0o777).toBe(0o700);
    expect(await readdir(DATA_DIR)).toEqual(['jwt-secret']);

    // Both sign with it: either takes the other's tokens.
    const token = await signUpAt(urls[0] ?? '');
    const answer = await fetch(`${urls[1]}/users/me`, {
      headers: { authorization: `Bearer ${token}` },
    });
    expect(answer.status).toBe(200);

    await Promise.all(both.map((api) => api.stop()));
    const again = start({ DATABASE_URL, DATA_DIR });
    await again.url();
    expect(await readFile(file, 'utf8')).toBe(secret);
    for (const { stdout, stderr } of [...both, again])
      expect(stdout + stderr).not.toContain(secret);
  });

  test('is the same for all processes that make it at once, also with equal process ids', async () => {
    // In containers that share a volume every process is the first.
    const DATA_DIR = makeFolder();
    const secrets = await Promise.all(
      Array.from({ length: 8 }, () => loadOrCreateSecret(DATA_DIR, 'jwt-secret')),
    );
    expect(new Set(secrets).size).toBe(1);
    expect(await readdir(DATA_DIR)).toEqual(['jwt-secret']);
  });

  test('of the environment is never logged', async () => {
    const JWT_SECRET_PREVIOUS = 'the secret of last month, also of thirty-two bytes';
    const secrets = { JWT_SECRET, JWT_SECRET_PREVIOUS };
    const proxy = await openProxy(DATABASE_URL);
    const api = start({ DATABASE_URL: proxy.url, ...secrets, LOG_LEVEL: 'debug' });
    const url = await api.url();
    const token = await signUpAt(url);
    await fetch(`${url}/users/me`, { headers: { authorization: `Bearer ${token}x` } });
    await proxy.cut();
    await fetch(`${url}/users/me`, { headers: { authorization: `Bearer ${token}` } });
    await api.stop();
    for (const secret of [JWT_SECRET, JWT_SECRET_PREVIOUS, new URL(DATABASE_URL).password])
      expect(api.stdout + api.stderr).not.toContain(secret);
  });
});

describe('a signal', () => {
  test.each(['SIGTERM', 'SIGINT'] as const)(
    '%s lets the request in flight finish, then the server exits with 0',
    async (signal) => {
      const api = start({ DATABASE_URL, JWT_SECRET });
      const url = await api.url();
      await whileTableIsLocked(sql, async (unlock) => {
        const answer = registerAt(url);
        await waitFor('the request waits for the table', () => isWaiting(sql));
        api.kill(signal);
        await waitFor('new requests are refused', async () => (await statusOf(url)) === 0);
        await unlock();
        expect((await answer).status).toBe(201);
      });
      expect(await api.ended).toBe(0);
      expect(api.stderr).toBe('');
    },
  );

  test('one second after the first does not wait for the request in flight', async () => {
    const api = start({ DATABASE_URL, JWT_SECRET });
    const url = await api.url();
    await whileTableIsLocked(sql, async () => {
      const answer = registerAt(url);
      answer.catch(() => undefined);
      await waitFor('the request waits for the table', () => isWaiting(sql));
      api.kill('SIGTERM');
      await waitFor('new requests are refused', async () => (await statusOf(url)) === 0);
      // The table stays locked, so only the second signal can end this.
      expect(await signalAgain(() => api.kill('SIGINT'), api.ended)).toBe(1);
      await expect(answer).rejects.toThrow();
    });
  });
});

describe('migrations', () => {
  test('run once when three processes start at once on an empty database', async () => {
    await usingEmptyDatabase(async (empty) => {
      const client = new SQL({ url: empty, max: 1 });
      // No process can create a schema until all three are at this point, so that they meet.
      await client`begin`;
      await client`lock table pg_namespace in share row exclusive mode`;
      const all = [1, 2, 3].map(() => start({ DATABASE_URL: empty, JWT_SECRET }));
      await waitFor('all three wait', async () => {
        const rows = await sql`select from pg_stat_activity
          where datname = ${new URL(empty).pathname.slice(1)} and wait_event_type = 'Lock'`;
        return rows.length === all.length;
      });
      await client`commit`;
      await client.close();
      for (const api of all) expect(await statusOf(`${await api.url()}/health/ready`)).toBe(200);
      expect(await migrationsIn(empty)).toBe(entries.length);
    });
  });

  test('are applied by "bun run migrate" too, which may be repeated', async () => {
    await usingEmptyDatabase(async (empty) => {
      for (const _ of ['first', 'again']) {
        const command = start({ DATABASE_URL: empty }, { script: 'src/cli/migrate.ts' });
        expect(await command.ended).toBe(0);
        expect(command.stdout).toBe('The database is migrated\n');
      }
      expect(await migrationsIn(empty)).toBe(entries.length);
    });
  });

  test('that cannot run print the reason', async () => {
    const nowhere = elsewhere({ pathname: '/nowhere' });
    const line = await refusalOf(nowhere, { script: 'src/cli/migrate.ts' });
    expect(line).toContain('does not exist: create it');
  });
});

test('the server is ready while it reaches its database, and live throughout', async () => {
  const proxy = await openProxy(DATABASE_URL);
  const api = start({ DATABASE_URL: proxy.url, JWT_SECRET });
  const url = await api.url();
  const states = async () => [
    await statusOf(`${url}/health/live`),
    await statusOf(`${url}/health/ready`),
  ];
  expect(await states()).toEqual([200, 200]);
  await proxy.cut();
  // A check is kept for a second.
  await waitFor('the readiness fails', async () => Bun.deepEquals(await states(), [200, 503]));
  await proxy.mend();
  await waitFor('it is ready again', async () => Bun.deepEquals(await states(), [200, 200]));
  expect(await api.stop()).toBe(0);
  await proxy.cut();
});

test('a start gives up a database that accepts connections and never answers', async () => {
  expect(await wordsOnSilence).toEndWith(
    'does not answer: look at the network and the load of the server, and whether PostgreSQL listens at this port',
  );
});

/** The environment for the same server by other particulars. */
function elsewhere(particulars: object): { DATABASE_URL: string } {
  return { DATABASE_URL: Object.assign(new URL(DATABASE_URL), particulars).href };
}

const pathname = () => new URL(DATABASE_URL).pathname;

async function usingEmptyDatabase(work: (url: string) => Promise<void>) {
  const url = await createEmptyDatabase();
  try {
    await work(url);
  } finally {
    await dropDatabase(url);
  }
}

async function migrationsIn(url: string): Promise<number> {
  const client = new SQL({ url, max: 1 });
  const [row] = await client`select count(*)::int as number from drizzle.__drizzle_migrations`;
  await client.close();
  return row.number;
}

/** Takes connections at a free port, and says nothing. */
function occupyPort() {
  return Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } });
}

function freePort(): number {
  using listener = occupyPort();
  return listener.port;
}
