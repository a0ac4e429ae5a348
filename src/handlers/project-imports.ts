/**
 * A project out of the document that an export writes. The tasks are written as they come, in small statements, into a
 * project that nobody sees; one last statement shows it to its owner and keeps the answer. So memory stays flat, no
 * transaction waits for a client, and whatever happens before that statement leaves nothing behind that anybody sees.
 */
import { and, eq, inArray, not, sql } from 'drizzle-orm';
import { v7 as uuidv7 } from 'uuid';
import { type BoundedConcurrency, boundedConcurrency } from '../bounded-concurrency.ts';
import { actingAs, type CurrentUser, unrecorded } from '../db/access.ts';
import type { Database } from '../db/database.ts';
import { asRow, fromJson } from '../db/rows.ts';
import { project_columns, project_members, projects, tasks } from '../db/schema.ts';
import { projectLexemes, searchableProject, taskLexemes } from '../db/search.ts';
import { readObjectWithList } from '../formats/json-list.ts';
import { ERRORS_MAX, type FieldError, invalid, Problem } from '../problem.ts';
import { parseInstant } from '../schemas/common.ts';
import type { ExportedTask } from '../schemas/project-exports.ts';
import {
  findHeadErrors,
  findTaskErrors,
  head_fields,
  type ImportedHead,
  type ProjectImported,
  UNASSIGNED_NAMED_MAX,
} from '../schemas/project-imports.ts';
import type { Project } from '../schemas/projects.ts';
import { digest } from '../secrets.ts';
import { timeout } from '../timeouts.ts';
import {
  findReplay,
  type IdempotencyKey,
  idempotencyKey,
  isAnswered,
  isFirst,
  type Made,
  noteAnswer,
  type TurnTaken,
  takeTurn,
} from './idempotency.ts';
import { draft_columns, drafted_fields } from './task-batch.ts';
import { inUtc } from './tasks.ts';

/** A statement writes so many tasks, or so many characters of them. */
const BATCH_TASKS_MAX = 500;
const BATCH_CHARACTERS_MAX = 512 * 1024;

/** From its first task until it is shown; a client that sends for longer is too slow. */
const IMPORT_MINUTES_MAX = 15;
/** Whatever is older is left over from a process that died. Much longer than an import, so that none is taken away. */
const LEFTOVER_MINUTES_MIN = 60;
const SWEPT_PROJECTS = 2;
const DELETED_TASKS = 5000;

const MINUTE_MS = 60_000;

/** In a process; each holds two batches at most, and a connection at times. */
const IMPORTS_MAX = 16;
const IMPORTS_PER_USER_MAX = 2;
/** Their documents are not read yet. */
const WAITING_MAX = 64;
const WAITING_PER_USER_MAX = 8;
const WAIT_MAX_MS = 10_000;

/** Runs so many imports at once, few of them of one user: whoever sends slowly is in nobody's way but his own. */
export function boundImports() {
  const of_all = boundedConcurrency('imports', IMPORTS_MAX, WAITING_MAX, timeout(WAIT_MAX_MS));
  const by_user = new Map<string, BoundedConcurrency>();

  return async <T>({ id }: CurrentUser, work: () => Promise<T>): Promise<T> => {
    const mine =
      by_user.get(id) ??
      boundedConcurrency(
        'imports-user',
        IMPORTS_PER_USER_MAX,
        WAITING_PER_USER_MAX,
        timeout(WAIT_MAX_MS),
      );
    by_user.set(id, mine);
    try {
      return await mine.run(() => of_all.run(work));
    } finally {
      if (mine.in_flight + mine.waiting === 0) by_user.delete(id);
    }
  };
}

/**
 * Makes a project with this user as its owner. An assignee or a creator who is not the user himself is left out: nobody
 * else is a member, and a document must not put its work down to others.
 * @param key of `Idempotency-Key`. It is bound to what the document says, however it is written.
 * @throws {Problem} `malformed_json`, `validation_failed` with the line; `payload_too_large`; `malformed_request` for a
 * client that is too slow; `idempotency_key_reused`, `idempotency_in_flight`; what `chunks` throws.
 */
