/**
 * The filters of task lists: what a client asks for, as values of one statement whose text is the same whatever is asked.
 * A filter that is not given is null, and PostgreSQL drops its condition when it plans for the values.
 */
import { type SQL, type SQLWrapper, sql } from 'drizzle-orm';
import { isOfTask } from '../db/authorization.ts';
import {
  arrayLiteral,
  parseSearchTerm,
  runsMatch,
  type SearchQuery,
  taskSearchQuery,
  taskWordsMatch,
  wordsMatch,
} from '../db/full-text.ts';
import { dueAscending } from '../db/index-expressions.ts';
import type { QueryParam, QueryParams } from '../db/prepared.ts';
import { comments, taskStatuses, tasks } from '../db/schema.ts';
import { validationProblem } from '../errors/problem.ts';
import { endOfDay, parseDate, parseInstant, startOfDay } from '../lib/instant.ts';
import type { ParsedSearch } from '../lib/tokenizer.ts';
import type { CurrentUser } from '../schemas/current-user.ts';
import { filters as filterParameters, type TaskFilters } from '../schemas/tasks.ts';

type Optional<T> = T | null;

/** The values of the filters. Lists are arrays of PostgreSQL. */
export interface Filters {
  statuses: Optional<string>;
  priority_min: Optional<number>;
  priority_max: Optional<number>;
  assignee_id: Optional<string>;
  is_assigned: Optional<boolean>;
  created_by: Optional<string>;
  /** Any of these labels, or none where `may_lack_labels`. */
  labels_any: Optional<string>;
  may_lack_labels: Optional<boolean>;
  labels_not: Optional<string>;
  must_have_labels: Optional<boolean>;
  parent_id: Optional<string>;
  is_top: Optional<boolean>;
  is_blocked: Optional<boolean>;
  is_due: Optional<boolean>;
  due_after: Optional<string>;
  due_from: Optional<string>;
  due_before: Optional<string>;
  completed_from: Optional<string>;
  completed_before: Optional<string>;
  updated_from: Optional<string>;
  updated_before: Optional<string>;
  created_from: Optional<string>;
  created_before: Optional<string>;
  /** Words and labels, as a `tsquery`. */
  query: Optional<string>;
  runs: Optional<string>;
  /** Undefined: the words of `query` are looked for in title and description together. */
  within: Within | undefined;
}

/** Where a search looks that does not look in title and description alone. */
export interface Within {
  title: boolean;
  description: boolean;
  comments: boolean;
  /** The words of `query` alone. */
  words: string;
  /** The labels of `query` alone. */
  labels: Optional<string>;
}

/**
 * Parses the filters of a list.
 * @throws {Problem} `validation_failed` for filters that contradict each other, and for a `q` without a word.
 */
export function parseFilters(user: Pick<CurrentUser, 'id'>, query: TaskFilters): Filters {
  const { priority, assignee_id, created_by, label = [], label_all, label_not = [] } = query;
  refuseContradictions(query);
  const statuses = statusesOf(query);
  const term = query.q === undefined ? undefined : parseSearchTerm(query.q);
  const mayLackLabels = label.includes('');
  // Labels that every match has are found by the index of words.
  const foundLabels = [mayLackLabels ? [] : label, label_all ?? []] as const;
  const search = taskSearchQuery(term, ...foundLabels);
  return {
    statuses: statuses === undefined ? null : arrayLiteral(statuses),
    priority_min: priority ?? query.priority_min ?? null,
    priority_max: priority ?? query.priority_max ?? null,
    assignee_id: idOf(user, assignee_id),
    is_assigned: assignee_id === 'none' ? false : null,
    created_by: idOf(user, created_by),
    labels_any: mayLackLabels ? arrayLiteral(label.filter(Boolean)) : null,
    may_lack_labels: mayLackLabels || null,
    labels_not: label_not.some(Boolean) ? arrayLiteral(label_not.filter(Boolean)) : null,
    must_have_labels: label_not.includes('') || null,
    parent_id: idOf(user, query.parent_id),
    is_top: query.parent_id === 'none' ? true : null,
    is_blocked: query.blocked === undefined ? null : query.blocked === 'true',
    is_due: query.due === undefined ? null : query.due === 'any',
    due_after: timeOf(query, 'due_after'),
    due_from: timeOf(query, 'due_from'),
    due_before: timeOf(query, 'due_before'),
    completed_from: timeOf(query, 'completed_from'),
    completed_before: timeOf(query, 'completed_before'),
    updated_from: timeOf(query, 'updated_from'),
    updated_before: timeOf(query, 'updated_before'),
    created_from: timeOf(query, 'created_from'),
    created_before: timeOf(query, 'created_before'),
    query: search?.query ?? null,
    runs: search?.runs ?? null,
    within: withinOf(query, term, taskSearchQuery(undefined, ...foundLabels)),
  };
}

/** The condition that a status is an open one. */
export function isOpen(status: SQLWrapper): SQL {
  return sql`${status} in ('todo', 'in_progress')`;
}

