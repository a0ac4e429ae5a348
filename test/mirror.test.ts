/**
 * Clients that keep a copy hold exactly what the server has, whatever happens meanwhile: transactions that commit in
 * another order than they began, connections that are killed, clients that are killed, away, or lose and regain access.
 * `CHANGES_BULK=100` makes that many tasks at once, for the feed alone: copies of so much would be written all the time.
 */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SQL } from 'bun';
import { v7 as uuidv7 } from 'uuid';
import { type Copy, mirror } from '../examples/mirror.ts';
import { Api, Client, type Persona } from './support/api.ts';
import { dropDatabase } from './support/cluster.ts';
import { makeFolder, until, useProcesses } from './support/process.ts';

useProcesses();

const BULK = Number(process.env.CHANGES_BULK ?? 1);
const ROUNDS = 120;
const HELD_OPEN_MS_MAX = 30;
const KILL_INTERVAL_MS = 150;
/** Far beyond what it takes. */
setDefaultTimeout(BULK > 1 ? 600_000 : 120_000);

// biome-ignore lint/suspicious/noExplicitAny: answers are looked into freely.
type Json = any;

let api: Api;
let other: Api;

beforeAll(async () => {
  api = await Api.start();
  other = await Api.start({ database_url: api.database_url });
});

afterAll(async () => {
  await other.stop();
  await api.stop();
  await dropDatabase(api.database_url);
});

const pick = <T>(items: readonly T[]): T | undefined =>
  items[Math.floor(Math.random() * items.length)];

/** Everything that somebody sees, read the plain way. */
async function seenBy(who: Client): Promise<Copy['projects']> {
  const projects: Copy['projects'] = {};
  for (const project of await all(who, '/projects/?archived=any&')) {
    const tasks = await all(who, `/tasks/projects/${project.id}?`);
    const members =
      project.role === 'viewer' ? [] : await all(who, `/projects/${project.id}/members?`);
    projects[project.id] = {
      ...project,
      tasks: Object.fromEntries(tasks.map((task) => [task.id, task])),
      members: Object.fromEntries(members.map(({ user_id, role }) => [user_id, role])),
    };
  }
  return projects;
}

async function all(who: Client, path: string): Promise<Json[]> {
  const items: Json[] = [];
  for (let cursor = ''; ; ) {
    const { body } = await who.get(`${path}limit=200${cursor}`);
    items.push(...body.items);
    if (body.next_cursor === null) return items;
    cursor = `&cursor=${body.next_cursor}`;
  }
}

/** A mirror that is killed now and then, and starts again from its file; it is left alone once it is told so. */
function killedMirror(url: string, token: string) {
  const file = join(makeFolder(), 'copy.json');
  const calm = Promise.withResolvers<void>();
  const stop = Promise.withResolvers<void>();
  let is_calm = false;
  const live = async () => {
    for (let lives = true; lives; ) {
      const abort = new AbortController();
      const lived = mirror(url, token, file, abort.signal);
      lives = !is_calm;
      await (is_calm
        ? stop.promise
        : Promise.race([Bun.sleep(Math.random() * 1000), calm.promise]));
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
      is_calm = true;
      calm.resolve();
    },
    async stop() {
      stop.resolve();
      await lived;
    },
  };
}

