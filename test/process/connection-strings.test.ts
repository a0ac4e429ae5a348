/** The forms of DATABASE_URL: what works, and which cause and cure each failure names. docs/operations.md has the table. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import { $ } from 'bun';
import { explainFailure, openConnection } from '../../src/postgres/connection.ts';
import { readSettings } from '../../src/settings.ts';
import { JWT_SECRET } from '../support/api.ts';
import { runCommand } from '../support/command.ts';
import { freePort, type OwnPostgres, startOwnPostgres } from '../support/own-postgres.ts';
import { makeFolder, refusalOf, useProcesses } from '../support/process.ts';

useProcesses();

const ROLE = 'ada';
/** Every character that has to be escaped, and one that looks escaped. */
const PASSWORD = 'p/?#@:%25[]w';
const ESCAPED = encodeURIComponent(PASSWORD);

let server: OwnPostgres;
let folder: string;
/** What is said of each stranger. It takes seconds, beside the tests. */
let wordsOnStrangers: Record<keyof typeof strangers, Promise<string[]>>;
/** What listens and is not PostgreSQL. */
const strangers = {
  http: Bun.serve({ hostname: '127.0.0.1', port: 0, fetch: () => new Response('no') }),
  closing: Bun.listen({
    hostname: '127.0.0.1',
    port: 0,
    socket: { data: (socket) => void socket.end() },
  }),
  greeting: Bun.listen({
    hostname: '127.0.0.1',
    port: 0,
    socket: { open: (socket) => void socket.write('SSH-2.0-test\r\n'), data() {} },
  }),
  complaining: Bun.listen({
    hostname: '127.0.0.1',
    port: 0,
    socket: { data: (socket) => void socket.write('-ERR unknown command\r\n') },
  }),
};

beforeAll(async () => {
  wordsOnStrangers = Object.fromEntries(
    Object.entries(strangers).map(([kind, { port }]) => {
      const words = Promise.all(
        ['disable', 'require'].map((mode) =>
          tryConnection(`postgres://ada:hunter2@127.0.0.1:${port}/mantou?sslmode=${mode}`),
        ),
      );
      words.catch(() => undefined);
      return [kind, words];
    }),
  ) as typeof wordsOnStrangers;
  folder = makeFolder();
  server = await startOwnPostgres(folder);
  const url = `postgres://postgres:${server.password}@localhost/postgres?host=${server.sockets}&port=${server.port}`;
  const admin = openConnection(url, 'test');
  await admin.unsafe(`create role ${ROLE} login password '${PASSWORD}'`);
  await admin.unsafe(`create database mantou owner ${ROLE}`);
  await admin.close();
  await $`openssl req -new -x509 -days 2 -nodes -subj /CN=other -keyout other.key -out other.pem`
    .cwd(folder)
    .quiet();
});

afterAll(async () => {
  for (const one of Object.values(strangers)) one.stop(true);
  await server?.stop();
});

/** Fills in what differs from run to run. */
const fill = (text: string) =>
  text
    .replaceAll('PASSWORD', ESCAPED)
    .replaceAll('PORT', String(server?.port))
    .replaceAll('SOCKETS', String(server?.sockets))
    .replaceAll('CA_FILE', String(server?.ca))
    .replaceAll('OTHER_CA', join(folder ?? '', 'other.pem'));

/** @returns whether the connection has TLS, or why there is none. */
async function tryConnection(text: string, environment: Record<string, string> = {}) {
  const filled = Object.entries(environment).map(([name, value]) => [name, fill(value)]);
  const url = readSettings({ DATABASE_URL: fill(text), ...Object.fromEntries(filled) }).databaseUrl;
  const client = openConnection(url ?? '', 'test');
  try {
    const [row] = await client`
      select ssl, current_database() as database from pg_stat_ssl where pid = pg_backend_pid()`;
    expect(row.database).toBe('mantou');
    return row.ssl ? 'TLS' : 'plain';
  } catch (error) {
    return await explainFailure(error, url ?? '', 'used');
  } finally {
    await client.close({ timeout: 0 });
  }
}

describe('a connection string that works', () => {
  test.each([
    ['postgres://ada:PASSWORD@localhost:PORT/mantou?sslmode=require', 'TLS'],
    ['postgresql://ada:PASSWORD@127.0.0.1:PORT/mantou?sslmode=require', 'TLS'],
    ['postgres://ada:PASSWORD@localhost:PORT/mantou?sslmode=prefer', 'TLS'],
    ['postgres://ada:PASSWORD@localhost:PORT/mantou?ssl=true', 'TLS'],
    [
      'postgres://ada:PASSWORD@localhost:PORT/mantou?sslmode=verify-full&sslrootcert=CA_FILE',
      'TLS',
    ],
    ['postgres://ada:PASSWORD@127.0.0.1:PORT/mantou?sslmode=verify-ca&sslrootcert=CA_FILE', 'TLS'],
    ['postgres://ada:PASSWORD@localhost:PORT/mantou?sslmode=require&schema=public', 'TLS'],
    ['postgres://ada:PASSWORD@localhost:PORT/mantou?sslmode=require&connect_timeout=3', 'TLS'],
    ['postgres://ada:PASSWORD@localhost/mantou?host=SOCKETS&port=PORT', 'plain'],
    ['postgres://ada:PASSWORD@/mantou?host=SOCKETS&port=PORT', 'plain'],
  ])('%s', async (text, expected) => {
    expect(await tryConnection(text)).toBe(expected);
  });

  test('with the folder of the socket as an escaped host', async () => {
    const text = `postgres://ada:PASSWORD@${encodeURIComponent(server.sockets)}/mantou?port=PORT`;
    expect(await tryConnection(text)).toBe('plain');
  });

  test('with PGSSLROOTCERT and PGSSLMODE', async () => {
    const text = 'postgres://ada:PASSWORD@localhost:PORT/mantou';
    const PGSSLROOTCERT = 'CA_FILE';
    expect(await tryConnection(text, { PGSSLROOTCERT, PGSSLMODE: 'verify-full' })).toBe('TLS');
    expect(await tryConnection(`${text}?sslmode=verify-full`, { PGSSLROOTCERT })).toBe('TLS');
  });
});