/** @throws {Problem} `validation_failed` for `in` without `q`. */
function withinOf(
  { in: texts }: TaskFilters,
  term: ParsedSearch | undefined,
  labels: SearchQuery | undefined,
): Within | undefined {
  if (texts === undefined) return undefined;
  const words = taskSearchQuery(term, [], []);
  if (words === undefined)
    throw validationProblem([
      { location: 'query.in', code: 'contradiction', message: 'must stand beside q' },
    ]);
  const [title, description, comments] = [
    texts.includes('title'),
    texts.includes('description'),
    texts.includes('comments'),
  ];
  if (title && description && !comments) return undefined;
  return { title, description, comments, words: words.query, labels: labels?.query ?? null };
}

/** Returns the filters of a list; undefined where it has none, as most lists. @throws {Problem} as `parseFilters` does. */
export function findFilters(user: Pick<CurrentUser, 'id'>, query: TaskFilters) {
  if (!Object.keys(query).some((name) => name in filterParameters)) return undefined;
  const filters = parseFilters(user, query);
  const isGiven = (value: unknown) => value !== null && value !== undefined;
  return Object.values(filters).some(isGiven) ? filters : undefined;
}

const idOf = (user: Pick<CurrentUser, 'id'>, id: string | undefined) =>
  id === undefined || id === 'none' ? null : id === 'me' ? user.id : id;

type TimeFilter = Extract<keyof TaskFilters, `${string}_${'from' | 'before' | 'after'}`>;

/** Returns the instant of a filter. A date is its first millisecond, or its last where the filter means what is after it. */
function timeOf(query: TaskFilters, name: TimeFilter): Optional<string> {
  const value = query[name];
  if (value === undefined) return null;
  const date = parseDate(value);
  if (date === undefined) return parseInstant(value) ?? null;
  return name === 'due_after' ? endOfDay(date) : startOfDay(date);
}

/** Returns the statuses that a query names or leaves; undefined where it says nothing of them. */
export function statusesOf({ status, status_not = [] }: TaskFilters) {
  if (status === undefined && status_not.length === 0) return undefined;
  return (status ?? taskStatuses).filter((one) => !status_not.includes(one));
}

/** Pairs of a bound and the bound that has to be below it. */
const windows = [
  ['due_before', 'due_from'],
  ['due_before', 'due_after'],
  ['completed_before', 'completed_from'],
  ['updated_before', 'updated_from'],
  ['created_before', 'created_from'],
] as const;

function refuseContradictions(query: TaskFilters) {
  const contradiction = (name: string, message: string) =>
    validationProblem([{ location: `query.${name}`, code: 'contradiction', message }]);
  for (const [before, from] of windows) {
    const [end, start] = [timeOf(query, before), timeOf(query, from)];
    if (end === null || start === null) continue;
    const firstMs = Date.parse(start) + (from === 'due_after' ? 1 : 0);
    if (firstMs >= Date.parse(end)) throw contradiction(before, `must be after ${from}`);
  }
  const { priority, priority_min = 0, priority_max = 4, due, label_not = [] } = query;
  if (priority_min > priority_max)
    throw contradiction('priority_max', 'must not be less than priority_min');
  if (priority !== undefined && (priority < priority_min || priority > priority_max))
    throw contradiction('priority', 'must be from priority_min to priority_max');
  if (due === 'none' && (query.due_after ?? query.due_from ?? query.due_before) !== undefined)
    throw contradiction('due', 'must not be none beside a time when tasks are due');
  const both = query.label_all?.some((one) => label_not.includes(one));
  if (both) throw contradiction('label_not', 'must not name a label of label_all');
}

/**
 * `filterCondition` for a statement that is built with its values; undefined where no filter is given.
 * @throws {Problem} as `parseFilters` does.
 */
export function conditionOf(
  user: Pick<CurrentUser, 'id'>,
  query: TaskFilters,
  projectId: SQLWrapper,
): SQL | undefined {
  const filters = findFilters(user, query);
  return filters && filterCondition(filters, projectId);
}

/**
 * The condition that a task passes the filters.
 * @param projectId that of the tasks, as SQL that does not depend on them: an index can begin there.
 */
