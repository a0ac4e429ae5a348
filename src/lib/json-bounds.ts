/** Bounds of a JSON text that is not parsed yet, so that a text beyond them costs one pass and no objects. */

export interface JsonBounds {
  /** Objects and arrays inside one another. */
  depthMax: number;
  /** Fields of objects and items of arrays, all together. */
  nodesMax: number;
}

const [QUOTE, COMMA, BACKSLASH] = [0x22, 0x2c, 0x5c];
const [LEFT_BRACKET, RIGHT_BRACKET, LEFT_BRACE, RIGHT_BRACE] = [0x5b, 0x5d, 0x7b, 0x7d];

/**
 * Returns the bound that a text breaches, at the first breach; undefined for a text within the bounds. A text that is not
 * JSON may be within them: `JSON.parse` finds that out.
 */
export function findJsonBreach(
  text: string,
  { depthMax, nodesMax }: JsonBounds,
): keyof JsonBounds | undefined {
  let depth = 0;
  let nodes = 0;
  for (let at = 0; at < text.length; at += 1)
    switch (text.charCodeAt(at)) {
      case QUOTE:
        at = endOfString(text, at);
        if (at === -1) return undefined;
        break;
      case LEFT_BRACKET:
      case LEFT_BRACE:
        depth += 1;
        nodes += 1;
        if (depth > depthMax) return 'depthMax';
        if (nodes > nodesMax) return 'nodesMax';
        break;
      case RIGHT_BRACKET:
      case RIGHT_BRACE:
        depth -= 1;
        break;
      case COMMA:
        nodes += 1;
        if (nodes > nodesMax) return 'nodesMax';
    }
  return undefined;
}

/** Returns where the string that begins at `start` ends; -1 where it does not. */
function endOfString(text: string, start: number): number {
  let end = text.indexOf('"', start + 1);
  while (end !== -1 && isEscaped(text, end)) end = text.indexOf('"', end + 1);
  return end;
}

/** Returns whether an odd number of backslashes stands before `at`. */
function isEscaped(text: string, at: number): boolean {
  let start = at;
  while (text.charCodeAt(start - 1) === BACKSLASH) start -= 1;
  return (at - start) % 2 === 1;
}
