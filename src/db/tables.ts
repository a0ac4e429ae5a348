/** What the schema holds, for work on all of it: backups, restores, migrations. */
import { getTableName, is } from 'drizzle-orm';
import { getTableConfig, PgTable } from 'drizzle-orm/pg-core';
import * as schema from './schema.ts';

/** What is worked out anew from other tables where it is missing. */
const derived = new Set(['feed']);

/** What a backup holds. */
export const copiedTables = () => allTables().filter(({ name }) => !derived.has(name));

/** Every table of the schema, none before one that it refers to, with the columns that are not worked out from others. */
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
