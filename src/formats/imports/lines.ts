/** Reads a text line by line as it arrives, with the numbers of its lines. */
import { faultAt } from './foreign-task.ts';

/** The longest line. A description of 20,000 characters that is not folded has at most 80,000 bytes. */
const LINE_CHARACTERS_MAX = 1024 ** 2;
/** What is read without a pause. */
const PIECE_BYTES_MAX = 64 * 1024;

export interface Line {
  /** From 1. */
  number: number;
  /** Without its line break. */
  text: string;
}

/**
 * Yields the lines that end in each piece together, without a byte order mark. Lines end with LF or CRLF.
 * @throws {Problem} `validation_failed` with the line: it is not UTF-8, or too long.
 */
export async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Line[]> {
  let number = 0;
  let rest = '';
  for await (const text of textOf(piecesOf(chunks), () => number + 1)) {
    const texts = (rest + text).split('\n');
    rest = texts.pop() ?? '';
    if (rest.length > LINE_CHARACTERS_MAX)
      throw faultAt(number + texts.length + 1, 'is longer than a mebibyte', 'too_long');
    yield texts.map((line) => ({ number: ++number, text: line.replace(/\r$/, '') }));
    // The event loop serves other requests between pieces.
    await new Promise(setImmediate);
  }
  if (rest !== '') yield [{ number: number + 1, text: rest.replace(/\r$/, '') }];
}

async function* piecesOf(chunks: AsyncIterable<Uint8Array>) {
  for await (const chunk of chunks)
    for (let at = 0; at < chunk.length; at += PIECE_BYTES_MAX)
      yield chunk.subarray(at, at + PIECE_BYTES_MAX);
}

/**
 * Yields the chunks as text, without a byte order mark.
 * @param lineOf returns the line on which a chunk begins.
 * @throws {Problem} `validation_failed` with the line: it is not UTF-8.
 */
export async function* textOf(
  chunks: AsyncIterable<Uint8Array>,
  lineOf: () => number,
): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const decode = (chunk?: Uint8Array) => {
    try {
      return chunk ? decoder.decode(chunk, { stream: true }) : decoder.decode();
    } catch {
      throw faultAt(chunk ? faultyLine(chunk, lineOf()) : lineOf(), 'is not UTF-8', 'invalid_text');
    }
  };
  for await (const chunk of chunks) yield decode(chunk);
  yield decode();
}

/** Returns the line of the first bytes that are no UTF-8. A character that the chunk before began is counted to its first line. */
function faultyLine(chunk: Uint8Array, first: number): number {
  const LF = 0x0a;
  let line = first;
  let start = 0;
  for (let end = chunk.indexOf(LF); end !== -1; end = chunk.indexOf(LF, start)) {
    if (!isUtf8(chunk.subarray(start, end))) break;
    [line, start] = [line + 1, end + 1];
  }
  return line;
}

function isUtf8(bytes: Uint8Array): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}
