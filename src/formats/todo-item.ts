/**
 * A task as one iCalendar object, both ways (RFC 5545 §3.6.2, RFC 4791 §4.1). What a client wrote is kept as it is. Where the task
 * has changed since, only the lines of the fields that differ are written anew, so that all others survive.
 */
import ICAL from 'ical.js';
import { cutText } from '../lib/cut-text.ts';
import { parseDate, parseInstant } from '../lib/instant.ts';
import {
  DESCRIPTION_LENGTH_MAX,
  LABEL_LENGTH_MAX,
  LABELS_MAX,
  type Task,
  TITLE_LENGTH_MAX,
} from '../schemas/tasks.ts';
import { isVisible } from '../schemas/types/text.ts';
import { dueTime, inOneLine, instant, PRIORITY, printable, STATUS } from './icalendar.ts';
import { instantOf as instantInZone } from './time-zones.ts';

/** The fields of a task that a `VTODO` says. */
export type TodoFields = Pick<
  Task,
  'title' | 'description' | 'status' | 'priority' | 'due_at' | 'due_on' | 'labels'
>;

/** What a client has sent. */
export interface TodoItem {
  readonly uid: string;
  readonly fields: TodoFields;
  /** The UID of the task of which it is a part (RELATED-TO, §3.8.4.5); null where it names none. */
  readonly parentUid: string | null;
}

/** The precondition of RFC 4791 §5.3.2.1 that an item does not meet. */
export type ItemFault =
  | 'valid-calendar-data'
  | 'valid-calendar-object-resource'
  | 'supported-calendar-component';

/** A zone with its whole history has a hundred components, and a series has one for each exception. */
const COMPONENTS_MAX = 2000;
const DEPTH_MAX = 8;
/** Content lines (§3.1) of an item. A filter looks at each of its properties. */
const LINES_MAX = 5000;
/** In UTF-16 units. Programs write up to a hundred. */
const UID_LENGTH_MAX = 255;

/** The title of a task whose `SUMMARY` is missing or has nothing to see. */
const UNTITLED = 'Untitled';

/** Returns the item, or why it is none. */
export function readItem(text: string): TodoItem | ItemFault {
  const calendar = countLines(text) > LINES_MAX ? undefined : parseCalendar(text);
  if (!calendar) return 'valid-calendar-data';
  const names = new Set(calendar.getAllSubcomponents().map(({ name }) => name));
  names.delete('vtimezone');
  const todos = calendar.getAllSubcomponents('vtodo');
  if (names.size > (todos.length > 0 ? 1 : 0))
    return todos.length > 0 ? 'valid-calendar-object-resource' : 'supported-calendar-component';
  const uid = textOf(todos[0], 'uid');
  if (
    uid === undefined ||
    uid.length > UID_LENGTH_MAX ||
    calendar.hasProperty('method') ||
    todos.some((todo) => textOf(todo, 'uid') !== uid) ||
    todos.filter(isMaster).length > 1
  )
    return 'valid-calendar-object-resource';
  const parentUid = parentUidOf(masterOf(calendar) as ICAL.Component);
  return { uid, fields: fieldsOf(calendar), parentUid: parentUid === uid ? null : parentUid };
}

/** Returns the calendar of a text that `readItem` has accepted. */
export function calendarOf(text: string): ICAL.Component {
  const calendar = parseCalendar(text);
  if (!calendar) throw new Error('a stored item is no calendar');
  return calendar;
}

function parseCalendar(text: string): ICAL.Component | undefined {
  if (text.includes('\0') || !isBounded(text)) return undefined;
  try {
    const calendar = new ICAL.Component(ICAL.parse(text));
    return calendar.name === 'vcalendar' ? calendar : undefined;
  } catch {
    return undefined;
  }
}

/** Returns the number of content lines: a line that begins with a space goes on with the one before. */
const countLines = (text: string) => text.match(/^[^\s]/gm)?.length ?? 0;

