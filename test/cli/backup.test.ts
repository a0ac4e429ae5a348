/** `bun run backup` and `bun run restore`: what comes back is what was there, at one instant, or nothing at all. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import { chmod, readdir, readFile, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SQL } from 'bun';
import { entries } from '../../drizzle/meta/_journal.json';
import { dumpDatabase } from '../../src/postgres/backup.ts';
import { compress } from '../../src/postgres/backup-format.ts';
import { restoreDatabase } from '../../src/postgres/restore.ts';
import { copiedTables } from '../../src/postgres/tables.ts';
import { useApi } from '../support/api.ts';
import { createDatabase, createEmptyDatabase, dropDatabase } from '../support/cluster.ts';
import { onSmallDisk, runCommand } from '../support/command.ts';
import { inherited, makeFolder, useProcesses, waitFor } from '../support/process.ts';
import { WEBHOOK_URL } from '../support/requests.ts';

useProcesses();
const api = useApi();

const backup = (file: string, url = api.databaseUrl) =>
  runCommand({ DATABASE_URL: url }, 'backup', [file]);
const restore = (file: string, url: string) => runCommand({ DATABASE_URL: url }, 'restore', [file]);

async function restoreWell(file: string, url: string) {
  expect(await restore(file, url)).toEqual({
    code: 0,
    stdout: '',
    stderr: expect.stringMatching(/^Restored [\d,]+ rows of \d+ tables from \S+\n$/),
  });
}

/** A backup of everything that people do, and of text that a careless format would break. */
let whole: string;

beforeAll(async () => {
  const [ada, bob] = [await api.person('ada'), await api.person('bob')];
  await ada.post('/users/me/tokens', { name: 'script', scopes: ['read', 'write'] });
  const project = await ada.createProject('Küche 🥟');
  await api.addMember(project.id, bob, 'editor');
  await bob.createTask(project.id, { assignee_id: ada.id, labels: ['a "quoted" \\ one', '{}'] });
  const texts = [
    '\\.',
    '\\N',
    'NULL',
    'tab\tand\nnew\r\nlines',
    '\\.\n\\.\n',
    '\u0001\u007f\u2028',
  ];
  for (const description of [...texts, '\u{10ffff}'.repeat(20_000)])
    await ada.createTask(project.id, { description, due_at: '9999-12-31T23:59:59.999Z' });
  await api.anonymous.post('/users/login', { username: ada.username, password: ada.password });
  const { body: webhook } = await ada.post('/users/me/webhooks', { url: WEBHOOK_URL });
  // It is paused, so that no worker takes a lease on it after the backup.
  await ada.patch(`/webhooks/${webhook.id}`, { state: 'paused' });
  await ada.post(`/webhooks/${webhook.id}/ping`);
  whole = join(makeFolder(), 'whole');
  expect((await backup(whole)).stderr).toStartWith('Backed up');
});

/** Databases that a test has made. */
const databases: string[] = [];
afterEach(async () => {
  for (const url of databases.splice(0)) await dropDatabase(url);
});

async function emptyDatabase(): Promise<string> {
  const url = await createEmptyDatabase();
  databases.push(url);
  return url;
}

async function using<T>(url: string, work: (sql: SQL) => Promise<T>): Promise<T> {
  const sql = new SQL({ url, max: 1 });
  try {
    return await work(sql);
  } finally {
    await sql.close();
  }
}

/** Every table of the database but for those of the feed, which are computed anew, with its rows as text. */
function contentsOf(url: string): Promise<Record<string, string[]>> {
  return using(url, async (sql) => {
    const tables = await sql`
      select relname as name from pg_class where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace
        and relname not in ('feed', 'feed_timelines')`;
    const contents: Record<string, string[]> = {};
    for (const { name } of tables) {
      const rows = await sql.unsafe(`select t::text as row from "${name}" t order by 1`);
      contents[name] = rows.map(({ row }: { row: string }) => row);
    }
    return contents;
  });
}

