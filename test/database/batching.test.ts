/** Calls that arrive together share a statement, and each keeps its own outcome. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { SQL as Client } from 'bun';
import { sql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/bun-sql';
import { v7 as uuidv7 } from 'uuid';
import { allowBatching, batchedRead, oneCaller } from '../../src/db/batching.ts';
import type { Database } from '../../src/db/database.ts';
import { type QueryParams, rawQuery } from '../../src/db/prepared.ts';
import { createProject, listProjects, readProject } from '../../src/handlers/projects.ts';
import { listTasks } from '../../src/handlers/task-lists.ts';
import { createTask, deleteTask, patchTask, readTask } from '../../src/handlers/tasks.ts';
import { createPool, type Pool } from '../../src/postgres/pool.ts';
import type { CurrentUser } from '../../src/schemas/current-user.ts';
import { readSettings } from '../../src/settings.ts';
import { type Persona, useApi } from '../support/api.ts';
import { countWaiting, openTransaction, waitForBlockedQuery } from '../support/locks.ts';
import { waitFor } from '../support/process.ts';
import { scanCounter } from '../support/scans.ts';

const api = useApi();
let client: Client;
/** As the API has it: a statement that waits holds up no other on its connection. */
let pool: Pool;
let ada: Persona;
let user: CurrentUser;

beforeAll(async () => {
  client = new Client({ url: api.databaseUrl, max: 4 });
  pool = createPool(api.databaseUrl, readSettings({}));
  ada = await api.person();
  user = { id: ada.id, username: ada.username, scopes: ['read'] };
});
afterAll(() => Promise.all([client.close(), pool.close()]));

/** A database that counts its statements. @param held holds back every answer until it resolves. */
function openDatabase(
  batching: boolean,
  held = Promise.resolve(),
  callers = oneCaller,
  connections = client,
) {
  const statements: string[] = [];
  const unsafe = (text: string, params: unknown[]) => {
    statements.push(text);
    const answer = async (rows: () => PromiseLike<unknown>) => {
      const found = await rows();
      await held;
      return found;
    };
    return {
      // biome-ignore lint/suspicious/noThenProperty: Drizzle awaits it, as it can await Bun's own query.
      then: (...handlers: Parameters<Promise<unknown>['then']>) =>
        answer(() => connections.unsafe(text, params)).then(...handlers),
      values: () => answer(() => connections.unsafe(text, params).values()),
    };
  };
  const db: Database = drizzle({ client: { unsafe } as unknown as Client });
  if (batching) allowBatching(db, callers);
  return { db, statements };
}

/** What calls answer at a database where they all arrive while the first of each shape is in flight. */
async function askTogether<Answer>(ask: (db: Database) => Promise<Answer>) {
  // A call that is read alone is a statement, so their number is that of the calls that must arrive.
  const reference = openDatabase(false);
  const alone = await ask(reference.db);
  let expected = reference.statements.length;
  const arrived = Promise.withResolvers<void>();
  const isHeldBack = () => {
    expected -= 1;
    if (expected === 0) arrived.resolve();
    return false;
  };
  const { db, statements } = openDatabase(true, arrived.promise, { ...oneCaller, isHeldBack });
  return { together: await ask(db), alone, statements };
}

const quotients = batchedRead((_, { divisor }: QueryParams<{ divisor: number }>) =>
  rawQuery<{ quotient: number }>(sql`select 60 / ${divisor}::int as quotient`, ['quotient']),
);

/** What a call answers, or else the code of its problem, the SQLSTATE or the error. */
const outcomeOf = <T>(answer: Promise<T>) =>
  answer.catch((error) => (error.code ?? error.cause?.errno ?? error) as string);

test('64 calls after the first share one statement, and each gets its own rows', async () => {
  const { db, statements } = openDatabase(true);
  const calls = Array.from({ length: 65 }, (_, n) => quotients(db, { divisor: (n % 10) + 1 }));
  const answers = await Promise.all(calls);
  expect(answers.map(([row]) => row?.quotient)).toEqual(
    Array.from({ length: 65 }, (_, n) => Math.floor(60 / ((n % 10) + 1))),
  );
  expect(statements).toHaveLength(2);
});

