/** The tables of the schema, for backups, restores and migrations. */
import { getTableName, is } from 'drizzle-orm';
import { getTableConfig, PgTable } from 'drizzle-orm/pg-core';
import * as schema from '../db/schema.ts';

/** Tables that are computed anew where they are missing. */
const derived = new Set(['feed', 'feed_timelines']);

/** Returns the tables that a backup holds. */
export const copiedTables = () => allTables().filter(({ name }) => !derived.has(name));

/** Returns every table of the schema after the tables that it refers to, with the columns that are not generated. */
export function allTables(): { name: string; columns: string[] }[] {
  const ordered = new Set<PgTable>();
  const visit = (table: PgTable) => {
    const { foreignKeys } = getTableConfig(table);
    for (const { foreignTable } of foreignKeys.map((key) => key.reference()))
      if (foreignTable !== table && !ordered.has(foreignTable)) visit(foreignTable);
    ordered.add(table);
  };
  for (const one of Object.values(schema)) if (is(one, PgTable)) visit(one);
  return [...ordered].map((table) => ({
    name: getTableName(table),
    columns: getTableConfig(table)
      .columns.filter(({ generated }) => generated === undefined)
      .map(({ name }) => name),
  }));
}