/** Constraints, indexes and columns, as the server writes them. */
const definitionsOf = (url: string) =>
  using(url, async (sql) => [
    ...(await sql`select conname as name, pg_get_constraintdef(oid) as definition, convalidated from pg_constraint
      where connamespace = 'public'::regnamespace order by 1`),
    ...(await sql`select indexdef from pg_indexes where schemaname = 'public' order by 1`),
    ...(await sql`select table_name, column_name, data_type, column_default, is_nullable from information_schema.columns
      where table_schema = 'public' order by 1, 2`),
    ...(await sql`select tgname, tgenabled, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal order by 1`),
    ...(await sql`select hash, created_at from drizzle.__drizzle_migrations order by id`),
  ]);

describe('a backup', () => {
  test('that is restored has the same rows, constraints and indexes in every table', async () => {
    const url = await emptyDatabase();
    await restoreWell(whole, url);
    const contents = await contentsOf(url);
    expect(contents).toEqual(await contentsOf(api.databaseUrl));
    const filled = [
      ...['users', 'sessions', 'api_tokens', 'projects', 'project_members', 'tasks', 'events'],
      ...['webhooks', 'webhook_deliveries'],
    ];
    for (const name of filled) expect([name, contents[name]?.length]).not.toEqual([name, 0]);
    expect([...(await definitionsOf(url))]).toEqual([...(await definitionsOf(api.databaseUrl))]);
  });

  test('that is restored numbers its events from where they end, with a new feed epoch', async () => {
    const url = await emptyDatabase();
    await restoreWell(whole, url);
    await using(url, async (sql) => {
      const [before] =
        await sql`select max(number)::int as number, count(*)::int as count from events`;
      const [{ id }] = await sql`select id from projects limit 1`;
      await sql`insert into tasks (id, project_id, title) values (gen_random_uuid(), ${id}, 'After')`;
      const [{ number }] = await sql`select number::int from events order by number desc limit 1`;
      expect(number).toBe(before.number + 1);
      await sql`select sequence_events('90 days')`;
      const [after] =
        await sql`select count(position)::int as count, max(position)::int as last from events`;
      expect(after).toEqual({ count: before.count + 1, last: before.count + 1 });
      const [feed] = await sql`select epoch from feed`;
      const [original] = await api.sql`select epoch from feed`;
      expect(feed.epoch).not.toBe(original?.epoch);
    });
  });

  test('holds every table and every column except generated ones', async () => {
    const rows = await api.sql`
      select table_name as table, column_name as column from information_schema.columns
      where table_schema = 'public' and is_generated = 'NEVER' and table_name not in ('feed', 'feed_timelines')`;
    const kept = copiedTables().flatMap(({ name, columns }) =>
      columns.map((column) => `${name}.${column}`),
    );
    expect(kept.sort()).toEqual(
      rows.map(({ table, column }: Record<string, string>) => `${table}.${column}`).sort(),
    );
  });

  test('names a table after those that it references', async () => {
    const order = copiedTables().map(({ name }) => name);
    const references = await api.sql`
      select conrelid::regclass::text as table, confrelid::regclass::text as target
      from pg_constraint where contype = 'f' and conrelid <> confrelid`;
    expect(references.length).toBeGreaterThan(0);
    for (const { table, target } of references)
      expect([table, order.indexOf(target) < order.indexOf(table)]).toEqual([table, true]);
  });

  test('is one snapshot while others write', async () => {
    // A project and its task change together; between the tables of the script they change again.
    const ada = await api.person('ada');
    const project = await ada.createProject('Before');
    const task = await ada.createTask(project.id, { title: 'Before' });
    const chunks: Uint8Array[] = [];
    for await (const chunk of dumpDatabase(api.databaseUrl)) {
      chunks.push(chunk);
      if (!Buffer.from(chunk).toString().startsWith('COPY ')) continue;
      await ada.patch(`/projects/${project.id}`, { name: 'After' });
      await ada.patch(`/tasks/${task.id}`, { title: 'After' });
      await ada.createTask((await ada.createProject('Later')).id);
    }
    const script = Buffer.concat(chunks).toString();
    expect(script).toContain(`\n${project.id}\tBefore\t`);
    expect(script).toContain(`\n${task.id}\t${project.id}\tBefore\t`);
    expect(script).not.toContain('After');
    expect(script).not.toContain('Later');
  });

  test('under write load restores with every reference intact', async () => {
    let done = false;
    const writers = Array.from({ length: 4 }, async () => {
      const writer = await api.person('writer');
      while (!done) {
        const project = await writer.createProject();
        const { id } = await writer.createTask(project.id, { assignee_id: writer.id });
        await writer.delete(`/tasks/${id}`);
        await writer.createTask(project.id);
      }
    });
    const file = join(makeFolder(), 'backup');
    const { code } = await backup(file);
    done = true;
    await Promise.all(writers);
    expect(code).toBe(0);
    const url = await emptyDatabase();
    await restoreWell(file, url);
  });

  test('is a readable SQL script in a file that only its owner may read', async () => {
    expect((await stat(whole)).mode & 0o777).toBe(0o600);
    const script = (await Bun.zstdDecompress(await readFile(whole))).toString();
    expect(script).toMatch(/^-- mantou backup 1 \{"version":"[\d.]+","migration":\d+,.*\}\n/);
    expect(script).toMatch(/\nCOPY "users" \("id", "username",.*\) FROM stdin;\n/);
    expect(script).toMatch(/\n-- end \{"rows":\{.*\}\}\n$/);
  });

  test('with a dash goes to standard output', async () => {
    const script = join(import.meta.dir, '../../src/cli/backup.ts');
    const child = Bun.spawn([process.execPath, script, '-'], {
      env: { ...inherited, DATABASE_URL: api.databaseUrl },
      stdout: 'pipe',
      stderr: 'pipe',
    });
    const file = join(makeFolder(), 'backup');
    await Bun.write(file, await child.stdout.bytes());
    expect(await child.exited).toBe(0);
    const url = await emptyDatabase();
    await restoreWell(file, url);
    expect(await contentsOf(url)).toEqual(await contentsOf(api.databaseUrl));
  });

  test('fails on a database of another version', async () => {
    const url = await emptyDatabase();
    const file = join(makeFolder(), 'backup');
    expect((await backup(file, url)).stderr).toEndWith(
      'is of another version than this program: run the version that serves it, or "bun run migrate"\n',
    );
    await expect(stat(file)).rejects.toThrow('ENOENT');
  });
});

