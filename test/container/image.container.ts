/** The image as an operator runs it: built from the Dockerfile as it is, with a read-only root and no privilege. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { engines, version } from '../../package.json';
import { createDatabase, dropDatabase } from '../support/cluster.ts';
import { statusOf, useProcesses, waitFor } from '../support/process.ts';

useProcesses();
const BUILD_TIMEOUT_MS = 900_000;
const TEST_TIMEOUT_MS = 120_000;
setDefaultTimeout(TEST_TIMEOUT_MS);

const root = join(import.meta.dir, '../..');
const IMAGE = 'localhost/mantou:test';
/** What the image may add to its base. */
const ADDED_MB_MAX = 120;
/** The contract's bound for a stop; the engine kills what takes longer. */
const STOP_TIMEOUT_SECONDS = 10;

const dockerfile = await readFile(join(root, 'Dockerfile'), 'utf8');
const BASE = /^FROM (\S+) AS build$/m.exec(dockerfile)?.[1] ?? '';

/** Works without cgroups of its own, a registry and a network of its own, as inside another container. */
const BUILD_FLAGS = [
  '--format',
  'docker',
  '--isolation',
  'chroot',
  '--network',
  'host',
  '--pull=never',
];
/** So that downloads verify where the host trusts further authorities. */
const CERTIFICATES = '/etc/ssl/certs';
const RUN_FLAGS = [
  '--network',
  'host',
  '--pull=never',
  '--ulimit',
  'nofile=1024:1024',
  '--ulimit',
  'nproc=4096:4096',
];
/** What an operator adds who wants nothing writable but the data. */
const LOCKED_DOWN = [
  '--read-only',
  '--read-only-tmpfs=false',
  '--cap-drop=all',
  '--security-opt=no-new-privileges',
];

const unique = `mantou-test-${process.pid}`;
const containers: string[] = [];
const volumes: string[] = [];

async function run(command: string[], cwd = root) {
  const child = Bun.spawn(command, { cwd, stdout: 'pipe', stderr: 'pipe' });
  const [stdout, stderr, code] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  return { code, stdout, stderr };
}

const podman = (...args: string[]) => run(['podman', '--runtime', 'runc', ...args]);

/** @returns standard output of what has to succeed. */
async function podmanWell(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await podman(...args);
  if (code !== 0) throw new Error(`podman ${args.join(' ')}: ${stderr}`);
  return stdout.trim();
}

/** Starts a container at a free port of loopback. @returns its name. */
async function start(environment: Record<string, string>, ...flags: string[]): Promise<string> {
  const name = `${unique}-${containers.length}`;
  containers.push(name);
  const settings = { HOST: '127.0.0.1', PORT: '0', ...environment };
  const variables = Object.entries(settings).flatMap(([key, value]) => [
    '--env',
    `${key}=${value}`,
  ]);
  await podmanWell(
    'run',
    '--detach',
    '--name',
    name,
    ...RUN_FLAGS,
    ...LOCKED_DOWN,
    ...variables,
    ...flags,
    IMAGE,
  );
  return name;
}

async function newVolume(): Promise<string> {
  const name = `${unique}-data-${volumes.length}`;
  volumes.push(name);
  await podmanWell('volume', 'create', name);
  return name;
}

/** The URL that the server has printed at its first start, or a later one. */
const urlOf = (name: string, starts = 1): Promise<string> =>
  waitFor(`${name} listens`, async () => {
    const { stdout, stderr } = await podman('logs', name);
    const urls = [...stdout.matchAll(/ listening on (http:\S+)/g)].map(([, one]) => one ?? '');
    if ((await podmanWell('inspect', '--format', '{{.State.Status}}', name)) === 'exited')
      throw new Error(`${name} ended: ${stdout}${stderr}`);
    return urls[starts - 1] ?? '';
  });

const sizeOf = async (image: string) =>
  Number(await podmanWell('image', 'inspect', '--format', '{{.Size}}', image)) / 1e6;