export function filterCondition(filters: QueryParams<Filters>, projectId: SQLWrapper): SQL {
  const { is_assigned, is_due, may_lack_labels, must_have_labels } = filters;
  const due = dueAscending(tasks);
  const conditions = [
    optional(filters.statuses, 'text[]', (value) => sql`${tasks.status} = any(${value})`),
    optional(filters.priority_min, 'smallint', (value) => sql`${tasks.priority} >= ${value}`),
    optional(filters.priority_max, 'smallint', (value) => sql`${tasks.priority} <= ${value}`),
    optional(filters.assignee_id, 'uuid', (value) => sql`${tasks.assignee_id} = ${value}`),
    optional(is_assigned, 'boolean', (_) => sql`${tasks.assignee_id} is null`),
    optional(filters.created_by, 'uuid', (value) => sql`${tasks.created_by} = ${value}`),
    optional(
      may_lack_labels,
      'boolean',
      (_) => sql`(${tasks.labels} = '{}' or ${tasks.labels} && ${filters.labels_any}::text[])`,
    ),
    optional(filters.labels_not, 'text[]', (value) => sql`not ${tasks.labels} && ${value}`),
    optional(must_have_labels, 'boolean', (_) => sql`${tasks.labels} <> '{}'`),
    optional(filters.parent_id, 'uuid', (value) => sql`${tasks.parent_id} = ${value}`),
    optional(filters.is_top, 'boolean', (_) => sql`${tasks.parent_id} is null`),
    optional(filters.is_blocked, 'boolean', (value) => sql`${isBlocked} = ${value}`),
    optional(
      is_due,
      'boolean',
      (value) => sql`(num_nonnulls(${tasks.due_at}, ${tasks.due_on}) > 0) = ${value}`,
    ),
    // Tasks without a due date stand at infinity, and no window has them.
    optional(filters.due_after, 'timestamptz', (value) => sql`${due} > ${value}`),
    optional(filters.due_from, 'timestamptz', (value) => sql`${due} >= ${value}`),
    optional(filters.due_before, 'timestamptz', (value) => sql`${due} < ${value}`),
    sql`((${filters.due_after}::timestamptz is null and ${filters.due_from}::timestamptz is null) or ${due} < 'infinity')`,
    between(tasks.completed_at, filters.completed_from, filters.completed_before),
    between(tasks.updated_at, filters.updated_from, filters.updated_before),
    between(tasks.created_at, filters.created_from, filters.created_before),
    ...(filters.within
      ? [matchesWithin(filters, filters.within, projectId)]
      : [
          optional(filters.query, 'text', (value) => taskWordsMatch(value, projectId)),
          optional(filters.runs, 'text[]', (value) =>
            runsMatch(value, tasks.title_runs, tasks.description_runs),
          ),
        ]),
  ];
  return sql.join(conditions, sql` and `);
}

/** The condition that a task of `blocked_by` is open. Most tasks have none, and read no other task. */
const isBlocked = sql`(${tasks.blocked_by} <> '{}' and exists (
  select from ${tasks} blocker where blocker.id = any(${tasks.blocked_by}) and ${isOpen(sql`blocker.status`)}))`;

/**
 * The condition that a task has what is looked for in its own texts or in one of its comments. For an EXISTS in place of the
 * subquery with a value, PostgreSQL reads all comments that have the words, to look each task up among them.
 */
const matchesWithin = (
  filters: QueryParams<Filters>,
  within: QueryParams<Within>,
  projectId: SQLWrapper,
) => {
  const [words, labels] = [sql`${within.words}::text`, sql`${within.labels}::text`];
  const [inTitle, inDescription] = [
    sql`${within.title}::boolean`,
    sql`${within.description}::boolean`,
  ];
  const runs = (first: SQLWrapper, second: SQLWrapper) =>
    optional(filters.runs, 'text[]', (value) => runsMatch(value, first, second));
  const runsIn = (isIn: SQL, text: SQLWrapper) => sql`case when ${isIn} then ${text} else '' end`;
  return sql`(
    (${ownTextsMatch(filters, within, projectId)}
      and case when ${inTitle} and ${inDescription} then true
        when ${inTitle} then ${wordsMatch(tasks.title_words, words, projectId)}
        else ${wordsMatch(tasks.description_words, words, projectId)} end
      and ${runs(runsIn(inTitle, tasks.title_runs), runsIn(inDescription, tasks.description_runs))})
    or (${within.comments}::boolean and ${tasks.comment_count} > 0
      and (${labels} is null or ${taskWordsMatch(labels, projectId)})
      and (
        select true from ${comments} where ${isOfTask}
          and ${wordsMatch(comments.words, words, projectId)} and ${runs(comments.runs, sql`''`)} limit 1
      )))`;
};

/** The part of `matchesWithin` on a task's own texts that the index of words answers. */
export const ownTextsMatch = (
  { query }: Pick<QueryParams<Filters>, 'query'>,
  { title, description }: Pick<QueryParams<Within>, 'title' | 'description'>,
  projectId: SQLWrapper,
  match = taskWordsMatch,
) =>
  sql`((${title}::boolean or ${description}::boolean) and ${match(sql`${query}::text`, projectId)})`;

const optional = (
  param: QueryParam<string | number | boolean | null>,
  type: string,
  condition: (value: SQL) => SQL,
) => {
  const value = sql`${param}::${sql.raw(type)}`;
  return sql`(${value} is null or ${condition(value)})`;
};

const between = (
  column: SQLWrapper,
  from: QueryParam<string | null>,
  before: QueryParam<string | null>,
) => sql`${optional(from, 'timestamptz', (value) => sql`${column} >= ${value}`)}
  and ${optional(before, 'timestamptz', (value) => sql`${column} < ${value}`)}`;
