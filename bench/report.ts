/** Medians of figures, and facts of the machine on which they were measured. */
import { cpus, totalmem } from 'node:os';
import { SQL } from 'bun';

const GIB = 1024 ** 3;

/** Returns the quantile of values; 0 for none. @param share 0.5 for the median. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

export const median = (values: readonly number[]) => quantile(values, 0.5);

/** Returns the facts of the machine on which figures depend. */
export async function machineFacts(databaseUrl: string) {
  const sql = new SQL({ url: databaseUrl, max: 1 });
  try {
    const [{ server_version }] = await sql`show server_version`;
    return {
      processor: cpus()[0]?.model ?? 'unknown',
      cores: cpus().length,
      memory_gib: Math.round(totalmem() / GIB),
      system: `${process.platform} ${process.arch}`,
      bun: Bun.version,
      postgres: String(server_version),
    };
  } finally {
    await sql.close();
  }
}
