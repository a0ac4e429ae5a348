/**
 * `bun run bench:logins [DIR …]`: what a log-in costs. Prints log-ins per second, with the limits that are on by default, beside
 * bare hashes per second and beside other checkouts of this project, in turns; whether an
 * unknown user can be told from a wrong password by time, and how fast /health/live answers while 256 people log in
 * at once. Server, load, and probe are processes of their own. Prints figures; asserts nothing.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MEMORY_KIB, PASSES } from '../src/passwords/argon2id.ts';
import { median, quantile } from './report.ts';

const ROUNDS = 12;
const ROUND_MS = 1500;
const WORKERS = 8;
const FAILURES_PER_KIND = 300;
const BURSTS = 8;
const BURST_LOG_INS = 256;
const IDLE_PROBE_MS = 4000;
const PROBE_EVERY_MS = 5;

const account = {
  username: 'bench',
  email: 'bench@example.org',
  password: 'correct horse battery staple',
};

/** Returns how often several callers together complete `work` in a second. */
async function rate(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  let done = 0;
  const worker = async () => {
    while (performance.now() - begun < ROUND_MS) {
      await work();
      done += 1;
    }
  };
  await Promise.all(Array.from({ length: WORKERS }, worker));
  return (done / (performance.now() - begun)) * 1000;
}

// --- The other processes ---------------------------------------------------------------------------------------

/** Runs this file again in a role. @returns its output. */
function play(role: string, ...rest: string[]) {
  const child = Bun.spawn([process.execPath, import.meta.path, role, ...rest], {
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'inherit',
  });
  return { child, printed: new Response(child.stdout).json() };
}

async function playHasher() {
  const hash = await Bun.password.hash(account.password, {
    algorithm: 'argon2id',
    memoryCost: MEMORY_KIB,
    timeCost: PASSES,
  });
  console.log(await rate(() => Bun.password.verify(account.password, hash)));
}

/** Sends requests until its standard input ends. */
async function playProbe(url: string) {
  let ended = false;
  Bun.stdin.text().then(() => {
    ended = true;
  });
  const milliseconds: number[] = [];
  while (!ended) {
    const begun = performance.now();
    await (await fetch(`${url}/health/live`)).text();
    milliseconds.push(performance.now() - begun);
    await Bun.sleep(PROBE_EVERY_MS);
  }
  console.log(JSON.stringify(milliseconds));
}

async function probeWhile(url: string, work: () => Promise<unknown>): Promise<number[]> {
  const { child, printed } = play('probe', url);
  await work();
  child.stdin.end();
  return printed as Promise<number[]>;
}

async function startServer(checkout: string, rateLimit: 'on' | 'off') {
  const dataDir = await mkdtemp(join(tmpdir(), 'mantou-bench-'));
  const child = Bun.spawn([process.execPath, 'src/server/main.ts'], {
    cwd: checkout,
    env: {
      ...process.env,
      DATA_DIR: dataDir,
      DATABASE_URL: '',
      PORT: '0',
      RATE_LIMIT: rateLimit,
      LOG_LEVEL: 'silent',
    },
    stdout: 'pipe',
    stderr: 'inherit',
  });
  let printed = '';
  for await (const chunk of child.stdout) {
    printed += new TextDecoder().decode(chunk);
    const [, url] = /listening on (\S+)\n/.exec(printed) ?? [];
    if (url) {
      const stop = async () => {
        child.kill('SIGTERM');
        await child.exited;
        await rm(dataDir, { recursive: true, force: true });
      };
      await post(`${url}/users/register`, account);
      return { url, stop };
    }
  }
  throw new Error(`the server ended: ${printed}`);
}

// --- Measuring -------------------------------------------------------------------------------------------------

async function post(url: string, body: object): Promise<number> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  await response.text();
  return response.status;
}

