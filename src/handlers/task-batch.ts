/**
 * Many changes of tasks at once, all or none. The rows are locked before they are looked at, so that what is judged is
 * what is written; then one statement writes whatever is created and updated, and one deletes the rest.
 */
import {
  and,
  asc,
  getTableColumns,
  inArray,
  or,
  type SQL,
  type SQLWrapper,
  sql,
} from 'drizzle-orm';
import { v7 as uuidv7 } from 'uuid';
import { actingAs, type CurrentUser, refuse, visibleTo } from '../db/access.ts';
import type { Database } from '../db/database.ts';
import { asRow, nextVersion } from '../db/rows.ts';
import { project_members, projects, task_columns, tasks } from '../db/schema.ts';
import { asTaskWords, taskLexemes } from '../db/search.ts';
import { catalogue, invalid, notAMember, Problem } from '../problem.ts';
import type { BatchOperation, BatchResults, Task, TaskBatch, TaskPatch } from '../schemas/tasks.ts';
import {
  findReplay,
  type IdempotencyKey,
  type Made,
  noteAnswer,
  type TurnTaken,
  takeTurn,
} from './idempotency.ts';
import { defaults, inUtc, writes } from './tasks.ts';

/**
 * Carries out every operation, or none.
 * @returns the tasks as they are now, deleted ones as they were, in the order of the operations.
 * @throws {Problem} that names the first operation that cannot be done: `not_found`, `forbidden`, `conflict`,
 * `precondition_failed`, `validation_failed`; `idempotency_key_reused`, `idempotency_in_flight`.
 */
export async function batchTasks(
  db: Database,
  user: CurrentUser,
  { operations }: TaskBatch,
  request?: IdempotencyKey,
): Promise<Made<BatchResults>> {
  refuseRepeated(operations);
  return db.transaction(async (tx) => {
    const replay = request && (await findEarlier(tx, user, request));
    if (replay) return { row: replay as unknown as BatchResults, replayed: true };

    const found = await lockWhatIsNamed(tx, user, operations);
    const outcomes = operations.map((operation, index) =>
      atOperation(index, () => outcomeOf(operation, user, found)),
    );
    const written = await write(tx, outcomes);
    const results = operations.map(({ op }, index) => {
      const { row } = outcomes[index] as Outcome;
      return { op, task: written.get(row.id) ?? (row as Task) };
    });
    if (request) {
      const [swept, noted] = noteAnswer(
        tx,
        user,
        request,
        sql`${JSON.stringify({ results })}::text`,
      );
      await tx.with(swept, noted).select({ key: noted.key }).from(noted);
    }
    return { row: { results }, replayed: false };
  });
}

/** A task twice would leave it to chance which of the two came last. @throws {Problem} `validation_failed`. */
function refuseRepeated(operations: readonly BatchOperation[]) {
  const seen = new Set<string>();
  for (const [index, operation] of operations.entries()) {
    if (operation.op === 'create') continue;
    const id = operation.task_id.toLowerCase();
    if (seen.has(id))
      throw invalid([
        {
          location: `body.operations.${index}.task_id`,
          code: 'repeated',
          message: 'must not name a task that another operation names',
        },
      ]);
    seen.add(id);
  }
}

async function findEarlier(tx: Database, user: CurrentUser, request: IdempotencyKey) {
  const turn = takeTurn(tx, user, request);
  const [taken] = await tx.with(turn).select(turn._.selectedFields).from(turn);
  return findReplay(taken as TurnTaken, request);
}

// --- What is there ---------------------------------------------------------------------------------------------

type Found = Awaited<ReturnType<typeof lockWhatIsNamed>>;

/** Of the projects, tasks and members that are named, those that the user sees; locked in the order of all writers. */
async function lockWhatIsNamed(
  tx: Database,
  user: CurrentUser,
  operations: readonly BatchOperation[],
) {
  const task_ids = operations.flatMap((one) => (one.op === 'create' ? [] : one.task_id));
  const project_ids = operations.flatMap((one) => (one.op === 'create' ? one.project_id : []));
  const assignee_ids = operations.flatMap((one) => (one.op !== 'delete' && one.assignee_id) || []);
  const of_tasks = tx.select({ id: tasks.project_id }).from(tasks).where(anyOf(tasks.id, task_ids));
  const visible = await tx
    .select({
      id: projects.id,
      role: project_members.role,
      archived_at: projects.archived_at,
    })
    .from(projects)
    .innerJoin(project_members, visibleTo(user, projects.id))
    .where(and(actingAs(user), or(anyOf(projects.id, project_ids), inArray(projects.id, of_tasks))))
    .orderBy(asc(projects.id))
    .for('key share', { of: projects });
  const seen = visible.map(({ id }) => id);
  const named = await tx
    .select(task_columns)
    .from(tasks)
    .where(and(anyOf(tasks.id, task_ids), anyOf(tasks.project_id, seen)))
    .orderBy(asc(tasks.id))
    .for('update');
  const members =
    assignee_ids.length === 0
      ? []
      : await tx
          .select({ project_id: project_members.project_id, user_id: project_members.user_id })
          .from(project_members)
          .where(
            and(
              anyOf(project_members.project_id, seen),
              anyOf(project_members.user_id, assignee_ids),
            ),
          )
          .orderBy(asc(project_members.project_id), asc(project_members.user_id))
          .for('key share');
  return {
    projects: new Map(visible.map((project) => [project.id, project])),
    tasks: new Map(named.map((task) => [task.id, task])),
    members: new Set(members.map(({ project_id, user_id }) => `${project_id} ${user_id}`)),
  };
}

