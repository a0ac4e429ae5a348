/** Engines that speak PostgreSQL's protocol and do not keep its promises, played by a database that lacks one of them. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { SQL } from 'bun';
import { findLacking } from '../../src/postgres/engine.ts';
import { JWT_SECRET } from '../support/api.ts';
import { createEmptyDatabase, dropDatabase } from '../support/cluster.ts';
import { runCommand } from '../support/command.ts';
import { refusalOf, useProcesses } from '../support/process.ts';

useProcesses();

/** What makes a database lack something. Functions of `lacking` hide those of PostgreSQL. */
const engines = {
  'whose advisory locks do nothing': {
    script: `create schema lacking;
      create function lacking.pg_try_advisory_xact_lock(bigint) returns boolean language sql as 'select true';`,
    lack: 'an advisory lock does not exclude others',
  },
  'that has no advisory locks': {
    script: `create schema lacking;
      create function lacking.pg_advisory_xact_lock(bigint) returns void language plpgsql
        as $$ begin raise feature_not_supported; end $$;`,
    lack: 'an advisory lock does not exclude others',
  },
  'whose triggers run without the rows of the statement': {
    script: `create schema lacking;
      create function lacking.set_config(text, text, boolean) returns text language sql
        as $$ select pg_catalog.set_config($1, case $1 when 'mantou.probe' then '0' else $2 end, $3) $$;`,
    lack: 'a trigger does not see the rows of a statement (transition tables)',
  },
  'that refuses triggers': {
    script: `create schema lacking;
      create function lacking.refuse() returns event_trigger language plpgsql
        as $$ begin raise feature_not_supported; end $$;
      create event trigger refuse on ddl_command_start when tag in ('CREATE TRIGGER')
        execute function lacking.refuse();`,
    lack: 'a trigger does not see the rows of a statement (transition tables)',
  },
};

describe.each(Object.entries(engines))('an engine %s', (_, { script, lack }) => {
  let url: string;

  beforeAll(async () => {
    url = await createEmptyDatabase();
    const sql = new SQL({ url, max: 1 });
    await sql.unsafe(script);
    await sql.unsafe(
      `alter database "${new URL(url).pathname.slice(1)}" set search_path = lacking, pg_catalog, public`,
    );
    await sql.close();
  });
  afterAll(() => dropDatabase(url));

  test('is refused at the start, before any table is made', async () => {
    expect(await refusalOf({ DATABASE_URL: url, JWT_SECRET })).toContain(lack);
    const sql = new SQL({ url, max: 1 });
    const [row] = await sql`select to_regclass('public.tasks') as tasks`;
    await sql.close();
    expect(row.tasks).toBeNull();
  });

  test('is found by the doctor', async () => {
    const { code, stdout } = await runCommand({ DATABASE_URL: url, JWT_SECRET }, 'doctor', []);
    expect([code, stdout]).toEqual([1, expect.stringContaining(`on this engine ${lack}`)]);
  });
});

test('PostgreSQL lacks nothing, also for a role that may make no temporary tables', async () => {
  const url = await createEmptyDatabase();
  const name = new URL(url).pathname.slice(1);
  const sql = new SQL({ url, max: 1 });
  expect(await findLacking(url)).toEqual([]);
  const role = `plain_${crypto.randomUUID().slice(0, 8)}`;
  await sql.unsafe(
    `create role ${role} login password 'p'; revoke temporary on database "${name}" from public`,
  );
  const plain = new URL(url);
  plain.username = role;
  plain.password = 'p';
  expect(await findLacking(plain.href)).toEqual([]);
  await sql.unsafe(`drop role ${role}`);
  await sql.close();
  await dropDatabase(url);
});
