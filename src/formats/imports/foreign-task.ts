/** What a reader makes of an item of another program's document. Nothing is cut yet; `handlers/foreign-tasks` does that. */
import { validationProblem } from '../../errors/problem.ts';
import type { ForeignFormat, NoteCode } from '../../schemas/import-reports.ts';
import type { ExportedTask } from '../../schemas/project-exports.ts';
import type { Due } from './dates.ts';

export interface Note {
  code: NoteCode;
  /** As the document names it. */
  field: string;
  value?: string | undefined;
}

export interface ForeignTask {
  /** The name of its project, where items have projects of their own. */
  project?: string | undefined;
  title: string;
  /** The parts of the description, to be joined by blank lines. */
  paragraphs: string[];
  status: ExportedTask['status'];
  /** From 0 (none) to 4 (urgent). */
  priority: number;
  due?: Due | undefined;
  labels: string[];
  /** The user name or name of the assignee. */
  assignee?: string | undefined;
  /** Its name in the document, to which other items refer. */
  ref?: string | undefined;
  /** The `ref` of the task of which it is a subtask, and of those that come first. */
  parent?: string | undefined;
  blocked_by?: readonly string[];
  /** Instants, in UTC. */
  completed_at?: string | undefined;
  created_at?: string | undefined;
  updated_at?: string | undefined;
}

/** An item. Without a task, its notes say why it is left out. */
export interface ForeignItem {
  kind: 'item';
  line: number;
  /** Its place among the items, from 0; undefined where the note is about the document. */
  item: number | undefined;
  notes: Note[];
  task?: ForeignTask;
}

/** The name of the project of all items. */
export interface ForeignName {
  kind: 'name';
  name: string;
}

/** The format, where the reader of several tells it. */
export interface ForeignFormatFound {
  kind: 'format';
  format: ForeignFormat;
}

export type ForeignPiece = ForeignItem | ForeignName | ForeignFormatFound;

/**
 * Reads a document in pieces.
 * @param zone the time zone of local times.
 * @throws {Problem} `validation_failed`, `malformed_json`, with the line; what `chunks` throws.
 */
export type ForeignReader = (
  chunks: AsyncIterable<Uint8Array>,
  zone: string,
) => AsyncIterable<ForeignPiece>;

export const newTask = (title: string): ForeignTask => ({
  title,
  paragraphs: [],
  status: 'todo',
  priority: 0,
  labels: [],
});

/** A fault of the whole document: what follows it cannot be read. */
export const faultAt = (line: number, message: string, code = 'malformed') =>
  validationProblem([{ location: 'body', code, message: `line ${line}: ${message}` }]);

/** Of a list in an item, up to this many texts are kept. A task takes 20 labels, and 20 blockers among those that exist. */
const LISTED_MAX = 100;

/**
 * Returns the first texts between commas, trimmed and without blank ones. Adds a note with the rest: a part of a text takes more
 * memory than its characters, so there is never a list of all.
 */
export function splitList(text: string, notes: Note[], { code, field }: Note): string[] {
  const texts: string[] = [];
  for (let start = 0, end = 0; start < text.length; start = end + 1) {
    const comma = text.indexOf(',', start);
    end = comma === -1 ? text.length : comma;
    const one = text.slice(start, end).trim();
    if (one === '') continue;
    if (texts.length === LISTED_MAX) {
      notes.push({ code, field, value: text.slice(start).trim() });
      break;
    }
    texts.push(one);
  }
  return texts;
}

/** Returns the first texts of values, as `splitList` does. */
export function takeTexts(
  values: readonly string[],
  notes: Note[],
  { code, field }: Note,
): string[] {
  const rest = values.slice(LISTED_MAX);
  if (rest.length > 0) notes.push({ code, field, value: rest.join(', ') });
  return values.slice(0, LISTED_MAX);
}

/**
 * Moves words that begin with a sign out of a text: `@phone` is a tag, `me@example.org` and a lone `@` are none. Tags at
 * either end go; one inside a sentence stays a word of it as well.
 * @param signs such as `@` or `+@`.
 */
export function splitTags(text: string, signs: string): { text: string; tags: string[] } {
  const words = text.trim().split(/(\s+)/);
  const isTag = (word = '') => word.length > 1 && signs.includes(word.charAt(0));
  const tags = words.filter(isTag).map((word) => word.slice(1));
  // Words and the space between them alternate.
  let [start, end] = [0, words.length];
  while (start < end && isTag(words[start])) start += 2;
  while (end > start && isTag(words[end - 1])) end -= 2;
  // A text of tags alone stays a title.
  return { text: words.slice(start, end).join('').trim() || text.trim(), tags };
}
