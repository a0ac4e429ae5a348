/**
 * Gives their words to rows that a version without search wrote or changed: before the upgrade, or beside it while
 * replicas are replaced one by one. An index holds such rows alone, so to find none costs nothing.
 */
import { and, gt, type SQLWrapper, sql } from 'drizzle-orm';
import type { Database } from './database.ts';
import { hasOldWords, projects, tasks } from './schema.ts';
import { asTaskWords, projectLexemes, taskLexemes } from './search.ts';

/** A row may be 100 kB. */
const ROWS_AT_ONCE = 200;

/** Works through all rows with old words or none. Each step is a statement, so it can be broken off and begun again. */
export async function fillInWords(db: Database): Promise<void> {
  await walk(async (after) => {
    const rows = await db
      .select({
        id: tasks.id,
        version: tasks.version,
        title: tasks.title,
        description: tasks.description,
        labels: tasks.labels,
      })
      .from(tasks)
      .where(and(hasOldWords(tasks, tasks.title_words), gt(tasks.id, after)))
      .orderBy(tasks.id)
      .limit(ROWS_AT_ONCE);
    const found = rows.map(({ id, version, ...texts }) => ({
      id,
      version,
      ...taskLexemes(texts),
    }));
    const words = (lexemes: SQLWrapper) => asTaskWords(lexemes, tasks.project_id);
    await db.execute(sql`
      update ${tasks} set title_key = found.title_key, title_words = ${words(sql`found.title_words`)},
        description_words = ${words(sql`found.description_words`)}, label_words = ${words(sql`found.label_words`)},
        words_version = found.version
      from json_to_recordset(${JSON.stringify(found)}::text::json)
        as found (id uuid, version int, title_key text, title_words text, description_words text, label_words text)
      where ${tasks.id} = found.id and ${tasks.version} = found.version`);
    return rows.at(-1)?.id;
  });
  await walk(async (after) => {
    const rows = await db
      .select({
        id: projects.id,
        version: projects.version,
        name: projects.name,
        description: projects.description,
      })
      .from(projects)
      .where(and(hasOldWords(projects, projects.name_words), gt(projects.id, after)))
      .orderBy(projects.id)
      .limit(ROWS_AT_ONCE);
    const found = rows.map(({ id, version, ...texts }) => ({
      id,
      version,
      ...projectLexemes(texts),
    }));
    await db.execute(sql`
      update ${projects} set name_key = found.name_key, name_words = found.name_words::tsvector,
        description_words = found.description_words::tsvector, words_version = found.version
      from json_to_recordset(${JSON.stringify(found)}::text::json)
        as found (id uuid, version int, name_key text, name_words text, description_words text)
      where ${projects.id} = found.id and ${projects.version} = found.version`);
    return rows.at(-1)?.id;
  });
}

const FIRST_ID = '00000000-0000-0000-0000-000000000000';

/**
 * Takes step after step from where the last one ended, and walks again until there is nothing. Whoever began at the
 * beginning each time would pass, within one transaction, all that he has mended.
 * @param step is given the id to begin after. @returns the last id that it found.
 */
async function walk(step: (after: string) => Promise<string | undefined>) {
  for (let mended = true; mended; ) {
    let after = await step(FIRST_ID);
    mended = after !== undefined;
    while (after !== undefined) after = await step(after);
  }
}
