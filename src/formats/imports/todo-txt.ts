/** Reads todo.txt and done.txt: one task on each line (http://todotxt.org, "The Format"). */
import { readDate, readInstant } from './dates.ts';
import {
  type ForeignItem,
  type ForeignPiece,
  type Note,
  newTask,
  splitTags,
} from './foreign-task.ts';
import { type Line, linesOf } from './lines.ts';

const DATE = String.raw`\d{4}-\d\d-\d\d`;
/** `x`, a priority that some programs leave there, the day of completion, the day of creation; where there is one day, it is the day of completion. */
const DONE = new RegExp(String.raw`^x (?:\(([A-Z])\) )?(?:(${DATE}) )?(?:(${DATE}) )?`);
const OPEN = new RegExp(String.raw`^(?:\(([A-Z])\) )?(?:(${DATE}) )?`);
/** The first three letters are urgent, high and medium, the others low. */
const LETTERS = 'ABC';
const URGENT = 4;

export async function* readTodoTxt(
  chunks: AsyncIterable<Uint8Array>,
  zone: string,
): AsyncGenerator<ForeignPiece> {
  let item = 0;
  for await (const lines of linesOf(chunks))
    for (const line of lines) if (line.text.trim() !== '') yield readLine(line, item++, zone);
}

function readLine({ text: line, number }: Line, item: number, zone: string): ForeignItem {
  const notes: Note[] = [];
  const [done, kept, completed, created] = DONE.exec(line) ?? [];
  const [open = '', given, entered] = done === undefined ? (OPEN.exec(line) ?? []) : [];
  const keys = new Map<string, string>();
  const text = line
    .slice((done ?? open).length)
    .replace(/(?<=^|\s)(due|t|rec|pri):(\S+)/g, (...found) => {
      const [whole, key, value] = found as [string, string, string];
      if (keys.has(key) || !isValid(key, value, zone)) return whole;
      keys.set(key, value);
      return '';
    });
  const { text: title, tags } = splitTags(keys.size > 0 ? text.replace(/ {2,}/g, ' ') : text, '+@');

  const task = newTask(title);
  const dayOf = (day: string | undefined, field: string) => {
    const instant = day && readInstant(day, zone);
    if (day !== undefined && !instant) notes.push({ code: 'date_left_out', field, value: day });
    return instant || undefined;
  };
  if (done !== undefined) {
    task.status = 'done';
    task.completed_at = dayOf(completed, 'completion date');
  }
  task.created_at = dayOf(created ?? entered, 'creation date');
  task.updated_at = task.completed_at ?? task.created_at;
  const priority = given ?? kept ?? keys.get('pri');
  if (priority !== undefined) task.priority = priorityOf(priority);
  task.labels = tags;
  const due = keys.get('due');
  task.due = due === undefined ? undefined : readDate(due, zone);
  const threshold = keys.get('t');
  if (threshold !== undefined) {
    task.paragraphs.push(`Not before: ${threshold}`);
    notes.push({ code: 'moved_to_description', field: 't', value: threshold });
  }
  const recurrence = keys.get('rec');
  if (recurrence !== undefined)
    notes.push({ code: 'recurrence_left_out', field: 'rec', value: recurrence });
  return { kind: 'item', line: number, item, notes, task };
}

function priorityOf(letter: string): number {
  const place = LETTERS.indexOf(letter);
  return place === -1 ? 1 : URGENT - place;
}

/** `due:`, `t:`, `rec:` and `pri:` are habits. What does not look like one stays a word of the title. */
function isValid(key: string, value: string, zone: string): boolean {
  if (key === 'pri') return /^[A-Z]$/.test(value);
  if (key === 'rec') return /^\+?\d*[bdwmy]$/.test(value);
  return readDate(value, zone) !== undefined;
}