test('a call that finds nothing in flight is sent alone', async () => {
  const { db, statements } = openDatabase(true);
  for (const divisor of [1, 2, 3]) await quotients(db, { divisor });
  expect(statements).toHaveLength(3);
  expect(statements.filter((text) => text.includes('lateral'))).toEqual([]);
});

test('calls at a database whose connections belong to one request never share a statement', async () => {
  const { db, statements } = openDatabase(false);
  await Promise.all(Array.from({ length: 10 }, () => quotients(db, { divisor: 1 })));
  expect(statements).toHaveLength(10);
});

test('one call that PostgreSQL refuses among 64 fails alone', async () => {
  const { db } = openDatabase(true);
  const calls = Array.from({ length: 65 }, (_, n) => quotients(db, { divisor: n === 30 ? 0 : 1 }));
  const outcomes = await Promise.all(calls.map(outcomeOf));
  expect(outcomes[30]).toBe('22012');
  expect(
    outcomes.filter((rows) => typeof rows === 'object' && rows[0]?.quotient === 60),
  ).toHaveLength(64);
});

test('a lost database fails all calls of a statement, and none is sent again', async () => {
  const sent: string[] = [];
  const lost = Object.assign(new Error('gone'), { code: 'ERR_POSTGRES_CONNECTION_CLOSED' });
  const unsafe = (text: string) => {
    sent.push(text);
    return Object.assign(Promise.resolve([]), { values: () => Promise.reject(lost) });
  };
  const db: Database = drizzle({ client: { unsafe } as unknown as Client });
  allowBatching(db);
  const calls = Array.from({ length: 10 }, () => outcomeOf(quotients(db, { divisor: 1 })));
  const outcomes = await Promise.all(calls);
  expect(outcomes.every((error) => (error as unknown as Error).cause === lost)).toBe(true);
  expect(sent).toHaveLength(2);
});

test('a call beyond those that may wait is refused at once', async () => {
  const { db } = openDatabase(true);
  const calls = Array.from({ length: 1002 }, () => outcomeOf(quotients(db, { divisor: 1 })));
  expect((await Promise.all(calls)).filter((outcome) => outcome === 'overloaded')).toHaveLength(1);
});

test('tasks and projects that are read together are found or not found, each by itself', async () => {
  const { db, statements } = openDatabase(true);
  const project = await ada.createProject('Attic');
  const stranger = await api.person();
  const hidden = await stranger.createProject('Hidden');
  const secret = await stranger.createTask(hidden.id);
  const task = await ada.createTask(project.id, {
    labels: ['a', 'b'],
    due_at: '2026-12-01T00:00:00Z',
  });
  const ids = [task.id, secret.id, uuidv7(), task.id];
  expect(await Promise.all(ids.map((id) => outcomeOf(readTask(db, user, id))))).toEqual([
    task,
    'not_found',
    'not_found',
    task,
  ]);
  const projectIds = [project.id, hidden.id, uuidv7(), project.id];
  const projects = await Promise.all(projectIds.map((id) => outcomeOf(readProject(db, user, id))));
  expect(projects.map((one) => (typeof one === 'string' ? one : one.name))).toEqual([
    'Attic',
    'not_found',
    'not_found',
    'Attic',
  ]);
  expect(statements).toHaveLength(4);
});

test.each([
  'created_at',
  '-created_at',
  '-updated_at',
  'due_at',
  '-due_at',
  'priority',
  'title',
  '-title',
] as const)(
  'lists by %s that are read together, with cursors and limits of their own, equal those that are read alone',
  async (sort) => {
    const project = await ada.createProject();
    const empty = await ada.createProject();
    for (const n of [3, 1, 2, 5, 4])
      await ada.createTask(project.id, {
        title: `Task ${n}`,
        priority: n % 3,
        due_at: n < 4 ? `2026-12-0${n}T00:00:00Z` : null,
      });
    const first = await listTasks(openDatabase(false).db, user, project.id, { limit: 2, sort });
    const queries = [
      [project.id, { limit: 50, sort }],
      [project.id, { limit: 1, sort }],
      [empty.id, { limit: 50, sort }],
      [uuidv7(), { limit: 50, sort }],
      [project.id, { limit: 2, sort, cursor: first.next_cursor ?? '' }],
      [project.id, { limit: 3, sort, cursor: first.next_cursor ?? '' }],
    ] as const;
    const ask = (db: Database) =>
      Promise.all(queries.map(([id, query]) => outcomeOf(listTasks(db, user, id, query))));
    const { together, alone, statements } = await askTogether(ask);
    expect(together).toEqual(alone);
    // Those with a cursor have another shape.
    expect(statements).toHaveLength(4);
  },
);

