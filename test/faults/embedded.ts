/** Faults of the embedded PostgreSQL, which the API alone keeps running. */
import { describe, expect, test } from 'bun:test';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { findPostmaster, makeFolder, waitFor } from '../support/process.ts';
import { beginLoad, createWriter } from './ledger.ts';
import { expectBack, watchLiveness } from './recovery.ts';
import { settle, times } from './report.ts';
import { startService } from './service.ts';

const WRITES_BETWEEN = 400;
const BALLAST = 'ballast';
const REFUSED_MIN = 50;
/** The cluster takes 45 MB and a segment of its log 16. */
const DISK_MB = 128;

describe('the embedded PostgreSQL', () => {
  test('kill -9, and the API starts it again', async () => {
    const DATA_DIR = makeFolder();
    const service = await startService({ DATA_DIR });
    const writer = await createWriter(await databaseOf(DATA_DIR));
    const load = beginLoad(writer, () => service.url);
    const deaths = watchLiveness(service);
    const returnsMs: number[] = [];
    const kills = times(10);
    for (let kill = 0; kill < kills; kill += 1) {
      await load.more(WRITES_BETWEEN);
      const killed = await findPostmaster(DATA_DIR);
      if (killed !== undefined) process.kill(killed, 'SIGKILL');
      await waitFor('another has been started', () => hasStarted(DATA_DIR, killed));
      const returnedMs = performance.now();
      returnsMs.push(
        await expectBack(service, load, returnedMs, () => databaseOf(DATA_DIR), writer),
      );
    }
    await load.more(WRITES_BETWEEN);
    expect(await deaths()).toEqual([]);
    const ledger = await load.end();
    await settle('kill -9 of the embedded', returnsMs, await databaseOf(DATA_DIR), writer, ledger);
    expect(await service.stop()).toBe(0);
  });

  test('its disk full, until there is room again', async () => {
    const DATA_DIR = makeFolder();
    mountSmallDisk(DATA_DIR);
    try {
      const service = await startService({ DATA_DIR });
      const url = await databaseOf(DATA_DIR);
      const writer = await createWriter(url);
      const load = beginLoad(writer, () => service.url);
      const deaths = watchLiveness(service);
      const returnsMs: number[] = [];
      const fillings = times(3);
      for (let filling = 0; filling < fillings; filling += 1) {
        await load.more(WRITES_BETWEEN);
        fillDisk(DATA_DIR);
        const refused = load.refused;
        await waitFor('writes are refused', () => load.refused > refused + REFUSED_MIN);
        await rm(join(DATA_DIR, BALLAST));
        const returnedMs = performance.now();
        returnsMs.push(
          await expectBack(service, load, returnedMs, () => databaseOf(DATA_DIR), writer),
        );
      }
      await load.more(WRITES_BETWEEN);
      expect(await deaths()).toEqual([]);
      const ledger = await load.end();
      await settle('the disk full', returnsMs, await databaseOf(DATA_DIR), writer, ledger);
      expect(await service.stop()).toBe(0);
    } finally {
      unmount(DATA_DIR);
    }
  });
});

/** @throws {Error} where a tmpfs cannot be mounted: that needs root, and not every container lets it. */
function mountSmallDisk(folder: string) {
  const options = `size=${DISK_MB}m,mode=0700`;
  const mounted = Bun.spawnSync(['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', folder]);
  if (mounted.exitCode !== 0) throw new Error(`no small disk can be made: ${mounted.stderr}`);
}

function unmount(folder: string) {
  Bun.spawnSync(['umount', '--lazy', folder]);
}

/** To the last byte. */
function fillDisk(folder: string) {
  const filled = Bun.spawnSync(['dd', 'if=/dev/zero', `of=${join(folder, BALLAST)}`, 'bs=64k'], {
    stderr: 'pipe',
  });
  expect(filled.stderr.toString()).toContain('No space left on device');
}

/** Line 1 of postmaster.pid is the process, 4 the port, 8 the state. */
const pidFile = async (dataDir: string) =>
  (await readFile(join(dataDir, 'postgres/postmaster.pid'), 'utf8').catch(() => '')).split('\n');

async function hasStarted(dataDir: string, otherThan: number | undefined): Promise<boolean> {
  const lines = await pidFile(dataDir);
  return Number(lines[0]) > 0 && Number(lines[0]) !== otherThan && lines[7]?.trim() === 'ready';
}

/** The URL of the database in a data folder whose server runs. */
async function databaseOf(dataDir: string): Promise<string> {
  const password = await readFile(join(dataDir, 'postgres-password'), 'utf8');
  return `postgres://postgres:${password}@127.0.0.1:${(await pidFile(dataDir))[3]}/mantou`;
}
