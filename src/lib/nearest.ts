const DISTANCE_MAX = 2;

/**
 * Returns the candidate that was probably meant: it differs by up to two letters that are added, left out, changed or swapped. Case
 * and underscores do not count. Undefined where no candidate is that near.
 */
export function nearest(name: string, candidates: readonly string[]): string | undefined {
  const letters = lettersOf(name);
  const scored = candidates.map((candidate) => {
    const distance = distanceOf(letters, lettersOf(candidate));
    return { candidate, distance };
  });
  const [best] = scored.sort((a, b) => a.distance - b.distance);
  // Of a short name, two other letters make another word.
  const bound = Math.min(DISTANCE_MAX, Math.floor(letters.length / 4));
  return best && best.distance <= bound ? best.candidate : undefined;
}

const lettersOf = (name: string) => name.toUpperCase().replaceAll(/[_-]/g, '');

/** Damerau and Levenshtein, in the form for adjacent letters that are swapped once. */
function distanceOf(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, column) => column)];
  const at = (row: number, column: number) => rows[row]?.[column] ?? Number.POSITIVE_INFINITY;
  for (let row = 1; row <= a.length; row += 1) {
    rows.push([row]);
    for (let column = 1; column <= b.length; column += 1) {
      const isSame = a[row - 1] === b[column - 1];
      const isSwapped = a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      rows[row]?.push(
        Math.min(
          at(row - 1, column) + 1,
          at(row, column - 1) + 1,
          at(row - 1, column - 1) + (isSame ? 0 : 1),
          isSwapped ? at(row - 2, column - 2) + 1 : Number.POSITIVE_INFINITY,
        ),
      );
    }
  }
  return at(a.length, b.length);
}
