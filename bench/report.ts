/** What all benches say of their figures: medians, and the machine they were taken on. */
import { cpus, totalmem } from 'node:os';
import { SQL } from 'bun';

const GIB = 1024 ** 3;

/** @param share 0.5 for the median. @returns 0 for no values. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

export const median = (values: readonly number[]) => quantile(values, 0.5);

/** The facts that figures depend on. */
export async function machineFacts(database_url: string) {
  const sql = new SQL({ url: database_url, max: 1 });
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
