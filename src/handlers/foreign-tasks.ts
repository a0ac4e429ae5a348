/** Makes a task of another program fit the rules of ours. Nothing is lost in silence: each change becomes a note. */
import { validationProblem } from '../errors/problem.ts';
import type { ForeignTask, Note } from '../formats/imports/foreign-task.ts';
import { ownCopy } from '../lib/own-copy.ts';
import { ExportedTask } from '../schemas/project-exports.ts';
import { findTaskErrors } from '../schemas/project-imports.ts';
import { NAME_LENGTH_MAX, projectName } from '../schemas/projects.ts';
import {
  DESCRIPTION_LENGTH_MAX,
  LABEL_LENGTH_MAX,
  LABELS_MAX,
  label as labelSchema,
  TITLE_LENGTH_MAX,
} from '../schemas/tasks.ts';
import { validate } from '../schemas/types/kind.ts';

const UNTITLED = 'Untitled';
const ASSIGNEE_LENGTH_MAX = 100;
/** Of a document that has more, or longer ones, only the number matters: they are beyond what a task takes. */
const LABELS_EXAMINED_MAX = 200;
const LABEL_EXAMINED_LENGTH_MAX = 500;
const LINE_BREAKS = /[\r\n\v\f\u0085\u2028\u2029]+/g;

/**
 * Returns the task as an import takes it. Adds to `notes`.
 * @param username of the importer, who is the creator.
 * @param now an instant, for what the document does not say.
 * @throws {Problem} `validation_failed` with the line, for what no rule mends.
 */
export function fitTask(
  task: ForeignTask,
  notes: Note[],
  line: number,
  username: string,
  now: string,
): ExportedTask {
  const title = fitTitle(task, notes);
  const { due, status } = task;
  const lastChange = task.updated_at ?? task.created_at;
  const completedAt = status === 'done' ? (task.completed_at ?? lastChange ?? now) : null;
  if (status === 'done' && task.completed_at === undefined)
    notes.push({ code: 'completed_at_assumed', field: 'completed_at', value: completedAt ?? '' });
  const createdAt = task.created_at ?? completedAt ?? task.updated_at ?? now;
  const updatedAt = [task.updated_at ?? completedAt ?? createdAt, createdAt].sort()[1] ?? now;
  const fitted: ExportedTask = {
    title,
    description: fitDescription(task.paragraphs, notes),
    status,
    priority: task.priority,
    due_at: due && 'at' in due ? due.at : null,
    due_on: due && 'on' in due ? due.on : null,
    assignee: task.assignee === undefined ? null : cut(task.assignee, ASSIGNEE_LENGTH_MAX),
    labels: fitLabels(task.labels, notes),
    completed_at: completedAt,
    created_at: createdAt,
    updated_at: updatedAt,
    created_by: username,
  };
  const errors = findTaskErrors({ ...fitted, assignee: null }, 'body');
  if (errors.length === 0) return { ...fitted, ...relationsOf(task) };
  throw validationProblem(
    errors.map((error) => ({ ...error, message: `line ${line}: ${error.message}` })),
  );
}

/** These are kept until the end of the document. */
const relationsOf = ({ ref, parent, blocked_by = [] }: ForeignTask) => ({
  ...(ref !== undefined && { ref: ownCopy(ref) }),
  ...(parent !== undefined && { parent: ownCopy(parent) }),
  ...(blocked_by.length > 0 && { blocked_by: [...new Set(blocked_by)].map(ownCopy) }),
});

/** Adds the whole title to the paragraphs where it has to be cut. */
function fitTitle({ title, paragraphs }: ForeignTask, notes: Note[]): string {
  const clean = cleaned(title, 'title', notes).trim();
  const inOneLine = clean.replace(LINE_BREAKS, ' ');
  if (inOneLine !== clean) notes.push({ code: 'title_changed', field: 'title', value: clean });
  if (validate(ExportedTask.properties.title, cut(inOneLine, TITLE_LENGTH_MAX)) !== undefined) {
    notes.push({ code: 'title_missing', field: 'title' });
    return UNTITLED;
  }
  const fitted = cut(inOneLine, TITLE_LENGTH_MAX);
  if (fitted === inOneLine) return fitted;
  paragraphs.unshift(clean);
  notes.push({ code: 'title_cut', field: 'title', value: clean });
  return fitted;
}

function fitDescription(paragraphs: readonly string[], notes: Note[]): string | null {
  const text = cleaned(paragraphs.join('\n\n'), 'description', notes).replaceAll('\r\n', '\n');
  if (text.trim() === '') return null;
  const fitted = cut(text, DESCRIPTION_LENGTH_MAX);
  if (fitted !== text) notes.push({ code: 'description_cut', field: 'description' });
  return fitted;
}

function fitLabels(labels: readonly string[], notes: Note[]): string[] {
  const kept = new Set<string>();
  for (const label of labels.slice(0, LABELS_EXAMINED_MAX)) {
    const start = label.slice(0, LABEL_EXAMINED_LENGTH_MAX);
    const clean = cleaned(start, 'labels', notes).trim();
    const fitted = cut(
      clean
        .replace(LINE_BREAKS, ' ')
        .replace(/\s*,\s*/g, ' ')
        .trim(),
      LABEL_LENGTH_MAX,
    );
    const isValid = validate(labelSchema, fitted) === undefined;
    if (!isValid || kept.has(fitted) || kept.size === LABELS_MAX)
      notes.push({ code: 'label_left_out', field: 'labels', value: label });
    else {
      kept.add(fitted);
      if (fitted !== label.trim())
        notes.push({ code: 'label_changed', field: 'labels', value: label });
    }
  }
  const rest = labels.length - LABELS_EXAMINED_MAX;
  if (rest > 0) notes.push({ code: 'label_left_out', field: 'labels', value: `${rest} more` });
  return [...kept];
}

/** Returns a valid name for a project, or undefined. Adds to `notes`. */
export function fitProjectName(name: string, notes: Note[]): string | undefined {
  const clean = cleaned(name, 'project', notes).replace(LINE_BREAKS, ' ').trim();
  const fitted = cut(clean, NAME_LENGTH_MAX);
  const isValid = validate(projectName, fitted) === undefined;
  if (!isValid || fitted !== name.trim())
    notes.push({ code: 'project_changed', field: 'project', value: name });
  return isValid ? fitted : undefined;
}

/** Returns the text without NUL and with U+FFFD in place of lone surrogates, which PostgreSQL cannot store. */
function cleaned(text: string, field: string, notes: Note[]): string {
  const clean = text.replaceAll('\0', '').toWellFormed();
  if (clean !== text) notes.push({ code: 'text_changed', field });
  return clean;
}

/** Returns up to `lengthMax` code points; a text that is cut ends in an ellipsis. */
export function cut(text: string, lengthMax: number): string {
  if (text.length <= lengthMax) return text;
  const points = Array.from(text.slice(0, 2 * lengthMax + 2));
  return points.length <= lengthMax ? text : `${points.slice(0, lengthMax - 1).join('')}…`;
}
