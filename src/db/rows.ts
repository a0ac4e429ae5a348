/** What rows have in common, and how they are written and read where Drizzle's builders do not reach. */
import { type Column, getTableColumns, type SQL, sql, type Table } from 'drizzle-orm';

/** What every change sets beside its fields. */
export const nextVersion = ({
  version,
  words_version,
  updated_at,
}: Record<'version' | 'words_version' | 'updated_at', Column>) => ({
  // A transaction that began earlier and waited for its turn must not turn the clock back.
  updated_at: sql`greatest(${updated_at}, now())`,
  version: sql`${version} + 1`,
  // Words that are old stay so.
  words_version: sql`${words_version} + 1`,
});

/** A value or SQL for each column of a table. */
export type RowOf<T extends Table> = Record<keyof T['_']['columns'], unknown>;

/** A row to select, column by column in the table's order, so that an insert can depend on what it selects from. */
export function asRow<T extends Table>(table: T, row: RowOf<T>) {
  const entries = Object.entries<Column>(getTableColumns(table)).map(([name, column]) => {
    const value = row[name as keyof RowOf<T>];
    const written = value instanceof Object && 'getSQL' in value ? value : sql.param(value, column);
    return [name, sql`${written}::${sql.raw(column.getSQLType())}`.as(name)];
  });
  return Object.fromEntries(entries) as Record<keyof RowOf<T>, SQL.Aliased>;
}

/** Reads a row that PostgreSQL wrote with `row_to_json`, as a select of these columns gives it. */
export function fromJson(columns: Record<string, Column>, json: Record<string, unknown>) {
  const entries = Object.entries(columns).map(([name, column]) => {
    const value = json[name];
    return [name, value === null ? null : column.mapFromDriverValue(value)];
  });
  return Object.fromEntries(entries);
}
