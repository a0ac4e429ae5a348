/** Reads the document of an import: checks it field by field, task by task and comment by comment, and digests it. */
import { ERRORS_MAX, type FieldError, Problem, validationProblem } from '../errors/problem.ts';
import { readObjectWithList } from '../formats/json-list.ts';
import { parseInstant } from '../lib/instant.ts';
import { withLeastSpeed } from '../lib/least-speed.ts';
import { digest } from '../lib/secrets.ts';
import type { ExportedComment, ExportedTask } from '../schemas/project-exports.ts';
import {
  findCommentErrors,
  findHeadErrors,
  findTaskErrors,
  headFields,
  type ImportedHead,
} from '../schemas/project-imports.ts';
import { inUtc } from './task-fields.ts';

/** The longest time from the first byte to the last. */
const IMPORT_MINUTES_MAX = 15;
/** The least speed of a client, because an import holds one of few places. */
const PACE = { graceMs: 10_000, bytesPerSecondMin: 16 * 1024, silenceMs: 10_000 };
const MINUTE_MS = 60_000;
/** The digest takes up to this many characters at once. */
const DIGEST_CHARACTERS_MAX = 512 * 1024;

/** Receives what a document holds, until its first error. */
export interface DocumentSink {
  /** @param head what came before the task, unchecked. */
  addTask(task: ExportedTask, line: number, head: Record<string, unknown>): Promise<void>;
  /** @param index its place among the comments. */
  addComment(comment: ExportedComment, index: number): Promise<void>;
}

/**
 * Reads the document to its end, or until it has found as many errors as a response can name.
 * @returns the document except its lists, and a digest of all of it that does not depend on how it is formatted.
 * @throws {Problem} `malformed_json`, `validation_failed` with the line; what `chunks` throws.
 */
export async function readDocument(chunks: AsyncIterable<Uint8Array>, sink: DocumentSink) {
  const head: Record<string, unknown> = {};
  const errors: FieldError[] = [];
  const fingerprint = createFingerprint();
  const shape = { fields: headFields, lists: ['tasks', 'comments'] as const };
  for await (const piece of readObjectWithList(chunks, shape)) {
    if (piece.kind === 'field') {
      head[piece.name] = piece.value;
      // Refuse another kind of document before its tasks are checked.
      if (/^format/.test(piece.name)) refuseOtherFormat(head);
      continue;
    }
    const findErrors = piece.list === 'tasks' ? findTaskErrors : findCommentErrors;
    const found = findErrors(piece.value, `body.${piece.list}.${piece.index}`);
    for (const error of found)
      errors.push({ ...error, message: `line ${piece.line}: ${error.message}` });
    if (errors.length >= ERRORS_MAX) throw validationProblem(errors.slice(0, ERRORS_MAX));
    if (errors.length > 0) continue;
    if (piece.list === 'tasks') {
      const task = inUtcTimes(piece.value as ExportedTask);
      await fingerprint.add(task);
      await sink.addTask(task, piece.line, head);
    } else {
      const comment = commentInUtcTimes(piece.value as ExportedComment);
      await fingerprint.add(comment);
      await sink.addComment(comment, piece.index);
    }
  }
  errors.unshift(...findHeadErrors(head, 'body'));
  if (errors.length > 0) throw validationProblem(errors.slice(0, ERRORS_MAX));
  const whole = head as ImportedHead;
  return { head: whole, fingerprint: ['importProject', whole, await fingerprint.end()] };
}

/** Yields the chunks. @throws {Problem} `malformed_request` for a client that is too slow; what `chunks` throws. */
export async function* withDeadline(chunks: AsyncIterable<Uint8Array>) {
  const begunMs = performance.now();
  for await (const chunk of withLeastSpeed(chunks, PACE, tooSlow)) {
    if (performance.now() - begunMs > IMPORT_MINUTES_MAX * MINUTE_MS) throw tooSlow();
    yield chunk;
  }
}

/** Refuses another format, or another version of it, as soon as the head names it. @throws {Problem} `validation_failed`. */
function refuseOtherFormat(head: Record<string, unknown>) {
  const errors = findHeadErrors(head, 'body').filter(
    ({ location, code }) => /^body\.format/.test(location) && code !== 'required',
  );
  if (errors.length > 0) throw validationProblem(errors);
}

export const tooSlow = () =>
  new Problem('malformed_request', {
    detail: `The document must arrive within ${IMPORT_MINUTES_MAX} minutes, at ${PACE.bytesPerSecondMin / 1024} KiB a second or more`,
  });

/** Returns the task with its fields in one order and its times in UTC, so that equal documents have equal digests. */
const inUtcTimes = (task: ExportedTask): ExportedTask => ({
  ...(task.id && { id: task.id.toLowerCase() }),
  title: task.title,
  description: task.description,
  status: task.status,
  priority: task.priority,
  due_at: inUtc(task.due_at),
  // A document without `due_on` keeps the digest that an earlier release gave it.
  ...(task.due_on && { due_on: task.due_on }),
  assignee: task.assignee,
  labels: task.labels,
  completed_at: inUtc(task.completed_at),
  created_at: parseInstant(task.created_at) ?? task.created_at,
  updated_at: parseInstant(task.updated_at) ?? task.updated_at,
  created_by: task.created_by,
  // Nor does one without these.
  ...(task.position && { position: task.position }),
  ...(task.ref && { ref: task.ref.toLowerCase() }),
  ...(task.parent && { parent: task.parent.toLowerCase() }),
  ...(task.blocked_by?.length && { blocked_by: task.blocked_by.map((one) => one.toLowerCase()) }),
});

/** The same of a comment. */
const commentInUtcTimes = (comment: ExportedComment): ExportedComment => ({
  ...(comment.id && { id: comment.id.toLowerCase() }),
  task: comment.task.toLowerCase(),
  body: comment.body,
  author: comment.author,
  created_at: parseInstant(comment.created_at) ?? comment.created_at,
  edited_at: inUtc(comment.edited_at),
});

/** Returns a running digest. Web Crypto takes no text in pieces, so each piece is digested together with the digest before it. */
export function createFingerprint() {
  let state = '';
  let text = '';
  const fold = async () => {
    state = await digest(state + text);
    text = '';
  };
  return {
    async add(value: unknown) {
      text += JSON.stringify(value);
      if (text.length > DIGEST_CHARACTERS_MAX) await fold();
    },
    async end() {
      await fold();
      return state;
    },
  };
}