test('projects that are listed together equal those that are listed alone', async () => {
  const { id, username } = await api.person();
  const users: CurrentUser[] = [user, { id, username, scopes: ['read'] }, user];
  const query = { limit: 50, sort: 'name', archived: 'false' } as const;
  const ask = (db: Database) => Promise.all(users.map((one) => listProjects(db, one, query)));
  const { together, alone, statements } = await askTogether(ask);
  expect(together).toEqual(alone);
  expect(statements).toHaveLength(2);
});
/** People with a project each, so that calls of many users share a statement. */
async function people(count: number) {
  return Promise.all(
    Array.from({ length: count }, async () => {
      const persona = await api.person();
      const project = await persona.createProject();
      const user: CurrentUser = { id: persona.id, username: persona.username, scopes: ['write'] };
      return { persona, project, user };
    }),
  );
}

test('tasks that many users create together are theirs, and the events name who created each', async () => {
  const { db, statements } = openDatabase(true);
  const crowd = await people(5);
  const created = await Promise.all(
    crowd.map(({ user, project }, n) =>
      createTask(db, user, project.id, {
        title: `Task ${n}`,
        labels: ['a', 'b'],
        description: null,
      }),
    ),
  );
  expect(statements).toHaveLength(2);
  for (const [n, { persona, project, user }] of crowd.entries()) {
    const task = created[n]?.row;
    expect(task).toMatchObject({ title: `Task ${n}`, project_id: project.id, created_by: user.id });
    expect((await persona.get(`/tasks/${task?.id}`)).body).toEqual(task);
    const { items } = (await persona.get(`/projects/${project.id}/events`)).body;
    expect(items[0]).toMatchObject({
      action: 'task.created',
      actor_id: user.id,
      subject_id: task?.id,
    });
  }
});

test('creations that go together read no table of projects or members whole', async () => {
  const one = new Client({ url: api.databaseUrl, max: 1 });
  const project = await ada.createProject();
  await one`with made as (
      insert into projects (id, name, name_key, name_words, description_words, name_runs, description_runs, words_version)
      select gen_random_uuid(), 'p', 'p', '', '', '', '', -1 from generate_series(1, 4000) returning id)
    insert into project_members (project_id, user_id, role) select id, ${ada.id}, 'owner' from made`;
  await one`analyze projects, project_members`;
  const countScans = scanCounter(one, 'projects', 'project_members');
  const { db, statements } = openDatabase(true, undefined, undefined, one);
  const before = await countScans();
  await Promise.all(
    Array.from({ length: 20 }, (_, n) => createTask(db, user, project.id, { title: `Task ${n}` })),
  );
  expect((await countScans()) - before).toBe(0);
  // The first goes alone.
  expect(statements).toHaveLength(2);
  await one`delete from projects where name = 'p'`;
  await one.close();
});

test('each of the tasks that are created together has its own outcome', async () => {
  const { db, statements } = openDatabase(true);
  const [owner, viewer, stranger] = await people(3);
  if (!owner || !viewer || !stranger) throw new Error('three people');
  await owner.persona.post(`/projects/${owner.project.id}/members`, {
    username: viewer.user.username,
    role: 'viewer',
  });
  const archived = await owner.persona.createProject();
  await owner.persona.patch(`/projects/${archived.id}`, { archived: true });
  const calls = [
    [owner, owner.project],
    [owner, owner.project],
    [viewer, owner.project],
    [stranger, owner.project],
    [owner, archived],
    [viewer, viewer.project],
  ] as const;
  const outcomes = await Promise.all(
    calls.map(([{ user }, project]) =>
      outcomeOf(createTask(db, user, project.id, { title: 'One' })),
    ),
  );
  expect(outcomes.map((one) => (typeof one === 'string' ? one : one.row.title))).toEqual([
    'One',
    'One',
    'forbidden',
    'not_found',
    'conflict',
    'One',
  ]);
  expect(statements).toHaveLength(2);
});

