/** The positions of events in the feed, as PostgreSQL plans for them. */
import { expect, test } from 'bun:test';
import { SQL } from 'bun';
import { useApi } from '../support/api.ts';

const api = useApi();

test('a look for events without a position reads no table, whatever the statistics say', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  const sql = new SQL({ url: api.databaseUrl, max: 1 });
  const place = () => sql`select sequence_events('90 days')`;
  const countScans = async () => {
    await sql`select pg_stat_force_next_flush()`;
    await sql`select pg_stat_clear_snapshot()`;
    const [row] = await sql`select seq_scan::int from pg_stat_user_tables where relname = 'events'`;
    return row.seq_scan as number;
  };
  await place();
  await sql`insert into events (id, action, project_id, subject, subject_id, version, fields)
    select gen_random_uuid(), 'task.updated', ${project.id}, 'task', gen_random_uuid(), 1, '{}' from generate_series(1, 3000)`;
  // As autovacuum does it in the middle of a large import.
  await sql.unsafe('analyze events');
  await place();
  const [{ left }] = await sql`select count(*)::int as left from events where position is null`;
  expect(left).toBe(0);
  const before = await countScans();
  for (let n = 0; n < 3; n += 1) await place();
  expect((await countScans()) - before).toBe(0);
  await sql.close();
});
