/**
 * Search in SQL: the words of a row as `tsvector`, and the condition that they hold what is looked for. The words and
 * labels of a task begin with its project's, so the index goes straight to a project's part, however many others have
 * the same word.
 */
import { and, type SQL, type SQLWrapper, sql } from 'drizzle-orm';
import { readSearch, sortKey, wordsOf } from '../words.ts';
import { projects, tasks, wordsOfTask } from './schema.ts';
import type { Asked, Given } from './statement.ts';

/** Where the project goes in a lexeme: no word and no label holds a comma. */
const SCOPE = ',';
/** The random end of a UUIDv7. Projects that share it cost a look at a row that is then left out. */
const scopeOf = (project_id: SQLWrapper) => sql`right(${project_id}::text, 6)`;

const scoped = (lexemes: SQLWrapper | Given, project_id: SQLWrapper) =>
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
export const asTaskWords = (lexemes: SQLWrapper | Given, project_id: SQLWrapper) =>
  sql<string>`${scoped(lexemes, project_id)}::tsvector`;

/** The same for a project, whose words stand for themselves. */
export const projectLexemes = ({ name, description }: Partial<ProjectTexts>) => ({
  ...(name !== undefined && { name_key: sortKey(name), name_words: lexemesOf(name, lexeme) }),
  ...(description !== undefined && { description_words: lexemesOf(description, lexeme) }),
});

type Lexemes<Name extends string> = Partial<Record<Name, Given>>;
type TaskLexemes = Lexemes<keyof ReturnType<typeof taskLexemes>>;
type ProjectLexemes = Lexemes<keyof ReturnType<typeof projectLexemes>>;

/** What to write into a task's row for its lexemes. */
export const searchableTask = <L extends TaskLexemes>(
  lexemes: L,
  project_id: SQLWrapper = tasks.project_id,
) => withWords(lexemes, (words) => asTaskWords(words, project_id));

/** What to write into a project's row for its lexemes. */
export const searchableProject = <L extends ProjectLexemes>(lexemes: L) =>
  withWords(lexemes, (words) => sql<string>`${words}::tsvector`);

/** Keys stay text, words become SQL. */
const withWords = <Name extends string>(
  lexemes: Lexemes<Name>,
  asWords: (lexemes: Given) => SQL<string>,
) =>
  Object.fromEntries(
    Object.entries<Given>(lexemes as Record<string, Given>).map(([name, text]) => [
      name,
      name.endsWith('_words') ? asWords(text) : text,
    ]),
  ) as Record<Name, SQL<string>>;

// --- Conditions ------------------------------------------------------------------------------------------------

/** @param q what a person typed. @returns whether it has a word to look for. */
export const hasWords = (q: string) => readSearch(q).words.length > 0;

/** What to look for, as values of a statement. */
export interface Sought {
  /** A `tsquery`. */
  query: string;
  /** Runs of characters, in scripts without spaces, of which the query knows the pairs alone. */
  runs: readonly string[];
}

/** Every word of `q`, and any of the labels; undefined where nothing is looked for. */
export function soughtInTasks(
  q: string | undefined,
  labels: readonly string[] | undefined,
): Sought | undefined {
  if (q === undefined && !labels) return undefined;
  const { words, runs } = readSearch(q ?? '');
  const any_label = labels && `(${labels.map(scopedLabel).join(' | ')})`;
  const query = [...wantedWords(words, scopedWord), ...(any_label ? [any_label] : [])].join(' & ');
  return { query, runs };
}

/** Every word of `q`. */
export function soughtInProjects(q: string): Sought {
  const { words, runs } = readSearch(q);
  return { query: wantedWords(words, lexeme).join(' & '), runs };
}

/** The condition that a task of this project holds what is looked for. */
export const taskMatches = ({ query, runs }: Asked<Sought>, project_id: SQLWrapper) =>
  and(
    sql`${wordsOfTask(tasks)} @@ ${scoped(query, project_id)}::tsquery`,
    ...holdRuns(runs, tasks.title, tasks.description),
  );

/** The condition that a project holds what is looked for. */
export const projectMatches = ({ query, runs }: Asked<Sought>) =>
  and(
    sql`(${projects.name_words} || ${projects.description_words}) @@ ${query}::tsquery`,
    ...holdRuns(runs, projects.name, projects.description),
  );

const wantedWords = (
  words: readonly { text: string; prefix: boolean }[],
  write: (word: string) => string,
) => words.map(({ text, prefix }) => write(text) + (prefix ? ':*' : ''));

/** Pairs of characters may stand apart: of the few rows that have them all, those with the whole run are kept. */
const holdRuns = (runs: readonly Given[], title: SQLWrapper, description: SQLWrapper) =>
  runs.map(
    (run) =>
      sql`strpos(normalize(${title} || ' ' || coalesce(${description}, ''), NFKC), ${run}) > 0`,
  );