export async function importProject(
  db: Database,
  user: CurrentUser,
  chunks: AsyncIterable<Uint8Array>,
  key: string | undefined,
): Promise<Made<ProjectImported>> {
  // Then all that matters is whether it is the same document.
  const writes = key === undefined || !(await isAnswered(db, user, key));
  const draft = createDraft(db, user);
  try {
    const { head, fingerprint } = await read(inTime(chunks), writes ? draft.add : nothing);
    const request = key === undefined ? undefined : await idempotencyKey(key, fingerprint);
    if (request && !writes) return { row: await findEarlier(db, user, request), replayed: true };
    const made = await draft.show(head, request);
    if (made.replayed) await draft.discard();
    return made;
  } catch (error) {
    await draft.discard();
    throw error;
  }
}

// --- Reading ---------------------------------------------------------------------------------------------------

/**
 * Reads the document to its end, or until there are as many errors as an answer names.
 * @param add is given tasks until the first error.
 * @returns the document but for its tasks, and a digest of them, however they are written.
 */
async function read(
  chunks: AsyncIterable<Uint8Array>,
  add: (task: ExportedTask, line: number) => Promise<void>,
) {
  const head: Record<string, unknown> = {};
  const errors: FieldError[] = [];
  const fingerprint = createFingerprint();
  for await (const piece of readObjectWithList(chunks, { fields: head_fields, list: 'tasks' })) {
    if (piece.kind === 'field') {
      head[piece.name] = piece.value;
      // What is no such document says so, and not what is wrong with its tasks.
      if (/^format/.test(piece.name)) refuseOtherFormat(head);
      continue;
    }
    const found = findTaskErrors(piece.value, `body.tasks.${piece.index}`);
    for (const error of found)
      errors.push({ ...error, message: `line ${piece.line}: ${error.message}` });
    if (errors.length >= ERRORS_MAX) throw invalid(errors.slice(0, ERRORS_MAX));
    if (errors.length > 0) continue;
    const task = inUtcTimes(piece.value as ExportedTask);
    await fingerprint.add(task);
    await add(task, piece.line);
  }
  errors.unshift(...findHeadErrors(head, 'body'));
  if (errors.length > 0) throw invalid(errors.slice(0, ERRORS_MAX));
  const whole = head as ImportedHead;
  return { head: whole, fingerprint: ['importProject', whole, await fingerprint.end()] };
}

const nothing = async () => undefined;

async function* inTime(chunks: AsyncIterable<Uint8Array>) {
  const begun_ms = performance.now();
  for await (const chunk of chunks) {
    if (performance.now() - begun_ms > IMPORT_MINUTES_MAX * MINUTE_MS) throw tooSlow();
    yield chunk;
  }
}

/** @throws {Problem} `validation_failed` for another format, or another version of it, once it is known. */
function refuseOtherFormat(head: Record<string, unknown>) {
  const errors = findHeadErrors(head, 'body').filter(
    ({ location, code }) => /^body\.format/.test(location) && code !== 'required',
  );
  if (errors.length > 0) throw invalid(errors);
}

const tooSlow = () =>
  new Problem('malformed_request', {
    detail: `The document took longer than ${IMPORT_MINUTES_MAX} minutes to come`,
  });

/** Fields in our order, times in UTC: what is equal is written alike. */
const inUtcTimes = (task: ExportedTask): ExportedTask => ({
  title: task.title,
  description: task.description,
  status: task.status,
  priority: task.priority,
  due_at: inUtc(task.due_at),
  assignee: task.assignee,
  labels: task.labels,
  completed_at: inUtc(task.completed_at),
  created_at: parseInstant(task.created_at) ?? task.created_at,
  updated_at: parseInstant(task.updated_at) ?? task.updated_at,
  created_by: task.created_by,
});

/** A digest of values one after the other: Web Crypto takes no text in pieces, so each piece is added to the last digest. */
function createFingerprint() {
  let state = '';
  let text = '';
  const fold = async () => {
    state = await digest(state + text);
    text = '';
  };
  return {
    async add(value: unknown) {
      text += JSON.stringify(value);
      if (text.length > BATCH_CHARACTERS_MAX) await fold();
    },
    async end() {
      await fold();
      return state;
    },
  };
}

