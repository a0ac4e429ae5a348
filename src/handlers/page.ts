/**
 * Keyset pagination. A cursor holds the sort key and id of the last row seen, and a digest of the list it came from,
 * with its filters and sort, so it is refused by any other. It is opaque but no secret: what it holds, the client has
 * already read.
 */
import { asc, type Column, desc, type SQL, type SQLWrapper, sql } from 'drizzle-orm';
import { validate as isUuid } from 'uuid';
import { hasWords } from '../db/search.ts';
import type { Asked } from '../db/statement.ts';
import { invalid, Problem } from '../problem.ts';
import { type PageQuery, parseInstant } from '../schemas/common.ts';
import { base64url, digest } from '../secrets.ts';

type Key = string | number;

/** What a list is sorted by: a key that is never null and then, where keys are equal, an id. */
export interface Order<Row> {
  /** As SQL, exactly as an index has it. */
  by: SQLWrapper;
  type: keyof typeof isKey;
  id: Column;
  descending: boolean;
  /** The same key, read off a row. */
  keyOf(row: Row): Key;
  idOf(row: Row): string;
}

export interface Page<Row> {
  items: Row[];
  next_cursor: string | null;
}

/** Latest first: the order of every list that offers no other. */
export const newestFirst = <Row extends { created_at: string; id: string }>(columns: {
  created_at: Column;
  id: Column;
}): Order<Row> => ({
  by: columns.created_at,
  type: 'timestamptz',
  id: columns.id,
  descending: true,
  keyOf: ({ created_at }) => created_at,
  idOf: ({ id }) => id,
});

/** The order that a `sort` names, `-` for descending, among those that a list has. */
export function sorted<Row extends { id: string }, Field extends string>(
  sort: Field | `-${Field}`,
  orders: Record<Field, Pick<Order<Row>, 'by' | 'type' | 'keyOf'>>,
  id: Column,
): Order<Row> {
  const descending = sort.startsWith('-');
  const field = (descending ? sort.slice(1) : sort) as Field;
  return { ...orders[field], id, descending, idOf: (row) => row.id };
}

/** @returns the search, if it has a word. @throws {Problem} `validation_failed`. */
export function wordsGiven(q: string): string {
  if (hasWords(q)) return q;
  throw invalid([
    { location: 'query.q', code: 'blank', message: 'must contain a letter, a digit or a symbol' },
  ]);
}

/** For `ORDER BY`. */
export const inOrder = ({ by, id, descending }: Pick<Order<never>, 'by' | 'id' | 'descending'>) =>
  descending ? [desc(by), desc(id)] : [asc(by), asc(id)];

/** Where a cursor points: behind the row with this sort key and id. */
export interface Position {
  key: Key;
  id: string;
}

type Placing = Pick<Order<never>, 'by' | 'id' | 'type' | 'descending'>;

/**
 * Where a page begins; undefined for the first.
 * @param list its name, with whatever else a cursor is tied to.
 * @throws {Problem} `invalid_cursor` for a cursor of another list, or one that this server did not write.
 */
export async function positionOf(
  list: string,
  { cursor }: Pick<PageQuery, 'cursor'>,
  { type }: Pick<Placing, 'type'>,
): Promise<Position | undefined> {
  if (cursor === undefined) return undefined;
  const [name, key, id] = decodeCursor(cursor);
  if (name !== (await nameOf(list)) || !isKey[type](key) || !isUuid(id))
    throw new Problem('invalid_cursor');
  return { key: key as Key, id: id as string };
}

/** The condition that a row comes behind the position; none for the first page. */
export function isBehind(
  position: Asked<Position> | undefined,
  { by, id, type, descending }: Placing,
): SQL | undefined {
  if (position === undefined) return undefined;
  // Compared as rows, which an index can begin at.
  const place = sql`(${position.key}::${sql.raw(type)}, ${position.id}::uuid)`;
  return descending ? sql`(${by}, ${id}) < ${place}` : sql`(${by}, ${id}) > ${place}`;
}

/** The condition that continues a list where its cursor points. @throws {Problem} `invalid_cursor`. */
export const after = async (list: string, query: Pick<PageQuery, 'cursor'>, order: Placing) =>
  isBehind(await positionOf(list, query, order), order);

/** Cuts a page from rows that were fetched with `limit + 1`: the row beyond says that there is a next page. */
export async function pageOf<Row>(
  list: string,
  { limit }: Pick<PageQuery, 'limit'>,
  rows: Row[],
  { keyOf, idOf }: Pick<Order<NoInfer<Row>>, 'keyOf' | 'idOf'>,
): Promise<Page<Row>> {
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  return {
    items,
    next_cursor:
      last && rows.length > limit
        ? encodeCursor([await nameOf(list), keyOf(last), idOf(last)])
        : null,
  };
}

/** Which keys a cursor may hold, by their type in SQL. */
const isKey = {
  timestamptz: (key: unknown) =>
    typeof key === 'string' && (/^-?infinity$/.test(key) || parseInstant(key) === key),
  smallint: (key: unknown) => Number.isInteger(key) && Math.abs(Number(key)) < 2 ** 15,
  text: (key: unknown) => typeof key === 'string' && key.isWellFormed() && !key.includes('\0'),
};

const NAME_LENGTH = 16;
const nameOf = async (list: string) => (await digest(list)).slice(0, NAME_LENGTH);

export const encodeCursor = (position: unknown[]) =>
  base64url(new TextEncoder().encode(JSON.stringify(position)));

export function decodeCursor(cursor: string): unknown[] {
  try {
    const binary = atob(cursor.replaceAll('-', '+').replaceAll('_', '/'));
    const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    return Array.isArray(value) ? value : [];
  } catch {
    return [];
  }
}
