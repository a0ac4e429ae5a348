/** The positions of events in the feed, as PostgreSQL plans for them. */
import { expect, test } from 'bun:test';
import { SQL } from 'bun';
import { useApi } from '../support/api.ts';
import { scanCounter } from '../support/scans.ts';

const api = useApi();

test('a look for events without a position reads no table, whatever the statistics say', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  const sql = new SQL({ url: api.databaseUrl, max: 1 });
  const place = () => sql`select sequence_events('90 days')`;
  const countScans = scanCounter(sql, 'events');
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

test('a few events get their positions and as many old ones are deleted without a scan of the table, whatever the statistics say', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  const sql = new SQL({ url: api.databaseUrl, max: 1 });
  const countScans = scanCounter(sql, 'events');
  const record = (count: number, age: string) => sql`
    insert into events (id, at, action, project_id, subject, subject_id, version, fields)
    select gen_random_uuid(), now() - ${age}::interval, 'task.updated', ${project.id}, 'task', gen_random_uuid(), 1, '{}'
    from generate_series(1, ${count}::int)`;
  const place = () => sql`select sequence_events('90 days')`;
  await record(30_000, '1 day');
  await record(1000, '100 days');
  // As autovacuum does it in the middle of a large import.
  await sql.unsafe('analyze events');
  for (let more = true; more; ) [{ more }] = await sql`select sequence_events('1 year') as more`;
  const before = await countScans();
  // More often than PostgreSQL plans for the values at hand.
  for (let n = 0; n < 8; n += 1) {
    await record(20, '0 days');
    await place();
  }
  expect((await countScans()) - before).toBe(0);
  const [{ placed, old }] = await sql`
    select count(position) filter (where at > now() - interval '1 hour')::int as placed,
      count(*) filter (where at < now() - interval '90 days')::int as old
    from events where action = 'task.updated' and project_id = ${project.id}`;
  expect(placed).toBe(8 * 20);
  expect(old).toBe(1000 - 8 * (2 * 20 + 10));
  await sql.close();
});
