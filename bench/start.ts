/**
 * `bun run bench:start`: how long from `bun start` to the first answer, on a new data folder and on one that is there,
 * and how much memory the process holds after a load of requests. Prints medians; asserts nothing.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { median } from './report.ts';

const ROUNDS = 5;
const REQUESTS = 20_000;
const CONNECTIONS = 16;
const READY_POLL_MS = 2;

interface Started {
  url: string;
  milliseconds: number;
  process: Bun.Subprocess;
}

/** Starts the server and waits for the first 200. */
async function start(dataDir: string): Promise<Started> {
  const begun = performance.now();
  const server = Bun.spawn(['bun', 'start'], {
    cwd: join(import.meta.dir, '..'),
    env: { ...process.env, DATA_DIR: dataDir, PORT: '0', DATABASE_URL: '', LOG_LEVEL: 'silent' },
    stdout: 'pipe',
    stderr: 'inherit',
  });
  const reader = server.stdout.getReader();
  let printed = '';
  while (!/listening on \S+\n/.test(printed)) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`the server ended: ${printed}`);
    printed += new TextDecoder().decode(value);
  }
  const url = /listening on (\S+)/.exec(printed)?.[1] ?? '';
  while (!(await fetch(`${url}/health/ready`)).ok) await Bun.sleep(READY_POLL_MS);
  return { url, milliseconds: performance.now() - begun, process: server };
}

async function stop({ process: child }: Started) {
  child.kill('SIGTERM');
  await child.exited;
}

async function json(url: string, method: string, token: string | undefined, body?: object) {
  const headers = {
    'content-type': 'application/json',
    ...(token && { authorization: `Bearer ${token}` }),
  };
  return (
    await fetch(url, { method, headers, ...(body && { body: JSON.stringify(body) }) })
  ).json() as Promise<Record<string, string>>;
}

/** Sends nine reads for each write. */
async function load(url: string) {
  const account = {
    username: 'bench',
    email: 'bench@example.org',
    password: 'correct horse battery staple',
  };
  await json(`${url}/users/register`, 'POST', undefined, account);
  const { access_token: token } = await json(`${url}/users/login`, 'POST', undefined, {
    username: account.username,
    password: account.password,
  });
  const project = await json(`${url}/projects`, 'POST', token, { name: 'Bench' });
  const tasks = `${url}/tasks/projects/${project.id}`;
  const worker = async () => {
    for (let n = 0; n < REQUESTS / CONNECTIONS; n += 1)
      if (n % 10 === 0) await json(tasks, 'POST', token, { title: `Task ${n}` });
      else await json(n % 2 === 0 ? `${tasks}?limit=20` : `${url}/projects`, 'GET', token);
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, worker));
}

/** Returns the memory of the server itself, a child of `bun start`, in MiB. */
async function residentMemory(pid: number): Promise<number> {
  const children = (await Bun.file(`/proc/${pid}/task/${pid}/children`).text())
    .trim()
    .split(' ')
    .filter(Boolean);
  const status = await Bun.file(`/proc/${children[0] ?? pid}/status`).text();
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
}

const folder = await mkdtemp(join(tmpdir(), 'mantou-bench-'));
try {
  const [first, later]: [number[], number[]] = [[], []];
  let afterStart = 0;
  let afterLoad = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    const dataDir = join(folder, `${round}`);
    const newOne = await start(dataDir);
    first.push(newOne.milliseconds);
    await stop(newOne);
    const again = await start(dataDir);
    later.push(again.milliseconds);
    if (round === ROUNDS - 1) {
      afterStart = await residentMemory(again.process.pid);
      await load(again.url);
      afterLoad = await residentMemory(again.process.pid);
    }
    await stop(again);
  }
  console.log(
    `first run ever, to the first 200:  ${median(first).toFixed(0)} ms (median of ${ROUNDS})`,
  );
  console.log(
    `later runs, to the first 200:      ${median(later).toFixed(0)} ms (median of ${ROUNDS})`,
  );
  console.log(`memory after the start:            ${afterStart.toFixed(0)} MiB`);
  console.log(`memory after ${REQUESTS} requests:       ${afterLoad.toFixed(0)} MiB`);
} finally {
  await rm(folder, { recursive: true, force: true });
}