/** The parser and its components recurse. */
function isBounded(text: string): boolean {
  let depth = 0;
  let components = 0;
  for (const [, word] of text.matchAll(/^(BEGIN|END):/gim)) {
    const begins = word?.toUpperCase() === 'BEGIN';
    depth += begins ? 1 : -1;
    components += Number(begins);
    if (depth > DEPTH_MAX || components > COMPONENTS_MAX) return false;
  }
  return true;
}

/** A component with a RECURRENCE-ID stands for one occurrence of a series (§3.8.4.4). */
const isMaster = (todo: ICAL.Component) => !todo.hasProperty('recurrence-id');

/** Returns the task itself; without it, the first of its occurrences. */
function masterOf(calendar: ICAL.Component): ICAL.Component | undefined {
  const todos = calendar.getAllSubcomponents('vtodo');
  return todos.find(isMaster) ?? todos[0];
}

// --- Reading -----------------------------------------------------------------------------------------------

/** Returns the fields that the calendar's task says, each within the limits of a task. */
function fieldsOf(calendar: ICAL.Component): TodoFields {
  const todo = masterOf(calendar) as ICAL.Component;
  const title = cutText(inOneLine(textOf(todo, 'summary') ?? ''), TITLE_LENGTH_MAX);
  const description = printable(textOf(todo, 'description') ?? '');
  return {
    title: isVisible(title) ? title : UNTITLED,
    description: description === '' ? null : cutText(description, DESCRIPTION_LENGTH_MAX),
    status: statusOf(todo),
    priority: priorityOf(Number(textOf(todo, 'priority') ?? 0)),
    ...dueOf(todo, calendar),
    labels: labelsOf(todo),
  };
}

const textOf = (todo: ICAL.Component | undefined, name: string): string | undefined => {
  const value = todo?.getFirstProperty(name)?.toJSON()[3];
  return value === undefined || value === '' ? undefined : String(value);
};

/** Without a type, the relation is that to the parent. Another task may be a child, a sibling, or what an extension says. */
const isToParent = (property: ICAL.Property) =>
  /^parent$/i.test(property.getFirstParameter('reltype') || 'parent');

function parentUidOf(todo: ICAL.Component): string | null {
  const uid = todo.getAllProperties('related-to').find(isToParent)?.toJSON()[3];
  const text = String(uid ?? '');
  return text === '' || text.length > UID_LENGTH_MAX ? null : text;
}

function statusOf(todo: ICAL.Component): Task['status'] {
  const status = textOf(todo, 'status')?.toUpperCase();
  const known = Object.entries(STATUS).find(([, written]) => written === status);
  if (known) return known[0] as Task['status'];
  // Some programs say it by one of these alone.
  const isDone = todo.hasProperty('completed') || textOf(todo, 'percent-complete') === '100';
  return isDone ? 'done' : 'todo';
}

/** §3.8.1.9: 1 is the highest of three levels, of which mantou divides the first. */
function priorityOf(written: number): number {
  if (!Number.isInteger(written) || written < 1 || written > 9) return 0;
  if (written === 1) return 4;
  return written <= 4 ? 3 : written === 5 ? 2 : 1;
}

/** Returns the distinct labels of all CATEGORIES: some programs write one line for each. A label has no comma. */
function labelsOf(todo: ICAL.Component): string[] {
  const labels = todo
    .getAllProperties('categories')
    .flatMap((property) => property.toJSON().slice(3))
    .map((value) => withoutCommas(inOneLine(String(value))))
    .map((label) => cutText(label.trim(), LABEL_LENGTH_MAX))
    .filter(isVisible);
  return [...new Set(labels)].slice(0, LABELS_MAX);
}

/** Not by a pattern: it would look at a run of spaces from each of its places. */
const withoutCommas = (text: string) =>
  text
    .split(',')
    .map((part) => part.trim())
    .join(' ');

function dueOf(
  todo: ICAL.Component,
  calendar: ICAL.Component,
): Pick<TodoFields, 'due_at' | 'due_on'> {
  const due = dueLocalOf(todo);
  if (!due) return { due_at: null, due_on: null };
  if (due.isDay) return { due_at: null, due_on: parseDate(dayOf(due.localMs)) ?? null };
  return { due_at: parseInstant(isoOf(instantOfLocal(due, calendar))) ?? null, due_on: null };
}

