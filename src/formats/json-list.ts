/**
 * Reads a JSON object of which some fields are lists too long for memory: item by item, with the line on which each begins.
 * The scanner finds only where an item or a field ends, by its brackets. `JSON.parse` reads what is between, as in every
 * other body, so both accept the same JSON. The memory needed depends on the largest item alone.
 */
// Decision: docs/decisions/11-import-scanner.md
import { Problem, validationProblem } from '../errors/problem.ts';
import { findJsonBreach } from '../lib/json-bounds.ts';
import { locate } from '../schemas/field-errors.ts';

/** A field of the object or an item of its list, with the white space around it. */
const PIECE_BYTES_MAX = 1024 ** 2;
/** A valid document has no level below a list in an item. The bound keeps checks that recurse from running out of stack. */
const DEPTH_MAX = 16;

/** A task has about 40 values. */
const PIECE_NODES_MAX = 1000;

export type Piece =
  | { kind: 'field'; name: string; value: unknown }
  /** `index` counts from 0 in its list, `line` from 1. */
  | { kind: 'item'; list: string; index: number; line: number; value: unknown };

interface Shape {
  /** The fields that the object may have beside the lists; `any` for those of another program. */
  fields: readonly string[] | 'any';
  /** Each may occur once; the first has to. */
  lists: readonly [string, ...string[]];
  /** The most values in a field or an item. */
  nodesMax?: number;
}

/**
 * Yields the fields of the object and the items of its lists in the order of the text. Of a field that occurs twice the last
 * value counts.
 * @throws {Problem} `malformed_json`, which names the line; `validation_failed` for a value that is no such object.
 */
export async function* readObjectWithList(
  chunks: AsyncIterable<Uint8Array>,
  { fields, lists, nodesMax = PIECE_NODES_MAX }: Shape,
): AsyncGenerator<Piece> {
  const begun = new Set<string>();
  let index = 0;

  for await (const cuts of cutsOf(chunks, lists))
    for (const { kind, list, text, line } of cuts) {
      if (kind === 'item')
        yield { kind, list, index: index++, line, value: parse(text, line, nodesMax) };
      else if (kind === 'field') yield { kind, ...readField(text, line) };
      else if (begun.has(list)) throw refusal(list, 'repeated', 'must be given once');
      else {
        begun.add(list);
        index = 0;
      }
    }
  if (!begun.has(lists[0])) throw refusal(lists[0], 'required', 'is required');

  function readField(text: string, line: number) {
    const [[name = '', value] = []] = Object.entries(parse(`{${text}}`, line, nodesMax) as object);
    if (name === lists[0] || (fields !== 'any' && lists.includes(name)))
      throw refusal(name, 'wrong_type', 'must be an array');
    if (fields !== 'any' && !fields.includes(name))
      throw refusal(name, 'unknown_field', 'is not a field of this request');
    return { name, value };
  }
}

const refusal = (name: string, code: string, message: string) =>
  validationProblem([{ location: locate('body', name), code, message }]);

const malformed = (line: number, what = 'is not JSON') =>
  new Problem('malformed_json', { detail: `Line ${line} ${what}` });

function parse(text: string, line: number, nodesMax: number): unknown {
  const breach = findJsonBreach(text, { depthMax: DEPTH_MAX, nodesMax });
  if (breach === 'depthMax') throw malformed(line, 'nests too deeply');
  if (breach === 'nodesMax')
    throw validationProblem([
      {
        location: 'body',
        code: 'too_many',
        message: `at most ${nodesMax} values from line ${line} on`,
      },
    ]);
  try {
    return JSON.parse(text);
  } catch {
    throw malformed(line);
  }
}

// --- Where pieces end --------------------------------------------------------------------------------------------

interface Cut {
  /** A field includes its name. `list` marks where a list begins. */
  kind: 'field' | 'item' | 'list';
  /** The name of the list that begins, or that has the item. */
  list: string;
  text: string;
  /** The line on which it begins. */
  line: number;
}

const [TAB, NEWLINE, RETURN, SPACE] = [0x09, 0x0a, 0x0d, 0x20];
const [QUOTE, BACKSLASH, COMMA] = [0x22, 0x5c, 0x2c];
const [LEFT_BRACKET, RIGHT_BRACKET, LEFT_BRACE, RIGHT_BRACE] = [0x5b, 0x5d, 0x7b, 0x7d];
/** The byte order mark in UTF-8, with which some programs begin a file. */
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf];

/** Yields the pieces of the object, those of a chunk together. */
async function* cutsOf(
  chunks: AsyncIterable<Uint8Array>,
  lists: readonly string[],
): AsyncGenerator<Cut[]> {
  const scanner = createScanner(lists);
  for await (const chunk of chunks) {
    yield scanner.read(chunk);
    // One chunk is scanned without a pause; then the event loop serves other requests.
    await new Promise(setImmediate);
  }
  scanner.end();
}

