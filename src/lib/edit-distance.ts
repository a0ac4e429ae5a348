/** Returns how many letters must be inserted, deleted, replaced or swapped to turn one word into the other, up to `max` + 1. */
export function editDistance(one: string, other: string, max: number): number {
  if (Math.abs(one.length - other.length) > max) return max + 1;
  const rows = [[], Array.from({ length: other.length + 1 }, (_, at) => at)] as number[][];
  for (let i = 1; i <= one.length; i += 1) {
    const [before = [], above = []] = rows;
    const row = [i];
    for (let j = 1; j <= other.length; j += 1) {
      const replaced = (above[j - 1] ?? 0) + (one[i - 1] === other[j - 1] ? 0 : 1);
      const swapped = one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1];
      row[j] = Math.min(
        replaced,
        (above[j] ?? 0) + 1,
        (row[j - 1] ?? 0) + 1,
        swapped && i > 1 && j > 1 ? (before[j - 2] ?? 0) + 1 : max + 1,
      );
    }
    rows.shift();
    rows.push(row);
  }
  return rows[1]?.at(-1) ?? max + 1;
}
