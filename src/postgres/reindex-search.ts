/**
 * Fills the search columns of rows that a version without search wrote or changed: before the upgrade, or beside it
 * while replicas are replaced one by one. A partial index holds only such rows, so finding none is cheap.
 */
import { and, gt, type SQLWrapper, sql } from 'drizzle-orm';
import { NIL as NIL_UUID } from 'uuid';
import type { Database } from '../db/database.ts';
import { commentLexemes, projectLexemes, taskLexemes, taskSearchText } from '../db/full-text.ts';
import { isSearchStale } from '../db/index-expressions.ts';
import { comments, projects, tasks } from '../db/schema.ts';

/** A row may be 100 kB. */
const ROWS_AT_ONCE = 200;

/** Runs one step of the work. */
type Run = <T>(step: (db: Database) => Promise<T>) => Promise<T>;

/** Reindexes all rows with a stale search index, a few in each step, so that it can be interrupted and started again. */
export async function reindexSearch(run: Run): Promise<void> {
  await walk(run, reindexTasks);
  await walk(run, reindexProjects);
  await walk(run, reindexComments);
}

async function reindexTasks(db: Database, after: string): Promise<string | undefined> {
  const rows = await db
    .select({
      id: tasks.id,
      version: tasks.version,
      title: tasks.title,
      description: tasks.description,
      labels: tasks.labels,
    })
    .from(tasks)
    .where(and(isSearchStale(tasks, tasks.title_words), gt(tasks.id, after)))
    .orderBy(tasks.id)
    .limit(ROWS_AT_ONCE);
  const found = rows.map(({ id, version, ...texts }) => ({
    id,
    version,
    ...taskLexemes(texts),
  }));
  const words = (lexemes: SQLWrapper) => taskSearchText(lexemes, tasks.project_id);
  await db.execute(sql`
    update ${tasks} set title_key = found.title_key, title_words = ${words(sql`found.title_words`)},
      description_words = ${words(sql`found.description_words`)}, label_words = ${words(sql`found.label_words`)},
      title_runs = found.title_runs, description_runs = found.description_runs, words_version = -found.version
    from json_to_recordset(${JSON.stringify(found)}::text::json)
      as found (id uuid, version int, title_key text, title_words text, description_words text, label_words text, title_runs text, description_runs text)
    where ${tasks.id} = found.id and ${tasks.version} = found.version`);
  return rows.at(-1)?.id;
}

async function reindexProjects(db: Database, after: string): Promise<string | undefined> {
  const rows = await db
    .select({
      id: projects.id,
      version: projects.version,
      name: projects.name,
      description: projects.description,
    })
    .from(projects)
    .where(and(isSearchStale(projects, projects.name_words), gt(projects.id, after)))
    .orderBy(projects.id)
    .limit(ROWS_AT_ONCE);
  const found = rows.map(({ id, version, ...texts }) => ({
    id,
    version,
    ...projectLexemes(texts),
  }));
  await db.execute(sql`
    update ${projects} set name_key = found.name_key, name_words = found.name_words::tsvector,
      description_words = found.description_words::tsvector, name_runs = found.name_runs,
      description_runs = found.description_runs, words_version = -found.version
    from json_to_recordset(${JSON.stringify(found)}::text::json)
      as found (id uuid, version int, name_key text, name_words text, description_words text, name_runs text, description_runs text)
    where ${projects.id} = found.id and ${projects.version} = found.version`);
  return rows.at(-1)?.id;
}

async function reindexComments(db: Database, after: string): Promise<string | undefined> {
  const rows = await db
    .select({ id: comments.id, version: comments.version, body: comments.body })
    .from(comments)
    .where(and(isSearchStale(comments, comments.words), gt(comments.id, after)))
    .orderBy(comments.id)
    .limit(ROWS_AT_ONCE);
  const found = rows.map(({ id, version, body }) => ({ id, version, ...commentLexemes(body) }));
  await db.execute(sql`
    update ${comments} set words = ${taskSearchText(sql`found.words`, comments.project_id)}, runs = found.runs,
      words_version = -found.version
    from json_to_recordset(${JSON.stringify(found)}::text::json) as found (id uuid, version int, words text, runs text)
    where ${comments.id} = found.id and ${comments.version} = found.version`);
  return rows.at(-1)?.id;
}

/**
 * Runs step after step from where the last one ended, and again until there is nothing to do. Restarting from the
 * beginning would re-scan the rows already fixed in this transaction.
 * @param step gets the id to begin after, and returns the last id that it found.
 */
async function walk(run: Run, step: (db: Database, after: string) => Promise<string | undefined>) {
  for (let mended = true; mended; ) {
    let after = await run((db) => step(db, NIL_UUID));
    mended = after !== undefined;
    while (after !== undefined) {
      const from = after;
      after = await run((db) => step(db, from));
    }
  }
}
