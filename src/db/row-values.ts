/** Values of rows: what changes with every write, and rows to insert or decode where Drizzle's builders do not reach. */

import { type Column, getTableColumns, type SQL, sql, type Table } from 'drizzle-orm';
import { Problem } from '../errors/problem.ts';

/** `FROM` for a `select` that reads no table: Drizzle's builder demands one. */
export const noTable = sql`(select) as no_table`;

/**
 * Returns the rows of a left join from what the user may see: one row without a value says that it is there and empty,
 * no row that it is not there.
 * @throws {Problem} `not_found`.
 */
export function rowsOrNotFound<Row extends object, Name extends keyof Row>(
  rows: readonly Row[],
  name: Name,
): NonNullable<Row[Name]>[] {
  if (rows.length === 0) throw new Problem('not_found');
  return rows.flatMap((row) => row[name] ?? []);
}

/**
 * Returns what every change sets beside its fields.
 * @param isChange whether the fields differ: a write that changes nothing leaves the version as it is.
 */
export const bumpVersion = (
  {
    version,
    words_version,
    updated_at,
  }: Record<'version' | 'words_version' | 'updated_at', Column>,
  isChange = sql`true`,
) => ({
  // A transaction that began earlier and waited for a lock must not turn the clock back.
  updated_at: sql`case when ${isChange} then greatest(${updated_at}, now()) else ${updated_at} end`,
  version: sql`${version} + (${isChange})::int`,
  // Keeps a stale search index stale.
  words_version: sql`${words_version} - (${isChange})::int`,
});

/** A value or SQL for each column of a table. */
export type RowOf<T extends Table> = Record<keyof T['_']['columns'], unknown>;

/** Returns the columns of a row to select, in the table's order, so that an insert can depend on what it selects from. */
export function insertRow<T extends Table>(table: T, row: RowOf<T>) {
  const entries = Object.entries<Column>(getTableColumns(table)).map(([name, column]) => {
    const value = row[name as keyof RowOf<T>];
    const written = value instanceof Object && 'getSQL' in value ? value : sql.param(value, column);
    return [name, sql`${written}::${sql.raw(column.getSQLType())}`.as(name)];
  });
  return Object.fromEntries(entries) as Record<keyof RowOf<T>, SQL.Aliased>;
}

/** Returns the row that a select of these columns would return, from what `row_to_json` wrote. */
export function decodeRow(columns: Record<string, Column>, json: Record<string, unknown>) {
  const entries = Object.entries(columns).map(([name, column]) => {
    // A row that an earlier release wrote lacks a column.
    const value = json[name] ?? plainDefault(column);
    return [name, value === null ? null : column.mapFromDriverValue(value)];
  });
  return Object.fromEntries(entries);
}

/** Returns the default of a column, unless the database computes it; null where it has none. */
const plainDefault = ({ default: value }: Column) =>
  typeof value === 'number' || typeof value === 'boolean' ? value : null;