describe('a connection string that fails names cause and cure', () => {
  test.each([
    [
      'without TLS',
      'postgres://ada:PASSWORD@localhost:PORT/mantou',
      /TLS.*: add \?sslmode=require/,
    ],
    [
      'an unknown CA',
      'postgres://ada:PASSWORD@localhost:PORT/mantou?sslmode=verify-full',
      /certificate.*sslrootcert/,
    ],
    [
      'another CA',
      'postgres://ada:PASSWORD@localhost:PORT/mantou?sslmode=verify-ca&sslrootcert=OTHER_CA',
      /certificate.*sslrootcert/,
    ],
    [
      'another CA, and require',
      'postgres://ada:PASSWORD@localhost:PORT/mantou?sslmode=require&sslrootcert=OTHER_CA',
      /certificate.*sslrootcert/,
    ],
    [
      'another host name',
      'postgres://ada:PASSWORD@127.0.0.1:PORT/mantou?sslmode=verify-full&sslrootcert=CA_FILE',
      /certificate/,
    ],
    [
      'a wrong password',
      'postgres://ada:hunter2@localhost:PORT/mantou?sslmode=require',
      /refuses the user name or password/,
    ],
    [
      'a missing database',
      'postgres://ada:PASSWORD@localhost:PORT/nowhere?sslmode=require',
      /does not exist: create it/,
    ],
    [
      'an unknown host',
      'postgres://ada:hunter2@no-such-host.invalid/mantou',
      /host name is unknown \(E\w+\): correct the host/,
    ],
    [
      'a missing socket',
      'postgres://ada:hunter2@/mantou?host=/nowhere',
      /the socket \/nowhere\/\.s\.PGSQL\.5432 \(ENOENT\)/,
    ],
    [
      'a parameter that the server does not know',
      'postgres://ada:PASSWORD@localhost:PORT/mantou?sslmode=require&colour=red',
      /parameter.*colour/,
    ],
  ])('%s', async (_, text, expected) => {
    const said = await tryConnection(text);
    expect(said).toMatch(expected);
    expect(said).not.toContain('hunter2');
    expect(said).not.toContain(ESCAPED);
  });

  test('a closed port', async () => {
    const port = freePort();
    expect(await tryConnection(`postgres://ada:hunter2@127.0.0.1:${port}/mantou`)).toBe(
      `the database/mantou at 127.0.0.1:${port} cannot be reached: start PostgreSQL, or correct DATABASE_URL`,
    );
  });

  test.each(Object.keys(strangers) as (keyof typeof strangers)[])(
    'a port where a server of another kind listens: %s',
    async (kind) => {
      const words = await wordsOnStrangers[kind];
      expect(words).toHaveLength(2);
      for (const said of words)
        expect(said).toContain('what listens at this port is not PostgreSQL');
    },
  );
});

describe('every command and the start say the same', () => {
  test.each([
    ['postgres://ada:PASSWORD@localhost:PORT/mantou', 'add ?sslmode=require to DATABASE_URL'],
    [
      'postgres://ada:PASSWORD@localhost:PORT/mantou?sslmode=verify-full&sslrootcert=/nowhere.pem',
      'sslrootcert in DATABASE_URL (or PGSSLROOTCERT) names /nowhere.pem, which cannot be read (ENOENT)',
    ],
    ['postgres://ada:PASSWORD/hunter2@localhost/mantou', '%2F'],
  ])('%s', async (text, expected) => {
    const environment = { DATABASE_URL: fill(text), JWT_SECRET };
    const commands: [string, string[]][] = [
      ['migrate', []],
      ['backup', [join(folder, 'backup')]],
      ['users', ['list']],
      ['doctor', []],
    ];
    const said = [await refusalOf(environment)];
    for (const [name, args] of commands) {
      const { code, stdout, stderr } = await runCommand(environment, name, args);
      expect([name, code]).toEqual([name, 1]);
      said.push(`${stdout}${stderr}`);
    }
    for (const text of said) {
      expect(text).toContain(expected);
      expect(text).not.toMatch(/hunter2|\n +at |TypeError/);
      expect(text).not.toContain(ESCAPED);
    }
  });
});