const dueLocalOf = (todo: ICAL.Component) => localOf(todo.getFirstProperty('due')) ?? endOf(todo);

const instantOfLocal = ({ localMs, isUtc, isDay, tzid }: Local, calendar: ICAL.Component) =>
  isUtc || isDay ? localMs : instantInZone(localMs, tzid, calendar);

/** Returns the time of a property in milliseconds since 1970, that of a day as its beginning in UTC. */
export function instantOf(
  component: ICAL.Component,
  name: string,
  calendar: ICAL.Component,
): number | undefined {
  const written =
    name === 'due' ? dueLocalOf(component) : localOf(component.getFirstProperty(name));
  return written && instantOfLocal(written, calendar);
}

/** A date or a date-time as it is written. */
interface Local {
  localMs: number;
  isDay: boolean;
  isUtc: boolean;
  tzid: string | undefined;
}

/** The library writes a date that is not declared as one as `2026-01-01T::`. */
const LOCAL = /^(\d{4})-?(\d\d)-?(\d\d)(?:T(\d\d):?(\d\d):?(\d\d)?(Z)?)?/i;

function localOf(property: ICAL.Property | null): Local | undefined {
  const [, , type, value] = property?.toJSON() ?? [];
  const [, year, month, day, hour, minute, second, zone] = LOCAL.exec(String(value)) ?? [];
  if (year === undefined || !isDate(Number(year), Number(month), Number(day))) return undefined;
  const isDay = hour === undefined || type === 'date';
  const time = isDay ? [0, 0, 0] : [hour, minute, second ?? 0].map(Number);
  const [hours = 0, minutes = 0, seconds = 0] = time;
  const localMs = Date.UTC(Number(year), Number(month) - 1, Number(day), hours, minutes, seconds);
  const tzid = property?.getFirstParameter('tzid');
  return { localMs, isDay, isUtc: zone !== undefined, tzid: tzid || undefined };
}

const isDate = (year: number, month: number, day: number) =>
  new Date(Date.UTC(year, month - 1, day)).getUTCDate() === day && month >= 1 && month <= 12;

/** Returns DTSTART and DURATION, which stand in place of DUE (§3.6.2). */
function endOf(todo: ICAL.Component): Local | undefined {
  const start = localOf(todo.getFirstProperty('dtstart'));
  const written = textOf(todo, 'duration');
  if (!start || written === undefined) return undefined;
  const seconds = secondsOf(written);
  const localMs = start.localMs + seconds * 1000;
  return isTime(localMs) ? { ...start, localMs } : undefined;
}

/** Returns NaN for what is no duration (§3.3.6). */
function secondsOf(duration: string): number {
  try {
    return ICAL.Duration.fromString(duration).toSeconds();
  } catch {
    return Number.NaN;
  }
}

/** Whether JavaScript has a date for it, in every zone. */
const isTime = (ms: number) => Math.abs(ms) < 8e15;

/** Returns `2026-12-24T17:00:00.000Z`; no instant for a time that the calendar does not have. */
const isoOf = (ms: number) => (isTime(ms) ? new Date(ms).toISOString() : '');
const dayOf = (ms: number) => isoOf(ms).slice(0, 10);

// --- Writing -----------------------------------------------------------------------------------------------

/**
 * Returns a task of the API as an item. The same task gives the same text.
 * @param parentUid of the task of which it is a part.
 */
export function writeItem(task: Task, uid: string, parentUid: string | null): string {
  const todo = new ICAL.Component('vtodo');
  todo.addPropertyWithValue('uid', uid);
  todo.addPropertyWithValue('dtstamp', instant(task.updated_at));
  todo.addPropertyWithValue('created', instant(task.created_at));
  todo.addPropertyWithValue('last-modified', instant(task.updated_at));
  for (const lines of Object.values(linesOf(task, parentUid)))
    for (const property of lines) todo.addProperty(property);
  return [
    'BEGIN:VCALENDAR',
    'VERSION:2.0',
    'PRODID:-//mantou//mantou//EN',
    todo.toString(),
    'END:VCALENDAR',
    '',
  ].join('\r\n');
}