/** One parameter, however many ids there are: so there is one prepared statement, and not one for each number. */
const anyOf = (column: SQLWrapper, ids: readonly string[]): SQL =>
  sql`${column} = any(${`{${ids.join(',')}}`}::text::uuid[])`;

// --- What comes of it ------------------------------------------------------------------------------------------

/** What an operation makes of a task. A missing time is that of the statement which writes it. */
interface Outcome {
  row: Draft;
  step: 'write' | 'delete' | 'leave';
}

type Draft = Omit<Task, 'created_at' | 'updated_at'> & { created_at: string | null };

/** @throws {Problem} as `batchTasks` does. */
function outcomeOf(operation: BatchOperation, user: CurrentUser, found: Found): Outcome {
  if (operation.op === 'create') {
    const { op: _, project_id, ...fields } = operation;
    const project = found.projects.get(project_id.toLowerCase());
    refuse(project, writes);
    const row = {
      ...defaults,
      ...fields,
      id: uuidv7(),
      project_id: project.id,
      completed_at: null,
      created_at: null,
      created_by: user.id,
      version: 1,
    };
    return { row: withFields(row, fields, found), step: 'write' };
  }
  const task = found.tasks.get(operation.task_id.toLowerCase());
  const project = task && found.projects.get(task.project_id);
  refuse(project, writes);
  if (!task) throw new Problem('not_found');
  if (operation.version !== undefined && operation.version !== task.version)
    throw new Problem('precondition_failed');
  if (operation.op === 'delete') return { row: task, step: 'delete' };
  const { op: _, task_id: __, version: ___, ...fields } = operation;
  if (Object.keys(fields).length === 0) return { row: task, step: 'leave' };
  const next = { ...task, version: task.version + 1 };
  return { row: withFields(next, fields, found), step: 'write' };
}

/** Merges fields into a task (RFC 7396). @throws {Problem} `validation_failed` for an assignee who is no member. */
function withFields(task: Draft, fields: TaskPatch, found: Found): Draft {
  const assignee_id = fields.assignee_id?.toLowerCase();
  if (assignee_id && !found.members.has(`${task.project_id} ${assignee_id}`))
    throw invalid([notAMember('body.assignee_id')]);
  const row = { ...task, ...fields };
  return {
    ...row,
    due_at: fields.due_at === undefined ? task.due_at : inUtc(fields.due_at),
    completed_at: row.status === 'done' ? task.completed_at : null,
  };
}

/** Runs what an operation asks for, so that its problem tells which operation it is of. */
function atOperation<T>(index: number, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    const place = `body.operations.${index}`;
    const {
      errors = [{ location: 'body', code: error.code, message: catalogue[error.code].title }],
    } = error.particulars;
    throw new Problem(error.code, {
      ...error.particulars,
      errors: errors.map((one) => ({ ...one, location: one.location.replace('body', place) })),
    });
  }
}

// --- Writing ---------------------------------------------------------------------------------------------------

/** @returns the tasks that were made or changed, by id. */
async function write(tx: Database, outcomes: readonly Outcome[]): Promise<Map<string, Task>> {
  const rowsTo = (what: Outcome['step']) =>
    outcomes.flatMap(({ row, step }) => (step === what ? row : []));
  const deleted = rowsTo('delete').map(({ id }) => id);
  if (deleted.length > 0) await tx.delete(tasks).where(anyOf(tasks.id, deleted));
  const drafts: object[] = [];
  for (const row of rowsTo('write')) {
    drafts.push({ ...row, ...taskLexemes(row), words_version: row.version });
    if (isLong(row)) await othersTurn();
  }
  if (drafts.length === 0) return new Map();
  const draft = sql`json_to_recordset(${JSON.stringify(drafts)}::text::json) as draft (${draft_columns})`;
  const written = await tx
    .insert(tasks)
    .select(tx.select(drafted_row).from(draft))
    .onConflictDoUpdate({ target: tasks.id, set: excluded })
    .returning(task_columns);
  return new Map(written.map((task) => [task.id, task]));
}

/** To find the words of such a text takes milliseconds, and a batch may have many of them. */
const LONG_TEXT_LENGTH = 2000;
const isLong = ({ description }: Draft) => (description?.length ?? 0) > LONG_TEXT_LENGTH;
const othersTurn = () => new Promise<void>((resume) => setTimeout(resume));

const names = Object.keys(getTableColumns(tasks)) as (keyof typeof tasks.$inferSelect)[];
const isWords = (name: string) => name.endsWith('_words');

/** The columns of a draft, with their types: words come as text. */
export const draft_columns = sql.join(
  names.map((name) => {
    const type = isWords(name) ? 'text' : tasks[name].getSQLType();
    return sql.raw(`"${name}" ${type}`);
  }),
  sql`, `,
);

/** What a draft says of each column. */
export const drafted_fields = fieldsOf((name) => {
  const column = sql`draft.${sql.identifier(name)}`;
  return isWords(name) ? asTaskWords(column, sql`draft.project_id`) : column;
});

/** A draft as a row of the table. */
const drafted_row = asRow(tasks, {
  ...drafted_fields,
  completed_at: sql`coalesce(draft.completed_at, case draft.status when 'done' then now() end)`,
  created_at: sql`coalesce(draft.created_at, now())`,
  updated_at: sql`now()`,
});

/** What a row that is there takes from the draft. */
const excluded = {
  ...fieldsOf((name) => sql`excluded.${sql.identifier(name)}`),
  updated_at: nextVersion(tasks).updated_at,
};

function fieldsOf(write: (name: string) => SQL) {
  return Object.fromEntries(names.map((name) => [name, write(name)])) as Record<
    (typeof names)[number],
    SQL
  >;
}