test('one of 64 creates that PostgreSQL refuses fails alone; the others are created and recorded once', async () => {
  const { db } = openDatabase(true);
  const [owner, stranger] = await people(2);
  if (!owner || !stranger) throw new Error('two people');
  const outcomes = await Promise.all(
    Array.from({ length: 65 }, (_, n) =>
      outcomeOf(
        createTask(db, owner.user, owner.project.id, {
          title: `Task ${n}`,
          assignee_id: n === 30 ? stranger.user.id : null,
        }),
      ),
    ),
  );
  expect(outcomes[30]).toBe('validation_failed');
  expect(outcomes.filter((one) => typeof one === 'object' && !one.replayed)).toHaveLength(64);
  const rows: { title: string; events: number }[] = await api.sql`
    select title, (select count(*)::int from events where subject_id = tasks.id) as events
    from tasks where project_id = ${owner.project.id}`;
  expect(new Set(rows.map(({ title }) => title)).size).toBe(64);
  expect(rows.map(({ events }) => events)).toEqual(Array(64).fill(1));
});

test('patches of many tasks share a statement; of one task, each is a statement and a version of its own', async () => {
  const { db, statements } = openDatabase(true);
  const crowd = await people(3);
  const tasks = await Promise.all(
    crowd.map(({ persona, project }) => persona.createTask(project.id)),
  );
  const patches = crowd.map(({ user }, n) =>
    patchTask(db, user, tasks[n].id, { priority: n, due_at: '2026-12-01T00:00:00Z' }, undefined),
  );
  expect((await Promise.all(patches)).map(({ priority, version }) => [priority, version])).toEqual([
    [0, 2],
    [1, 2],
    [2, 2],
  ]);
  expect(statements).toHaveLength(2);
  const [first] = crowd;
  if (!first) throw new Error('one user');
  const again = await Promise.all(
    [1, 2, 3, 4].map((priority) =>
      patchTask(db, first.user, tasks[0].id, { priority, due_at: null }, undefined),
    ),
  );
  expect(again.map(({ priority, version }) => [priority, version])).toEqual([
    [1, 3],
    [2, 4],
    [3, 5],
    [4, 6],
  ]);
  expect(statements).toHaveLength(6);
});

test('two patches of one task never share a statement, in whatever case its id is written', async () => {
  const { db, statements } = openDatabase(true);
  const { user, ids } = await tasksOf(2);
  const [before = '', first = ''] = ids;
  const patches = [before, first, first.toUpperCase(), before].map((id, n) =>
    patchTask(db, user, id, { title: `Change ${n}` }, undefined),
  );
  const found = await Promise.all(patches);
  expect(found.map(({ title, version }) => `${title}, ${version}`)).toEqual([
    'Change 0, 2',
    'Change 1, 2',
    'Change 2, 3',
    'Change 3, 3',
  ]);
  expect(statements).toHaveLength(3);
});

test('each of the patches that go together has its own outcome, and its own actor', async () => {
  const { db, statements } = openDatabase(true);
  const crowd = await people(3);
  const [owner, stranger] = crowd;
  if (!owner || !stranger) throw new Error('three people');
  const tasks = await Promise.all(
    crowd.map(({ persona, project }) => persona.createTask(project.id)),
  );
  const calls = [
    [crowd[2], tasks[2].id, [1]],
    [owner, tasks[0].id, [1]],
    [stranger, tasks[0].id, [1]],
    [stranger, tasks[1].id, [7]],
    [owner, uuidv7(), [1]],
  ] as const;
  const outcomes = await Promise.all(
    calls.map(([who, id, versions]) =>
      outcomeOf(patchTask(db, (who ?? owner).user, id, { title: 'Changed' }, versions)),
    ),
  );
  expect(outcomes.map((one) => (typeof one === 'string' ? one : one.version))).toEqual([
    2,
    2,
    'not_found',
    'precondition_failed',
    'not_found',
  ]);
  // Of the two calls that name one task, the second goes in a statement of its own.
  expect(statements).toHaveLength(3);
  const { items } = (await owner.persona.get(`/projects/${owner.project.id}/events`)).body;
  expect(items[0]).toMatchObject({ action: 'task.updated', actor_id: owner.user.id });
});