// --- Writing ---------------------------------------------------------------------------------------------------

/** Writes tasks in batches, one while the next is read, into a project that is not there for anybody yet. */
function createDraft(db: Database, user: CurrentUser) {
  const project_id = uuidv7();
  const unassigned: ProjectImported['unassigned'] = [];
  const counts = { tasks: 0, unassigned_total: 0 };
  let begun = false;
  let batch: DraftedTask[] = [];
  let characters = 0;
  let writing: Promise<unknown> = Promise.resolve();

  async function flush() {
    const drafted = batch;
    [batch, characters] = [[], 0];
    await writing;
    if (!begun) await beginProject(db, user, project_id);
    begun = true;
    writing = insertTasks(db, drafted);
    // It is awaited later; until then nobody has to hear of a failure.
    writing.catch(() => undefined);
  }

  return {
    async add(task: ExportedTask, line: number) {
      const drafted = draftOf(task, user, project_id);
      if (task.assignee !== null && drafted.assignee_id === null) {
        counts.unassigned_total += 1;
        if (unassigned.length < UNASSIGNED_NAMED_MAX)
          unassigned.push({ line, task_id: drafted.id, username: task.assignee });
      }
      counts.tasks += 1;
      batch.push(drafted);
      characters += task.title.length + (task.description?.length ?? 0);
      if (batch.length === BATCH_TASKS_MAX || characters > BATCH_CHARACTERS_MAX) await flush();
    },

    /** Makes the project be there. */
    async show({ project }: ImportedHead, request?: IdempotencyKey) {
      await flush();
      await writing;
      return showProject(db, user, project_id, project, { ...counts, unassigned }, request);
    },

    /** Takes away what was written. What cannot be taken away now is swept later. */
    async discard() {
      await writing.catch(() => undefined);
      if (begun) await discardProject(db, project_id).catch(() => undefined);
    },
  };
}

type DraftedTask = ReturnType<typeof draftOf>;

function draftOf(
  { assignee, created_by, ...task }: ExportedTask,
  user: CurrentUser,
  project_id: string,
) {
  const idOf = (username: string | null) =>
    username?.toLowerCase() === user.username.toLowerCase() ? user.id : null;
  return {
    ...task,
    id: uuidv7(),
    project_id,
    assignee_id: idOf(assignee),
    created_by: idOf(created_by),
    version: 1,
    words_version: 1,
    ...taskLexemes(task),
  };
}

/** @throws {Problem} `invalid_token` where the user has gone. */
async function beginProject(db: Database, user: CurrentUser, project_id: string) {
  await sweepLeftovers(db);
  const now = sql`now()`;
  // Its name comes with the document, perhaps at its end.
  const project = asRow(projects, {
    ...{ id: project_id, name: '', description: null, archived_at: null },
    ...{ created_at: now, updated_at: now, version: 1, words_version: 1 },
    ...searchableProject(projectLexemes(nameless)),
  });
  const begun = db
    .$with('begun')
    .as(
      db
        .insert(projects)
        .select(db.select(project).from(sql`(select) as one`).where(unrecorded))
        .returning({ id: projects.id }),
    );
  const row = asRow(project_members, {
    project_id: begun.id,
    user_id: user.id,
    role: 'owner',
    created_at: now,
    importing_since: now,
  });
  const owner = db
    .$with('owner')
    .as(
      db
        .insert(project_members)
        .select(db.select(row).from(begun))
        .returning({ user_id: project_members.user_id }),
    );
  await db.with(begun, owner).select().from(owner);
}

const nameless = { name: '', description: null };

async function insertTasks(db: Database, drafted: readonly DraftedTask[]) {
  if (drafted.length === 0) return;
  const draft = sql`json_to_recordset(${JSON.stringify(drafted)}::text::json) as draft (${draft_columns})`;
  await db
    .insert(tasks)
    .select(db.select(asRow(tasks, drafted_fields)).from(draft).where(unrecorded));
}

