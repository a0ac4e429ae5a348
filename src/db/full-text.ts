/**
 * Full-text search: the words of a row as `tsvector`, and the condition that they match a search. The words and labels of a
 * task are prefixed with its project, so that the index goes straight to the part of a project, however many other projects
 * have the same word. What a search reads is folded and bounded when it is written: no search normalizes a stored text.
 */
// Decision: docs/decisions/12-full-text-search.md
import { type SQL, type SQLWrapper, sql } from 'drizzle-orm';
import { makePgArray } from 'drizzle-orm/pg-core/utils/array';
import { validationProblem } from '../errors/problem.ts';
import {
  type ParsedSearch,
  parseSearch,
  sortKey,
  type TokenizedText,
  tokenize,
} from '../lib/tokenizer.ts';
import { taskSearchVector } from './index-expressions.ts';
import type { QueryParam, QueryParams } from './prepared.ts';
import { comments, projects, tasks } from './schema.ts';

/** Stands for the project's prefix in a lexeme: no word and no label holds a comma. */
const SCOPE = ',';
/** The random end of a UUIDv7. Where projects share it, their rows are read and left out. */
const scopeOf = (projectId: SQLWrapper) => sql`right(${projectId}::text, 6)`;

const scoped = (lexemes: SQLWrapper | QueryParam, projectId: SQLWrapper) =>
  sql`replace(${lexemes}, ${sql.raw(`'${SCOPE}'`)}, ${scopeOf(projectId)})`;

/** A word in the text of a `tsvector` or `tsquery`: it holds no quote and no backslash. */
const lexeme = (word: string) => `'${word}'`;
const scopedWord = (word: string) => lexeme(SCOPE + word);
/** A label is told from a word by `#`, which no word holds; quotes and backslashes are doubled. */
const scopedLabel = (label: string) => lexeme(`${SCOPE}#${label.replaceAll(/['\\]/g, '$&$&')}`);

/** A label as a lexeme without the project, for `taskSearchText` and `taskWordsMatch`. */
export const labelLexeme = scopedLabel;
/** What follows the project in the lexeme of a label. */
export const labelWord = (label: string) => `#${label}`;
/** What a lexeme of the project begins with. */
export const lexemeScope = scopeOf;

const lexemesOf = ({ words }: TokenizedText, write: (word: string) => string) =>
  Array.from(words, write).join(' ');

interface TaskTexts {
  title: string;
  description: string | null;
  labels: readonly string[];
}

interface ProjectTexts {
  name: string;
  description: string | null;
}

// --- What rows store of their texts -----------------------------------------------------------------------------

/** Returns what a task stores of these texts, with words as text without the project: for a text that is left out, nothing. */
export const taskLexemes = ({ title, description, labels }: Partial<TaskTexts>) => ({
  ...(title !== undefined && textOfTitle(title)),
  ...(description !== undefined && textOfDescription(description, scopedWord)),
  ...(labels && { label_words: labels.map(scopedLabel).join(' ') }),
});

function textOfTitle(title: string) {
  const text = tokenize(title);
  const words = lexemesOf(text, scopedWord);
  return { title_key: sortKey(title), title_words: words, title_runs: text.runs };
}

function textOfDescription(description: string | null, write: (word: string) => string) {
  const text = tokenize(description ?? '');
  return { description_words: lexemesOf(text, write), description_runs: text.runs };
}

/** The same for a comment, whose words have the prefix of its project too. */
export function commentLexemes(body: string) {
  const text = tokenize(body);
  return { words: lexemesOf(text, scopedWord), runs: text.runs };
}

/** The words of `taskLexemes` or `commentLexemes`, as the column takes them. */
export const taskSearchText = (lexemes: SQLWrapper | QueryParam, projectId: SQLWrapper) =>
  sql<string>`${scoped(lexemes, projectId)}::tsvector`;

/** The same for a project, whose words have no prefix. */
export const projectLexemes = ({ name, description }: Partial<ProjectTexts>) => ({
  ...(name !== undefined && textOfName(name)),
  ...(description !== undefined && textOfDescription(description, lexeme)),
});

function textOfName(name: string) {
  const text = tokenize(name);
  return { name_key: sortKey(name), name_words: lexemesOf(text, lexeme), name_runs: text.runs };
}

type Lexemes<Name extends string> = Partial<Record<Name, QueryParam>>;
type TaskLexemes = Lexemes<keyof ReturnType<typeof taskLexemes>>;
type ProjectLexemes = Lexemes<keyof ReturnType<typeof projectLexemes>>;

/** What to write into a task's row for its lexemes. */
export const taskSearchColumns = <L extends TaskLexemes>(
  lexemes: L,
  projectId: SQLWrapper = tasks.project_id,
) => withWords(lexemes, (words) => taskSearchText(words, projectId));

