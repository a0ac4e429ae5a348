/**
 * Keyset pagination. A cursor holds the sort key and id of the last row seen, and a digest of the list it came from,
 * with its filters and sort, so it is refused by any other. It is opaque but no secret: what it holds, the client has
 * already read.
 */
// Decision: docs/decisions/13-an-index-for-each-sort.md
import { asc, type Column, desc, type SQL, type SQLWrapper, sql } from 'drizzle-orm';
import { validate as isUuid } from 'uuid';
import { Problem } from '../errors/problem.ts';
import { decodeBase64url, encodeBase64url } from '../lib/base64.ts';
import { parseInstant } from '../lib/instant.ts';
import { digest } from '../lib/secrets.ts';
import type { PageQuery } from '../schemas/types/page.ts';
import type { QueryParams } from './prepared.ts';

type Key = string | number;

/** What a list is sorted by: a key that is never null and then, where keys are equal, an id. */
export interface SortOrder<Row> {
  /** As SQL, exactly as an index has it. */
  by: SQLWrapper;
  type: keyof typeof isKey;
  id: Column;
  descending: boolean;
  /** Returns the same key of a row. */
  keyOf(row: Row): Key;
  idOf(row: Row): string;
}

export interface Page<Row> {
  items: Row[];
  next_cursor: string | null;
}

/** Latest first: the order of every list that offers no other. */
export const newestFirst = <Row extends CreatedRow>(columns: {
  created_at: Column;
  id: Column;
}): SortOrder<Row> => ({
  by: columns.created_at,
  type: 'timestamptz',
  id: columns.id,
  descending: true,
  keyOf: ({ created_at }) => created_at,
  idOf: ({ id }) => id,
});

/** Returns the order that a `sort` names, `-` for descending, among those that a list has. */
export function sortOrder<Row extends { id: string }, Field extends string>(
  sort: Field | `-${Field}`,
  orders: Record<Field, Pick<SortOrder<Row>, 'by' | 'type' | 'keyOf'>>,
  id: Column,
): SortOrder<Row> {
  const descending = sort.startsWith('-');
  const field = (descending ? sort.slice(1) : sort) as Field;
  return { ...orders[field], id, descending, idOf: (row) => row.id };
}

/** For `ORDER BY`. */
export const orderBy = ({
  by,
  id,
  descending,
}: Pick<SortOrder<never>, 'by' | 'descending'> & { id: SQLWrapper }) =>
  descending ? [desc(by), desc(id)] : [asc(by), asc(id)];

// --- Pages by cursor -------------------------------------------------------------------------------------------

/** Where a cursor points: after the row with this sort key and id. */
export interface CursorPosition {
  key: Key;
  id: string;
}

type Keyset = Pick<SortOrder<never>, 'by' | 'id' | 'type' | 'descending'>;

/** The page that a client asks for, of a list with its filters. */
export interface PageRequest<Row> {
  order: SortOrder<Row>;
  /** Where the page begins; undefined for the first. */
  position: CursorPosition | undefined;
  /** How many rows to fetch: one more than the page has, which says whether there is a next one. */
  count: number;
  /** Returns what the cursors of the list begin with. Most pages need none: they are the only one. */
  fingerprint(): string | Promise<string>;
}

/**
 * Reads `cursor` and `limit`.
 * @param list its name, or its name with everything else that a cursor is tied to.
 * @throws {Problem} `invalid_cursor` for a cursor of another list, or one that this server did not write.
 */
export async function parsePage<Row>(
  list: string | readonly unknown[],
  { cursor, limit }: Pick<PageQuery, 'cursor' | 'limit'>,
  order: SortOrder<Row>,
): Promise<PageRequest<Row>> {
  const count = limit + 1;
  if (cursor === undefined)
    return { order, position: undefined, count, fingerprint: () => fingerprintOf(list) };
  const fingerprint = await fingerprintOf(list);
  const position = parseCursor(cursor, fingerprint, order);
  return { order, position, count, fingerprint: () => fingerprint };
}

