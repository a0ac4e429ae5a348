/** Lowers the priority of the threads that hash, so that reads do not wait for log-ins. */
// Decision: docs/decisions/24-login-priority.md
import { readdirSync, readFileSync } from 'node:fs';
import { setPriority } from 'node:os';

const THREADS = '/proc/self/task';
/** Of -20 to 19 (sched(7)): a tenth of the time of a thread at 0 on the same core. */
const NICENESS = 10;

/**
 * Lowers the priority of the pool in which Bun hashes; Bun starts its threads on demand. Only Linux has a niceness per
 * thread (setpriority(2)); elsewhere this does nothing.
 * @returns how many threads the pool has.
 */
export function lowerPoolPriority(): number {
  if (process.platform !== 'linux') return 0;
  try {
    // Synchronous calls need no thread of the pool: those are hashing.
    const pool = readdirSync(THREADS).filter((thread) => nameOf(thread).startsWith('Bun Pool'));
    for (const thread of pool) setPriority(Number(thread), NICENESS);
    return pool.length;
  } catch {
    // A sandbox may forbid it; hashes then run at normal priority.
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
