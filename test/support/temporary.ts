/** Where the tests make their temporary folders. */
import { chmod, mkdtemp, readFile, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const MEMORY_DISK = '/dev/shm';
/** Far beyond what the folders of all files that run at a time hold. */
const FREE_BYTES_MIN = 4 * 1024 ** 3;

/** Makes a folder for what one run makes, which any user can pass through. */
export async function makeRunFolder(): Promise<string> {
  const parent = process.env.TMPDIR ?? (await findMemoryDisk()) ?? tmpdir();
  const folder = await mkdtemp(join(parent, 'mantou-run-'));
  await chmod(folder, 0o711);
  return folder;
}

/**
 * Returns Linux' disk in memory, where it has room and runs programs: tests copy clusters by the dozen, and half of the
 * time of that is the disk's. Undefined where there is none, as in a container with the usual 64 MB.
 */
async function findMemoryDisk(): Promise<string | undefined> {
  const mounts = await readFile('/proc/mounts', 'utf8').catch(() => '');
  const options = mounts
    .split('\n')
    .map((line) => line.split(' '))
    .findLast(([, folder]) => folder === MEMORY_DISK)?.[3]
    ?.split(',');
  if (!options?.includes('rw') || options.includes('noexec')) return undefined;
  const { bavail, bsize } = await statfs(MEMORY_DISK);
  const meminfo = await readFile('/proc/meminfo', 'utf8');
  const freeMemory = Number(/^MemAvailable: +(\d+) kB$/m.exec(meminfo)?.[1]) * 1024;
  return Math.min(bavail * bsize, freeMemory) >= FREE_BYTES_MIN ? MEMORY_DISK : undefined;
}
