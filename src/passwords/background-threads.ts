/** Makes the threads that hash give way: who only reads should not wait for somebody who logs in. */
import { readdirSync, readFileSync } from 'node:fs';
import { setPriority } from 'node:os';

const THREADS = '/proc/self/task';
/** Of -20 to 19 (sched(7)): a tenth of the time of a thread at 0 that wants the same core. */
const NICENESS = 10;

/**
 * Lowers the priority of the pool on whose threads Bun hashes, which it starts when there is work for them. Linux alone
 * gives each thread a niceness of its own (setpriority(2)); elsewhere nothing happens.
 * @returns how many threads the pool has by now.
 */
export function lowerPoolPriority(): number {
  if (process.platform !== 'linux') return 0;
  try {
    // By calls that need no thread of the pool: those are hashing.
    const pool = readdirSync(THREADS).filter((thread) => nameOf(thread).startsWith('Bun Pool'));
    for (const thread of pool) setPriority(Number(thread), NICENESS);
    return pool.length;
  } catch {
    // Where a sandbox forbids it, log-ins are computed like all else.
    return 0;
  }
}

/** A thread may have ended since it was listed. */
function nameOf(thread: string): string {
  try {
    return readFileSync(`${THREADS}/${thread}/comm`, 'utf8');
  } catch {
    return '';
  }
}
