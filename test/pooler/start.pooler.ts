/** What a start, the commands and the listener do behind a pooler: part of `bun run test:pooler`. */
import { expect, test } from 'bun:test';
import { isTransactionPooler } from '../../src/postgres/pooler.ts';
import { createDatabase, createEmptyDatabase } from '../support/cluster.ts';
import { runCommand } from '../support/command.ts';
import { makeFolder, refusalOf, start, useProcesses } from '../support/process.ts';

useProcesses();

const { TEST_POOLER = '', TEST_POOLER_MODE } = process.env;
const JWT_SECRET = 'a secret of thirty-two bytes or more, for tests';
const isTransaction = TEST_POOLER_MODE === 'transaction';

function pooled(databaseUrl: string): string {
  const url = new URL(databaseUrl);
  url.port = TEST_POOLER;
  return url.href;
}

test('the mode of a pooler is found, and a server without one', async () => {
  const direct = await createDatabase();
  expect(await isTransactionPooler(direct)).toBeFalse();
  expect(await isTransactionPooler(pooled(direct))).toBe(isTransaction);
});

test('prepared statements are refused in transaction mode alone', async () => {
  const DATABASE_URL = pooled(await createDatabase());
  if (isTransaction)
    expect(await refusalOf({ DATABASE_URL, JWT_SECRET })).toMatch(
      /pooler in transaction mode.*DATABASE_PREPARE=false.*DATABASE_SESSION_URL/,
    );
  else {
    const api = start({ DATABASE_URL, JWT_SECRET });
    await api.url();
    expect(await api.stop()).toBe(0);
  }
});

test('the API migrates an empty database through it, and starts again and again', async () => {
  const environment = {
    DATABASE_URL: pooled(await createEmptyDatabase()),
    DATABASE_PREPARE: 'false',
    JWT_SECRET,
  };
  for (let round = 0; round < 3; round += 1) {
    const api = start(environment);
    await api.url();
    expect(await api.stop()).toBe(0);
    const migration = start(environment, { script: 'src/cli/migrate.ts' });
    expect(await migration.ended).toBe(0);
  }
});

test('bun run doctor finds a pooler in transaction mode, and what its settings lack', async () => {
  const direct = await createDatabase();
  const findingsOf = async (environment: Record<string, string>) => {
    const asked = { DATABASE_URL: pooled(direct), JWT_SECRET, DATA_DIR: makeFolder() };
    const { stdout } = await runCommand({ ...asked, ...environment }, 'doctor', []);
    return stdout.match(/^FIX.*pooler.*$/gm) ?? [];
  };
  const prepared = await findingsOf({});
  const unprepared = await findingsOf({ DATABASE_PREPARE: 'false' });
  const complete = { DATABASE_PREPARE: 'false', DATABASE_SESSION_URL: direct };
  expect(await findingsOf(complete)).toEqual([]);
  expect(await findingsOf({ DATABASE_URL: direct })).toEqual([]);
  if (!isTransaction) return expect([...prepared, ...unprepared]).toEqual([]);
  expect(prepared).toEqual([expect.stringMatching(/set DATABASE_PREPARE=false/)]);
  expect(unprepared).toEqual([expect.stringMatching(/: set DATABASE_SESSION_URL/)]);
});
