/**
 * `bun run test:faults`: breaks what can break under write load, on PostgreSQLs of its own with fsync on, and counts what
 * that costs. Not part of `bun test`, because it takes minutes.
 */
import { expect, setDefaultTimeout, test } from 'bun:test';
import { useProcesses } from '../support/process.ts';
import { expectTargets, printReport } from './report.ts';

/** Far beyond the time of any fault: one that reaches it hangs. */
const TEST_TIMEOUT_MS = 1_200_000;

useProcesses();
setDefaultTimeout(TEST_TIMEOUT_MS);

await import('./api.ts');
await import('./postgres.ts');
await import('./network.ts');
await import('./embedded.ts');
await import('./statements.ts');

test('over 300 faults and 100,000 writes: none lost, doubled, invented or torn', () => {
  const all = printReport();
  expectTargets(all);
  expect([all.lost, all.doubled, all.invented, all.torn]).toEqual([0, 0, 0, 0]);
});