type Counts = Omit<ProjectImported, 'project'>;

const columns = { ...project_columns, role: project_members.role };

/** Shows the project to its owner, or finds that an earlier request with the key has been answered. */
async function showProject(
  db: Database,
  user: CurrentUser,
  project_id: string,
  { archived_at, created_at, updated_at, ...texts }: ImportedHead['project'],
  counts: Counts,
  request: IdempotencyKey | undefined,
): Promise<Made<ProjectImported>> {
  const turn = request && takeTurn(db, user, request);
  const shown = db.$with('shown').as(
    db
      .update(project_members)
      .set({ importing_since: null, created_at: sql`now()` })
      .where(
        and(
          eq(project_members.project_id, project_id),
          eq(project_members.user_id, user.id),
          not(isLeftover(LEFTOVER_MINUTES_MIN / 2)),
          actingAs(user),
          turn && isFirst(turn),
        ),
      )
      .returning({ project_id: project_members.project_id, role: project_members.role }),
  );
  const project = db.$with('project').as(
    db
      .update(projects)
      .set({
        ...texts,
        ...searchableProject(projectLexemes(texts)),
        archived_at: archived_at && (parseInstant(archived_at) ?? null),
        created_at: parseInstant(created_at),
        updated_at: parseInstant(updated_at),
      })
      .from(shown)
      .where(eq(projects.id, shown.project_id))
      .returning({ ...project_columns, role: shown.role }),
  );
  if (!turn) {
    const [row] = await db.with(shown, project).select().from(project);
    if (!row) throw tooSlow();
    return { row: { project: row as Project, ...counts }, replayed: false };
  }
  const answer = sql`json_build_object('project', row_to_json(project), 'counts', ${JSON.stringify(counts)}::text::json)`;
  const [found] = await db
    .with(turn, shown, project, ...noteAnswer(db, user, request, answer, project))
    .select({ turn: turn._.selectedFields, project: project._.selectedFields })
    .from(turn)
    .leftJoin(project, sql`true`);
  const replay = findReplay(found?.turn as TurnTaken, request);
  if (replay) return { row: fromAnswer(replay), replayed: true };
  if (!found?.project) throw tooSlow();
  return { row: { project: found.project as Project, ...counts }, replayed: false };
}

const fromAnswer = ({ project, counts }: Record<string, unknown>): ProjectImported => ({
  project: fromJson(columns, project as Record<string, unknown>) as unknown as Project,
  ...(counts as Counts),
});

/** @throws {Problem} `idempotency_key_reused`; `idempotency_in_flight` where there is no answer after all. */
async function findEarlier(db: Database, user: CurrentUser, request: IdempotencyKey) {
  const turn = takeTurn(db, user, request);
  const [taken] = await db.with(turn).select(turn._.selectedFields).from(turn);
  const replay = findReplay(taken as TurnTaken, request);
  if (!replay) throw new Problem('idempotency_in_flight');
  return fromAnswer(replay);
}

// --- Taking away -----------------------------------------------------------------------------------------------

const isLeftover = (minutes: number) =>
  sql`${project_members.importing_since} <= now() - make_interval(mins => ${minutes}::int)`;

/** In small statements, as it was written. */
async function discardProject(db: Database, project_id: string) {
  const some = db
    .select({ id: tasks.id })
    .from(tasks)
    .where(eq(tasks.project_id, project_id))
    .limit(DELETED_TASKS);
  let deleted: unknown[];
  do {
    deleted = await db
      .delete(tasks)
      .where(and(inArray(tasks.id, some), unrecorded))
      .returning({ id: tasks.id });
  } while (deleted.length > 0);
  await db.delete(projects).where(and(eq(projects.id, project_id), unrecorded));
}

/** A few of the projects whose import ended with its process. */
async function sweepLeftovers(db: Database) {
  const leftovers = await db
    .select({ project_id: project_members.project_id })
    .from(project_members)
    .where(isLeftover(LEFTOVER_MINUTES_MIN))
    .limit(SWEPT_PROJECTS);
  for (const { project_id } of leftovers) await discardProject(db, project_id);
}
