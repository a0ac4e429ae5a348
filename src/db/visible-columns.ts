/** The columns of a row that clients see. */
import { getTableColumns } from 'drizzle-orm';
import { comments, projects, tasks } from './schema.ts';

function without<T extends object, Name extends keyof T>(columns: T, names: Name[]): Omit<T, Name> {
  const rest = { ...columns };
  for (const name of names) delete rest[name];
  return rest;
}

/** Those of a project; its role is the reader's. */
export const projectColumns = without(getTableColumns(projects), [
  'name_key',
  'name_words',
  'description_words',
  'words_version',
  'description_runs',
  'name_runs',
]);

/** Those of a comment: its project is that of its task. */
export const commentColumns = without(getTableColumns(comments), [
  'project_id',
  'words',
  'runs',
  'words_version',
]);

/** Those of a task. */
export const taskColumns = without(getTableColumns(tasks), [
  'position',
  'title_key',
  'title_words',
  'description_words',
  'label_words',
  'words_version',
  'description_runs',
  'title_runs',
]);
