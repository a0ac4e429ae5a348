/**
 * Keyset pagination. A cursor holds the sort key of the last row seen and the name of the list it came from, so it
 * is refused by any other list. It is opaque but no secret: what it holds, the client has already read.
 */
import { and, type Column, eq, lt, or, type SQL } from 'drizzle-orm';
import { validate as isUuid } from 'uuid';
import { Problem } from '../problem.ts';
import { type PageQuery, parseInstant } from '../schemas/common.ts';

/** Where a page starts: after this row, in the order newest first. */
interface Position {
  created_at: string;
  id: string;
}

export interface Page<Row> {
  items: Row[];
  next_cursor: string | null;
}

/**
 * The condition that continues a list, newest first, where its cursor points; undefined for the first page.
 * @throws {Problem} `invalid_cursor` for a cursor of another list, or one that this server did not write.
 */
export function after(
  list: string,
  query: PageQuery,
  columns: { created_at: Column; id: Column },
): SQL | undefined {
  if (query.cursor === undefined) return undefined;
  const { created_at, id } = readCursor(list, query.cursor);
  return or(
    lt(columns.created_at, created_at),
    and(eq(columns.created_at, created_at), lt(columns.id, id)),
  );
}

/** Cuts a page from rows that were fetched with `limit + 1`: the row beyond says that there is a next page. */
export function pageOf<Row extends Position>(
  list: string,
  query: PageQuery,
  rows: Row[],
): Page<Row> {
  const items = rows.slice(0, query.limit);
  const last = items.at(-1);
  return {
    items,
    next_cursor: last && rows.length > query.limit ? writeCursor(list, last) : null,
  };
}

function writeCursor(list: string, { created_at, id }: Position): string {
  return encode(JSON.stringify([list, created_at, id]));
}

function readCursor(list: string, cursor: string): Position {
  const [name, created_at, id] = decode(cursor);
  if (name !== list || typeof created_at !== 'string' || typeof id !== 'string')
    throw new Problem('invalid_cursor');
  if (parseInstant(created_at) !== created_at || !isUuid(id)) throw new Problem('invalid_cursor');
  return { created_at, id };
}

/** Lists have plain names and keys are ASCII, so the text is Latin-1 and btoa takes it. */
const encode = (text: string) =>
  btoa(text).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');

function decode(cursor: string): unknown[] {
  try {
    const value: unknown = JSON.parse(atob(cursor.replaceAll('-', '+').replaceAll('_', '/')));
    return Array.isArray(value) ? value : [];
  } catch {
    return [];
  }
}
