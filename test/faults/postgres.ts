/** Faults of a PostgreSQL that the API does not manage. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { SQL } from 'bun';
import { v7 as uuidv7 } from 'uuid';
import { waitFor } from '../support/process.ts';
import { type Cluster, createCluster } from './cluster.ts';
import { beginLoad, createWriter, type Load, type Writer } from './ledger.ts';
import { expectBack, expectUnready, watchLiveness } from './recovery.ts';
import { settle, times } from './report.ts';
import { POOL_SIZE, type Service, STATEMENT_TIMEOUT_SECONDS, startService } from './service.ts';

describe('PostgreSQL', () => {
  let cluster: Cluster;
  let service: Service;

  beforeAll(async () => {
    cluster = await createCluster();
    service = await startService({ DATABASE_URL: cluster.url });
  });

  afterAll(async () => {
    expect(await service.stop()).toBe(0);
    await cluster.stop('fast');
  });

  /**
   * Injects a fault so many times under load, each once so many writes are acknowledged.
   * @param inject gives the moment from which the database was there again.
   */
  async function underLoad(
    kind: string,
    faults: number,
    writesBetween: number,
    inject: (load: Load, writer: Writer, fault: number) => Promise<number>,
  ) {
    const writer = await createWriter(cluster.url);
    const load = beginLoad(writer, () => service.url);
    const deaths = watchLiveness(service);
    const returnsMs: number[] = [];
    for (let fault = 0; fault < faults; fault += 1) {
      await load.more(writesBetween);
      const returnedMs = await inject(load, writer, fault);
      returnsMs.push(await expectBack(service, load, returnedMs, () => cluster.url, writer));
    }
    await load.more(writesBetween);
    expect(await deaths()).toEqual([]);
    await settle(kind, returnsMs, cluster.url, writer, await load.end());
  }

  test('kill -9 of the postmaster', () =>
    underLoad('kill -9 of PostgreSQL', times(20), 400, async () => {
      await cluster.kill();
      await expectUnready(service);
      await cluster.start();
      return performance.now();
    }));

  test.each(['immediate', 'fast'] as const)('shutdown, %s', (mode) =>
    underLoad(`${mode} shutdown`, times(10), 400, async () => {
      await cluster.stop(mode);
      await expectUnready(service);
      await cluster.start();
      return performance.now();
    }),
  );

  test('kill -9 of one backend, for which PostgreSQL restarts all', () =>
    underLoad('kill -9 of a backend', times(10), 300, async () => {
      const [pid] = await backends();
      if (pid !== undefined) process.kill(pid, 'SIGKILL');
      // It restarts by itself; it is back when it takes connections.
      await waitFor('PostgreSQL is back', () =>
        withSql((sql) => sql`select 1`).catch(() => undefined),
      );
      return performance.now();
    }));

  test('every backend terminated in the middle of its statement', () =>
    underLoad('all backends terminated', times(80), 250, async () => {
      await withSql(
        (sql) =>
          sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'mantou'`,
      );
      return performance.now();
    }));

  test('every statement cancelled', () =>
    underLoad('all statements cancelled', times(15), 250, async () => {
      await withSql(
        (sql) =>
          sql`select pg_cancel_backend(pid) from pg_stat_activity where application_name = 'mantou' and state = 'active'`,
      );
      return performance.now();
    }));

  test('a statement that hangs', () =>
    underLoad('a statement that hangs', times(5), 300, async () => {
      await whileLocked(async () => {
        await waitFor('those in flight wait', async () => (await waiting()) >= POOL_SIZE);
        // Until the server has given up what waits, and what has waited for that.
        await Bun.sleep(STATEMENT_TIMEOUT_SECONDS * 1000 + 200);
      });
      return performance.now();
    }));

  test('the pool exhausted', () =>
    underLoad('the pool exhausted', times(10), 300, async (_, writer) => {
      let refused = 0;
      // Requests that arrive together share a statement, but each deletion takes a connection, also of a task that does not exist.
      const ask = async () => {
        const answer = await fetch(`${service.url}/tasks/${uuidv7()}`, {
          method: 'DELETE',
          headers: { authorization: `Bearer ${writer.token}` },
        });
        const { code } = (await answer.json()) as { code?: string };
        if (answer.status === 404) return;
        expect([answer.status, answer.headers.has('retry-after')]).toEqual([503, true]);
        // Those that have a connection wait for the lock, and are cancelled where that takes as long as a statement may.
        expect(['overloaded', 'database_unavailable']).toContain(code ?? '');
        if (code === 'overloaded') refused += 1;
      };
      await whileLocked(async () => {
        const flood = Array.from({ length: POOL_SIZE * 25 }, ask);
        await waitFor('some are refused', () => refused > 0);
        return flood;
      }).then((flood) => Promise.all(flood));
      return performance.now();
    }));

  test('no connection left for the API', () =>
    underLoad('no connection left', times(5), 300, async () => {
      await withSql(async (sql) => {
        await sql`alter role mantou connection limit 0`;
        await sql`select pg_terminate_backend(pid) from pg_stat_activity where usename = 'mantou'`;
        await expectUnready(service);
        await sql`alter role mantou connection limit -1`;
      });
      return performance.now();
    }));

  async function withSql<T>(work: (sql: SQL) => Promise<T>): Promise<T> {
    const sql = new SQL({ url: cluster.admin_url, max: 1 });
    try {
      return await work(sql);
    } finally {
      await sql.close();
    }
  }

  const backends = () =>
    withSql(async (sql) => {
      const rows: { pid: number }[] =
        await sql`select pid from pg_stat_activity where application_name = 'mantou' order by state = 'active' desc`;
      return rows.map(({ pid }) => pid);
    });

  const waiting = () =>
    withSql(async (sql) => {
      const rows =
        await sql`select from pg_stat_activity where application_name = 'mantou' and wait_event_type = 'Lock'`;
      return rows.length;
    });

  /** Locks the tasks, so that every reader and writer of them waits. */
  const whileLocked = <T>(work: () => Promise<T>): Promise<T> =>
    withSql(async (sql) => {
      await sql.unsafe('begin');
      await sql.unsafe('lock table tasks in access exclusive mode');
      const result = await work();
      await sql.unsafe('rollback');
      return result;
    });
});