describe('a backup that fails leaves no file', () => {
  const leftBy = async (folder: string, work: (file: string) => Promise<{ stderr: string }>) => {
    const { stderr } = await work(join(folder, 'backup'));
    return [stderr.replaceAll(folder, '…'), await readdir(folder)];
  };

  test('and overwrites none when the file exists', async () => {
    const folder = makeFolder();
    await writeFile(join(folder, 'backup'), 'precious');
    expect(await leftBy(folder, backup)).toEqual([
      'mantou: …/backup exists: name another file, nothing is overwritten\n',
      ['backup'],
    ]);
    expect(await readFile(join(folder, 'backup'), 'utf8')).toBe('precious');
  });

  test('when the name is a dangling link', async () => {
    const folder = makeFolder();
    await symlink(join(folder, 'elsewhere'), join(folder, 'backup'));
    const [said, left] = await leftBy(folder, backup);
    expect(said).toContain('exists: name another file');
    expect(left).toEqual(['backup']);
  });

  test('when the folder is missing', async () => {
    const { code, stderr } = await backup(join(makeFolder(), 'missing/backup'));
    expect(code).toBe(1);
    expect(stderr).toMatch(/^mantou: \S+ cannot be written \(ENOENT\)\n$/);
  });

  test('when the disk is full', async () => {
    // Random, so that it takes its place.
    await api.sql`insert into projects (id, name, description)
      select gen_random_uuid(), 'large', string_agg(md5(random()::text), '') from generate_series(1, 2000)`;
    const folder = makeFolder();
    const script = `${process.execPath} ${join(import.meta.dir, '../../src/cli/backup.ts')} "$0/backup"; echo "exit $?"; ls -A "$0"`;
    const child = Bun.spawn([...onSmallDisk(folder, '16k'), 'sh', '-c', script, folder], {
      env: { ...inherited, DATABASE_URL: api.databaseUrl },
      stdout: 'pipe',
      stderr: 'pipe',
    });
    expect(await child.stderr.text()).toBe(
      `mantou: the disk is full: nothing is left of ${folder}/backup\n`,
    );
    expect(await child.stdout.text()).toBe('exit 1\n');
  });

  test.each([
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const)('after %s, and exits with %i', async (signal, code) => {
    const folder = makeFolder();
    await using(api.databaseUrl, async (sql) => {
      await sql`begin`;
      // The backup waits for this table, in the middle of its work.
      await sql`lock table tasks in access exclusive mode`;
      const script = join(import.meta.dir, '../../src/cli/backup.ts');
      const child = Bun.spawn([process.execPath, script, join(folder, 'backup')], {
        env: { ...inherited, DATABASE_URL: api.databaseUrl },
        stderr: 'pipe',
      });
      await waitFor('it waits', async () => {
        const waiting = await api.sql`select from pg_stat_activity
          where datname = current_database() and application_name = 'mantou backup' and wait_event_type = 'Lock'`;
        return waiting.length > 0;
      });
      expect((await readdir(folder)).length).toBe(1);
      child.kill(signal);
      expect(await child.exited).toBe(code);
      expect(await child.stderr.text()).toBe('');
    });
    expect(await readdir(folder)).toEqual([]);
  });
});

describe('a restore', () => {
  /** Nothing has been written: there is not even a table. */
  const isUntouched = async (url: string) =>
    expect([Object.keys(await contentsOf(url)), await schemasOf(url)]).toEqual([[], ['public']]);
  const schemasOf = (url: string) =>
    using(url, async (sql) => {
      const rows =
        await sql`select nspname as name from pg_namespace where nspname !~ '^(pg_|information_schema$)'`;
      return rows.map(({ name }: { name: string }) => name);
    });

  test('accepts a migrated and empty database', async () => {
    const url = await createDatabase();
    databases.push(url);
    await restoreWell(whole, url);
    expect((await restore(whole, url)).stderr).toContain(
      'is not empty: the table users holds rows',
    );
  });

  test('changes nothing in a database with rows', async () => {
    const before = await contentsOf(api.databaseUrl);
    const { code, stderr } = await restore(whole, api.databaseUrl);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^mantou: the database\S+ at \S+ is not empty: the table users holds rows\. /,
    );
    expect(await contentsOf(api.databaseUrl)).toEqual(before);
  });

  test('that is refused leaves no new data folder', async () => {
    const folder = makeFolder();
    const DATA_DIR = join(folder, 'data');
    const damaged = join(folder, 'damaged');
    await writeFile(damaged, (await readFile(whole)).subarray(0, -1));
    for (const file of [join(folder, 'missing'), damaged]) {
      expect((await runCommand({ DATA_DIR }, 'restore', [file])).code).toBe(1);
      expect((await readdir(folder)).sort()).toEqual(['damaged']);
    }
    // The checksum is right, but what the file holds is no backup: the folder is made first, and removed again.
    const other = join(folder, 'other');
    async function* script() {
      yield Buffer.from('-- another script\n');
    }
    const frames: Uint8Array[] = [];
    for await (const frame of compress(script())) frames.push(frame);
    await writeFile(other, Buffer.concat(frames));
    const { code, stderr } = await runCommand({ DATA_DIR }, 'restore', [other]);
    expect([code, stderr]).toEqual([1, `mantou: ${other} is no backup of mantou\n`]);
    expect((await readdir(folder)).sort()).toEqual(['damaged', 'other']);
  });

  test('changes nothing in a database with the tables of another program', async () => {
    const url = await emptyDatabase();
    await using(url, (sql) => sql`create table users (name text)`);
    expect((await restore(whole, url)).stderr).toContain('relation "users" already exists');
    expect(await contentsOf(url)).toEqual({ users: [] });
    expect(await schemasOf(url)).toEqual(['public']);
  });

  test('refuses a file with any byte missing, changed or added', async () => {
    const url = await emptyDatabase();
    const bytes = await readFile(whole);
    const file = join(makeFolder(), 'damaged');
    const damages: [string, () => Promise<void>][] = [
      ...[0, 1, 39, 40, 41, bytes.length / 2, bytes.length - 40, bytes.length - 1].map(
        (length): [string, () => Promise<void>] => [
          `cut to ${length}`,
          () => truncate(file, Math.floor(length)),
        ],
      ),
      // The first and last byte of each part: frames, the head of the digest, the digest.
      ...[
        0,
        4,
        100,
        bytes.length / 3,
        bytes.length - 41,
        bytes.length - 40,
        bytes.length - 33,
        bytes.length - 32,
        bytes.length - 1,
      ].map((at): [string, () => Promise<void>] => [
        `flipped at ${Math.floor(at)}`,
        () => {
          const copy = Buffer.from(bytes);
          const index = Math.floor(at);
          copy[index] = (copy[index] ?? 0) ^ 1;
          return writeFile(file, copy);
        },
      ]),
      ['longer', () => writeFile(file, Buffer.concat([bytes, Buffer.from('\n')]))],
      ['twice', () => writeFile(file, Buffer.concat([bytes, bytes]))],
      ['text', () => writeFile(file, 'select 1;\n'.repeat(100))],
    ];
    for (const [name, damage] of damages) {
      await writeFile(file, bytes);
      await damage();
      const said = await restoreDatabase(url, file).catch((error: Error) => error.message);
      expect([name, said]).toEqual([
        name,
        expect.stringMatching(
          /^\S+ is (too short for a backup|damaged, incomplete or no backup: its checksum does not match)$/,
        ),
      ]);
    }
    await isUntouched(url);
  });

  test('names the file that it cannot read', async () => {
    const url = await emptyDatabase();
    const file = join(makeFolder(), 'missing');
    expect((await restore(file, url)).stderr).toBe(`mantou: ${file} cannot be read (ENOENT)\n`);
    expect((await restore(makeFolder(), url)).code).toBe(1);
    await isUntouched(url);
  });

  describe('of a file with a right checksum', () => {
    const latest = entries.at(-1)?.when ?? 0;
    const header = (fields = {}) =>
      `-- mantou backup 1 ${JSON.stringify({ version: '9.9.9', migration: latest, created_at: '', postgres: '', ...fields })}\n`;

    /** No script that is refused may change it, so one is enough. */
    let url: string;
    beforeAll(async () => {
      url = await createEmptyDatabase();
    });
    afterAll(() => dropDatabase(url));

    /** @returns what is said of this script, after which nothing has changed. */
    async function refusalOf(script: string): Promise<string> {
      const said = await restoreDatabase(url, await write(script)).then(
        () => 'restored',
        (error: Error) => error.message,
      );
      await isUntouched(url);
      return said;
    }

    async function write(script: string): Promise<string> {
      const file = join(makeFolder(), 'backup');
      await Bun.write(file, '');
      const writer = Bun.file(file).writer();
      async function* chunks() {
        yield Buffer.from(script);
      }
      for await (const frame of compress(chunks())) writer.write(frame);
      await writer.end();
      await chmod(file, 0o600);
      return file;
    }

    test('writes nothing when the last row violates a constraint', async () => {
      const script = (await Bun.zstdDecompress(await readFile(whole))).toString();
      const [row = ''] = /(?<=\nCOPY "users" .*\n).*\n/.exec(script) ?? [];
      const id = row.split('\t')[0] ?? '';
      const twice = row.replace(id, crypto.randomUUID());
      const bad = script
        .replace(row, row + twice)
        .replace(/"users":(\d+)/, (_, count) => `"users":${Number(count) + 1}`);
      expect(await refusalOf(bad)).toContain('23505, by the constraint users_username_key');

      const member = `COPY "project_members" ("project_id", "user_id", "role", "created_at", "importing_since") FROM stdin;\n`;
      const stray = `${crypto.randomUUID()}\t${id}\tviewer\t2026-11-25 10:00:00+00\t\\N\n`;
      const orphan = script
        .replace(member, member + stray)
        .replace(/"project_members":(\d+)/, (_, count) => `"project_members":${Number(count) + 1}`);
      expect(await refusalOf(orphan)).toContain(
        '23503, by the constraint project_members_project_id_fkey',
      );
    });

    test('refuses a wrong row count, and a script that ends too early or too late', async () => {
      const start = `${header()}COPY "projects" ("id", "name") FROM stdin;\n${crypto.randomUUID()}\tOne\n\\.\n`;
      expect(await refusalOf(`${start}-- end {"rows":{"projects":2}}\n`)).toContain(
        'does not hold the rows',
      );
      expect(await refusalOf(`${start}-- end {"rows":{"projects":1}}\nmore\n`)).toContain(
        'does not hold the rows',
      );
      expect(await refusalOf(start)).toContain('the backup ends before its end');
      expect(await refusalOf(start.slice(0, -3))).toContain('the backup ends before its end');
    });

    test('runs no statement of the file except copies into tables', async () => {
      for (const line of [
        'DROP DATABASE mantou;',
        'COPY "users" ("id") FROM PROGRAM \'id\';',
        'COPY "users" ("id"); drop table users; --") FROM stdin;',
        'COPY "pg_authid" ("rolname") FROM stdin;',
        'COPY "drizzle"."__drizzle_migrations" ("hash") FROM stdin;',
      ])
        expect(await refusalOf(`${header()}${line}\n\\.\n-- end {"rows":{}}\n`)).toEndWith(
          'holds what no backup of mantou does',
        );
    });

    test('refuses other formats, later versions and other files', async () => {
      expect(await refusalOf(header().replace('backup 1', 'backup 2'))).toContain(
        'has the format 2, this version reads 1: restore it with the version that wrote it',
      );
      expect(await refusalOf(header({ migration: latest + 1 }))).toContain(
        'the backup was made by mantou 9.9.9, which this version does not know',
      );
      expect(await refusalOf('-- PostgreSQL database dump\n')).toEndWith('is no backup of mantou');
    });

    test('of an earlier version migrates to this one', async () => {
      const id = crypto.randomUUID();
      const script = [
        header({ migration: entries[0]?.when }).trimEnd(),
        'COPY "users" ("id", "username", "email", "password_hash") FROM stdin;',
        `${id}\tada\tada@example.org\tnone`,
        '\\.',
        'COPY "projects" ("id", "name") FROM stdin;',
        `${id}\tKitchen`,
        '\\.',
        '-- end {"rows":{"users":1,"projects":1}}\n',
      ].join('\n');
      const file = await write(script);
      const url = await emptyDatabase();
      await restoreWell(file, url);
      expect([...(await definitionsOf(url))]).toEqual([...(await definitionsOf(api.databaseUrl))]);
      await using(url, async (sql) => {
        const [row] = await sql`select id, disabled_at from users`;
        expect(row).toEqual({ id, disabled_at: null });
        // What a later version works out from the rows is there too.
        const [project] = await sql`select name_key from projects where name_words is not null`;
        expect(project).toEqual({ name_key: 'kitchen' });
      });
      // Its tables are of a time before those that are there.
      const migrated = await createDatabase();
      databases.push(migrated);
      expect((await restore(file, migrated)).stderr).toContain(
        'is of a later version than the backup',
      );
    });
  });
});
