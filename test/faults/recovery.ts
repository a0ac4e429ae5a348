/** What has to hold around every fault. */
import { expect } from 'bun:test';
import { waitFor } from '../support/process.ts';
import { findWrong, type Load, type Writer } from './ledger.ts';
import type { Service } from './service.ts';

/** Far beyond what the API takes to serve again once its database is back, also on a busy machine; the report has the figure. */
const BACK_MS_MAX = 30_000;
const WATCH_INTERVAL_MS = 50;

/** Asks for the liveness all the time. @returns what ends it, and says which answers were not 200. */
export function watchLiveness(service: Pick<Service, 'status'>): () => Promise<number[]> {
  const wrong: number[] = [];
  let watching = true;
  const watch = async () => {
    while (watching) {
      const status = await service.status('/health/live');
      if (status !== 200) wrong.push(status);
      await Bun.sleep(WATCH_INTERVAL_MS);
    }
  };
  const watched = watch();
  return async () => {
    watching = false;
    await watched;
    return wrong;
  };
}

/** Without its database the API says so. */
export const expectUnready = (service: Service) =>
  waitFor('the readiness fails', async () => (await service.status('/health/ready')) === 503);

/**
 * From `returned_ms` on the database was there: soon writes are acknowledged, and none of before is missing.
 * @param locate finds it once it serves: an embedded one may have come back at another port.
 * @returns how long it took until the API served again, in ms.
 */
export async function expectBack(
  service: Service,
  load: Load,
  returnedMs: number,
  locate: () => string | Promise<string>,
  writer: Writer,
): Promise<number> {
  expect((await load.firstSince(returnedMs)) - returnedMs).toBeLessThan(BACK_MS_MAX);
  await waitFor('it is ready', async () => (await service.status('/health/ready')) === 200);
  const backMs = performance.now() - returnedMs;
  expect(backMs).toBeLessThan(BACK_MS_MAX);
  expect(await findWrong(await locate(), writer, load.news())).toEqual([]);
  return backMs;
}
