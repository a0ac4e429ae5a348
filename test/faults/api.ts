/** Faults of the API's own processes. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { SQL } from 'bun';
import { entries } from '../../drizzle/meta/_journal.json';
import { openBalancer } from './balancer.ts';
import { type Cluster, createCluster } from './cluster.ts';
import { beginLoad, createWriter } from './ledger.ts';
import { expectBack, watchLiveness } from './recovery.ts';
import { settle, times } from './report.ts';
import { startService } from './service.ts';

describe('the API', () => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await createCluster();
  });

  afterAll(() => cluster.stop('fast'));

  test('kill -9 under write load', async () => {
    const service = await startService({ DATABASE_URL: cluster.url });
    const writer = await createWriter(cluster.url);
    const load = beginLoad(writer, () => service.url);
    const kills = times(50);
    const returnsMs: number[] = [];
    for (let kill = 0; kill < kills; kill += 1) {
      await load.more(300);
      await service.kill();
      await service.start();
      returnsMs.push(await expectBack(service, load, performance.now(), () => cluster.url, writer));
    }
    await settle('kill -9 of the API', returnsMs, cluster.url, writer, await load.end());
    await service.stop();
  });

  test('three processes at once on an empty database', async () => {
    const boots = times(5);
    for (let boot = 0; boot < boots; boot += 1) {
      const DATABASE_URL = await cluster.createDatabase(`empty_${boot}`);
      const begunMs = performance.now();
      const services = await Promise.all([1, 2, 3].map(() => startService({ DATABASE_URL })));
      const bootMs = performance.now() - begunMs;
      const deaths = services.map(watchLiveness);
      const writer = await createWriter(DATABASE_URL);
      let next = 0;
      const load = beginLoad(writer, () => services[next++ % services.length]?.url ?? '');
      await load.more(300);
      for (const end of deaths) expect(await end()).toEqual([]);
      await settle('three boots at once', [bootMs], DATABASE_URL, writer, await load.end());
      const sql = new SQL({ url: DATABASE_URL, max: 1 });
      const [row] = await sql`select count(*)::int as number from drizzle.__drizzle_migrations`;
      await sql.close();
      expect(row.number).toBe(entries.length);
      for (const service of services) expect(await service.stop()).toBe(0);
    }
  });

  test('a rolling restart of two processes behind a proxy costs no write and no error', async () => {
    const services = await Promise.all(
      [1, 2].map(() => startService({ DATABASE_URL: cluster.url })),
    );
    const balancer = openBalancer(services.map(({ url }) => url));
    const writer = await createWriter(cluster.url);
    const load = beginLoad(writer, () => balancer.url);
    const deaths = watchLiveness(balancer);
    const returnsMs: number[] = [];
    const restarts = times(10);
    for (let restart = 0; restart < restarts; restart += 1) {
      await load.more(600);
      const service = services[restart % services.length];
      expect(await service?.stop()).toBe(0);
      const stoppedMs = performance.now();
      await service?.start();
      await balancer.finds(service?.url ?? '');
      returnsMs.push(performance.now() - stoppedMs);
    }
    const unanswered = await deaths();
    expect(balancer.failures).toEqual([]);
    expect(unanswered).toEqual([]);
    const ledger = await load.end();
    expect([...ledger.outcomes.values()].filter((outcome) => outcome !== 'acknowledged')).toEqual(
      [],
    );
    await settle('rolling restart', returnsMs, cluster.url, writer, ledger);
    await balancer.stop();
    for (const service of services) expect(await service.stop()).toBe(0);
  });
});