async function compareWithBareHashes(checkouts: readonly string[]) {
  const servers = [];
  try {
    for (const checkout of checkouts) servers.push(await startServer(checkout, 'on'));
    const bare: number[] = [];
    const logIns: number[][] = checkouts.map(() => []);
    const turns = [
      async () => bare.push(Number(await play('hasher').printed)),
      ...servers.map(
        ({ url }, n) =>
          async () =>
            logIns[n]?.push(await rate(() => post(`${url}/users/login`, accountLogin))),
      ),
    ];
    // Each round in the opposite order, so that load that comes and goes disturbs all alike.
    for (let round = 0; round < ROUNDS; round += 1)
      for (const turn of round % 2 === 0 ? turns : turns.toReversed()) await turn();
    const ratioTo = (others: number[] = [], own: number[] = []) =>
      median(own.map((value, round) => value / (others[round] ?? Number.NaN))).toFixed(3);
    console.log(`bare hashes:                 ${median(bare).toFixed(1)}/s`);
    for (const [n, checkout] of checkouts.entries()) {
      console.log(`log-ins of ${checkout}:      ${median(logIns[n] ?? []).toFixed(1)}/s`);
      console.log(`  to bare hashes:            ${ratioTo(bare, logIns[n])}`);
      if (n > 0) console.log(`  this checkout to it:       ${ratioTo(logIns[n], logIns[0])}`);
    }
  } finally {
    for (const { stop } of servers) await stop();
  }
}

async function compareFailures(url: string) {
  const times: Record<'known' | 'unknown', number[]> = { known: [], unknown: [] };
  const names = { known: account.username, unknown: 'unknown' };
  for (let turn = 0; turn < FAILURES_PER_KIND * 2; turn += 1) {
    const kind = turn % 2 === 0 ? 'known' : 'unknown';
    const begun = performance.now();
    await post(`${url}/users/login`, { username: names[kind], password: 'not this one' });
    times[kind].push(performance.now() - begun);
  }
  const [known, unknown] = [median(times.known), median(times.unknown)];
  const difference = (Math.abs(known - unknown) / known) * 100;
  console.log(`wrong password, known user:  ${known.toFixed(2)} ms`);
  console.log(`the same, unknown user:      ${unknown.toFixed(2)} ms`);
  console.log(`difference of the medians:   ${difference.toFixed(1)} %`);
}

async function measureHealth(url: string) {
  const idle = await probeWhile(url, () => Bun.sleep(IDLE_PROBE_MS));
  const answers = new Map<number, number[]>();
  const busy = await probeWhile(url, async () => {
    for (let burst = 0; burst < BURSTS; burst += 1) {
      const begun = performance.now();
      const logIn = async () => {
        const status = await post(`${url}/users/login`, accountLogin);
        answers.set(status, [...(answers.get(status) ?? []), performance.now() - begun]);
      };
      await Promise.all(Array.from({ length: BURST_LOG_INS }, logIn));
    }
  });
  const describe = (values: number[]) =>
    `p50 ${median(values).toFixed(1)} ms, p99 ${quantile(values, 0.99).toFixed(1)} ms (${values.length} requests)`;
  console.log(`/health/live, idle:          ${describe(idle)}`);
  console.log(`during ${BURST_LOG_INS} log-ins at once:  ${describe(busy)}`);
  for (const [status, values] of answers)
    console.log(`of ${BURSTS} × ${BURST_LOG_INS}, answered ${status}:     ${describe(values)}`);
}

const accountLogin = { username: account.username, password: account.password };

async function main(checkouts: readonly string[]) {
  const own = join(import.meta.dir, '..');
  await compareWithBareHashes([own, ...checkouts]);
  const { url, stop } = await startServer(own, 'off');
  try {
    await compareFailures(url);
    await measureHealth(url);
  } finally {
    await stop();
  }
}

const [role, url = ''] = process.argv.slice(2);
if (role === 'hasher') await playHasher();
else if (role === 'probe') await playProbe(url);
else await main(process.argv.slice(2));
