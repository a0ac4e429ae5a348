/** Reads tables: the tasks that an export of this API wrote, after a spreadsheet or not, and the export of Todoist. */
import { isFormula } from '../csv.ts';
import { readDate, readInstant } from './dates.ts';
import { type ForeignPiece, faultAt, type Note, newTask, splitList } from './foreign-task.ts';
import { type Row, readTable } from './table.ts';
import { readTodoist } from './todoist.ts';

/** Yields the tasks of a table. Its header tells whether it is of Todoist. */
export async function* readCsv(
  chunks: AsyncIterable<Uint8Array>,
  zone: string,
): AsyncGenerator<ForeignPiece> {
  const { header, rows } = await readTable(chunks);
  const isTodoist = header.includes('type') && header.includes('content');
  yield { kind: 'format', format: isTodoist ? 'todoist' : 'csv' };
  yield* isTodoist ? readTodoist(rows, zone) : readTasks(header, rows, zone);
}

/** Yields the tasks of a table that has to be of Todoist. */
export async function* readTodoistExport(
  chunks: AsyncIterable<Uint8Array>,
  zone: string,
): AsyncGenerator<ForeignPiece> {
  const { header, rows } = await readTable(chunks);
  if (!header.includes('type') || !header.includes('content'))
    throw faultAt(1, 'must name the columns TYPE and CONTENT, as Todoist does', 'required');
  yield* readTodoist(rows, zone);
}

const READ = [
  ...[
    'title',
    'description',
    'status',
    'priority',
    'due_at',
    'due_on',
    'due',
    'assignee',
    'labels',
  ],
  ...['completed_at', 'created_at', 'updated_at', 'created_by', 'id', 'parent_id', 'blocked_by'],
];

const STATUSES = ['todo', 'in_progress', 'done', 'cancelled'] as const;
const PRIORITY_MAX = 4;

async function* readTasks(
  header: readonly string[],
  rows: AsyncIterable<Row>,
  zone: string,
): AsyncGenerator<ForeignPiece> {
  if (!header.includes('title'))
    throw faultAt(
      1,
      'names no column title: is it the header, and is a comma, a semicolon or a tab between its columns?',
      'required',
    );
  const unread = header.filter((name) => !READ.includes(name));
  if (unread.length > 0)
    yield {
      kind: 'item',
      ...{ line: 1, item: undefined },
      notes: unread.map((field) => ({ code: 'field_left_out', field })),
    };
  for await (const row of rows) yield readTask(row, zone);
}

function readTask({ line, item, cells }: Row, zone: string): ForeignPiece {
  const notes: Note[] = [];
  const textOfCell = (name: string) => withoutGuard(cells.get(name) ?? '');
  const filled = (name: string) => {
    const text = textOfCell(name).trim();
    return text === '' ? undefined : text;
  };
  const dateOf = (name: string) => {
    const text = filled(name);
    const read = text === undefined ? undefined : readDate(text, zone);
    if (text !== undefined && !read)
      notes.push({ code: 'date_left_out', field: name, value: text });
    return read;
  };
  const instantOf = (name: string) => {
    const text = filled(name);
    const read = text === undefined ? undefined : readInstant(text, zone);
    if (text !== undefined && !read)
      notes.push({ code: 'date_left_out', field: name, value: text });
    return read;
  };

  const task = newTask(textOfCell('title'));
  const description = textOfCell('description');
  if (description !== '') task.paragraphs.push(description);
  const status = filled('status')
    ?.toLowerCase()
    .replaceAll(/[\s-]+/g, '_');
  task.status = STATUSES.find((one) => one === status) ?? 'todo';
  if (status !== undefined && status !== task.status)
    notes.push({ code: 'status_changed', field: 'status', value: status });
  const priority = filled('priority');
  const number = Number(priority ?? 0);
  if (Number.isInteger(number) && number >= 0 && number <= PRIORITY_MAX) task.priority = number;
  else notes.push({ code: 'priority_changed', field: 'priority', value: priority });

  const [due, ...others] = ['due_at', 'due_on', 'due'].flatMap((name) => dateOf(name) ?? []);
  // A spreadsheet may show a midnight as a day, so a day in `due_at` is one, and a time in `due_on` is one.
  task.due = due;
  for (const other of others)
    notes.push({
      code: 'date_left_out',
      field: 'due_on',
      value: 'on' in other ? other.on : other.at,
    });
  const listOf = (field: string, code: Note['code']) =>
    splitList(textOfCell(field), notes, { code, field });
  task.labels = listOf('labels', 'label_left_out');
  task.assignee = filled('assignee');
  task.ref = filled('id');
  task.parent = filled('parent_id');
  task.blocked_by = listOf('blocked_by', 'link_left_out');
  if (task.status === 'done') task.completed_at = instantOf('completed_at');
  task.created_at = instantOf('created_at');
  task.updated_at = instantOf('updated_at');
  return { kind: 'item', line, item, notes, task };
}

/** Takes the apostrophe away with which an export guards a text from being a formula; some spreadsheets take it themselves. */
const withoutGuard = (cell: string) =>
  cell.startsWith("'") && isFormula(cell.slice(1)) ? cell.slice(1) : cell;
