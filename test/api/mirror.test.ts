/**
 * Clients that keep a copy hold exactly what the server has, through transactions that commit in
 * another order than they began, connections that are killed, clients that are killed, away, or lose and regain access.
 * `CHANGES_BULK=100` makes that many tasks at once, for the feed alone: copies of so much would be written all the time.
 */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SQL } from 'bun';
import { v7 as uuidv7 } from 'uuid';
import { type Copy, mirror } from '../../examples/mirror.ts';
import { Api, Client, type Persona } from '../support/api.ts';
import { dropDatabase } from '../support/cluster.ts';
import { seenBy } from '../support/copy.ts';
import { casesOf } from '../support/generated.ts';
import { makeFolder, useProcesses, waitFor } from '../support/process.ts';

useProcesses();

const BULK = Number(process.env.CHANGES_BULK ?? 1);
const ROUNDS = casesOf(40, 120);
const HELD_OPEN_MS_MAX = 30;
const KILL_INTERVAL_MS = 150;
/** Far beyond what it takes. */
setDefaultTimeout(600_000);

// biome-ignore lint/suspicious/noExplicitAny: answers are looked into freely.
type Json = any;

let api: Api;
let other: Api;

beforeAll(async () => {
  api = await Api.start();
  other = await Api.start({ databaseUrl: api.databaseUrl });
});

afterAll(async () => {
  await other.stop();
  await api.stop();
  await dropDatabase(api.databaseUrl);
});

const pick = <T>(items: readonly T[]): T | undefined =>
  items[Math.floor(Math.random() * items.length)];

/** A mirror that is killed now and then, and starts again from its file; it is left alone once it is told so. */
function killedMirror(url: string, token: string) {
  const file = join(makeFolder(), 'copy.json');
  const calm = Promise.withResolvers<void>();
  const stop = Promise.withResolvers<void>();
  let isCalm = false;
  const live = async () => {
    for (let lives = true; lives; ) {
      const abort = new AbortController();
      const lived = mirror(url, token, file, abort.signal);
      lives = !isCalm;
      await (isCalm ? stop.promise : Promise.race([Bun.sleep(Math.random() * 1000), calm.promise]));
      abort.abort();
      await lived.catch((error) => {
        if (error.name !== 'AbortError') throw error;
      });
    }
  };
  const lived = live();
  return {
    copy: async (): Promise<Copy['projects'] | undefined> =>
      readFile(file, 'utf8').then(
        (text) => JSON.parse(text).projects,
        () => undefined,
      ),
    calm() {
      isCalm = true;
      calm.resolve();
    },
    async stop() {
      stop.resolve();
      await lived;
    },
  };
}

test('a copy resumes after a crash and an absence, and starts again after the retention', async () => {
  const ada = await api.person('ada');
  const project = await ada.createProject('Kitchen');
  const before = await ada.createTask(project.id, { title: 'Before' });
  const { body: made } = await ada.post('/users/me/tokens', { name: 'mirror', scopes: ['read'] });
  const file = join(makeFolder(), 'copy.json');
  const run = () =>
    Bun.spawn(
      [
        process.execPath,
        join(import.meta.dir, '../../examples/mirror.ts'),
        api.url,
        made.token,
        file,
      ],
      {
        stdout: 'ignore',
        stderr: 'inherit',
      },
    );
  const titles = async () => {
    const { projects }: Copy = JSON.parse(
      await readFile(file, 'utf8').catch(() => '{"projects":{}}'),
    );
    return Object.values(projects[project.id]?.tasks ?? {}).map(({ title }) => title);
  };
  const holds = (...wanted: string[]) =>
    waitFor(`the copy holds ${wanted}`, async () =>
      Bun.deepEquals((await titles()).sort(), wanted),
    );

  const first = run();
  await holds('Before');
  await ada.createTask(project.id, { title: 'Followed' });
  await holds('Before', 'Followed');
  first.kill('SIGKILL');
  await first.exited;
  await ada.delete(`/tasks/${before.id}`);
  await ada.createTask(project.id, { title: 'Away' });
  expect((await titles()).sort()).toEqual(['Before', 'Followed']);
  const second = run();
  await holds('Away', 'Followed');
  second.kill('SIGKILL');
  await second.exited;
  // Everything that it has not seen is kept no longer.
  await ada.createTask(project.id, { title: 'Long ago' });
  await ada.get('/changes');
  await api.sql`update events set at = now() - interval '91 days' where project_id = ${project.id}`;
  await ada.createTask(project.id, { title: 'Now' });
  const third = run();
  await holds('Away', 'Followed', 'Long ago', 'Now');
  third.kill('SIGKILL');
  await third.exited;
});

