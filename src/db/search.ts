/**
 * Search in SQL: the words of a row as `tsvector`, and the condition that they hold what is looked for. The words and
 * labels of a task begin with its project's, so the index goes straight to a project's part, however many others have
 * the same word.
 */
import { and, type SQL, type SQLWrapper, sql } from 'drizzle-orm';
import { readSearch, sortKey, wordsOf } from '../words.ts';
import { projects, tasks, wordsOfTask } from './schema.ts';

/** Where the project goes in a lexeme: no word and no label holds a comma. */
const SCOPE = ',';
/** The random end of a UUIDv7. Projects that share it cost a look at a row that is then left out. */
const scopeOf = (project_id: SQLWrapper) => sql`right(${project_id}::text, 6)`;

const scoped = (lexemes: SQLWrapper | string, project_id: SQLWrapper) =>
  sql`replace(${lexemes}, ${SCOPE}, ${scopeOf(project_id)})`;

/** A word as the text of a `tsvector` or `tsquery` has it: it holds no quote and no backslash. */
const lexeme = (word: string) => `'${word}'`;
const scopedWord = (word: string) => lexeme(SCOPE + word);
/** Told from a word by a mark that no word holds; quotes and backslashes are doubled. */
const scopedLabel = (label: string) => lexeme(`${SCOPE}#${label.replaceAll(/['\\]/g, '$&$&')}`);

const lexemesOf = (text: string | null, write: (word: string) => string) =>
  Array.from(wordsOf(text ?? ''), write).join(' ');

interface TaskTexts {
  title: string;
  description: string | null;
  labels: readonly string[];
}

interface ProjectTexts {
  name: string;
  description: string | null;
}

// --- What rows keep of their texts -----------------------------------------------------------------------------

/** As plain text, without the project: what is left out of the texts is left out here. */
export const taskLexemes = ({ title, description, labels }: Partial<TaskTexts>) => ({
  ...(title !== undefined && {
    title_key: sortKey(title),
    title_words: lexemesOf(title, scopedWord),
  }),
  ...(description !== undefined && { description_words: lexemesOf(description, scopedWord) }),
  ...(labels && { label_words: labels.map(scopedLabel).join(' ') }),
});

/** The words of `taskLexemes`, as the column takes them. */
export const asTaskWords = (lexemes: SQLWrapper | string, project_id: SQLWrapper) =>
  sql<string>`${scoped(lexemes, project_id)}::tsvector`;

/** The same for a project, whose words stand for themselves. */
export const projectLexemes = ({ name, description }: Partial<ProjectTexts>) => ({
  ...(name !== undefined && { name_key: sortKey(name), name_words: lexemesOf(name, lexeme) }),
  ...(description !== undefined && { description_words: lexemesOf(description, lexeme) }),
});

type Lexemes<Name extends string> = { [name in Name]?: string };
type Words<Key extends string, Name extends string> = Record<Key, string> &
  Record<Name, SQL<string>>;
type TaskWords = Words<'title_key', 'title_words' | 'description_words' | 'label_words'>;
type ProjectWords = Words<'name_key', 'name_words' | 'description_words'>;

/** What to write into a task's row beside its texts; nothing for texts that are left out. */
export function searchableTask(texts: TaskTexts, project_id: SQLWrapper): TaskWords;
export function searchableTask(texts: Partial<TaskTexts>): Partial<TaskWords>;
export function searchableTask(
  texts: Partial<TaskTexts>,
  project_id: SQLWrapper = tasks.project_id,
) {
  return withWords(taskLexemes(texts), (lexemes) => asTaskWords(lexemes, project_id));
}

/** What to write into a project's row beside its texts; nothing for texts that are left out. */
export function searchableProject(texts: ProjectTexts): ProjectWords;
export function searchableProject(texts: Partial<ProjectTexts>): Partial<ProjectWords>;
export function searchableProject(texts: Partial<ProjectTexts>) {
  return withWords(projectLexemes(texts), (lexemes) => sql<string>`${lexemes}::tsvector`);
}

/** Keys stay text, words become SQL. */
const withWords = (fields: Lexemes<string>, asWords: (lexemes: string) => SQL<string>) =>
  Object.fromEntries(
    Object.entries(fields).map(([name, text = '']) => [
      name,
      name.endsWith('_words') ? asWords(text) : text,
    ]),
  );

// --- Conditions ------------------------------------------------------------------------------------------------

/** @param q what a person typed. @returns whether it has a word to look for. */
export const hasWords = (q: string) => readSearch(q).words.length > 0;

/** The condition that a task of this project holds every word of `q`, and any of the labels. */
export function taskMatches(
  { q, labels }: { q?: string; labels?: readonly string[] },
  project_id: SQLWrapper,
): SQL | undefined {
  if (q === undefined && !labels) return undefined;
  const { words, runs } = readSearch(q ?? '');
  const any_label = labels && `(${labels.map(scopedLabel).join(' | ')})`;
  const query = [...wantedWords(words, scopedWord), ...(any_label ? [any_label] : [])].join(' & ');
  return and(
    sql`${wordsOfTask(tasks)} @@ ${scoped(query, project_id)}::tsquery`,
    ...holdRuns(runs, tasks.title, tasks.description),
  );
}

/** The condition that a project holds every word of `q`. */
export function projectMatches(q: string): SQL | undefined {
  const { words, runs } = readSearch(q);
  const query = wantedWords(words, lexeme).join(' & ');
  return and(
    sql`(${projects.name_words} || ${projects.description_words}) @@ ${query}::tsquery`,
    ...holdRuns(runs, projects.name, projects.description),
  );
}

const wantedWords = (
  words: readonly { text: string; prefix: boolean }[],
  write: (word: string) => string,
) => words.map(({ text, prefix }) => write(text) + (prefix ? ':*' : ''));

/** Pairs of characters may stand apart: of the few rows that have them all, those with the whole run are kept. */
const holdRuns = (runs: readonly string[], title: SQLWrapper, description: SQLWrapper) =>
  runs.map(
    (run) =>
      sql`strpos(normalize(${title} || ' ' || coalesce(${description}, ''), NFKC), ${run}) > 0`,
  );
