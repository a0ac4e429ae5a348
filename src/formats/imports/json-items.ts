/** Reads JSON objects one by one: the items of an array, or one on each line, as several programs write them. */
import { Problem } from '../../errors/problem.ts';
import { findJsonBreach } from '../../lib/json-bounds.ts';
import { readObjectWithList } from '../json-list.ts';
import { faultAt } from './foreign-task.ts';
import { linesOf } from './lines.ts';
import { peek } from './peek.ts';

export type JsonObject = Record<string, unknown>;

export interface JsonItem {
  index: number;
  line: number;
  value: JsonObject;
}

/** An issue of GitHub has about 150 values; one with 100 assignees has about 2,000. */
const ITEM_BOUNDS = { depthMax: 16, nodesMax: 5000 };

const LEFT_BRACKET = 0x5b;

/** @throws {Problem} `malformed_json`, `validation_failed`, with the line. */
export async function* readItems(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<JsonItem> {
  const { first, all } = await peekFirst(chunks);
  yield* first === LEFT_BRACKET ? readArray(all) : readLines(all);
}

async function* readArray(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<JsonItem> {
  const { nodesMax } = ITEM_BOUNDS;
  const pieces = readObjectWithList(inObject(chunks), { fields: [], lists: ['items'], nodesMax });
  for await (const piece of pieces)
    if (piece.kind === 'item')
      yield { index: piece.index, line: piece.line, value: objectOf(piece.value, piece.line) };
}

/** Makes an array the list of an object, which can be read item by item. */
async function* inObject(chunks: AsyncIterable<Uint8Array>) {
  const encoder = new TextEncoder();
  yield encoder.encode('{"items":');
  yield* chunks;
  yield encoder.encode('}');
}

async function* readLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<JsonItem> {
  let index = 0;
  for await (const lines of linesOf(chunks))
    for (const { number, text } of lines) {
      // Some programs write a comma behind each object.
      const json = text.trim().replace(/,$/, '');
      if (json === '') continue;
      if (findJsonBreach(json, ITEM_BOUNDS))
        throw faultAt(number, 'has too many values, or nests too deeply', 'too_many');
      yield { index: index++, line: number, value: objectOf(parse(json, number), number) };
    }
}

function parse(json: string, line: number): unknown {
  try {
    return JSON.parse(json);
  } catch {
    throw new Problem('malformed_json', { detail: `Line ${line} is not JSON` });
  }
}

function objectOf(value: unknown, line: number): JsonObject {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as JsonObject;
  throw faultAt(line, 'must be an object', 'wrong_type');
}

const WHITE_SPACE = [0x20, 0x09, 0x0a, 0x0d];
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf];
/** How much white space a document may begin with. */
const BLANK_BYTES_MAX = 64 * 1024;

/** Returns the first byte that is no white space, and all chunks, without a byte order mark. */
async function peekFirst(chunks: AsyncIterable<Uint8Array>) {
  const { told, all } = await peek(chunks, BLANK_BYTES_MAX, (begun) =>
    begun.find((byte) => !WHITE_SPACE.includes(byte) && !BYTE_ORDER_MARK.includes(byte)),
  );
  return { first: told, all: withoutMark(all) };
}

async function* withoutMark(chunks: AsyncIterable<Uint8Array>) {
  let isFirst = true;
  for await (const chunk of chunks) {
    const hasMark = isFirst && BYTE_ORDER_MARK.every((byte, place) => chunk[place] === byte);
    yield hasMark ? chunk.subarray(BYTE_ORDER_MARK.length) : chunk;
    isFirst = false;
  }
}

// --- Values --------------------------------------------------------------------------------------------------------

/** Returns a text that is not blank; undefined for anything else. */
export const textOf = (value: unknown): string | undefined =>
  typeof value === 'string' && value.trim() !== '' ? value : undefined;

export const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);

export const objectsOf = (value: unknown): JsonObject[] =>
  listOf(value).filter(
    (one): one is JsonObject => typeof one === 'object' && one !== null && !Array.isArray(one),
  );

export const objectOrEmpty = (value: unknown): JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : {};