/** A group of fields that a client sees as one: the status of a task and when it was done, its due date in either form. */
type Facet = keyof ReturnType<typeof linesOf>;

/** Returns the properties of a task, by facet. */
function linesOf(task: Task, parentUid: string | null) {
  const { title, description, status, priority, due_at, due_on, labels, completed_at } = task;
  const categories = new ICAL.Property('categories');
  categories.setValues(labels.map(inOneLine));
  return {
    title: [propertyOf('summary', inOneLine(title))],
    description: description === null ? [] : [propertyOf('description', printable(description))],
    // Always written: a client may take what is missing for unchanged.
    status: [
      propertyOf('status', STATUS[status]),
      ...(completed_at === null ? [] : [propertyOf('completed', instant(completed_at))]),
    ],
    priority: priority === 0 ? [] : [propertyOf('priority', PRIORITY[priority] ?? 0)],
    due: due_at || due_on ? [propertyOf('due', dueTime({ due_at, due_on }))] : [],
    labels: labels.length === 0 ? [] : [categories],
    parent: parentUid === null ? [] : [relationTo(parentUid)],
  };
}

function relationTo(parentUid: string): ICAL.Property {
  const relation = propertyOf('related-to', parentUid);
  relation.setParameter('reltype', 'PARENT');
  return relation;
}

function propertyOf(name: string, value: string | number | ICAL.Time): ICAL.Property {
  const property = new ICAL.Property(name);
  property.setValue(value);
  return property;
}

/**
 * Returns a text with the CATEGORIES of the one before, if its program has lost them: todoman 4.1 and python-icalendar 4.0 leave them out of
 * whatever they write. Such a text says the type of each time, which others leave out, and a category that was removed by hand leaves an empty line.
 */
export function restoreCategories(text: string, before: string): string {
  if (!/^LAST-MODIFIED;VALUE=DATE-TIME:/m.test(text)) return text;
  const lines = text.split(/\r?\n(?![ \t])/);
  const ofMaster = linesOfMaster(lines);
  const isCategories = (line: string) => nameOf(line) === 'CATEGORIES';
  if (lines.some((line, index) => ofMaster.has(index) && isCategories(line))) return text;
  const linesBefore = before.split(/\r?\n(?![ \t])/);
  const ofMasterBefore = linesOfMaster(linesBefore);
  const lost = linesBefore.filter((line, index) => ofMasterBefore.has(index) && isCategories(line));
  const [first = 0] = ofMaster;
  return [...lines.slice(0, first), ...lost, ...lines.slice(first)].join('\r\n');
}

/** The facet of each line. */
const FACETS: Record<string, Facet> = {
  SUMMARY: 'title',
  DESCRIPTION: 'description',
  STATUS: 'status',
  COMPLETED: 'status',
  PRIORITY: 'priority',
  DUE: 'due',
  DURATION: 'due',
  CATEGORIES: 'labels',
  'RELATED-TO': 'parent',
};

/** An item as its client wrote it. */
export interface StoredItem {
  readonly uid: string;
  readonly text: string;
  /** When it was written. */
  readonly written_at: string;
  /** The parent that the task had then. */
  readonly parent_id: string | null;
}

/** Returns the fields that a client would read from a task that no client has written. */
export const fieldsShown = (task: Task): TodoFields =>
  fieldsOf(calendarOf(writeItem(task, task.id, null)));

