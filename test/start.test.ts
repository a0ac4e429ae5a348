/** The API as an operator meets it: a process that starts, says why it cannot, and ends when told to. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { cp, readdir, readFile, stat, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { SQL } from 'bun';
import { entries } from '../drizzle/meta/_journal.json';
import { keepSecret } from '../src/data-folder.ts';
import { logIn, registerAt } from './support/accounts.ts';
import { JWT_SECRET } from './support/api.ts';
import { createDatabase, createEmptyDatabase, dropDatabase } from './support/cluster.ts';
import { isWaiting, whileTableIsLocked } from './support/locks.ts';
import { makeFolder, refusalOf, start, statusOf, until, useProcesses } from './support/process.ts';
import { openProxy } from './support/proxy.ts';

useProcesses();

const root = join(import.meta.dir, '..');
let DATABASE_URL: string;
let sql: SQL;
/** What the start says on a server that takes connections and never answers. It waits for seconds, beside the tests. */
let words_on_silence: Promise<string>;
const silent_server = occupyPort();

beforeAll(async () => {
  DATABASE_URL = await createDatabase();
  words_on_silence = refusalOf({ ...elsewhere({ port: silent_server.port }), JWT_SECRET });
  words_on_silence.catch(() => undefined);
  sql = new SQL({ url: DATABASE_URL, max: 2 });
});

afterAll(async () => {
  silent_server.stop(true);
  await sql.close();
  await dropDatabase(DATABASE_URL);
});

