/** Expressions that an index holds. A query has to say them exactly as the index does. */
import { type Column, type SQLWrapper, sql } from 'drizzle-orm';

/** A name without case. Collation "C" folds ASCII alone, whatever the database's locale: names hold nothing else. */
export const foldedName = (name: SQLWrapper | string) => sql`lower(${name} collate "C")`;

interface Searchable {
  version: Column;
  words_version: Column;
}

/**
 * The condition that the words of a row are missing, out of date, or in the format of an earlier release. The sign of
 * `words_version` tells the formats apart: earlier releases count it upwards with the version.
 */
export const isSearchStale = ({ version, words_version }: Searchable, firstWords: Column) =>
  sql`(${firstWords} is null or ${words_version} is distinct from -${version})`;

type DueColumns = Record<'due_at' | 'due_on', Column>;

/** The last millisecond of a day in UTC, as `endOfDay` has it. */
const endOfDueDay = ({ due_on }: Pick<DueColumns, 'due_on'>) =>
  sql`(${due_on} + time '23:59:59.999') at time zone 'UTC'`;

/**
 * Due dates as keys that are never null. A date without a time is the end of that day in UTC; a task without either comes
 * last in either direction.
 */
export const dueAscending = (columns: DueColumns) =>
  sql`coalesce(${columns.due_at}, ${endOfDueDay(columns)}, 'infinity')`;
export const dueDescending = (columns: DueColumns) =>
  sql`coalesce(${columns.due_at}, ${endOfDueDay(columns)}, '-infinity')`;

type SearchColumns = Record<'title_words' | 'description_words' | 'label_words', Column>;

/** Times of completion as keys that are never null: a task that is not done comes last in either direction. */
export const completedAscending = ({ completed_at }: { completed_at: Column }) =>
  sql`coalesce(${completed_at}, 'infinity')`;
export const completedDescending = ({ completed_at }: { completed_at: Column }) =>
  sql`coalesce(${completed_at}, '-infinity')`;

type PlaceColumns = Record<'position' | 'created_at' | 'id', Column>;

/**
 * The place of a task in the order by hand, as hexadecimal digits. A task that was never put anywhere has the milliseconds of its
 * creation, so that new tasks come last, and, for those of one millisecond, the end of the time and the counter of its id (UUIDv7, RFC 9562 §5.7).
 */
export const placeOf = ({ position, created_at, id }: PlaceColumns) =>
  sql`coalesce(${position}, (lpad(to_hex((extract(epoch from ${created_at} at time zone 'UTC') * 1000)::bigint), 12, '0') || substr(replace(${id}::text, '-', ''), 9, 16)) collate "C")`;

/** The words and labels of a task, which one index holds. */
export const taskSearchVector = ({ title_words, description_words, label_words }: SearchColumns) =>
  sql`(${title_words} || ${description_words} || ${label_words})`;