/** Tasks of one user in one project. */
async function tasksOf(count: number) {
  const [owner] = await people(1);
  if (!owner) throw new Error('one person');
  const { persona, project } = owner;
  const operations = Array.from({ length: count }, (_, n) => ({
    op: 'create',
    project_id: project.id,
    title: `Task ${n}`,
  }));
  const { results } = (await persona.post('/tasks/batch', { operations })).body;
  const ids: string[] = results.map(({ task }: { task: { id: string } }) => task.id);
  return { ...owner, ids };
}

test.each([
  ['first', 0],
  ['in the middle', 30],
  ['last', 63],
])(
  'a row that another transaction locks, %s of 64, holds up its own patch alone',
  async (_, place) => {
    const { database: db } = pool;
    const { user, ids } = await tasksOf(64);
    const locker = await client.reserve();
    await locker`begin`;
    await locker`select id from tasks where id = ${ids[place]} for update`;
    let isAnswered = false;
    const patches = ids.map((id) => patchTask(db, user, id, { status: 'done' }, undefined));
    patches[place]?.then(() => {
      isAnswered = true;
    });
    const others = await Promise.all(patches.toSpliced(place, 1));
    expect(new Set(others.map(({ status, version }) => `${status} ${version}`))).toEqual(
      new Set(['done 2']),
    );
    expect(isAnswered).toBe(false);
    // What comes later does not wait for it either, a change of the same rows included.
    const [free] = ids.toSpliced(place, 1);
    expect((await patchTask(db, user, free ?? '', { priority: 1 }, undefined)).version).toBe(3);
    await locker`commit`;
    locker.release();
    expect((await patches[place])?.version).toBe(2);
  },
);

/** The events of some subjects, in the order in which they get their positions. */
const eventsOf = (
  ids: string[],
): Promise<{ action: string; actor_id: string; subject_id: string }[]> =>
  api.sql`select action, actor_id, subject_id from events
    where subject_id in ${api.sql(ids)} and recipient_id is null order by number`;

test('each of the deletions that go together has its own outcome, and its own actor', async () => {
  const { db, statements } = openDatabase(true);
  const [owner, viewer, stranger] = await people(3);
  if (!owner || !viewer || !stranger) throw new Error('three people');
  await owner.persona.post(`/projects/${owner.project.id}/members`, {
    username: viewer.user.username,
    role: 'viewer',
  });
  const [first, seen, changed, kept] = await Promise.all(
    Array.from({ length: 4 }, () => owner.persona.createTask(owner.project.id)),
  );
  const other = await stranger.persona.createTask(stranger.project.id);
  const calls = [
    [owner, first.id, undefined],
    [owner, changed.id, [1]],
    [stranger, other.id, undefined],
    [viewer, seen.id, undefined],
    [stranger, seen.id.toUpperCase(), undefined],
    [owner, kept.id, [2, 3]],
    [owner, uuidv7(), [1]],
    [owner, changed.id, undefined],
  ] as const;
  const outcomes = await Promise.all(
    calls.map(([{ user }, id, versions]) => outcomeOf(deleteTask(db, user, id, versions))),
  );
  expect(outcomes).toEqual([
    undefined,
    undefined,
    undefined,
    'forbidden',
    'not_found',
    'precondition_failed',
    'not_found',
    'not_found',
  ]);
  expect(statements.filter((text) => text.includes('"deleted"')).length).toBeLessThan(5);
  const rows =
    await api.sql`select id from tasks where project_id in (${owner.project.id}, ${stranger.project.id})`;
  expect(rows.map(({ id }: { id: string }) => id).toSorted()).toEqual(
    [seen.id, kept.id].toSorted(),
  );
  const deleted = (await eventsOf([first.id, changed.id, other.id])).filter(
    ({ action }) => action === 'task.deleted',
  );
  expect(deleted.map(({ actor_id, subject_id }) => [actor_id, subject_id])).toEqual([
    [owner.user.id, first.id],
    [owner.user.id, changed.id],
    [stranger.user.id, other.id],
  ]);
});