describe('a start', () => {
  test('says one line, which ends in the URL, once it takes requests', async () => {
    const api = start({ DATABASE_URL, JWT_SECRET });
    const url = await api.url();
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect(await statusOf(`${url}/health/ready`)).toBe(200);
    expect(await api.stop()).toBe(0);
    expect(api.stdout).toBe(`mantou listening on ${url}\n`);
    expect(api.stderr).toBe('');
  });

  test('listens at the port that is asked for', async () => {
    const PORT = String(freePort());
    const api = start({ DATABASE_URL, JWT_SECRET, PORT });
    expect(await api.url()).toBe(`http://127.0.0.1:${PORT}`);
  });

  test('needs no data folder where the database and the secret are given', async () => {
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

describe('what cannot start says why in one line, and ends with 1', () => {
  test.each([
    ['PORT', 'http', 'PORT must be a whole number from 0 to 65535'],
    ['JWT_SECRET', 'hunter2', 'JWT_SECRET must be at least 32 bytes long: make one with "openssl'],
    ['DATABASE_URL', 'mysql://ada:hunter2@localhost/', 'DATABASE_URL must be a URL such as'],
  ])('%s=%s', async (name, value, line) => {
    const said = await refusalOf({ [name]: value });
    expect(said).toStartWith(line);
    expect(said).not.toContain('hunter2');
  });

  test('production without a secret, and how to make one', async () => {
    const line = await refusalOf({ DATABASE_URL, NODE_ENV: 'production' });
    expect(line).toBe(
      'JWT_SECRET must be set in production: make one with "openssl rand -base64 48"',
    );
  });

  test('a data folder that cannot be made', async () => {
    const file = join(makeFolder(), 'file');
    await Bun.write(file, '');
    expect(await refusalOf({ DATA_DIR: join(file, 'data') })).toBe(
      `${file}/data cannot be written (ENOTDIR): make it writable, or set DATA_DIR to a folder that is`,
    );
  });

  test('a port in use, even by another of its kind', async () => {
    const { port: PORT } = new URL(await start({ DATABASE_URL, JWT_SECRET }).url());
    expect(await refusalOf({ DATABASE_URL, JWT_SECRET, PORT })).toBe(
      `port ${PORT} on 127.0.0.1 is in use: stop what listens there, or set PORT`,
    );
  });

  test('an address of another machine', async () => {
    expect(await refusalOf({ DATABASE_URL, JWT_SECRET, HOST: '203.0.113.1' })).toBe(
      'cannot listen on 203.0.113.1:0 (EADDRNOTAVAIL): correct HOST and PORT',
    );
  });

  test('a database that cannot be reached', async () => {
    const port = freePort();
    const line = await refusalOf({ ...elsewhere({ port }), JWT_SECRET });
    expect(line).toBe(
      `the database${pathname()} at 127.0.0.1:${port} cannot be reached: start PostgreSQL, or correct DATABASE_URL`,
    );
  });

  test('a database that does not exist', async () => {
    const line = await refusalOf({ ...elsewhere({ pathname: '/nowhere' }), JWT_SECRET });
    expect(line).toMatch(
      /^the database\/nowhere at \S+ does not exist: create it, or correct DATABASE_URL$/,
    );
  });

  test.each(['hunter2', ''])('the wrong password "%s", which is not repeated', async (password) => {
    const line = await refusalOf({ ...elsewhere({ password }), JWT_SECRET });
    expect(line).toEndWith(' refuses the user name or password in DATABASE_URL: correct them');
    expect(line).not.toContain('hunter2');
  });

  test('a URL that the driver does not take', async () => {
    const line = await refusalOf({ ...elsewhere({ search: '?sslmode=maybe' }), JWT_SECRET });
    expect(line).toMatch(/^DATABASE_URL cannot be used: .*sslmode/);
  });

  test('a database that somebody else may change', async () => {
    await usingEmptyDatabase(async (empty) => {
      const role = `reader_${process.pid}`;
      await sql.unsafe(`create role ${role} login password 'reader'`);
      const as = (user: object) => ({ DATABASE_URL: Object.assign(new URL(empty), user).href });
      const line = await refusalOf({ ...as({ username: role, password: 'reader' }), JWT_SECRET });
      await sql.unsafe(`drop role ${role}`);
      expect(line).toEndWith('grant it CREATE on the database and on its schema public');
    });
  });

  test('a database that is only for reading', async () => {
    await usingEmptyDatabase(async (empty) => {
      const name = new URL(empty).pathname.slice(1);
      await sql.unsafe(`alter database ${name} set default_transaction_read_only = on`);
      const line = await refusalOf({ DATABASE_URL: empty, JWT_SECRET });
      expect(line).toEndWith('is read-only: name the primary server in DATABASE_URL');
    });
  });

  test('tables of another program', async () => {
    await usingEmptyDatabase(async (empty) => {
      const other = new SQL({ url: empty, max: 1 });
      await other`create table users (name text)`;
      await other.close();
      const line = await refusalOf({ DATABASE_URL: empty, JWT_SECRET });
      expect(line).toEndWith(' cannot be migrated: relation "users" already exists');
    });
  });

  test('a secret that was lost', async () => {
    const DATA_DIR = makeFolder();
    await Bun.write(join(DATA_DIR, 'jwt-secret'), '');
    expect(await refusalOf({ DATABASE_URL, DATA_DIR })).toBe(
      `${DATA_DIR}/jwt-secret holds no secret: restore it from a backup, or delete it to have a new one made`,
    );
  });
});

describe('the secret', () => {
  test('of development is made once, for its owner alone, and never shown', async () => {
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
    const token = await logIn(urls[0] ?? '');
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

  test('is one for all who make it at once, also under the same process number', async () => {
    // In containers that share a volume every process is the first.
    const DATA_DIR = makeFolder();
    const secrets = await Promise.all(
      Array.from({ length: 8 }, () => keepSecret(DATA_DIR, 'jwt-secret')),
    );
    expect(new Set(secrets).size).toBe(1);
    expect(await readdir(DATA_DIR)).toEqual(['jwt-secret']);
  });

  test('of the environment is never shown, whatever is logged', async () => {
    const JWT_SECRET_PREVIOUS = 'the secret of last month, also of thirty-two bytes';
    const secrets = { JWT_SECRET, JWT_SECRET_PREVIOUS };
    const proxy = await openProxy(DATABASE_URL);
    const api = start({ DATABASE_URL: proxy.url, ...secrets, LOG_LEVEL: 'debug' });
    const url = await api.url();
    const token = await logIn(url);
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
    '%s lets the request in flight finish, then ends with 0',
    async (signal) => {
      const api = start({ DATABASE_URL, JWT_SECRET });
      const url = await api.url();
      await whileTableIsLocked(sql, async (unlock) => {
        const answer = registerAt(url);
        await until('the request waits for the table', () => isWaiting(sql));
        api.kill(signal);
        await until('new requests are refused', async () => (await statusOf(url)) === 0);
        await unlock();
        expect((await answer).status).toBe(201);
      });
      expect(await api.ended).toBe(0);
      expect(api.stderr).toBe('');
    },
  );

  test('the second does not wait for the request in flight', async () => {
    const api = start({ DATABASE_URL, JWT_SECRET });
    const url = await api.url();
    await whileTableIsLocked(sql, async () => {
      const answer = registerAt(url);
      answer.catch(() => undefined);
      await until('the request waits for the table', () => isWaiting(sql));
      api.kill('SIGTERM');
      await until('new requests are refused', async () => (await statusOf(url)) === 0);
      // The table stays locked, so only the second signal can end this.
      expect(await api.stop('SIGINT')).toBe(1);
      await expect(answer).rejects.toThrow();
    });
  });
});

describe('migrations', () => {
  test('run once, though three processes start at once on an empty database', async () => {
    await usingEmptyDatabase(async (empty) => {
      const client = new SQL({ url: empty, max: 1 });
      // Nobody can make a schema until all three have come so far, so that they do meet.
      await client`begin`;
      await client`lock table pg_namespace in share row exclusive mode`;
      const all = [1, 2, 3].map(() => start({ DATABASE_URL: empty, JWT_SECRET }));
      await until('all three wait', async () => {
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

  test('run by "bun run migrate" too, which may be repeated', async () => {
    await usingEmptyDatabase(async (empty) => {
      for (const _ of ['first', 'again']) {
        const command = start({ DATABASE_URL: empty }, { script: 'src/cli/migrate.ts' });
        expect(await command.ended).toBe(0);
        expect(command.stdout).toBe('The database is migrated\n');
      }
      expect(await migrationsIn(empty)).toBe(entries.length);
    });
  });

  test('say why they cannot run', async () => {
    const nowhere = elsewhere({ pathname: '/nowhere' });
    const line = await refusalOf(nowhere, { script: 'src/cli/migrate.ts' });
    expect(line).toContain('does not exist: create it');
  });
});

test('the API is ready while its database is there, and alive throughout', async () => {
  const proxy = await openProxy(DATABASE_URL);
  const api = start({ DATABASE_URL: proxy.url, JWT_SECRET });
  const url = await api.url();
  const states = async () => [
    await statusOf(`${url}/health/live`),
    await statusOf(`${url}/health/ready`),
  ];
  expect(await states()).toEqual([200, 200]);
  await proxy.cut();
  expect(await states()).toEqual([200, 503]);
  await proxy.mend();
  expect(await states()).toEqual([200, 200]);
  expect(await api.stop()).toBe(0);
  await proxy.cut();
});

test('a database that takes connections and never answers is given up', async () => {
  expect(await words_on_silence).toEndWith(
    'cannot be reached: start PostgreSQL, or correct DATABASE_URL',
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
