/** What the suite has seen, as a table in the end. */
import { expect } from 'bun:test';
import { ANSWER_MS_MAX, checkLedger, type Ledger, type Verdict, type Writer } from './ledger.ts';

/** `FAULTS_SCALE=0.1` for a quick look; the targets are of 1. */
export const SCALE = Number(process.env.FAULTS_SCALE || 1);
const FAULTS_MIN = 300;
const WRITES_MIN = 100_000;

export const times = (count: number) => Math.max(1, Math.round(count * SCALE));

interface Row extends Verdict {
  faults: number;
  repeated: number;
  replayed: number;
  /** The longest time without an acknowledged write, the fault itself included. */
  longest_outage_ms: number;
  /** The longest time from the end of the fault until the API served again. */
  longest_return_ms: number;
}

const sums = [
  'faults',
  'acknowledged',
  'repeated',
  'replayed',
  'lost',
  'doubled',
  'invented',
  'torn',
] as const;
const maxima = ['longest_outage_ms', 'longest_return_ms'] as const;
const rows = new Map<string, Row>();

const emptyRow = (): Row => ({
  ...{ faults: 0, acknowledged: 0, repeated: 0, replayed: 0 },
  ...{ lost: 0, doubled: 0, invented: 0, torn: 0, longest_outage_ms: 0, longest_return_ms: 0 },
});

function add(row: Row, more: Row) {
  for (const name of sums) row[name] += more[name];
  for (const name of maxima) row[name] = Math.max(row[name], more[name]);
}

/**
 * Checks what faults of one kind have done to the writes, and counts it.
 * @param returnsMs how long after each the API served again.
 */
export async function settle(
  kind: string,
  returnsMs: number[],
  databaseUrl: string,
  writer: Writer,
  ledger: Ledger,
) {
  const verdict = await checkLedger(databaseUrl, writer, ledger.outcomes);
  const { repeated, replayed, longest_gap_ms: longestOutageMs } = ledger;
  const row = rows.get(kind) ?? emptyRow();
  const longestReturnMs = Math.max(...returnsMs);
  const faults = returnsMs.length;
  add(row, {
    ...verdict,
    faults,
    repeated,
    replayed,
    longest_outage_ms: longestOutageMs,
    longest_return_ms: longestReturnMs,
  });
  rows.set(kind, row);
  expect({ ...verdict, improper: [...new Set(ledger.improper)] }).toEqual({
    acknowledged: verdict.acknowledged,
    lost: 0,
    doubled: 0,
    invented: 0,
    torn: 0,
    improper: [],
  });
  expect(ledger.longest_answer_ms).toBeLessThan(ANSWER_MS_MAX);
}

/** Prints the table. @returns its sums. */
export function printReport(): Row {
  const all = emptyRow();
  for (const row of rows.values()) add(all, row);
  const columns = ['fault', ...sums, 'longest outage', 'back after'];
  const lines = [...rows, ['all', all] as const].map(([kind, row]) => [
    kind,
    ...sums.map((name) => String(row[name])),
    ...maxima.map((name) => `${(row[name] / 1000).toFixed(2)} s`),
  ]);
  const widths = columns.map((name, at) =>
    Math.max(name.length, ...lines.map((line) => (line[at] ?? '').length)),
  );
  const format = (line: string[]) =>
    line
      .map((cell, at) => (at === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[at] ?? 0)))
      .join('  ');
  console.log(['', format(columns), ...lines.map(format), ''].join('\n'));
  return all;
}

export function expectTargets({ faults, acknowledged }: Row) {
  if (SCALE < 1) return;
  expect(faults).toBeGreaterThan(FAULTS_MIN);
  expect(acknowledged).toBeGreaterThan(WRITES_MIN);
}