test('projects that many users create together are theirs, and the events name who created each', async () => {
  const { db, statements } = openDatabase(true);
  const crowd = await people(5);
  const created = await Promise.all(
    crowd.map(({ user }, n) => createProject(db, user, { name: `Project ${n}` })),
  );
  expect(statements).toHaveLength(2);
  for (const [n, { persona, user }] of crowd.entries()) {
    const project = created[n]?.row;
    expect(project).toMatchObject({ name: `Project ${n}`, role: 'owner', version: 1 });
    expect((await persona.get(`/projects/${project?.id}`)).body).toEqual(project);
    const { items } = (await persona.get(`/projects/${project?.id}/events`)).body;
    expect(
      items.map(({ action, actor_id }: { action: string; actor_id: string }) => [action, actor_id]),
    ).toEqual([
      ['member.added', user.id],
      ['project.created', user.id],
    ]);
    const changes = await api.sql`select actor_id from events
      where recipient_id = ${user.id} and action = 'access.granted' and project_id = ${project?.id}`;
    expect(changes.map(({ actor_id }: { actor_id: string }) => actor_id)).toEqual([user.id]);
  }
});

test('a user who is gone creates no project, and the others create theirs', async () => {
  const { db } = openDatabase(true);
  const crowd = await people(4);
  const gone: CurrentUser = { id: uuidv7(), username: 'gone', scopes: ['write'] };
  const outcomes = await Promise.all(
    [...crowd.map(({ user }) => user), gone, ...crowd.map(({ user }) => user)].map((one) =>
      createProject(db, one, { name: 'Together' }).then(
        ({ row }) => row.name,
        (error) => error.cause?.constraint,
      ),
    ),
  );
  expect(outcomes).toEqual([
    ...Array(4).fill('Together'),
    'project_members_user_id_fkey',
    ...Array(4).fill('Together'),
  ]);
  const rows = await api.sql`select from projects where name = 'Together'`;
  expect(rows).toHaveLength(8);
});

describe.each(['task', 'project'])('creations of a %s with keys', (what) => {
  async function setUp() {
    const { db, statements } = openDatabase(true);
    const [ada, bob] = await people(2);
    if (!ada || !bob) throw new Error('two people');
    const make = async (who: typeof ada, key: string, title: string, project = who.project.id) => {
      const request = { key, fingerprint: title };
      const { row, replayed } =
        what === 'task'
          ? await createTask(db, who.user, project, { title }, request)
          : await createProject(db, who.user, { name: title }, request);
      return `${'title' in row ? row.title : row.name} ${row.id}${replayed ? ' again' : ''}`;
    };
    return { statements, ada, bob, make };
  }
  const namesOf = (outcomes: string[]) =>
    outcomes.map((one) => one.replace(/ [0-9a-f-]{36}/, ' created'));

  test('that go together each have their own outcome', async () => {
    const { statements, ada, bob, make } = await setUp();
    const stored = await make(ada, 'stored', 'Stored');
    const before = statements.length;
    const outcomes = await Promise.all(
      [
        make(ada, 'first', 'First'),
        make(ada, 'second', 'Second'),
        make(bob, 'second', 'Second of another'),
        make(ada, 'stored', 'Stored'),
        make(ada, 'stored', 'Another body'),
        make(bob, 'stored', 'Third'),
      ].map(outcomeOf),
    );
    expect(namesOf(outcomes)).toEqual([
      'First created',
      'Second created',
      'Second of another created',
      'Stored created again',
      'idempotency_key_reused',
      'Third created',
    ]);
    expect(outcomes[3]).toBe(`${stored} again`);
    // The first alone, then all, and then the second of the two with one key.
    expect(statements).toHaveLength(before + 3);
    expect(await make(bob, 'third', 'Third')).not.toContain('again');
    expect(await make(bob, 'stored', 'Third')).toBe(`${outcomes[5]} again`);
  });

  test('that repeat one key among others create one row', async () => {
    const { ada, bob, make } = await setUp();
    const outcomes = await Promise.all(
      Array.from({ length: 30 }, (_, n) =>
        outcomeOf(n % 3 === 0 ? make(ada, 'twin', 'Twin') : make(bob, `key ${n}`, `Other ${n}`)),
      ),
    );
    const twins = outcomes.filter((one) => one.startsWith('Twin'));
    expect(new Set(twins.map((one) => one.replace(' again', ''))).size).toBe(1);
    expect(twins.filter((one) => !one.endsWith('again'))).toHaveLength(1);
    expect(new Set(outcomes.filter((one) => one.startsWith('Other'))).size).toBe(20);
  });

  test('delete more expired keys than they add', async () => {
    const { ada, make } = await setUp();
    await api.sql`insert into idempotency_keys (user_id, key, fingerprint, answer, created_at)
      select ${ada.user.id}, 'old ' || n, '', '{}', now() - interval '2 days' from generate_series(1, 60) n`;
    await make(ada, 'alone', 'Alone');
    const left = async () =>
      (
        await api.sql`select from idempotency_keys where user_id = ${ada.user.id} and key like 'old %'`
      ).length;
    expect(await left()).toBe(50);
    await Promise.all(['a', 'b', 'c'].map((key) => make(ada, key, key)));
    expect(await left()).toBe(20);
  });
});

