/**
 * An upgrade while the version before serves: from the first migration, with data in it, to this version. The version
 * before is played by its own statements, recorded from its log word for word.
 */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SQL } from 'bun';
import { v7 as uuidv7 } from 'uuid';
import { entries } from '../../drizzle/meta/_journal.json';
import { bunPasswords } from '../../src/passwords/bun.ts';
import { applyMigrations } from '../../src/postgres/migrate.ts';
import { logInAt } from '../support/accounts.ts';
import { JWT_SECRET } from '../support/api.ts';
import { createEmptyDatabase, dropDatabase } from '../support/cluster.ts';
import { start, useProcesses, waitFor } from '../support/process.ts';
import statements from './upgrades/statements-of-0000.json';

useProcesses();

const PASSWORD = 'correct horse battery staple';
/** Far beyond what it takes: a migration waits until no transaction writes. */
const UPGRADE_TIMEOUT_MS = 300_000;
const WRITERS = 4;
const ROUNDS_BEFORE = 10;
const ROUNDS_BESIDE = 25;
const WRITING_ROLES = ['owner', 'editor'];

let url: string;
let sql: SQL;

beforeAll(async () => {
  url = await createEmptyDatabase();
  sql = new SQL({ url, max: WRITERS + 2 });
  await sql.begin((tx) => applyMigrations(tx as unknown as SQL, entries[0]?.when ?? 0));
});

afterAll(async () => {
  await sql.close();
  await dropDatabase(url);
});

type Row = Record<string, unknown>;

/** Runs a statement of the version before, prepared as it did. @returns its rows, without the names of fields. */
const before = (name: keyof typeof statements, ...parameters: unknown[]): Promise<unknown[][]> =>
  sql.unsafe(statements[name], parameters).values() as unknown as Promise<unknown[][]>;

interface Task {
  id: string;
  title: string;
  description: string | null;
  status: string;
  labels: string[];
}

/** A user of the previous version, and every write that it has acknowledged. */
class Writer {
  readonly id = uuidv7();
  readonly projects = new Map<string, string>();
  readonly tasks = new Map<string, Task>();
  readonly deleted: string[] = [];
  rounds = 0;

  constructor(readonly username: string) {}

  async register(passwordHash: string) {
    const email = `${this.username}@example.org`;
    await before('register', this.id, this.username, email, passwordHash);
  }

  /** A project with three tasks: one changed, one finished, one deleted again. */
  async round() {
    const [project, ...tasks] = [uuidv7(), uuidv7(), uuidv7(), uuidv7()];
    await before('create_project', project, 'Kitchen', this.id);
    this.projects.set(project, 'Kitchen');
    for (const id of tasks) {
      const rows = await before(
        'create_task',
        ...[
          this.id,
          project,
          id,
          `Tiles ${this.rounds}`,
          null,
          'todo',
          0,
          null,
          null,
          '{}',
          null,
          this.id,
          1,
        ],
        ...WRITING_ROLES,
      );
      expect(rows.length).toBe(1);
      this.tasks.set(id, {
        id,
        title: `Tiles ${this.rounds}`,
        description: null,
        status: 'todo',
        labels: [],
      });
    }
    const [changed = '', finished = '', deleted = ''] = tasks;
    await before(
      'replace_task',
      ...[
        this.id,
        changed,
        'Zażółć gęślą',
        'jaźń',
        'in_progress',
        3,
        null,
        this.id,
        '{"a b"}',
        null,
        changed,
      ],
      ...WRITING_ROLES,
    );
    const task = {
      id: changed,
      title: 'Zażółć gęślą',
      description: 'jaźń',
      status: 'in_progress',
      labels: ['a b'],
    };
    this.tasks.set(changed, task);
    await before('finish_task', this.id, finished, 'done', finished, ...WRITING_ROLES);
    this.tasks.set(finished, { ...(this.tasks.get(finished) as Task), status: 'done' });
    await before('delete_task', this.id, deleted, deleted, ...WRITING_ROLES);
    this.tasks.delete(deleted);
    this.deleted.push(deleted);
    await before('rename_project', this.id, project, 'Küche', 'owner');
    this.projects.set(project, 'Küche');
    // It reads what it has written, also from migrated tables.
    expect((await before('list_tasks', this.id, project, project, 51)).length).toBe(2);
    expect((await before('read_task', this.id, finished)).length).toBe(1);
    expect((await before('list_projects', this.id, 51)).length).toBeGreaterThan(0);
    this.rounds += 1;
  }
}

