/** Tasks for calendar programs: RFC 5545, as `VTODO`, or as `VEVENT` for programs that show no `VTODO`. */
import ICAL from 'ical.js';

/** RFC 5545 §3.1: 75 octets, of which the space that begins a continued line is one. */
ICAL.foldLength = 74;

/** The fields of a task that a calendar program shows. */
export interface CalendarTask {
  id: string;
  title: string;
  description: string | null;
  status: 'todo' | 'in_progress' | 'done' | 'cancelled';
  /** From 0 (none) to 4 (urgent). */
  priority: number;
  /** Exactly one of `due_at` and `due_on` is given. */
  due_at: string | null;
  /** A day, for a task without a time. */
  due_on: string | null;
  labels: readonly string[];
  completed_at: string | null;
  created_at: string;
  updated_at: string;
}

export const STATUS = {
  todo: 'NEEDS-ACTION',
  in_progress: 'IN-PROCESS',
  done: 'COMPLETED',
  cancelled: 'CANCELLED',
} as const;

/** RFC 5545 §3.8.1.9: 0 is undefined, 1 to 4 are high, 5 is medium, 6 to 9 are low. */
export const PRIORITY = [0, 9, 5, 3, 1] as const;

/** Returns the lines before the tasks. The calendar has its name as RFC 7986 has it, and as programs had it before. */
export const calendarHead = (name: string) =>
  [
    'BEGIN:VCALENDAR',
    'VERSION:2.0',
    'PRODID:-//mantou//mantou//EN',
    textLine('NAME', name),
    textLine('X-WR-CALNAME', name),
    'REFRESH-INTERVAL;VALUE=DURATION:PT15M',
    'X-PUBLISHED-TTL:PT15M',
    '',
  ].join('\r\n');

export const CALENDAR_END = 'END:VCALENDAR\r\n';

/**
 * Returns a task as a component, with the line break after it. The same task gives the same text.
 *
 * The project is the first category, which Thunderbird shows and todoman filters by, and a line of the description, which all
 * others show. There is no SEQUENCE, because a program that compares items takes one with another number for another item. A
 * program that ignores the UID tells equal tasks apart by `X-MANTOU-ID`.
 */
export function writeTodo(task: CalendarTask, projectName: string): string {
  const todo = componentOf('vtodo', task, projectName, task.title);
  todo.addPropertyWithValue('due', dueTime(task));
  todo.addPropertyWithValue('status', STATUS[task.status]);
  if (task.completed_at) todo.addPropertyWithValue('completed', instant(task.completed_at));
  return `${todo.toString()}\r\n`;
}

/**
 * Returns a task as an event that takes no time: at the moment when it is due (§3.6.1), or on the day. An event has no status for
 * what is done, so the title says it.
 */
export function writeEvent(task: CalendarTask, projectName: string): string {
  const title = task.status === 'done' ? `✓ ${task.title}` : task.title;
  const event = componentOf('vevent', task, projectName, title);
  event.addPropertyWithValue('dtstart', dueTime(task));
  // Without it khal shows an hour, although §3.6.1 says that such an event takes no time.
  if (!task.due_on) event.addPropertyWithValue('duration', ICAL.Duration.fromSeconds(0));
  event.addPropertyWithValue('transp', 'TRANSPARENT');
  if (task.status === 'cancelled') event.addPropertyWithValue('status', 'CANCELLED');
  return `${event.toString()}\r\n`;
}

/** Returns a component with what a task and an event have in common. */
function componentOf(
  kind: 'vtodo' | 'vevent',
  task: CalendarTask,
  projectName: string,
  title: string,
): ICAL.Component {
  const component = new ICAL.Component(kind);
  component.addPropertyWithValue('uid', task.id);
  // §3.8.7.2: without a METHOD, when the component was last revised.
  component.addPropertyWithValue('dtstamp', instant(task.updated_at));
  component.addPropertyWithValue('created', instant(task.created_at));
  component.addPropertyWithValue('last-modified', instant(task.updated_at));
  component.addPropertyWithValue('x-mantou-id', task.id);
  component.addPropertyWithValue('summary', inOneLine(title));
  component.addPropertyWithValue('description', describe(task, projectName));
  component.addPropertyWithValue('priority', PRIORITY[task.priority] ?? 0);
  const categories = new ICAL.Property('categories');
  categories.setValues([projectName, ...task.labels].map(inOneLine));
  component.addProperty(categories);
  return component;
}

/** Returns when a task is due. §3.8.2.3: a date without a time is written `DUE;VALUE=DATE`. */
export const dueTime = ({ due_on, due_at }: Pick<CalendarTask, 'due_at' | 'due_on'>) =>
  due_on ? ICAL.Time.fromDateString(due_on) : instant(due_at ?? '');

function describe({ description }: CalendarTask, projectName: string): string {
  const project = `Project: ${inOneLine(projectName)}`;
  return description ? `${printable(description)}\n\n${project}` : project;
}

/** Returns the time to the second: RFC 5545 §3.3.5 has no fractions. */
export const instant = (text: string) => ICAL.Time.fromJSDate(new Date(text), true);

/** Returns the line of a TEXT in a property that the library does not know as one (§3.3.11). */
const textLine = (property: string, text: string) =>
  ICAL.helpers.foldline(`${property}:${inOneLine(text).replace(/[\\;,]/g, '\\$&')}`);

/** Returns the text with every line break as `\n` and without other control characters, which are no TEXT (§3.3.11). */
export const printable = (text: string) =>
  text
    .replace(/\r\n?|[\v\f\u0085\u2028\u2029]/g, '\n')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it removes them.
    .replace(/[\u0000-\u0008\u000e-\u001f\u007f-\u009f]/g, '');

/** Returns the text with a space for each line break: calcurse skips a task with one in its title, and todoman breaks its list. */
export const inOneLine = (text: string) => printable(text).replaceAll('\n', ' ');
