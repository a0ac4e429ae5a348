/** Looks at the beginning of a document before it is read. */

/**
 * Reads chunks until their beginning tells something, up to a bound.
 * @param tell returns what the bytes so far tell, or undefined. It is called at lengths that double.
 * @returns what it told, and all chunks; closing them closes the source.
 */
export async function peek<T>(
  chunks: AsyncIterable<Uint8Array>,
  bytesMax: number,
  tell: (begun: Uint8Array) => T | undefined,
): Promise<{ told: T | undefined; all: AsyncGenerator<Uint8Array> }> {
  const source = chunks[Symbol.asyncIterator]();
  let begun = new Uint8Array();
  let told: T | undefined;
  let nextLength = 1;
  while (told === undefined && begun.length < bytesMax) {
    const { done, value } = await source.next();
    if (done) {
      told = tell(begun);
      break;
    }
    begun = joined(begun, value);
    if (begun.length < nextLength) continue;
    told = tell(begun);
    nextLength = begun.length * 2;
  }
  return { told, all: withBeginning(begun, source) };
}

function joined(one: Uint8Array, other: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(one.length + other.length);
  both.set(one);
  both.set(other, one.length);
  return both;
}

async function* withBeginning(begun: Uint8Array, source: AsyncIterator<Uint8Array>) {
  try {
    if (begun.length > 0) yield begun;
    for (let next = await source.next(); !next.done; next = await source.next()) yield next.value;
  } finally {
    await source.return?.();
  }
}
