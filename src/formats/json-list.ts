/**
 * Reads a JSON object of which one field is a list too long to hold, item by item, with the line on which each begins.
 * Only where an item or a field ends is found here, by its brackets; what is between is `JSON.parse`'s, as in any other
 * body, so a text is the same whichever way it came. Memory depends on the largest item alone.
 */
import { invalid, Problem } from '../problem.ts';
import { locate } from '../schemas/faults.ts';

/** A field of the object or an item of its list, with the white space around it. */
const PIECE_BYTES_MAX = 1024 ** 2;
/** Nothing that is read here goes deeper than a list in an item; checks that recurse must not run out of stack. */
const DEPTH_MAX = 16;

export type Piece =
  | { kind: 'field'; name: string; value: unknown }
  /** `line` counts from 1. */
  | { kind: 'item'; index: number; line: number; value: unknown };

/**
 * What an object holds, in the order in which it comes. Of a field that is given twice the last value counts.
 * @param fields that it may have beside `list`.
 * @throws {Problem} `malformed_json`, which names the line; `validation_failed` for what is no such object.
 */
export async function* readObjectWithList(
  chunks: AsyncIterable<Uint8Array>,
  { fields, list }: { fields: readonly string[]; list: string },
): AsyncGenerator<Piece> {
  let has_list = false;
  let index = 0;

  for await (const cuts of cutsOf(chunks, list))
    for (const { kind, text, line } of cuts) {
      if (kind === 'item') yield { kind, index: index++, line, value: parse(text, line) };
      else if (kind === 'field') yield { kind, ...readField(text, line) };
      else if (has_list) throw refusal(list, 'repeated', 'must be given once');
      else has_list = true;
    }
  if (!has_list) throw refusal(list, 'required', 'is required');

  function readField(text: string, line: number) {
    const [[name = '', value] = []] = Object.entries(parse(`{${text}}`, line) as object);
    if (name === list) throw refusal(list, 'wrong_type', 'must be an array');
    if (!fields.includes(name))
      throw refusal(name, 'unknown_field', 'is not a field of this request');
    return { name, value };
  }
}

const refusal = (name: string, code: string, message: string) =>
  invalid([{ location: locate('body', name), code, message }]);

const malformed = (line: number, what = 'is not JSON') =>
  new Problem('malformed_json', { detail: `Line ${line} ${what}` });

function parse(text: string, line: number): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw malformed(line);
  }
}

// --- Where pieces end --------------------------------------------------------------------------------------------

interface Cut {
  /** A field has its name before it; where the list begins is a cut of its own. */
  kind: 'field' | 'item' | 'list';
  text: string;
  /** Where it begins. */
  line: number;
}

const [TAB, NEWLINE, RETURN, SPACE] = [0x09, 0x0a, 0x0d, 0x20];
const [QUOTE, BACKSLASH, COMMA] = [0x22, 0x5c, 0x2c];
const [LEFT_BRACKET, RIGHT_BRACKET, LEFT_BRACE, RIGHT_BRACE] = [0x5b, 0x5d, 0x7b, 0x7d];
/** In UTF-8, where some programs begin with it. */
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf];

/** The pieces of the object, those of a chunk together. */
async function* cutsOf(chunks: AsyncIterable<Uint8Array>, list: string): AsyncGenerator<Cut[]> {
  const scanner = createScanner(list);
  for await (const chunk of chunks) {
    yield scanner.read(chunk);
    // What came at once is looked at in one go; now others have their turn.
    await new Promise(setImmediate);
  }
  scanner.end();
}

