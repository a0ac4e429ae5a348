/**
 * While the database is away it cannot be known whether a credential lives: a stream stays open and tells nothing, and
 * then goes on or ends. It opens in an outage, too, because a standard client gives up at 503.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import { SQL } from 'bun';
import { Api, type Persona } from '../support/api.ts';
import { createDatabase, dropDatabase } from '../support/cluster.ts';
import { Follower } from '../support/follower.ts';
import { useProcesses, waitFor } from '../support/process.ts';
import { type DatabaseProxy, openProxy } from '../support/proxy.ts';

/** Longer than credentials are cached. */
const CACHED_MS = 5000;
const MINUTE_MS = 60_000;

useProcesses();

let api: Api;
let proxy: DatabaseProxy;
let databaseUrl: string;
let sql: SQL;

beforeAll(async () => {
  databaseUrl = await createDatabase();
  sql = new SQL({ url: databaseUrl, max: 1 });
  proxy = await openProxy(databaseUrl);
  api = await Api.start({ databaseUrl: proxy.url });
});

afterEach(() => {
  api.clockOffsetMs = 0;
});

afterAll(async () => {
  await api.stop();
  await sql.close();
  await proxy.cut();
  await dropDatabase(databaseUrl);
});

/** Also for a worker at the edge, which learns the time with a request. */
async function advanceClock(milliseconds: number) {
  api.clockOffsetMs += milliseconds;
  await api.anonymous.get('/health/live');
}

async function outage(work: () => Promise<void>) {
  await proxy.cut();
  await advanceClock(CACHED_MS);
  try {
    await work();
  } finally {
    await proxy.mend();
  }
}

/** Until a request is answered as before. */
const back = (who: Persona) =>
  waitFor('the database is back', async () => (await who.get('/users/me')).status === 200);

describe('an outage of the database', () => {
  test('leaves a stream open without events, and it continues afterwards', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    const stream = await Follower.follow(ada);
    await outage(async () => {
      expect((await ada.get('/projects')).status).toBe(503);
      await waitFor('the stream says that it is there', () => stream.heartbeats > 0);
      await sql`insert into tasks (id, project_id, title) values (gen_random_uuid(), ${project.id}, 'Meanwhile')`;
    });
    await back(ada);
    const task = await ada.createTask(project.id, { title: 'After' });
    await waitFor('both are told', () => stream.items.length === 2);
    expect(stream.items.map(({ fields }) => fields.title)).toEqual(['Meanwhile', 'After']);
    expect(stream.items[1].subject_id).toBe(task.id);
    expect(stream.ended).toBe(false);
    stream.close();
  });

  test('in which a session ended ends its stream without another event', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    const stream = await Follower.follow(ada);
    await outage(async () => {
      // From its first failed check on, the stream tells nothing before the next one.
      await waitFor('the stream says that it is there', () => stream.heartbeats > 0);
      await sql`delete from sessions where user_id = ${ada.id}`;
      await sql`insert into tasks (id, project_id, title) values (gen_random_uuid(), ${project.id}, 'Secret')`;
    });
    await waitFor('the stream ends', () => stream.ended);
    expect(stream.items).toEqual([]);
  });

  test('that takes too long ends the stream', async () => {
    const ada = await api.person('ada');
    const stream = await Follower.follow(ada);
    await outage(async () => {
      await waitFor('the stream says that it is there', () => stream.heartbeats > 0);
      expect(stream.ended).toBe(false);
      await advanceClock(11 * MINUTE_MS);
      await waitFor('the stream ends', () => stream.ended);
    });
    await back(ada);
  });

  test('does not outlast the access token', async () => {
    const ada = await api.person('ada');
    const stream = await Follower.follow(ada);
    await outage(async () => {
      await advanceClock(16 * MINUTE_MS);
      await waitFor('the stream ends', () => stream.ended);
    });
  });

  test('lets a client connect again with its cursor and miss nothing', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    const { body } = await ada.get('/changes');
    let stream: Follower | undefined;
    await outage(async () => {
      await sql`insert into tasks (id, project_id, title) values (gen_random_uuid(), ${project.id}, 'Meanwhile')`;
      stream = await Follower.follow(ada, { 'last-event-id': body.next_cursor });
      expect([stream.status, stream.items]).toEqual([200, []]);
    });
    await waitFor('it is told', () => stream?.items.length === 1);
    expect(stream?.ended).toBe(false);
    stream?.close();
  });

  test('sends nothing to a client whose session has ended meanwhile', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    const { body } = await ada.get('/changes');
    let stream: Follower | undefined;
    await outage(async () => {
      await sql`insert into tasks (id, project_id, title) values (gen_random_uuid(), ${project.id}, 'Secret')`;
      await sql`delete from sessions where user_id = ${ada.id}`;
      stream = await Follower.follow(ada, { 'last-event-id': body.next_cursor });
      expect(stream.status).toBe(200);
    });
    await waitFor('the stream ends', () => stream?.ended === true);
    expect(stream?.items).toEqual([]);
  });

  test('refuses an access token with an invalid signature', async () => {
    const ada = await api.person('ada');
    const { body } = await ada.post('/users/me/tokens', { name: 'script', scopes: ['read'] });
    const open = async (token: string) =>
      (await fetch(`${api.url}/changes/stream`, { headers: { authorization: `Bearer ${token}` } }))
        .status;
    await outage(async () => {
      // An API token says by itself neither whose it is nor that it is one.
      expect(await open(body.token)).toBe(503);
      expect(await open(`${ada.token}x`)).toBe(401);
    });
    await back(ada);
  });
});