/** Returns a scanner that looks at each byte once. Between the brackets of a piece it counts only the depth. */
function createScanner(lists: readonly string[]) {
  let line = 1;
  let depth = 0;
  let inString = false;
  let isEscaped = false;
  let marks = 0;
  let hasEnded = false;

  /** The list that the scanner is in, or was last in. */
  let list = '';
  let inList = false;
  let afterList = false;
  /** How many fields or items have ended so far. */
  let before = 0;

  let chunk: Uint8Array = new Uint8Array();
  let cuts: Cut[] = [];
  let piece = createPiece();
  /** The index in this chunk at which the piece begins. */
  let start = 0;
  let pieceLine: number | undefined;
  let hasBrackets = false;

  return {
    /** Reads a chunk. @returns the pieces that end in it. */
    read(next: Uint8Array): Cut[] {
      [chunk, start, cuts] = [next, 0, []];
      for (let place = 0; place < chunk.length; place += 1) {
        const byte = chunk[place] as number;
        if (inString) place = readString(place);
        else if (byte === NEWLINE) line += 1;
        else if (byte === SPACE || byte === TAB || byte === RETURN) continue;
        else if (depth === 0) readOutside(byte, place);
        else readInside(byte, place);
      }
      if (depth > 0) piece.add(chunk.subarray(start), pieceLine ?? line);
      return cuts;
    },
    end() {
      if (!hasEnded) throw malformed(pieceLine ?? line, 'is not JSON, or breaks off');
    },
  };

  /** Most bytes are in strings. @returns the index where this string ends, or where the chunk does. */
  function readString(first: number): number {
    const bytes = chunk;
    let place = first;
    for (; place < bytes.length; place += 1) {
      const byte = bytes[place] as number;
      if (byte < SPACE) throw malformed(line, 'has a control character in a string');
      if (isEscaped) isEscaped = false;
      else if (byte === BACKSLASH) isEscaped = true;
      else if (byte === QUOTE) {
        inString = false;
        break;
      }
    }
    return place;
  }

  function readOutside(byte: number, place: number) {
    if (hasEnded) throw malformed(line, 'comes after the end');
    if (byte === BYTE_ORDER_MARK[marks]) marks += 1;
    else if (byte !== LEFT_BRACE || marks % BYTE_ORDER_MARK.length > 0) throw noObject(byte, line);
    else [depth, start] = [1, place + 1];
  }

  function readInside(byte: number, place: number) {
    pieceLine ??= line;
    if (byte === QUOTE) inString = true;
    else if (byte === COMMA && depth === (inList ? 2 : 1)) cut(place);
    else if (byte === LEFT_BRACE || byte === LEFT_BRACKET) open(byte, place);
    else if (byte === RIGHT_BRACE || byte === RIGHT_BRACKET) close(byte, place);
  }

  function open(byte: number, place: number) {
    const mayBeginList = byte === LEFT_BRACKET && depth === 1 && !hasBrackets;
    const name = mayBeginList ? nameIn(piece.end(chunk.subarray(start, place), line)) : undefined;
    const beginsList = name !== undefined && lists.includes(name);
    depth += 1;
    hasBrackets = true;
    if (depth > DEPTH_MAX) throw malformed(line, 'nests too deeply');
    if (!beginsList) return;
    list = name;
    cuts.push({ kind: 'list', list, text: '', line });
    [inList, before] = [true, 0];
    beginPiece(place + 1);
  }

  function close(byte: number, place: number) {
    const endsList = inList && depth === 2;
    if ((endsList && byte !== RIGHT_BRACKET) || (depth === 1 && byte !== RIGHT_BRACE))
      throw malformed(line, 'closes what is not open');
    // A list without items and an object without fields have nothing before their end.
    if (endsList || depth === 1) cut(place, before === 0);
    depth -= 1;
    if (endsList) [inList, afterList] = [false, true];
    hasEnded = depth === 0;
  }

  /** Ends the piece before `place`. */
  function cut(place: number, mayBeBlank = false) {
    const begun = pieceLine ?? line;
    const text = piece.end(chunk.subarray(start, place), begun);
    const isBlank = !/[^ \t\r\n]/.test(text);
    beginPiece(place + 1);
    if (afterList ? !isBlank : isBlank && !mayBeBlank) throw malformed(begun);
    if (!isBlank) cuts.push({ kind: inList ? 'item' : 'field', list, text, line: begun });
    if (!isBlank || afterList) before += 1;
    afterList = false;
  }

  function beginPiece(next: number) {
    [piece, pieceLine, hasBrackets, start] = [createPiece(), undefined, false, next];
  }
}

/** Collects the bytes of a piece over the chunks that it is in. */
function createPiece() {
  const parts: Uint8Array[] = [];
  let length = 0;
  const refuse = (line: number) => malformed(line, 'begins what does not end within 1 MiB');
  return {
    add(part: Uint8Array, line: number) {
      length += part.length;
      if (length > PIECE_BYTES_MAX) throw refuse(line);
      parts.push(part);
    },
    /** Returns the text of the whole piece. */
    end(last: Uint8Array, line: number) {
      if (length + last.length > PIECE_BYTES_MAX) throw refuse(line);
      return decode([...parts, last], line);
    },
  };
}

function decode(parts: readonly Uint8Array[], line: number): string {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  try {
    return `${parts.map((part) => decoder.decode(part, { stream: true })).join('')}${decoder.decode()}`;
  } catch {
    throw malformed(line, 'is not UTF-8');
  }
}

/** Returns the name of the field that a text and its colon begin; undefined where they begin none. */
function nameIn(text: string): string | undefined {
  try {
    return Object.keys(JSON.parse(`{${text}0}`))[0];
  } catch {
    return undefined;
  }
}

/** Returns the problem of a text that begins otherwise than an object: it may still be JSON. */
const noObject = (byte: number, line: number) =>
  /[["\-\dtfn]/.test(String.fromCharCode(byte))
    ? validationProblem([{ location: 'body', code: 'wrong_type', message: 'must be an object' }])
    : malformed(line);