// biome-ignore lint/suspicious/noExplicitAny: answers are looked into freely.
async function call(url: string, method: string, token?: string, body?: object): Promise<any> {
  const answer = await fetch(url, {
    method,
    headers: {
      'content-type': 'application/json',
      ...(token && { authorization: `Bearer ${token}` }),
    },
    ...(body && { body: JSON.stringify(body) }),
  });
  expect([method, url, answer.ok]).toEqual([method, url, true]);
  return answer.json();
}

const account = {
  username: 'ada',
  email: 'ada@example.org',
  password: 'correct horse battery staple',
};

/** From register to a done task. */
async function walk(url: string) {
  await call(`${url}/users/register`, 'POST', undefined, account);
  const { access_token: token } = await call(`${url}/users/login`, 'POST', undefined, credentials);
  const project = await call(`${url}/projects/`, 'POST', token, { name: 'Kitchen' });
  const task = await call(`${url}/tasks/projects/${project.id}`, 'POST', token, { title: 'Tiles' });
  const done = await call(`${url}/tasks/${task.id}`, 'PATCH', token, { status: 'done' });
  expect(done.completed_at).not.toBeNull();
  return { token, done };
}

const { email: _, ...credentials } = account;

beforeAll(async () => {
  const made = await run([join(import.meta.dir, 'base-image.sh'), BASE, process.execPath]);
  if (made.code !== 0) throw new Error(`no base image: ${made.stdout}${made.stderr}`);
  const certificates = existsSync(CERTIFICATES)
    ? ['--volume', `${CERTIFICATES}:${CERTIFICATES}:ro`]
    : [];
  await podmanWell('build', ...BUILD_FLAGS, ...certificates, '--tag', IMAGE, root);
}, BUILD_TIMEOUT_MS);

afterAll(async () => {
  for (const name of containers) await podman('rm', '--force', '--volumes', '--time', '0', name);
  for (const name of volumes) await podman('volume', 'rm', '--force', name);
});

describe('the image', () => {
  test(`adds at most ${ADDED_MB_MAX} MB to its base`, async () => {
    const [size, base] = [await sizeOf(IMAGE), await sizeOf(BASE)];
    console.log(
      `the image has ${size.toFixed(0)} MB: ${base.toFixed(0)} of the base and ${(size - base).toFixed(0)} more`,
    );
    expect(size - base).toBeLessThanOrEqual(ADDED_MB_MAX);
  });

  test('has the version of Bun and of the project that package.json names', async () => {
    const stages = [...dockerfile.matchAll(/^FROM (\S+)/gm)].map(([, image]) => image);
    expect(new Set(stages)).toEqual(new Set([`oven/bun:${engines.bun}-slim`]));
    const labels = JSON.parse(
      await podmanWell('image', 'inspect', '--format', '{{json .Labels}}', IMAGE),
    );
    expect(labels).toMatchObject({
      'org.opencontainers.image.title': 'mantou',
      'org.opencontainers.image.version': version,
      'org.opencontainers.image.licenses': 'MIT',
    });
  });

  test('contains only the program', async () => {
    const listed = await podmanWell(
      'run',
      '--rm',
      ...RUN_FLAGS,
      '--entrypoint',
      'ls',
      IMAGE,
      '-A',
      '/app',
    );
    expect(listed.split('\n').sort()).toEqual([
      'bun.lock',
      'drizzle',
      'node_modules',
      'package.json',
      'src',
    ]);
    const writable = await podmanWell(
      ...['run', '--rm', ...RUN_FLAGS, '--entrypoint', 'find', IMAGE],
      ...['/app', '-writable', '-not', '-type', 'l'],
    );
    expect(writable).toBe('');
  });
});