test('a creation that is refused among others does not use up its key', async () => {
  const { db, statements } = openDatabase(true);
  const [owner, viewer] = await people(2);
  if (!owner || !viewer) throw new Error('two people');
  const make = (who: typeof owner, key: string) =>
    createTask(db, who.user, owner.project.id, { title: key }, { key, fingerprint: key });
  const outcomes = await Promise.all(
    [make(owner, 'a'), make(owner, 'b'), make(viewer, 'c'), make(owner, 'd')].map(outcomeOf),
  );
  expect(outcomes.map((one) => (typeof one === 'string' ? one : one.row.title))).toEqual([
    'a',
    'b',
    'not_found',
    'd',
  ]);
  expect(statements).toHaveLength(2);
  await owner.persona.post(`/projects/${owner.project.id}/members`, {
    username: viewer.user.username,
    role: 'editor',
  });
  expect((await make(viewer, 'c')).replayed).toBe(false);
  expect((await make(viewer, 'c')).replayed).toBe(true);
});

test('a client that hangs up while its call shares a statement leaves its write whole or absent, and the others theirs', async () => {
  const [leaving, bob] = [await api.person(), await api.person()];
  const [ofLeaving, ofBob] = [await leaving.createProject(), await bob.createProject()];
  const left = await leaving.createTask(ofLeaving.id);
  const tasks = await Promise.all(Array.from({ length: 9 }, () => bob.createTask(ofBob.id)));
  const [first, ...rest] = tasks;
  const release = await openTransaction(
    api,
    (sql) => sql`select from tasks where id in (${first.id}, ${left.id}) for update`,
  );
  // The others wait for it in the lane, and then go together.
  const held = bob.patch(`/tasks/${first.id}`, { title: 'Held' });
  await waitForBlockedQuery(api);
  const hangUp = new AbortController();
  const abandoned = fetch(`${api.url}/tasks/${left.id}`, {
    method: 'PATCH',
    headers: { authorization: `Bearer ${leaving.token}`, 'content-type': 'application/json' },
    body: '{"title":"Left"}',
    signal: hangUp.signal,
  }).catch(() => 'gone');
  const patched = rest.map(({ id }) => bob.patch(`/tasks/${id}`, { title: 'Beside' }));
  expect((await Promise.all(patched)).map(({ status }) => status)).toEqual(rest.map(() => 200));
  await waitFor('the abandoned statement waits', async () => (await countWaiting(api.sql)) === 2);
  hangUp.abort();
  expect(await abandoned).toBe('gone');
  // While the abandoned statement waits, and after it.
  const again = [...rest, left].map(({ id, project_id }) =>
    (project_id === ofLeaving.id ? leaving : bob).patch(`/tasks/${id}`, { priority: 4 }),
  );
  expect((await Promise.all(again.slice(0, -1))).map(({ body }) => body.version)).toEqual(
    rest.map(() => 3),
  );
  await release();
  expect((await held).status).toBe(200);
  const { status, body } = await (again.at(-1) as (typeof again)[number]);
  expect(status).toBe(200);
  expect([body.title, body.version]).toEqual(body.version === 3 ? ['Left', 3] : ['Tiles', 2]);
  const actions = (await eventsOf([left.id])).map(({ action }) => action);
  expect(actions).toEqual(['task.created', ...Array(body.version - 1).fill('task.updated')]);
});