test('copies equal the server, and the feed has each event once', async () => {
  const people = await Promise.all(['ada', 'bob', 'cid'].map((name) => api.person(name)));
  const [ada, bob, cid] = people as [Persona, Persona, Persona];
  const { body: start } = await ada.get('/changes');
  const projects: string[] = [];
  for (let n = 0; n < 3; n += 1) projects.push((await ada.createProject(`Project ${n}`)).id);
  const settled = await ada.createTask(projects[0] ?? '');
  await ada.patch(`/tasks/${settled.id}`, { project_id: projects[1] });
  const sql = new SQL({ url: api.databaseUrl, max: 8 });
  const mirrors = (BULK > 1 ? [] : [ada, bob, cid]).map((who, n) =>
    killedMirror((n % 2 ? other : api).url, who.token ?? ''),
  );
  const read: Json[] = [];
  let writing = true;
  // Until the last of the transactions that are held open has ended.
  let reading = true;

  /** Tasks that are known to have been there. */
  const tasks: string[] = [];
  const comments: string[] = [];
  const writers = [ada, bob, cid].map(async (who, n) => {
    const client = new Client(n % 2 ? api : other, who.token);
    for (let round = 0; round < ROUNDS; round += 1) await write(client, round);
  });
  /** Writes once. It may fail: without access, on a deleted task, or on a killed connection. */
  async function write(client: Client, round: number) {
    const projectId = pick(projects) ?? '';
    const task = `/tasks/${pick(tasks.slice(-20)) ?? uuidv7()}`;
    const person = pick([bob, cid]) as Persona;
    const membership = `/projects/${projectId}/members/${person.id}`;
    const kind = Math.random();
    if (kind < 0.3) {
      const { body } = await client.post(`/tasks/projects/${projectId}`, {
        title: `Round ${round}`,
        labels: ['a'],
        due_at: '2026-12-24T18:00:00Z',
      });
      if (body?.id) tasks.push(body.id);
    } else if (kind < 0.47) await client.patch(task, { status: pick(['todo', 'done']) });
    else if (kind < 0.52) await client.patch(task, { project_id: projectId });
    else if (kind < 0.55) {
      const moved = [...new Set([pick(tasks.slice(-20)), pick(tasks.slice(-20))])];
      await client.post('/tasks/batch', {
        operations: moved.map((id) => ({
          op: 'update',
          task_id: id ?? uuidv7(),
          project_id: pick(projects),
          title: `Moved ${round}`,
        })),
      });
    } else if (kind < 0.58) await client.put(task, { title: 'Replaced' });
    else if (kind < 0.64) {
      const { body } = await client.post(`${task}/comments`, { body: `Comment ${round}` });
      if (body?.id) comments.push(body.id);
    } else if (kind < 0.66) {
      const comment = `/comments/${pick(comments) ?? uuidv7()}`;
      await (Math.random() < 0.5
        ? client.patch(comment, { body: 'Edited' })
        : client.delete(comment));
    } else if (kind < 0.7) await client.delete(task);
    else if (kind < 0.78) {
      const operations = [1, 2, 3].map(() => ({
        op: 'create',
        project_id: projectId,
        title: 'Of a batch',
      }));
      await client.post('/tasks/batch', { operations });
    } else if (kind < 0.84) await client.patch(`/projects/${projectId}`, { name: `P ${round}` });
    else if (kind < 0.91)
      await client.post(`/projects/${projectId}/members`, {
        username: person.username,
        role: pick(['editor', 'viewer']),
      });
    else if (kind < 0.95) await client.patch(membership, { role: pick(['editor', 'viewer']) });
    else if (kind < 0.98) await client.delete(membership);
    else if (kind < 0.99) {
      // It may be cut in the middle.
      const exported = await client.get(`/projects/${projectId}/export`).catch(() => undefined);
      const headers = { 'content-type': 'application/json' };
      if (exported?.status === 200)
        await client.post('/projects/import', undefined, { raw: exported.text, headers });
    } else {
      const { body } = await client.post('/projects/', { name: 'Short-lived' });
      if (body?.id) await client.delete(`/projects/${body.id}`);
    }
  }

  /** Transactions that end in another order than they began. */
  const transactions = Array.from({ length: 4 }, async () => {
    while (writing)
      await sql.begin(async (tx) => {
        await tx`insert into tasks (id, project_id, title)
          select gen_random_uuid(), ${pick(projects)}, 'Held open' from generate_series(1, ${BULK}::int)`;
        await Bun.sleep(Math.random() * HELD_OPEN_MS_MAX);
        await tx`update tasks set title = 'Changed', version = version + 1 where id = ${pick(tasks) ?? null}`;
      });
  });
  const killer = (async () => {
    while (writing) {
      await Bun.sleep(KILL_INTERVAL_MS);
      await sql`select pg_terminate_backend(pid) from (select pid from pg_stat_activity
        where application_name like 'mantou%' and datname = current_database() order by random() limit 1) one`;
    }
  })();
  const reader = (async () => {
    for (let cursor = start.next_cursor, isAtEnd = false; !isAtEnd; ) {
      const isLast = !reading;
      const { status, body } = await ada.get(`/changes?limit=${pick([1, 7, 200])}&since=${cursor}`);
      if (status !== 200) continue;
      read.push(...body.items);
      cursor = body.next_cursor;
      // Only a read that began after the last write can be the last one.
      isAtEnd = isLast && body.items.length === 0;
      if (body.items.length === 0) await Bun.sleep(Math.random() * 20);
    }
  })();

  await Promise.all(writers);
  writing = false;
  await Promise.all([...transactions, killer]);
  reading = false;
  await reader;
  for (const one of mirrors) one.calm();

  for (const [n, one] of mirrors.entries()) {
    const who = people[n] as Persona;
    const seen = await seenBy(new Client(api, who.token));
    await waitFor(`the copy of ${who.username} is complete`, async () =>
      Bun.deepEquals(await one.copy(), seen),
    ).catch(async () => expect(await one.copy()).toEqual(seen));
  }
  for (const one of mirrors) await one.stop();

  // The owner has read each event of the projects once, and those of each row in the order of its versions.
  const versions = new Map<string, number>();
  const places = new Map<string, string>();
  let moves = 0;
  for (const { action, project_id, subject, subject_id, version } of read) {
    if (subject !== 'task') continue;
    const place = places.get(subject_id);
    if (action === 'task.deleted') {
      expect(place).toBe(project_id);
      places.delete(subject_id);
      continue;
    }
    const before = versions.get(subject_id) ?? 0;
    const expected = place === undefined ? 'task.created' : 'task.updated';
    expect([action, version, place ?? project_id]).toEqual([expected, before + 1, project_id]);
    if (place === undefined && before > 0) moves += 1;
    versions.set(subject_id, version);
    places.set(subject_id, project_id);
  }
  expect(moves).toBeGreaterThan(0);
  const kept =
    await sql`select id from events where recipient_id is null and project_id in ${sql(projects)}`;
  const ofProjects = read.filter(
    ({ project_id, action }) => projects.includes(project_id) && !action.startsWith('access.'),
  );
  // A new project begins with `access.granted` for its owner, which includes its creation.
  const fromGrant = kept.length - ofProjects.length;
  expect([new Set(read.map(({ id }) => id)).size, fromGrant]).toEqual([
    read.length,
    2 * projects.length,
  ]);
  if (BULK > 1) console.log(`${read.length} changes read by one client, ${kept.length} kept`);
  await sql.close();
});
