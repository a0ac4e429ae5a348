/** Reads the rows of a Todoist export: tasks, with the comments of each below it, and sections. */

import { isTimeZone } from '../../lib/time-zones.ts';
import { readDate } from './dates.ts';
import {
  type ForeignItem,
  type ForeignPiece,
  faultAt,
  newTask,
  splitTags,
} from './foreign-task.ts';
import type { Row } from './table.ts';

/** In the export 1 is urgent and 4 is none, the reverse of Todoist's API. Without a number there is none. */
const PRIORITY = new Map([
  ['1', 4],
  ['2', 3],
  ['3', 2],
  ['4', 0],
]);

/** What begins a file in a comment; its JSON and two brackets follow. */
const FILE = '[[file ';

/** The comments of a task are held until the next task. A description has up to 20,000 characters of them. */
const COMMENTS_CHARACTERS_MAX = 1024 ** 2;

interface Above {
  indent: number;
  ref: string | undefined;
}

export async function* readTodoist(
  rows: AsyncIterable<Row>,
  zone: string,
): AsyncGenerator<ForeignPiece> {
  /** The task whose comments may follow. */
  let last: ForeignItem | undefined;
  let commentsCharacters = 0;
  let section: string | undefined;
  /** The tasks that the next one may be a part of, outermost first. */
  let above: Above[] = [];
  for await (const row of rows) {
    const type = (row.cells.get('type') ?? '').trim().toLowerCase();
    if (type === 'note' && last?.task) {
      commentsCharacters += row.cells.get('content')?.length ?? 0;
      if (commentsCharacters > COMMENTS_CHARACTERS_MAX)
        throw faultAt(last.line, 'begins a task with more than a mebibyte of comments', 'too_long');
      addComment(last, row);
      continue;
    }
    if (last) yield last;
    last = undefined;
    commentsCharacters = 0;
    if (type === 'section') {
      section = row.cells.get('content')?.trim();
      above = [];
    } else if (type === 'task') {
      const indent = Number(row.cells.get('indent') ?? 1) || 1;
      above = above.filter((one) => one.indent < indent);
      last = readTask(row, section, above.at(-1)?.ref, zone);
      above.push({ indent, ref: last.task?.ref });
    } else if (type !== 'meta') yield leftOut(row, type || 'TYPE');
  }
  if (last) yield last;
}

const leftOut = ({ line, item, cells }: Row, field: string): ForeignItem => ({
  kind: 'item',
  ...{ line, item },
  notes: [{ code: 'item_left_out', field, value: cells.get('content') }],
});

function readTask(
  { line, item, cells }: Row,
  section: string | undefined,
  parent: string | undefined,
  zone: string,
): ForeignItem {
  const filled = (name: string) => cells.get(name)?.trim() || undefined;
  const { text, tags } = splitTags(cells.get('content') ?? '', '@');
  const task = newTask(text);
  const found: ForeignItem & { task: typeof task } = { kind: 'item', line, item, notes: [], task };
  const { notes } = found;
  const kept = (field: string, paragraph: string) => {
    task.paragraphs.push(paragraph);
    notes.push({ code: 'moved_to_description', field, value: paragraph });
  };
  task.labels = section ? [section, ...tags] : tags;
  const description = filled('description');
  if (description !== undefined) task.paragraphs.push(description);
  const priority = filled('priority');
  task.priority = PRIORITY.get(priority ?? '4') ?? 0;
  if (priority !== undefined && !PRIORITY.has(priority))
    notes.push({ code: 'priority_changed', field: 'PRIORITY', value: priority });

  const date = filled('date');
  if (date !== undefined) {
    task.due = readDate(date, zoneOf(filled('timezone'), zone));
    // Words are in the user's language and relative to a day that the export does not name.
    if (!task.due) {
      kept('DATE', `Date: ${date}`);
      notes.push({ code: 'date_left_out', field: 'DATE', value: date });
    }
  }
  const deadline = filled('deadline');
  if (deadline !== undefined) kept('DEADLINE', `Deadline: ${deadline}`);
  const duration = filled('duration');
  if (duration !== undefined)
    kept('DURATION', `Duration: ${duration} ${filled('duration_unit') ?? ''}`.trim());
  // `Ada (12345)`: the number is Todoist's.
  task.assignee = filled('responsible')?.replace(/ \(\d+\)$/, '');
  task.ref = String(item);
  task.parent = parent;
  return found;
}

/** A local time is in the zone that the row names. */
const zoneOf = (named: string | undefined, zone: string) =>
  named !== undefined && isTimeZone(named) ? named : zone;

/** Adds a comment to the task above it. */
function addComment({ notes, task }: ForeignItem, { cells }: Row) {
  const text = (cells.get('content') ?? '').trim();
  const at = /^\d{4}-\d\d-\d\d/.exec(cells.get('date') ?? '')?.[0];
  // A file is JSON in brackets, behind the text.
  const start = text.endsWith('}]]') ? text.lastIndexOf(FILE) : -1;
  const said = start === -1 ? text : text.slice(0, start).trim();
  const file = start === -1 ? '' : attachmentOf(text.slice(start + FILE.length, -2));
  const paragraph = [said, file].filter(Boolean).join('\n');
  if (paragraph === '') return;
  task?.paragraphs.push(at ? `${at}: ${paragraph}` : paragraph);
  notes.push({ code: 'moved_to_description', field: 'note', value: paragraph });
}

function attachmentOf(json: string): string {
  try {
    const { file_name, file_url } = JSON.parse(json) as Record<string, unknown>;
    return `Attachment: ${[file_name, file_url].filter((one) => typeof one === 'string').join(' ')}`;
  } catch {
    return `Attachment: ${json}`;
  }
}
