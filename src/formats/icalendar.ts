/** Tasks for calendar programs: RFC 5545, as `VTODO`. */
import ICAL from 'ical.js';

/** RFC 5545 §3.1: 75 octets, of which the space that begins a continued line is one. */
ICAL.foldLength = 74;

/** What a calendar program shows of a task. */
export interface Todo {
  id: string;
  title: string;
  description: string | null;
  status: 'todo' | 'in_progress' | 'done' | 'cancelled';
  /** From 0 (none) to 4 (urgent). */
  priority: number;
  due_at: string;
  labels: readonly string[];
  created_at: string;
  updated_at: string;
  version: number;
}

const STATUS = {
  todo: 'NEEDS-ACTION',
  in_progress: 'IN-PROCESS',
  done: 'COMPLETED',
  cancelled: 'CANCELLED',
} as const;

/** RFC 5545 §3.8.1.9: 0 is undefined, 1 to 4 are high, 5 is medium, 6 to 9 are low. */
const PRIORITY = [0, 9, 5, 3, 1] as const;

/** What comes before the tasks. The names are RFC 7986's, and what programs had before that. */
export const CALENDAR_HEAD = [
  'BEGIN:VCALENDAR',
  'VERSION:2.0',
  'PRODID:-//mantou//mantou//EN',
  'NAME:mantou',
  'X-WR-CALNAME:mantou',
  'REFRESH-INTERVAL;VALUE=DURATION:PT15M',
  'X-PUBLISHED-TTL:PT15M',
  '',
].join('\r\n');

export const CALENDAR_END = 'END:VCALENDAR\r\n';

/** A task as a component, with the line break after it. The same task gives the same text. */
export function writeTodo(task: Todo): string {
  const todo = new ICAL.Component('vtodo');
  todo.addPropertyWithValue('uid', task.id);
  // §3.8.7.2: without a METHOD, when the component was last revised.
  todo.addPropertyWithValue('dtstamp', instant(task.updated_at));
  todo.addPropertyWithValue('created', instant(task.created_at));
  todo.addPropertyWithValue('last-modified', instant(task.updated_at));
  todo.addPropertyWithValue('sequence', task.version - 1);
  todo.addPropertyWithValue('summary', printable(task.title));
  if (task.description) todo.addPropertyWithValue('description', printable(task.description));
  todo.addPropertyWithValue('due', instant(task.due_at));
  todo.addPropertyWithValue('status', STATUS[task.status]);
  todo.addPropertyWithValue('priority', PRIORITY[task.priority] ?? 0);
  if (task.labels.length > 0) {
    const categories = new ICAL.Property('categories');
    categories.setValues(task.labels.map(printable));
    todo.addProperty(categories);
  }
  return `${todo.toString()}\r\n`;
}

/** To the second, which is what RFC 5545 §3.3.5 has. */
const instant = (text: string) => ICAL.Time.fromJSDate(new Date(text), true);

/** Line breaks of all kinds become one; other control characters are no TEXT (§3.3.11), and some readers end lines there. */
const printable = (text: string) =>
  text
    .replace(/\r\n?|[\v\f\u0085\u2028\u2029]/g, '\n')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it takes them away.
    .replace(/[\u0000-\u0008\u000e-\u001f\u007f-\u009f]/g, '');
