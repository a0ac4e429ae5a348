/**
 * Writes tasks in bulk, for the batch and for imports: one statement gets them as JSON rows, so that its text does not depend
 * on their number.
 */
import { getTableColumns, type SQL, sql } from 'drizzle-orm';
import { taskSearchText } from '../db/full-text.ts';
import { tasks } from '../db/schema.ts';

const names = Object.keys(getTableColumns(tasks)) as (keyof typeof tasks.$inferSelect)[];
const isWords = (name: string) => name.endsWith('_words');

/** The columns of a draft, with their types; words are text. */
const draftColumns = sql.join(
  names.map((name) => {
    const type = isWords(name) ? 'text' : tasks[name].getSQLType();
    return sql.raw(`"${name}" ${type}`);
  }),
  sql`, `,
);

/** `FROM` drafts, as `draft`. */
export const draftsOf = (drafts: readonly object[]) =>
  sql`json_to_recordset(${JSON.stringify(drafts)}::text::json) as draft (${draftColumns})`;

/** The value of each column in a draft. */
export const draftedFields = fieldsOf((name) => {
  const column = sql`draft.${sql.identifier(name)}`;
  return isWords(name) ? taskSearchText(column, sql`draft.project_id`) : column;
});

/** SQL for each column of a task, by its name. */
export function fieldsOf(write: (name: string) => SQL) {
  return Object.fromEntries(names.map((name) => [name, write(name)])) as Record<
    (typeof names)[number],
    SQL
  >;
}