test(
  'the previous version serves during and after the migration, and no write is lost',
  async () => {
    const passwordHash = await bunPasswords().hash(PASSWORD);
    const writers = Array.from({ length: WRITERS }, (_, n) => new Writer(`writer-${n}`));
    for (const writer of writers) await writer.register(passwordHash);
    let stopped = false;
    const working = writers.map(async (writer) => {
      while (!stopped) await writer.round();
    });
    // A fault of a writer is told at once, not after a wait in vain.
    const all = Promise.all(working);
    const meanwhile = <T>(work: Promise<T>) => Promise.race([work, all.then(() => work)]);
    const everybodyReaches = (rounds: number) =>
      meanwhile(
        waitFor(`${rounds} rounds`, () => writers.every((writer) => writer.rounds >= rounds)),
      );

    await everybodyReaches(ROUNDS_BEFORE);
    const api = start({ DATABASE_URL: url, JWT_SECRET, RATE_LIMIT: 'off' });
    const base = await meanwhile(api.url());
    const roundsAtStart = Math.max(...writers.map(({ rounds }) => rounds));
    await everybodyReaches(roundsAtStart + ROUNDS_BESIDE);

    // The version before sees what this one writes.
    const [writer] = writers as [Writer];
    const token = await logInAt(base, writer.username, PASSWORD);
    const [projectId = ''] = writer.projects.keys();
    const made = await call(`${base}/tasks/projects/${projectId}`, token, {
      title: 'From the new version',
    });
    const seen = await before('read_task', writer.id, made.id);
    expect(seen[0]).toContain('From the new version');
    writer.tasks.set(made.id, { ...pick(made), labels: [] });

    stopped = true;
    await all;
    await api.stop();
    // The last start of a rolling one: what the version before wrote meanwhile is searched from now on.
    const last = await start({ DATABASE_URL: url, JWT_SECRET, RATE_LIMIT: 'off' }).url();
    for (const one of writers) {
      const own = await logInAt(last, one.username, PASSWORD);
      const projects = await readAll(`${last}/projects/?`, own);
      expect(new Map(projects.map(({ id, name }) => [id, name]))).toEqual(one.projects);
      const tasks = await readAll(`${last}/tasks/?`, own);
      expect(byId(tasks.map(pick))).toEqual(byId([...one.tasks.values()]));
      // Also what the version before changed after this one had given it its words.
      for (const [q, title] of [
        ['tiles', /^Tiles/],
        ['zazolc', /^Zażółć/],
        ['new version', /^From/],
      ] as const) {
        const found = await readAll(`${last}/tasks/?q=${q}&`, own);
        const wanted = [...one.tasks.values()].filter((task) => title.test(task.title));
        expect(byId(found.map(pick))).toEqual(byId(wanted));
      }
      const named = await readAll(`${last}/projects/?q=kuche&`, own);
      expect(named.length).toBe(
        [...one.projects.values()].filter((name) => name === 'Küche').length,
      );
    }
    const [rows] = await sql`
    select (select count(*)::int from users) as users, (select count(*)::int from projects) as projects,
      (select count(*)::int from tasks) as tasks`;
    const count = (of: (writer: Writer) => number) =>
      writers.reduce((sum, one) => sum + of(one), 0);
    expect(rows).toEqual({
      users: WRITERS,
      projects: count(({ projects }) => projects.size),
      tasks: count(({ tasks }) => tasks.size),
    });
  },
  UPGRADE_TIMEOUT_MS,
);

/** What would break the version before, or rewrite a table under a lock. */
const CONTRACTING =
  /\bDROP (TABLE|COLUMN|CONSTRAINT|DEFAULT)\b|\bRENAME\b|\bSET NOT NULL\b|\bSET DATA TYPE\b|\bADD COLUMN\b(?=[^;]*\bNOT NULL\b)(?![^;]*\b(DEFAULT|GENERATED)\b)/i;

test.each(entries.map(({ tag }) => tag))('%s only expands, or says what it contracts', (tag) => {
  const text = readFileSync(join(import.meta.dir, `../../drizzle/${tag}.sql`), 'utf8');
  if (/^-- contracts: .+ is not used since \d+\.\d+\.\d+$/m.test(text)) return;
  expect(text.match(CONTRACTING)?.[0]).toBeUndefined();
});

function pick({ id, title, description, status, labels }: Row): Task {
  return { id, title, description, status, labels } as Task;
}

const byId = (tasks: Task[]) => tasks.toSorted((one, other) => (one.id < other.id ? -1 : 1));

// biome-ignore lint/suspicious/noExplicitAny: answers are looked into freely.
async function call(address: string, token?: string, body?: object): Promise<any> {
  const answer = await fetch(address, {
    method: body ? 'POST' : 'GET',
    headers: {
      'content-type': 'application/json',
      ...(token && { authorization: `Bearer ${token}` }),
    },
    ...(body && { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  expect([address, answer.ok, text]).toEqual([address, true, text]);
  return JSON.parse(text);
}

async function readAll(address: string, token: string): Promise<Row[]> {
  const items: Row[] = [];
  let cursor: string | null = null;
  do {
    const page = await call(`${address}limit=200${cursor ? `&cursor=${cursor}` : ''}`, token);
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor);
  return items;
}
