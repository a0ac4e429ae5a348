/** Cores for PostgreSQL alone (taskset(1), Linux). */
import { readFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { $ } from 'bun';

/** Returns the process id of the PostgreSQL in a data folder. Its connections are its children. */
export async function postgresPid(dataDir: string): Promise<number> {
  const text = await readFile(join(dataDir, 'postgres/postmaster.pid'), 'utf8');
  return Number(text.split('\n', 1)[0]);
}

/** Gives PostgreSQL the first core, and this process with all that it starts the others. @throws on a single core. */
export async function pinPostgres(pid: number): Promise<void> {
  const last = cpus().length - 1;
  if (last === 0) throw new Error('--pinned needs two cores');
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  for (const one of [pid, ...children.split(' ').filter(Boolean)])
    await $`taskset -acp 0 ${one}`.quiet();
  await $`taskset -acp 1-${last} ${process.pid}`.quiet();
}