/** What to write into a project's row for its lexemes. */
export const projectSearchColumns = <L extends ProjectLexemes>(lexemes: L) =>
  withWords(lexemes, (words) => sql<string>`${words}::tsvector`);

/** Keys stay text, words become SQL. */
const withWords = <Name extends string>(
  lexemes: Lexemes<Name>,
  asWords: (lexemes: QueryParam) => SQL<string>,
) =>
  Object.fromEntries(
    Object.entries<QueryParam>(lexemes as Record<string, QueryParam>).map(([name, text]) => [
      name,
      name.endsWith('_words') ? asWords(text) : text,
    ]),
  ) as Record<Name, SQL<string>>;

// --- Conditions ------------------------------------------------------------------------------------------------

/** Parses `q`. @throws {Problem} `validation_failed` where it has no word to look for. */
export function parseSearchTerm(q: string): ParsedSearch {
  const parsed = parseSearch(q);
  if (parsed.words.length > 0) return parsed;
  throw validationProblem([
    { location: 'query.q', code: 'blank', message: 'must contain a letter, a digit or a symbol' },
  ]);
}

/** What to look for, as values of a statement. */
export interface SearchQuery {
  /** A `tsquery`. */
  query: string;
  /** Runs of characters, in scripts without spaces, of which the query has the pairs alone: an array, or null. */
  runs: string | null;
}

/** Returns what finds every word, any of some labels and all of others; undefined where nothing is looked for. */
export function taskSearchQuery(
  term: ParsedSearch | undefined,
  anyOf: readonly string[],
  allOf: readonly string[],
): SearchQuery | undefined {
  const { words, runs } = term ?? { words: [], runs: [] };
  const wanted = [...wantedWords(words, scopedWord), ...allOf.map(scopedLabel)];
  if (anyOf.length > 0) wanted.push(`(${anyOf.map(scopedLabel).join(' | ')})`);
  return wanted.length === 0 ? undefined : { query: wanted.join(' & '), runs: arrayOfRuns(runs) };
}

/** Returns what finds every word. */
export function projectSearchQuery({ words, runs }: ParsedSearch): SearchQuery {
  return { query: wantedWords(words, lexeme).join(' & '), runs: arrayOfRuns(runs) };
}

/** The condition that a task of this project has the words and labels of a query. */
export const taskWordsMatch = (query: SQLWrapper, projectId: SQLWrapper) =>
  sql`${taskSearchVector(tasks)} @@ ${scoped(query, projectId)}::tsquery`;

/** The condition that these words, of a task or comment of this project, have the words of a query. */
export const wordsMatch = (words: SQLWrapper, query: SQLWrapper, projectId: SQLWrapper) =>
  sql`${words} @@ ${scoped(query, projectId)}::tsquery`;

/** The comments of a project that have the words of a query; the project is compared as in `taskWordsMatchIn`. */
export const commentWordsMatchIn = (query: SQLWrapper, projectId: SQLWrapper) =>
  sql`${comments.project_id}::text = ${projectId}::text and ${wordsMatch(comments.words, query, projectId)}`;

/**
 * `taskWordsMatch` for a statement that reads the tasks of one project by their words. The project is compared as text, so
 * that PostgreSQL does not read the index of the project to its end beside that of words.
 */
export const taskWordsMatchIn = (query: SQLWrapper, projectId: SQLWrapper) =>
  sql`${tasks.project_id}::text = ${projectId}::text and ${taskWordsMatch(query, projectId)}`;

/** The condition that a project holds what is looked for. */
export const projectMatches = ({ query, runs }: QueryParams<SearchQuery>) =>
  sql`(${projects.name_words} || ${projects.description_words}) @@ ${query}::text::tsquery
    and (${runs}::text[] is null or ${runsMatch(sql`${runs}::text[]`, projects.name_runs, projects.description_runs)})`;

const arrayOfRuns = (runs: readonly string[]) => (runs.length === 0 ? null : arrayLiteral(runs));

/** Texts as one array of PostgreSQL. */
export const arrayLiteral = (texts: readonly string[]) => makePgArray([...texts]);

const wantedWords = (
  words: readonly { text: string; prefix: boolean }[],
  write: (word: string) => string,
) => words.map(({ text, prefix }) => write(text) + (prefix ? ':*' : ''));

/**
 * Pairs of characters may stand apart: of the rows that have them all, those with every whole run are kept. Rows whose runs
 * an earlier release has not written are kept too.
 */
export const runsMatch = (runs: SQLWrapper, first: SQLWrapper, second: SQLWrapper) =>
  sql`not exists (
    select from unnest(${runs}) run
    where strpos(${first}, run) = 0 and strpos(${second}, run) = 0
  )`;