describe('the events of a statement have the order of its calls', () => {
  /** Joins by sorting, so that rows come in the order of their ids unless a statement asks for another. */
  let sorting: Client;
  beforeAll(() => {
    const connection = { enable_nestloop: 'off', enable_hashjoin: 'off' };
    sorting = new Client({ url: api.databaseUrl, max: 4, connection });
  });
  afterAll(() => sorting.close());
  const openSorting = () => openDatabase(true, undefined, undefined, sorting);

  /** Ids in an order of their own; a step is prime to their number. */
  const shuffle = (ids: readonly string[], step: number) =>
    ids.map((_, n) => ids[(n * step) % ids.length] ?? '');
  const newIds = () => Array.from({ length: 65 }, () => uuidv7());
  const subjectsOf = (events: Awaited<ReturnType<typeof eventsOf>>, action: string) =>
    events.filter((one) => one.action === action).map(({ subject_id }) => subject_id);

  test('that creates, changes or deletes tasks', async () => {
    const { db } = openSorting();
    const crowd = await people(8);
    const ids = newIds();
    const ownerOf = new Map(ids.map((id, n) => [id, crowd[n % 8] as (typeof crowd)[number]]));
    const each = (
      order: string[],
      write: (db: Database, user: CurrentUser, id: string) => Promise<unknown>,
    ) => Promise.all(order.map((id) => write(db, ownerOf.get(id)?.user as CurrentUser, id)));
    const [created, updated, deleted] = [shuffle(ids, 29), shuffle(ids, 17), shuffle(ids, 41)];
    await Promise.all(
      created.map((id) => {
        const { user, project } = ownerOf.get(id) as (typeof crowd)[number];
        return createTask(db, user, project.id, { id, title: 'Task' });
      }),
    );
    await each(updated, (at, who, id) => patchTask(at, who, id, { priority: 1 }, undefined));
    await each(deleted, (at, who, id) => deleteTask(at, who, id, undefined));
    const events = await eventsOf(ids);
    expect(subjectsOf(events, 'task.created')).toEqual(created);
    expect(subjectsOf(events, 'task.updated')).toEqual(updated);
    expect(subjectsOf(events, 'task.deleted')).toEqual(deleted);
    for (const id of ids)
      expect(events.filter(({ subject_id }) => subject_id === id)).toEqual(
        ['task.created', 'task.updated', 'task.deleted'].map((action) => ({
          action,
          actor_id: ownerOf.get(id)?.user.id ?? '',
          subject_id: id,
        })),
      );
  });

  test('that creates projects, with their owners', async () => {
    const { db } = openSorting();
    const crowd = await people(8);
    const created = shuffle(newIds(), 29);
    const userOf = (n: number) => (crowd[n % 8] as (typeof crowd)[number]).user;
    await Promise.all(created.map((id, n) => createProject(db, userOf(n), { id, name: 'Shed' })));
    const events = await api.sql`select action, actor_id, project_id from events
      where project_id in ${api.sql(created)} order by number`;
    const inOrder = (...actions: string[]) =>
      created.flatMap((id, n) =>
        actions.map((action) => ({ action, actor_id: userOf(n).id, project_id: id })),
      );
    const isOf =
      (subject: string) =>
      ({ action }: { action: string }) =>
        action.startsWith(subject);
    expect(events.filter(isOf('project.'))).toEqual(inOrder('project.created'));
    expect(events.filter((one: { action: string }) => !isOf('project.')(one))).toEqual(
      inOrder('member.added', 'access.granted'),
    );
  });
});