/** Returns an item whose task has changed since a client wrote it. */
export function updateItem(stored: StoredItem, task: Task, parentUid: string | null): string {
  const calendar = calendarOf(stored.text);
  const changed = changedFacets(calendar, stored, task);
  const properties = linesOf(task, parentUid);
  const added = [
    ...['dtstamp', 'last-modified'].map((name) => propertyOf(name, instant(task.updated_at))),
    ...[...changed].flatMap((facet) => properties[facet]),
  ].map((property) => property.toICALString());
  const lines = stored.text.split(/\r?\n(?![ \t])/);
  const ofMaster = linesOfMaster(lines);
  // Properties stand before alarms (§3.6.2).
  const [first = 0] = ofMaster;
  const addedAt = lines.findIndex(
    (line, index) => index > first && /^(BEGIN|END)$/.test(nameOf(line)),
  );
  return lines
    .flatMap((line, index) => {
      const name = nameOf(line);
      if (name === 'UID') return propertyOf('uid', stored.uid).toICALString();
      if (index === addedAt) return [...added, line];
      if (!ofMaster.has(index)) return line;
      if (name === 'DTSTAMP' || name === 'LAST-MODIFIED') return [];
      if (name === 'PERCENT-COMPLETE' && changed.has('status')) return percentOf(line, task);
      if (name === 'DTSTART' && changed.has('due')) return startOf(line, calendar, task);
      if (name === 'RELATED-TO' && /;RELTYPE="?(?!PARENT)/i.test(line)) return line;
      const facet = FACETS[name];
      return facet && changed.has(facet) ? [] : line;
    })
    .join('\r\n');
}

/** Returns the facets in which a task differs from what its client has said. */
function changedFacets(
  calendar: ICAL.Component,
  { written_at, parent_id }: StoredItem,
  task: Task,
): Set<Facet> {
  const said = fieldsOf(calendar);
  const shown = fieldsShown(task);
  const names = Object.keys(shown) as (keyof TodoFields)[];
  const changed = new Set<Facet>(
    names
      .filter((name) => JSON.stringify(shown[name]) !== JSON.stringify(said[name]))
      .map((name) => (name === 'due_at' || name === 'due_on' ? 'due' : name)),
  );
  if (task.parent_id !== parent_id) changed.add('parent');
  // A client may take a status that is missing for unchanged.
  if (!masterOf(calendar)?.hasProperty('status')) changed.add('status');
  // Reopened, and done again.
  if (task.completed_at !== null && task.completed_at > written_at) changed.add('status');
  return changed;
}

/** Returns the name of a content line (§3.1), which may be folded. */
const nameOf = (line: string) =>
  /^[\w-]*/.exec(line.replace(/\r?\n[ \t]/g, ''))?.[0].toUpperCase() ?? '';

/** Returns which lines are those of the task itself, up to its END: of no alarm in it, and of no exception to its series. */
function linesOfMaster(lines: readonly string[]): ReadonlySet<number> {
  let depth = 0;
  let own: number[] = [];
  const todos: number[][] = [];
  for (const [index, line] of lines.entries()) {
    const name = nameOf(line);
    if (name === 'BEGIN') {
      depth += 1;
      if (depth === 2) own = [];
      continue;
    }
    if (depth === 2) own.push(index);
    if (name !== 'END') continue;
    if (depth === 2 && /:VTODO\s*$/i.test(line)) todos.push(own);
    depth -= 1;
  }
  const isException = (todo: number[]) =>
    todo.some((index) => nameOf(lines[index] ?? '') === 'RECURRENCE-ID');
  return new Set(todos.find((todo) => !isException(todo)) ?? todos[0]);
}

/** A task that is done is done whole, and one that is open again is not. */
function percentOf(line: string, { status }: Task): string[] {
  if (status === 'done') return ['PERCENT-COMPLETE:100'];
  return /:100\s*$/.test(line) ? [] : [line];
}

/** Returns the line of DTSTART, which has the form of DUE and is not after it (§3.8.2.3). */
function startOf(line: string, calendar: ICAL.Component, task: Task): string {
  const [due] = linesOf(task, null).due;
  if (!due) return line;
  const todo = masterOf(calendar);
  const start = localOf(todo?.getFirstProperty('dtstart') ?? null);
  const end = localOf(due);
  const isBefore =
    start !== undefined &&
    end !== undefined &&
    start.isDay === end.isDay &&
    instantOfLocal(start, calendar) <= end.localMs;
  return isBefore ? line : due.toICALString().replace(/^DUE/, 'DTSTART');
}
