/** Faults of the network between the API and its database. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { type DatabaseProxy, openProxy } from '../support/proxy.ts';
import { type Cluster, createCluster } from './cluster.ts';
import { beginLoad, createWriter } from './ledger.ts';
import { expectBack, expectUnready, watchLiveness } from './recovery.ts';
import { settle, times } from './report.ts';
import { type Service, startService } from './service.ts';

const WRITES_BETWEEN = 250;
const DELAYS_MS = [5, 50, 200];

describe('the network', () => {
  let cluster: Cluster;
  let proxy: DatabaseProxy;
  let service: Service;

  beforeAll(async () => {
    cluster = await createCluster();
    proxy = await openProxy(cluster.url);
    service = await startService({ DATABASE_URL: proxy.url });
  });

  afterAll(async () => {
    expect(await service.stop()).toBe(0);
    await proxy.cut();
    await cluster.stop('fast');
  });

  /** Each fault once so many writes are acknowledged. @param inject comes back when the network does. */
  async function underLoad(
    kind: string,
    faults: number,
    inject: (fault: number) => Promise<void> | void,
  ) {
    const writer = await createWriter(cluster.url);
    const load = beginLoad(writer, () => service.url);
    const deaths = watchLiveness(service);
    const returnsMs: number[] = [];
    for (let fault = 0; fault < faults; fault += 1) {
      await load.more(WRITES_BETWEEN);
      await inject(fault);
      returnsMs.push(await expectBack(service, load, performance.now(), () => cluster.url, writer));
    }
    await load.more(WRITES_BETWEEN);
    expect(await deaths()).toEqual([]);
    await settle(kind, returnsMs, cluster.url, writer, await load.end());
  }

  test('connections cut', () => underLoad('connections cut', times(30), () => proxy.reset()));

  test('connections cut, and new ones refused', () =>
    underLoad('connections refused', times(5), async () => {
      await proxy.cut();
      await expectUnready(service);
      await proxy.mend();
    }));

  test.each(['client', 'server'] as const)('half closed towards the %s', (side) =>
    underLoad(`half closed to the ${side}`, times(15), () => proxy.halfClose(side)),
  );

  test('silence', () =>
    underLoad('the network stalls', times(4), async () => {
      proxy.stall();
      await expectUnready(service);
      proxy.flow();
    }));

  test('delays', () =>
    underLoad('the network is slow', times(9), async (fault) => {
      proxy.delay(DELAYS_MS[fault % DELAYS_MS.length] ?? 0);
      await service.status('/health/ready');
      proxy.delay(0);
    }));
});
