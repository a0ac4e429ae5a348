/**
 * A database that was promoted or restored lacks the latest positions that clients have seen, and assigns them again, to
 * other events. A cursor of such a position has expired; every other one goes on.
 */
import { describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import { SQL } from 'bun';
import { mirror } from '../../examples/mirror.ts';
import { type Persona, useApi } from '../support/api.ts';
import { Follower } from '../support/follower.ts';
import { makeFolder, useProcesses, waitFor } from '../support/process.ts';

useProcesses();
const api = useApi();

// biome-ignore lint/suspicious/noExplicitAny: answers are looked into freely.
type Json = any;

const now = async (who: Persona): Promise<string> => (await who.get('/changes')).body.next_cursor;
const since = (who: Persona, cursor: string) => who.get(`/changes?since=${cursor}`);
const subjects = ({ body }: Json) => body.items.map(({ subject_id }: Json) => subject_id);

let runs = 0;

/** Leaves what the database holds when a server takes over that has everything up to a position, and nothing after it. */
async function failOver(position: number) {
  const sql = new SQL({ url: api.databaseUrl, max: 1 });
  await sql.begin(async (tx) => {
    runs += 1;
    await tx`select set_config('mantou.unrecorded', 'on', true)`;
    await tx`delete from tasks where id in (
      select subject_id from events where action = 'task.created' and position > ${position})`;
    await tx`delete from events where position is null or position > ${position}`;
    await tx`delete from feed_timelines where began_position > ${position}`;
    await tx`update feed set last_position = ${position}, server_run = ${`another server ${runs}`}`;
  });
  await sql.close();
}

const positionOf = (cursor: string): number => JSON.parse(atob(cursor))[2];

describe('after a failover that has lost the latest changes', () => {
  test('a cursor of a lost change has expired, and one of a kept change is valid', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    const kept = await now(ada);
    await ada.createTask(project.id, { title: 'Lost' });
    const lost = await now(ada);
    await failOver(positionOf(kept));
    const task = await ada.createTask(project.id, { title: 'After' });
    expect(positionOf(await now(ada))).toBe(positionOf(lost));
    const { status, body } = await since(ada, lost);
    expect([status, body.code]).toEqual([410, 'cursor_expired']);
    expect(subjects(await since(ada, kept))).toEqual([task.id]);
    // Also once the new server has gone far beyond.
    for (let n = 0; n < 3; n += 1) await ada.createTask(project.id);
    expect((await since(ada, lost)).status).toBe(410);
    expect(subjects(await since(ada, kept)).length).toBe(4);
  });

  test('a page of the history continues after a kept event, and has expired after a lost one', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    await ada.createTask(project.id);
    const kept = positionOf(await now(ada));
    const path = `/projects/${project.id}/events?limit=1`;
    const { body: keptPage } = await ada.get(path);
    for (let n = 0; n < 3; n += 1) await ada.createTask(project.id, { title: 'Lost' });
    const { body: lostPage } = await ada.get(path);
    await failOver(kept);
    await ada.createTask(project.id);
    const next = (page: Json) => ada.get(`${path}&cursor=${page.next_cursor}`);
    expect((await next(keptPage)).status).toBe(200);
    expect((await next(lostPage)).body.code).toBe('cursor_expired');
  });

  test('a snapshot has expired where one of its pages held what is lost, and its changes as well', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    const { body: first } = await ada.get('/changes?snapshot=true&limit=1');
    await ada.createTask(project.id);
    const kept = await now(ada);
    for (const title of ['Lost', 'Lost too']) await ada.createTask(project.id, { title });
    const { body: last } = await since(ada, first.next_cursor);
    expect([last.snapshot.tasks.length, last.snapshot.complete]).toEqual([3, true]);
    // The reader goes through the changes, and is still before what it has seen.
    const { body: after } = await ada.get(`/changes?since=${last.next_cursor}&limit=1`);
    expect(after.items.length).toBe(1);
    await failOver(positionOf(kept));
    await ada.createTask(project.id, { title: 'After' });
    for (const cursor of [last.next_cursor, after.next_cursor, after.items[0].cursor])
      expect((await since(ada, cursor)).body.code).toBe('cursor_expired');
    const { status, body } = await since(ada, first.next_cursor);
    expect([status, body.snapshot.tasks.length]).toEqual([200, 2]);
  });

  test('a second failover, to a server without the first, gets a timeline of its own', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    const kept = await now(ada);
    const first = await ada.createTask(project.id);
    const base = await now(ada);
    await failOver(positionOf(base));
    await ada.createTask(project.id, { title: 'Lost with the first' });
    const ofFirst = await now(ada);
    // As far as it knows, it takes over from the original.
    await failOver(positionOf(base));
    const second = await ada.createTask(project.id);
    expect(positionOf(await now(ada))).toBe(positionOf(ofFirst));
    expect((await since(ada, ofFirst)).status).toBe(410);
    expect(subjects(await since(ada, base))).toEqual([second.id]);
    expect(subjects(await since(ada, kept))).toEqual([first.id, second.id]);
  });

  test('a stream that has sent a lost change ends, and its client gets 410', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    const kept = await now(ada);
    const stream = await Follower.follow(ada);
    await ada.createTask(project.id, { title: 'Lost' });
    await waitFor('it is told', () => stream.items.length === 1);
    await failOver(positionOf(kept));
    await ada.createTask(project.id, { title: 'After' });
    await waitFor('the stream ends', () => stream.ended);
    expect(stream.items.length).toBe(1);
    const again = await Follower.follow(ada, { 'last-event-id': stream.lastId ?? '' });
    expect(again.status).toBe(410);
  });

  test('after one that has lost nothing, a stream goes on without a gap', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    const stream = await Follower.follow(ada);
    const titles: string[] = [];
    for (let n = 0; n < 4; n += 1) {
      const { id } = await ada.createTask(project.id, { title: `Round ${n}` });
      titles.push(id);
      await waitFor('it is told', () => stream.items.length > n);
      await failOver(positionOf(await now(ada)));
    }
    expect(stream.items.map(({ subject_id }) => subject_id)).toEqual(titles);
    expect(stream.ended).toBe(false);
    stream.close();
  });

  test('a copy downloads everything again', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    const { body: token } = await ada.post('/users/me/tokens', { name: 'copy', scopes: ['read'] });
    const file = join(makeFolder(), 'copy.json');
    const abort = new AbortController();
    const mirrored = mirror(api.url, token.token, file, abort.signal).catch(() => undefined);
    const holds = (...wanted: string[]) =>
      waitFor(`the copy holds ${wanted}`, async () => {
        const copy = await Bun.file(file)
          .json()
          .catch(() => undefined);
        const tasks: Json[] = Object.values(copy?.projects[project.id]?.tasks ?? {});
        return Bun.deepEquals(tasks.map(({ title }) => title).sort(), wanted);
      });
    await ada.createTask(project.id, { title: 'Kept' });
    await holds('Kept');
    const kept = positionOf(await now(ada));
    await ada.createTask(project.id, { title: 'Lost' });
    await holds('Kept', 'Lost');
    await failOver(kept);
    await ada.createTask(project.id, { title: 'After' });
    await holds('After', 'Kept');
    abort.abort();
    await mirrored;
  });
});

test('the names of timelines are not kept for ever', async () => {
  const ada = await api.person('ada');
  const project = await ada.createProject();
  for (let n = 0; n < 5; n += 1) {
    await ada.createTask(project.id);
    await failOver(positionOf(await now(ada)));
  }
  await now(ada);
  // A server that starts again and again without a change leaves one name.
  const count = async () => (await api.sql`select from feed_timelines`).length;
  const before = await count();
  for (let n = 0; n < 5; n += 1) {
    await failOver(positionOf(await now(ada)));
    await now(ada);
  }
  expect(await count()).toBe(before);
  await api.sql`update events set at = now() - interval '91 days'`;
  // Each round deletes a few of the old events.
  await waitFor('the old events are deleted', async () => {
    await ada.createTask(project.id);
    await now(ada);
    return (await api.sql`select from events where at < now() - interval '90 days'`).length === 0;
  });
  await failOver(positionOf(await now(ada)));
  await now(ada);
  expect(await count()).toBeLessThan(before);
});