describe('alone with a volume', () => {
  let name: string;
  let url: string;
  let walked: Awaited<ReturnType<typeof walk>>;

  beforeAll(async () => {
    name = await start({}, '--volume', `${await newVolume()}:/data`);
    url = await urlOf(name);
    walked = await walk(url);
  }, TEST_TIMEOUT_MS);

  test('serves requests from registration to a finished task, as its own user, as PID 1', async () => {
    expect(walked.done.status).toBe('done');
    expect(await podmanWell('exec', name, 'id', '-u')).toBe('1000');
    const command = await podmanWell('exec', name, 'cat', '/proc/1/cmdline');
    expect(command.split('\0').slice(0, 2)).toEqual(['bun', 'src/server/main.ts']);
  });

  test('can write only to /data', async () => {
    for (const folder of ['/', '/app', '/tmp', '/home/bun'])
      expect([folder, (await podman('exec', name, 'touch', `${folder}/x`)).code]).not.toEqual([
        folder,
        0,
      ]);
    expect((await podman('exec', name, 'touch', '/data/x')).code).toBe(0);
  });

  test('becomes healthy', async () => {
    const [image] = JSON.parse(await podmanWell('image', 'inspect', IMAGE));
    const check: string[] = image.Healthcheck.Test;
    expect(check[0]).toBe('CMD');
    // The health check takes its port from the settings; this server has taken a free one.
    const { port } = new URL(url);
    const at = (value: string) => podman('exec', '--env', `PORT=${value}`, name, ...check.slice(1));
    expect((await at(port)).code).toBe(0);
    expect((await at('1')).code).toBe(1);
  });

  test('has its commands', async () => {
    const command = (...args: string[]) => podman('exec', name, 'bun', 'run', ...args);
    expect((await command('users', 'list')).stdout).toStartWith('ada\tada@example.org\t');
    expect((await command('doctor')).stdout).toContain('ok    database');
    expect((await command('backup', '/data/backup')).stderr).toContain('Backed up ');
    const other = await newVolume();
    const copied = await podman(
      ...['run', '--rm', ...RUN_FLAGS, ...LOCKED_DOWN, '--volume', `${volumes[0]}:/backups:ro`],
      ...['--volume', `${other}:/data`, IMAGE, 'bun', 'run', 'restore', '/backups/backup'],
    );
    expect(copied.stderr).toContain('Restored ');
  });

  test('exits with 0 on SIGTERM in time, and keeps its data and its secret for the next start', async () => {
    await podmanWell('stop', '--time', String(STOP_TIMEOUT_SECONDS), name);
    // One that had to be killed has 137.
    expect(await podmanWell('inspect', '--format', '{{.State.ExitCode}}', name)).toBe('0');
    await podmanWell('start', name);
    const again = await urlOf(name, 2);
    const task = await call(`${again}/tasks/${walked.done.id}`, 'GET', walked.token);
    expect(task).toEqual(walked.done);
  });

  test('keeps its data after it was killed', async () => {
    await podmanWell('kill', '--signal', 'KILL', name);
    await podmanWell('wait', name);
    await podmanWell('start', name);
    const again = await urlOf(name, 3);
    const task = await call(`${again}/tasks/${walked.done.id}`, 'GET', walked.token);
    expect(task).toEqual(walked.done);
  });
});

describe('with DATABASE_URL', () => {
  let DATABASE_URL: string;
  beforeAll(async () => {
    DATABASE_URL = await createDatabase();
  });
  afterAll(() => dropDatabase(DATABASE_URL));

  test('serves from that database in production and stores no data of its own', async () => {
    const JWT_SECRET = 'rJ3vX8qLw2TzN5yKc9Hd0PfGs7Bm4UeA1ioYtRlQnVg';
    const name = await start({ NODE_ENV: 'production', DATABASE_URL, JWT_SECRET });
    const { done } = await walk(await urlOf(name));
    expect(done.status).toBe('done');
    expect(await podmanWell('exec', name, 'ls', '-A', '/data')).toBe('');
    expect(await statusOf(`${await urlOf(name)}/health/ready`)).toBe(200);
    await podmanWell('stop', '--time', String(STOP_TIMEOUT_SECONDS), name);
    expect(await podmanWell('inspect', '--format', '{{.State.ExitCode}}', name)).toBe('0');
  });

  test('refuses to start in production without a secret', async () => {
    const name = await start({ NODE_ENV: 'production', DATABASE_URL });
    expect(await podmanWell('wait', name)).toBe('1');
    expect((await podman('logs', name)).stderr).toContain('JWT_SECRET must be set in production');
  });
});