/** Looks at each byte once. What is between the brackets of a piece is not its business, but for its depth. */
function createScanner(list: string) {
  let line = 1;
  let depth = 0;
  let in_string = false;
  let is_escaped = false;
  let marks = 0;
  let has_ended = false;

  let in_list = false;
  let after_list = false;
  /** How many fields, or items, have ended before this one. */
  let before = 0;

  let chunk: Uint8Array = new Uint8Array();
  let cuts: Cut[] = [];
  let piece = createPiece();
  /** Where the piece begins in this chunk. */
  let start = 0;
  let piece_line: number | undefined;
  let has_brackets = false;

  return {
    /** @returns the pieces that end in this chunk. */
    read(next: Uint8Array): Cut[] {
      [chunk, start, cuts] = [next, 0, []];
      for (let place = 0; place < chunk.length; place += 1) {
        const byte = chunk[place] as number;
        if (in_string) place = readString(place);
        else if (byte === NEWLINE) line += 1;
        else if (byte === SPACE || byte === TAB || byte === RETURN) continue;
        else if (depth === 0) readOutside(byte, place);
        else readInside(byte, place);
      }
      if (depth > 0) piece.add(chunk.subarray(start), piece_line ?? line);
      return cuts;
    },
    end() {
      if (!has_ended) throw malformed(piece_line ?? line, 'is not JSON, or breaks off');
    },
  };

  /** Most bytes are in strings. @returns where this one ends, or the chunk. */
  function readString(first: number): number {
    const bytes = chunk;
    let place = first;
    for (; place < bytes.length; place += 1) {
      const byte = bytes[place] as number;
      if (byte < SPACE) throw malformed(line, 'has a control character in a string');
      if (is_escaped) is_escaped = false;
      else if (byte === BACKSLASH) is_escaped = true;
      else if (byte === QUOTE) {
        in_string = false;
        break;
      }
    }
    return place;
  }

  function readOutside(byte: number, place: number) {
    if (has_ended) throw malformed(line, 'comes after the end');
    if (byte === BYTE_ORDER_MARK[marks]) marks += 1;
    else if (byte !== LEFT_BRACE || marks % BYTE_ORDER_MARK.length > 0) throw noObject(byte, line);
    else [depth, start] = [1, place + 1];
  }

  function readInside(byte: number, place: number) {
    piece_line ??= line;
    if (byte === QUOTE) in_string = true;
    else if (byte === COMMA && depth === (in_list ? 2 : 1)) cut(place);
    else if (byte === LEFT_BRACE || byte === LEFT_BRACKET) open(byte, place);
    else if (byte === RIGHT_BRACE || byte === RIGHT_BRACKET) close(byte, place);
  }

  function open(byte: number, place: number) {
    const begins_list =
      byte === LEFT_BRACKET &&
      depth === 1 &&
      !has_brackets &&
      isNameOf(list, piece.end(chunk.subarray(start, place), line));
    depth += 1;
    has_brackets = true;
    if (depth > DEPTH_MAX) throw malformed(line, 'nests too deeply');
    if (!begins_list) return;
    cuts.push({ kind: 'list', text: '', line });
    [in_list, before] = [true, 0];
    beginPiece(place + 1);
  }

  function close(byte: number, place: number) {
    const ends_list = in_list && depth === 2;
    if ((ends_list && byte !== RIGHT_BRACKET) || (depth === 1 && byte !== RIGHT_BRACE))
      throw malformed(line, 'closes what is not open');
    // A list without items and an object without fields have nothing before their end.
    if (ends_list || depth === 1) cut(place, before === 0);
    depth -= 1;
    if (ends_list) [in_list, after_list] = [false, true];
    has_ended = depth === 0;
  }

  /** Ends the piece before `place`. */
  function cut(place: number, may_be_blank = false) {
    const begun = piece_line ?? line;
    const text = piece.end(chunk.subarray(start, place), begun);
    const is_blank = !/[^ \t\r\n]/.test(text);
    beginPiece(place + 1);
    if (after_list ? !is_blank : is_blank && !may_be_blank) throw malformed(begun);
    if (!is_blank) cuts.push({ kind: in_list ? 'item' : 'field', text, line: begun });
    if (!is_blank || after_list) before += 1;
    after_list = false;
  }

  function beginPiece(next: number) {
    [piece, piece_line, has_brackets, start] = [createPiece(), undefined, false, next];
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
    /** The text of all of it. */
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

/** Whether this is the name of a field, and its colon. */
function isNameOf(field: string, text: string): boolean {
  try {
    return Object.keys(JSON.parse(`{${text}0}`))[0] === field;
  } catch {
    return false;
  }
}

/** What begins with a bracket, a quote, a number or a word may be JSON, but is no object. */
const noObject = (byte: number, line: number) =>
  /[["\-\dtfn]/.test(String.fromCharCode(byte))
    ? invalid([{ location: 'body', code: 'wrong_type', message: 'must be an object' }])
    : malformed(line);
