/**
 * Locks between processes that share a data folder: exclusive or shared transactions on SQLite files, which the kernel
 * releases however a process ends.
 */
import { Database as SQLite } from 'bun:sqlite';
import { StartupError } from '../errors/startup-error.ts';
import { cannotWrite } from '../lib/data-dir.ts';

const LOCK_TIMEOUT_MS = 60_000;
const LOCK_POLL_INTERVAL_MS = 20;

/** Opens the file of a lock, which nothing holds yet. @throws {StartupError} where the file cannot be written. */
export function openLock(file: string): SQLite {
  try {
    return new SQLite(file);
  } catch (error) {
    throw cannotWrite(file, error);
  }
}

/** Runs the work while no other process holds the lock. It polls, because SQLite's own wait would block the event loop. */
export async function exclusively<T>(lock: SQLite, work: () => Promise<T>): Promise<T> {
  const deadline = Date.now() + LOCK_TIMEOUT_MS;
  while (!tryExclusive(lock)) {
    if (Date.now() > deadline)
      throw new StartupError(
        `another process has held ${lock.filename} for ${LOCK_TIMEOUT_MS / 1000} s: end it, or set DATA_DIR to another folder`,
      );
    await Bun.sleep(LOCK_POLL_INTERVAL_MS);
  }
  try {
    return await work();
  } finally {
    lock.run('commit');
  }
}

/** Takes the lock, shared with other holders, until `release`. */
export function holdShared(lock: SQLite) {
  lock.run('begin');
  // A read takes SQLite's shared lock, and the open transaction keeps it.
  lock.query('select count(*) from sqlite_master').get();
}

export function release(lock: SQLite) {
  lock.run('commit');
}

/** Whether no process holds the lock, shared or exclusive. */
export function isFree(lock: SQLite): boolean {
  if (!tryExclusive(lock)) return false;
  lock.run('commit');
  return true;
}

function tryExclusive(lock: SQLite): boolean {
  try {
    lock.run('begin exclusive');
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'SQLITE_BUSY') return false;
    throw cannotWrite(lock.filename, error);
  }
}
