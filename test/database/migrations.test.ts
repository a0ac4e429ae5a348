import { expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SQL } from 'bun';
import { generateDrizzleJson, generateMigration } from 'drizzle-kit/api';
import * as schema from '../../src/db/schema.ts';
import { createDatabase, dropDatabase } from '../support/cluster.ts';

const folder = join(import.meta.dir, '../../drizzle');

test('the migrations equal the schema: run "bun run db:generate" after a change', async () => {
  const journal = JSON.parse(readFileSync(join(folder, 'meta/_journal.json'), 'utf8'));
  const latest = String(journal.entries.at(-1).idx).padStart(4, '0');
  const snapshot = JSON.parse(readFileSync(join(folder, `meta/${latest}_snapshot.json`), 'utf8'));
  expect(await generateMigration(snapshot, generateDrizzleJson(schema))).toEqual([]);
});

test('the end of a membership clears the assignee and keeps the task', async () => {
  const url = await createDatabase();
  const sql = new SQL({ url, max: 1 });
  const [row] =
    await sql`select pg_get_constraintdef(oid) as definition from pg_constraint where conname = 'tasks_assignee_id_fkey'`;
  expect(row.definition).toEndWith('ON DELETE SET NULL (assignee_id)');
  await sql.close();
  await dropDatabase(url);
});
