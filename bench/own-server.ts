/** A server of its own for a bench, one account in it, and what the process holds while work is done. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

const SAMPLE_MS = 50;
export const MB = 1e6;
const KIB = 1024;

/** Starts a server on this folder, without limits. */
export async function start(dataDir: string) {
  const child = Bun.spawn([process.execPath, 'src/server/main.ts'], {
    cwd: join(import.meta.dir, '..'),
    env: {
      PATH: process.env.PATH,
      DATA_DIR: dataDir,
      PORT: '0',
      LOG_LEVEL: 'error',
      RATE_LIMIT: 'off',
    },
    stdout: 'pipe',
    stderr: 'inherit',
  });
  let said = '';
  for await (const bytes of child.stdout) {
    said += new TextDecoder().decode(bytes);
    const [, url] = /listening on (\S+)\n/.exec(said) ?? [];
    if (url) return { child, url };
  }
  throw new Error(`the server ended: ${said}`);
}

async function memoryOf(pid: number): Promise<number> {
  const [, kib] = /^VmRSS:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? [];
  return (Number(kib) * KIB) / MB;
}

/** Runs the work. @returns the seconds it took, and the most memory that the process held meanwhile, in MB. */
export async function measure<T>(pid: number, work: () => Promise<T>) {
  let peakMb = await memoryOf(pid);
  const beforeMb = peakMb;
  const timer = setInterval(async () => {
    peakMb = Math.max(peakMb, await memoryOf(pid));
  }, SAMPLE_MS);
  const begun = performance.now();
  const result = await work();
  clearInterval(timer);
  return {
    result,
    seconds: (performance.now() - begun) / 1000,
    before_mb: beforeMb,
    peak_mb: peakMb,
  };
}

/** Creates the account `bench` and logs in. @returns `Authorization`. */
export async function logIn(url: string): Promise<string> {
  const post = async (path: string, body: object) => {
    const answer = await fetch(url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    return (await answer.json()) as Record<string, string>;
  };
  const account = { username: 'bench', password: 'correct horse battery staple' };
  await post('/users/register', { ...account, email: 'bench@example.org' });
  const { access_token } = await post('/users/login', account);
  return `Bearer ${access_token}`;
}