test('a copy that was killed and away goes on where it was, and starts afresh after too long', async () => {
  const ada = await api.person('ada');
  const project = await ada.createProject('Kitchen');
  const before = await ada.createTask(project.id, { title: 'Before' });
  const { body: made } = await ada.post('/users/me/tokens', { name: 'mirror', scopes: ['read'] });
  const file = join(makeFolder(), 'copy.json');
  const run = () =>
    Bun.spawn(
      [process.execPath, join(import.meta.dir, '../examples/mirror.ts'), api.url, made.token, file],
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
    until(`the copy holds ${wanted}`, async () => Bun.deepEquals((await titles()).sort(), wanted));

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

test('copies are what the server has, and the feed has no gap and no double', async () => {
  const people = await Promise.all(['ada', 'bob', 'cid'].map((name) => api.person(name)));
  const [ada, bob, cid] = people as [Persona, Persona, Persona];
  const { body: start } = await ada.get('/changes');
  const projects: string[] = [];
  for (let n = 0; n < 3; n += 1) projects.push((await ada.createProject(`Project ${n}`)).id);
  const sql = new SQL({ url: api.database_url, max: 8 });
  const mirrors = (BULK > 1 ? [] : [ada, bob, cid]).map((who, n) =>
    killedMirror((n % 2 ? other : api).url, who.token ?? ''),
  );
  const read: Json[] = [];
  let writing = true;
  // Until the last of the transactions that are held open has ended.
  let reading = true;

  /** Tasks that are known to have been there. */
  const tasks: string[] = [];
  const writers = [ada, bob, cid].map(async (who, n) => {
    const client = new Client(n % 2 ? api : other, who.token);
    for (let round = 0; round < ROUNDS; round += 1) await write(client, round);
  });
  /** Whatever becomes of it: the writer may have no access, the task may be gone, the connection killed. */
  async function write(client: Client, round: number) {
    const project_id = pick(projects) ?? '';
    const task = `/tasks/${pick(tasks.slice(-20)) ?? uuidv7()}`;
    const person = pick([bob, cid]) as Persona;
    const membership = `/projects/${project_id}/members/${person.id}`;
    const kind = Math.random();
    if (kind < 0.3) {
      const { body } = await client.post(`/tasks/projects/${project_id}`, {
        title: `Round ${round}`,
        labels: ['a'],
        due_at: '2026-12-24T18:00:00Z',
      });
      if (body?.id) tasks.push(body.id);
    } else if (kind < 0.55) await client.patch(task, { status: pick(['todo', 'done']) });
    else if (kind < 0.62) await client.put(task, { title: 'Replaced' });
    else if (kind < 0.7) await client.delete(task);
    else if (kind < 0.78) {
      const operations = [1, 2, 3].map(() => ({ op: 'create', project_id, title: 'Of a batch' }));
      await client.post('/tasks/batch', { operations });
    } else if (kind < 0.84) await client.patch(`/projects/${project_id}`, { name: `P ${round}` });
    else if (kind < 0.91)
      await client.post(`/projects/${project_id}/members`, {
        username: person.username,
        role: pick(['editor', 'viewer']),
      });
    else if (kind < 0.95) await client.patch(membership, { role: pick(['editor', 'viewer']) });
    else if (kind < 0.98) await client.delete(membership);
    else if (kind < 0.99) {
      // It may be cut in the middle.
      const exported = await client.get(`/projects/${project_id}/export`).catch(() => undefined);
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
    for (let cursor = start.next_cursor, rest = 1; reading || rest > 0; ) {
      const { status, body } = await ada.get(`/changes?limit=${pick([1, 7, 200])}&since=${cursor}`);
      if (status !== 200) continue;
      read.push(...body.items);
      cursor = body.next_cursor;
      rest = body.items.length;
      if (rest === 0) await Bun.sleep(Math.random() * 20);
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
    await until(`the copy of ${who.username} is complete`, async () =>
      Bun.deepEquals(await one.copy(), seen),
    ).catch(async () => expect(await one.copy()).toEqual(seen));
  }
  for (const one of mirrors) await one.stop();

  // Whoever owns the projects all the time has read each event of them once, each row's in the order of its versions.
  const versions = new Map<string, number>();
  for (const { action, subject, subject_id, version } of read) {
    if (subject !== 'task' || action === 'task.deleted') continue;
    const before = versions.get(subject_id) ?? 0;
    expect([action, version]).toEqual([before === 0 ? 'task.created' : 'task.updated', before + 1]);
    versions.set(subject_id, version);
  }
  const kept =
    await sql`select id from events where recipient_id is null and project_id in ${sql(projects)}`;
  const of_projects = read.filter(
    ({ project_id, action }) => projects.includes(project_id) && !action.startsWith('access.'),
  );
  // His own projects begin for him with `access.granted`: what made them is in that.
  const from_grant = kept.length - of_projects.length;
  expect([new Set(read.map(({ id }) => id)).size, from_grant]).toEqual([
    read.length,
    2 * projects.length,
  ]);
  if (BULK > 1) console.log(`${read.length} changes read by one client, ${kept.length} kept`);
  await sql.close();
});