function parseCursor(cursor: string, fingerprint: string, { type }: Pick<Keyset, 'type'>) {
  const [list, key, id] = decodeCursor(cursor);
  if (list !== fingerprint || !isKey[type](key) || !isUuid(id)) throw new Problem('invalid_cursor');
  return { key: key as Key, id: id as string };
}

/** SQL condition for the rows after the cursor; undefined on the first page. */
export function afterCursor(
  position: QueryParams<CursorPosition> | undefined,
  { by, id, type, descending }: Keyset,
): SQL | undefined {
  if (position === undefined) return undefined;
  // A row comparison, which an index can begin at.
  const place = sql`(${position.key}::${sql.raw(type)}, ${position.id}::uuid)`;
  return descending ? sql`(${by}, ${id}) < ${place}` : sql`(${by}, ${id}) > ${place}`;
}

/** Returns the page out of rows that were fetched with `count`. */
export async function toPage<Row>(
  { order, count, fingerprint }: PageRequest<NoInfer<Row>>,
  rows: Row[],
): Promise<Page<Row>> {
  const items = rows.slice(0, count - 1);
  const last = rows.length === count ? items.at(-1) : undefined;
  if (last === undefined) return { items, next_cursor: null };
  const position = [await fingerprint(), order.keyOf(last), order.idOf(last)];
  return { items, next_cursor: encodeCursor(position) };
}

// --- Whole tables, page by page --------------------------------------------------------------------------------

export interface CreatedRow {
  created_at: string;
  id: string;
}

/** Rows in one page of a walk. A row may be 100 kB. */
export const WALK_PAGE_ROWS = 200;

/**
 * Yields all rows in the order of (created_at, id), page by page.
 * @param readPage reads up to `WALK_PAGE_ROWS` rows that satisfy `afterRow(table, last)`.
 */
export async function* pagesOf<Row extends CreatedRow>(
  readPage: (last: Row | undefined) => PromiseLike<Row[]>,
): AsyncGenerator<Row[]> {
  let last: Row | undefined;
  do {
    const page: Row[] = await readPage(last);
    if (page.length > 0) yield page;
    last = page.length === WALK_PAGE_ROWS ? page.at(-1) : undefined;
  } while (last);
}

/** SQL condition for the rows of a table after this one, oldest first; undefined where there is none. */
export const afterRow = (
  { created_at, id }: Record<'created_at' | 'id', Column>,
  last: CreatedRow | undefined,
): SQL | undefined =>
  last && sql`(${created_at}, ${id}) > (${last.created_at}::timestamptz, ${last.id}::uuid)`;

/** `ORDER BY` for `pagesOf`. */
export const oldestFirst = ({ created_at, id }: Record<'created_at' | 'id', Column>) => [
  asc(created_at),
  asc(id),
];

// --- Cursors ---------------------------------------------------------------------------------------------------

/** Which keys a cursor may hold, by their type in SQL. */
const isKey = {
  timestamptz: (key: unknown) =>
    typeof key === 'string' && (/^-?infinity$/.test(key) || parseInstant(key) === key),
  smallint: (key: unknown) => Number.isInteger(key) && Math.abs(Number(key)) < 2 ** 15,
  text: (key: unknown) => typeof key === 'string' && key.isWellFormed() && !key.includes('\0'),
};

const FINGERPRINT_LENGTH = 16;

/** Returns what ties a cursor to a list with its filters and its sort. */
export const fingerprintOf = async (list: string | readonly unknown[]) =>
  (await digest(typeof list === 'string' ? list : JSON.stringify(list))).slice(
    0,
    FINGERPRINT_LENGTH,
  );

export const encodeCursor = (position: unknown[]) =>
  encodeBase64url(new TextEncoder().encode(JSON.stringify(position)));

export function decodeCursor(cursor: string): unknown[] {
  try {
    const bytes = decodeBase64url(cursor);
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    return Array.isArray(value) ? value : [];
  } catch {
    return [];
  }
}
