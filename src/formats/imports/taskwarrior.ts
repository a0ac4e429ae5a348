/** Reads what `task export` of Taskwarrior writes: an array, or one object on each line. */
import { dayAtMidnight, readInstant } from './dates.ts';
import {
  type ForeignItem,
  type ForeignPiece,
  type Note,
  newTask,
  splitList,
  takeTexts,
} from './foreign-task.ts';
import { type JsonItem, listOf, objectsOf, readItems, textOf } from './json-items.ts';

/** Of Taskwarrior's three priorities the highest is high, not urgent. */
const PRIORITY = new Map([
  ['H', 3],
  ['M', 2],
  ['L', 1],
]);

/** Dates beside the due date, which have no field of ours. */
const DATES: Record<string, string> = {
  scheduled: 'Scheduled',
  wait: 'Wait until',
  until: 'Until',
};
/** Fields that are read below, and those that only Taskwarrior needs. */
const READ =
  /^(description|status|project|priority|due|tags|annotations|depends|entry|modified|end|start|recur|parent|scheduled|wait|until|id|uuid|urgency|mask|imask|rtype|template|last)$/;

export async function* readTaskwarrior(
  chunks: AsyncIterable<Uint8Array>,
  zone: string,
): AsyncGenerator<ForeignPiece> {
  for await (const item of readItems(chunks)) yield readTask(item, zone);
}

function readTask({ value, index, line }: JsonItem, zone: string): ForeignItem {
  const notes: Note[] = [];
  const found: ForeignItem = { kind: 'item', line, item: index, notes };
  const status = textOf(value.status) ?? 'pending';
  const title = textOf(value.description) ?? '';
  // The template of tasks that recur is exported beside them, and what was deleted until it is purged.
  if (status === 'recurring' || status === 'deleted') {
    notes.push({ code: 'item_left_out', field: 'status', value: `${status}: ${title}` });
    return found;
  }
  const instantOf = (field: string) => {
    const text = textOf(value[field]);
    if (text === undefined) return undefined;
    const instant = readInstant(text, zone);
    if (instant === undefined) notes.push({ code: 'date_left_out', field, value: text });
    return instant;
  };

  const task = newTask(title);
  task.project = textOf(value.project);
  const due = instantOf('due');
  task.due = due === undefined ? undefined : dayAtMidnight(due, zone);
  const started = instantOf('start');
  if (status === 'completed') task.status = 'done';
  else if (started !== undefined) task.status = 'in_progress';
  if (!['pending', 'completed', 'waiting'].includes(status))
    notes.push({ code: 'status_changed', field: 'status', value: status });
  if (task.status === 'done') task.completed_at = instantOf('end');
  task.created_at = instantOf('entry');
  task.updated_at = instantOf('modified');

  const priority = textOf(value.priority);
  task.priority = PRIORITY.get(priority ?? '') ?? 0;
  if (priority !== undefined && !PRIORITY.has(priority))
    notes.push({ code: 'priority_changed', field: 'priority', value: priority });
  task.labels = textsOf(value.tags, notes, { code: 'label_left_out', field: 'tags' });

  for (const { entry, description } of objectsOf(value.annotations)) {
    const text = textOf(description);
    if (text === undefined) continue;
    const at = readInstant(textOf(entry) ?? '', zone);
    task.paragraphs.push(at === undefined ? text : `${at.slice(0, 10)}: ${text}`);
    notes.push({ code: 'moved_to_description', field: 'annotations', value: text });
  }
  const kept = (field: string, paragraph: string) => {
    task.paragraphs.push(paragraph);
    notes.push({ code: 'moved_to_description', field, value: paragraph });
  };
  for (const [field, label] of Object.entries(DATES)) {
    const at = instantOf(field);
    if (at === undefined) continue;
    const day = dayAtMidnight(at, zone);
    kept(field, `${label}: ${'on' in day ? day.on : day.at}`);
  }
  // What the user has defined beside the fields of the program.
  for (const [field, given] of Object.entries(value))
    if (!READ.test(field) && (typeof given === 'number' || textOf(given) !== undefined))
      kept(field, `${field}: ${given}`);

  const recur = textOf(value.recur);
  if (recur !== undefined)
    notes.push({ code: 'recurrence_left_out', field: 'recur', value: recur });
  task.ref = textOf(value.uuid);
  task.blocked_by = textsOf(value.depends, notes, { code: 'link_left_out', field: 'depends' });
  return { ...found, task };
}

/** A list, or a text with commas, as earlier versions wrote. */
function textsOf(value: unknown, notes: Note[], note: Note): string[] {
  if (typeof value === 'string') return splitList(value, notes, note);
  const texts = listOf(value).flatMap((one) => textOf(one)?.trim() ?? []);
  return takeTexts(texts, notes, note);
}
