/**
 * Comments on tasks. Readers see them through the row of their task, so the comments of a task that is away are invisible. A
 * write locks the project, then the task where its number of comments changes, then the comment.
 */
// Decision: docs/decisions/45-comments.md
import { and, asc, eq, inArray, type SQL, sql } from 'drizzle-orm';
import {
  actorOf,
  assertPermitted,
  commentAccessColumns,
  isOfTask,
  isPermitted,
  type Permission,
  passGate,
  setActor,
  versionsParam,
  visibleTo,
  type WriteResult,
  writeWithAccess,
} from '../db/authorization.ts';
import { batchedRead, oneCall } from '../db/batching.ts';
import type { Database } from '../db/database.ts';
import { onViolation } from '../db/errors.ts';
import { commentLexemes, taskSearchText } from '../db/full-text.ts';
import {
  type ClaimedKey,
  type Created,
  claimKey,
  type IdempotencyKey,
  isFirstUse,
  storedResponse,
  storeResponse,
} from '../db/idempotency.ts';
import {
  afterCursor,
  type CursorPosition,
  orderBy,
  parsePage,
  type SortOrder,
  sortOrder,
  toPage,
} from '../db/pagination.ts';
import { asParam, prepared, type QueryParams, type TypedQuery } from '../db/prepared.ts';
import { columnsOf } from '../db/row-mapper.ts';
import { decodeRow, insertRow, rowsOrNotFound } from '../db/row-values.ts';
import { comments, project_members, projects, tasks } from '../db/schema.ts';
import { commentColumns } from '../db/visible-columns.ts';
import { catalogue, idTaken, Problem } from '../errors/problem.ts';
import { newId } from '../lib/new-id.ts';
import { sleep } from '../lib/sleep.ts';
import type {
  Comment,
  CommentCreate,
  CommentListQuery,
  CommentPage,
  CommentPatch,
} from '../schemas/comments.ts';
import type { Actor, CurrentUser, ExpectedVersions } from '../schemas/current-user.ts';
import { COMMENTS_PER_TASK_MAX } from '../schemas/tasks.ts';
import { MOVES_MAX } from './task-fields.ts';
import { readTask } from './tasks.ts';

/** Who may comment, and when. */
const writes: Permission = {
  roles: ['owner', 'editor'],
  commentingViewers: true,
  whileArchived: false,
};

/** Who may change a comment: its author, who has to be allowed to comment still, and who else. */
interface ChangeRules {
  ofAuthor: Permission;
  ofOthers: Permission;
}

const edits: ChangeRules = { ofAuthor: writes, ofOthers: { roles: [], whileArchived: false } };
const deletions: ChangeRules = {
  ofAuthor: writes,
  ofOthers: { roles: ['owner'], whileArchived: false },
};

// --- Reading ---------------------------------------------------------------------------------------------------

/** Lists the comments of a task. @throws {Problem} `not_found`, `invalid_cursor`. */
export async function listComments(
  db: Database,
  user: CurrentUser,
  taskId: string,
  { sort, ...query }: CommentListQuery,
): Promise<CommentPage> {
  const list = ['comments', taskId.toLowerCase(), sort];
  const page = await parsePage(list, query, orderOf(sort));
  const { position, count } = page;
  const rows = await selectComments(
    db,
    { user: { id: user.id }, task_id: taskId, position, count },
    sort,
  );
  return toPage(page, rowsOrNotFound(rows, 'comment'));
}

type Sort = CommentListQuery['sort'];

const orderOf = (sort: Sort): SortOrder<Comment> =>
  sortOrder(
    sort,
    {
      created_at: {
        by: comments.created_at,
        type: 'timestamptz',
        keyOf: (comment) => comment.created_at,
      },
    },
    comments.id,
  );

interface ListParams {
  user: Pick<CurrentUser, 'id'>;
  task_id: string;
  position: CursorPosition | undefined;
  count: number;
}

const selectComments = batchedRead(
  (db, { user, task_id, position, count }: QueryParams<ListParams>, sort: Sort) => {
    const order = orderOf(sort);
    const page = db
      .select(commentColumns)
      .from(comments)
      .where(and(isOfTask, afterCursor(position, order)))
      .orderBy(...orderBy(order))
      .limit(asParam<number>(count))
      .as('page');
    return db
      .select({ comment: columnsOf(page) })
      .from(tasks)
      .innerJoin(project_members, visibleTo(user, tasks.project_id))
      .leftJoinLateral(page, sql`true`)
      .where(eq(tasks.id, task_id))
      .orderBy(...orderBy({ by: page.created_at, id: page.id, descending: order.descending }));
  },
);

/** Returns a comment. @throws {Problem} `not_found`. */
export async function readComment(
  db: Database,
  user: CurrentUser,
  commentId: string,
): Promise<Comment> {
  const [comment] = await selectComment(db, { user: { id: user.id }, comment_id: commentId });
  if (!comment) throw new Problem('not_found');
  return comment;
}

const selectComment = batchedRead(
  (
    db,
    { user, comment_id }: QueryParams<{ user: Pick<CurrentUser, 'id'>; comment_id: string }>,
  ): TypedQuery<Comment> =>
    db
      .select(commentColumns)
      .from(comments)
      .innerJoin(tasks, isOfTask)
      .innerJoin(project_members, visibleTo(user, tasks.project_id))
      .where(eq(comments.id, comment_id)),
);

// --- Creating --------------------------------------------------------------------------------------------------

/**
 * Comments on a task.
 * @throws {Problem} `not_found`, `forbidden`, `id_taken`; `conflict` where the project is archived or the task has
 * `COMMENTS_PER_TASK_MAX` comments; `idempotency_key_reused`, `idempotency_in_flight`.
 */
export async function createComment(
  db: Database,
  user: CurrentUser,
  taskId: string,
  input: CommentCreate,
  request?: IdempotencyKey,
): Promise<Created<Comment>> {
  const { row, replayed } = await createComments(
    db,
    user,
    [{ ...input, task_id: taskId }],
    request,
  );
  return { row: row[0] as Comment, replayed };
}

export type CommentDraft = CommentCreate & { task_id: string };

/** It takes milliseconds to tokenize a longer text. */
const LONG_TEXT_LENGTH = 2000;

/**
 * Comments on several tasks, or several times on one: all or none.
 * @param locationOf returns where the problem of a draft is said to be; by default nowhere.
 * @returns the comments in the order of the drafts.
 * @throws {Problem} as `createComment` does, for the first draft that is refused.
 */
export async function createComments(
  db: Database,
  user: CurrentUser,
  drafts: readonly CommentDraft[],
  request?: IdempotencyKey,
  locationOf: (index: number) => string | undefined = () => undefined,
): Promise<Created<Comment[]>> {
  const given: (Required<CommentDraft> & ReturnType<typeof commentLexemes>)[] = [];
  for (const { id, task_id, body } of drafts) {
    given.push({ id: newId(id), task_id: task_id.toLowerCase(), body, ...commentLexemes(body) });
    if (body.length > LONG_TEXT_LENGTH) await sleep();
  }
  const params = { user: actorOf(user), given: JSON.stringify(given), request };
  for (let moves = 0; moves <= MOVES_MAX; moves += 1) {
    const found = await onViolation(
      { comments_pkey: () => idTaken('body.id') },
      insertComments(db, params),
    );
    const replay = request && storedResponse(found[0]?.claim as ClaimedKey, request);
    if (replay) return { row: fromAnswer(replay), replayed: true };
    const byId = new Map(found.map((one) => [one.id, one]));
    const rows = given.flatMap(({ id }) => byId.get(id)?.row ?? []);
    if (rows.length === given.length) return { row: rows, replayed: false };
    for (const [index, { id, task_id }] of given.entries())
      await atLocation(locationOf(index), async () => {
        assertPermitted(byId.get(id)?.access, writes);
        // It was there when the statement began. Unless it is gone or full, another has moved it meanwhile.
        const task = await readTask(db, user, task_id);
        const more = given.filter((one) => one.task_id === task_id).length;
        if (task.comment_count + more > COMMENTS_PER_TASK_MAX)
          throw new Problem('conflict', { detail: `${COMMENTS_PER_TASK_MAX} comments at most` });
      });
  }
  throw new Problem('conflict', { detail: 'The task is being moved by others' });
}

const fromAnswer = (answer: unknown) =>
  (answer as Record<string, unknown>[]).map(
    (row) => decodeRow(commentColumns, row) as unknown as Comment,
  );

/** Runs work whose problems name the location. */
async function atLocation(location: string | undefined, work: () => Promise<void>) {
  try {
    await work();
  } catch (error) {
    if (location === undefined || !(error instanceof Problem)) throw error;
    const errors = [{ location, code: error.code, message: catalogue[error.code].title }];
    throw new Problem(error.code, { ...error.particulars, errors });
  }
}

interface NewComments {
  user: Actor;
  /** The rows as JSON, so that the text of the statement does not depend on their number. */
  given: string;
  request: IdempotencyKey | undefined;
}

interface InsertResult extends WriteResult<Comment> {
  id: string;
  claim?: ClaimedKey;
}

/** All or none: a row is inserted only where every task of the input is there, may be written, and has room. */
const insertComments = prepared((db, { user, given: json, request }: QueryParams<NewComments>) => {
  const { id, task_id, body, words, runs } = comments;
  const given = db.$with('given', { id, task_id, body, words, runs }).as(sql`
    select * from json_to_recordset(${json}::text::json)
      as given (id uuid, task_id uuid, body text, words text, runs text)`);
  const access = db.$with('access').as(
    db
      .select({ ...commentAccessColumns, comment_id: sql<string>`${given.id}`.as('comment_id') })
      .from(given)
      .innerJoin(tasks, eq(tasks.id, given.task_id))
      .innerJoin(projects, eq(projects.id, tasks.project_id))
      .innerJoin(project_members, visibleTo(user, projects.id))
      .where(setActor(user)),
  );
  const claim = request && claimKey(db, user, request);
  const gates = db.$with('gates').as(
    db
      .selectDistinct({ project_id: access.project_id })
      .from(access)
      // Where the response is stored or another request has the key, nothing is locked.
      .where(and(isPermitted(access, writes), claim && isFirstUse(claim)))
      .orderBy(access.project_id),
  );
  const passed = db
    .$with('passed')
    .as(
      db
        .select({ project_id: projects.id })
        .from(gates)
        .innerJoin(projects, eq(projects.id, gates.project_id))
        .where(passGate(gates.project_id))
        .for('key share', { of: projects }),
    );
  const locked = db.$with('locked').as(
    db
      .select({
        task_id: tasks.id,
        project_id: tasks.project_id,
        comment_count: tasks.comment_count,
      })
      .from(tasks)
      .where(
        and(
          inArray(tasks.id, db.select({ id: given.task_id }).from(given)),
          inArray(tasks.project_id, db.select({ id: passed.project_id }).from(passed)),
        ),
      )
      .orderBy(asc(tasks.id))
      .for('no key update'),
  );
  const added = sql`(select count(*) from ${given} other where other.task_id = ${locked.task_id})`;
  const fitting = sql`
    select from ${given} join ${locked} on ${locked.task_id} = ${given.task_id}
    where ${locked.comment_count} + ${added} <= ${sql.raw(String(COMMENTS_PER_TASK_MAX))}`;
  const allFit = sql`(select count(*) from ${given}) = (select count(*) from (${fitting}) fitting)`;
  const row = insertRow(comments, {
    id: given.id,
    project_id: locked.project_id,
    task_id: given.task_id,
    author_id: user.id,
    body: given.body,
    created_at: sql`now()`,
    edited_at: null,
    version: 1,
    words: taskSearchText(given.words, locked.project_id),
    runs: given.runs,
    words_version: -1,
  });
  const created = db.$with('created').as(
    db
      .insert(comments)
      .select(
        db
          .select(row)
          .from(given)
          .innerJoin(locked, eq(locked.task_id, given.task_id))
          .where(allFit),
      )
      .returning(commentColumns),
  );
  const { project_id, role, archived_at, viewers_may_comment } = columnsOf(access);
  const fields = {
    id: given.id,
    access: { project_id, role, archived_at, viewers_may_comment },
    row: columnsOf(created),
  };
  const writing = [given, access, gates, passed, locked, created];
  if (!claim) {
    const attempted = db
      .with(...writing)
      .select(fields)
      .from(given);
    return attempted
      .leftJoin(access, eq(access.comment_id, given.id))
      .leftJoin(created, eq(created.id, given.id)) as unknown as TypedQuery<InsertResult>;
  }
  const answer = db.$with('answer').as(
    db
      .select({
        rows: sql`json_agg(row_to_json(created) order by ${created.id})`.as('rows'),
      })
      .from(created)
      .having(sql`count(*) > 0`),
  );
  const response = { from: answer, calls: oneCall, isOfCall: sql`true` };
  return db
    .with(
      claim,
      ...writing,
      answer,
      ...storeResponse(db, user, request, sql`${answer.rows}`, response),
    )
    .select({ ...fields, claim: columnsOf(claim) })
    .from(given)
    .innerJoin(claim, sql`true`)
    .leftJoin(access, eq(access.comment_id, given.id))
    .leftJoin(created, eq(created.id, given.id)) as unknown as TypedQuery<InsertResult>;
});

// --- Changing --------------------------------------------------------------------------------------------------

/**
 * Edits a comment; an empty patch, and the text that it has, change nothing.
 * @throws {Problem} `not_found`, `forbidden`, `conflict`, `precondition_failed`.
 */
export async function patchComment(
  db: Database,
  user: CurrentUser,
  commentId: string,
  { body }: CommentPatch,
  expected: ExpectedVersions,
): Promise<Comment> {
  const { words = null, runs = null } = body === undefined ? {} : commentLexemes(body);
  const params = {
    ...paramsOf(user, commentId, expected),
    given: { body: body ?? null, words, runs },
  };
  return change(db, user, params, edits, expected, () => updateComment(db, params));
}

/** Deletes a comment. @throws {Problem} `not_found`, `forbidden`, `conflict`, `precondition_failed`. */
export async function deleteComment(
  db: Database,
  user: CurrentUser,
  commentId: string,
  expected: ExpectedVersions,
): Promise<void> {
  const params = paramsOf(user, commentId, expected);
  await change(db, user, params, deletions, expected, () => deleteOne(db, params));
}

interface ChangedComment {
  user: Actor;
  comment_id: string;
  /** Null for any. */
  versions: string | null;
}

const paramsOf = (user: CurrentUser, commentId: string, expected: ExpectedVersions) => ({
  user: actorOf(user),
  comment_id: commentId,
  versions: versionsParam(expected) ?? null,
});

interface ChangeResult<Row> {
  access: (NonNullable<WriteResult<Row>['access']> & { is_author: boolean }) | null;
  row: Row | null;
}

/** Runs a write, again while another moves the task meanwhile. @returns the row. @throws {Problem} the reason why there is none. */
async function change<Row>(
  db: Database,
  user: CurrentUser,
  { comment_id }: ChangedComment,
  { ofAuthor, ofOthers }: ChangeRules,
  expected: ExpectedVersions,
  write: () => Promise<WriteResult<Row>[]>,
): Promise<Row> {
  for (let moves = 0; moves <= MOVES_MAX; moves += 1) {
    const [found] = (await write()) as ChangeResult<Row>[];
    if (found?.row) return found.row;
    assertPermitted(found?.access, found?.access?.is_author ? ofAuthor : ofOthers);
    const { version } = await readComment(db, user, comment_id);
    if (expected && !expected.includes(version)) throw new Problem('precondition_failed');
  }
  throw new Problem('conflict', { detail: 'The task is being moved by others' });
}

const accessOf = (db: Database, { user, comment_id }: QueryParams<ChangedComment>) =>
  db.$with('access').as(
    db
      .select({
        ...commentAccessColumns,
        task_id: comments.task_id,
        is_author: sql<boolean>`${comments.author_id} is not distinct from ${user.id}::uuid`.as(
          'is_author',
        ),
      })
      .from(comments)
      .innerJoin(tasks, isOfTask)
      .innerJoin(projects, eq(projects.id, tasks.project_id))
      .innerJoin(project_members, visibleTo(user, projects.id))
      .where(and(eq(comments.id, comment_id), setActor(user))),
  );

/** `with locked as …`: the project, locked for a change of the comment; no row, and no lock, where the access is not enough. */
const lockOf = (
  db: Database,
  access: ReturnType<typeof accessOf>,
  { ofAuthor, ofOthers }: ChangeRules,
) =>
  db.$with('locked').as(
    db
      .select({ project_id: projects.id, task_id: access.task_id })
      .from(access)
      .innerJoin(projects, eq(projects.id, access.project_id))
      .where(
        and(
          sql`case when ${access.is_author} then ${isPermitted(access, ofAuthor)} else ${isPermitted(access, ofOthers)} end`,
          passGate(access.project_id),
        ),
      )
      .for('key share', { of: projects }),
  );

const isOne = ({ comment_id, versions }: QueryParams<ChangedComment>): SQL =>
  sql`${comments.id} = ${comment_id}::uuid
    and (${versions}::int[] is null or ${comments.version} = any(${versions}::int[]))`;

interface EditedComment extends ChangedComment {
  /** Null: the comment keeps its text. */
  given: { body: string | null; words: string | null; runs: string | null };
}

const updateComment = prepared((db, params: QueryParams<EditedComment>) => {
  const access = accessOf(db, params);
  const locked = lockOf(db, access, edits);
  const { body, words, runs } = params.given;
  // Each value once: a body is long.
  const given = db
    .$with('given', { body: comments.body, words: comments.words, runs: comments.runs })
    .as(sql`select ${body}::text as body, ${words}::text as words, ${runs}::text as runs`);
  const isChange = sql`(${given.body} is not null and ${given.body} <> ${comments.body})`;
  const next = (changed: SQL, kept: SQL) =>
    sql`case when ${isChange} then ${changed} else ${kept} end`;
  const changed = db.$with('changed').as(
    db
      .update(comments)
      .set({
        body: next(sql`${given.body}`, sql`${comments.body}`),
        words: next(taskSearchText(given.words, comments.project_id), sql`${comments.words}`),
        runs: next(sql`${given.runs}`, sql`${comments.runs}`),
        // A transaction that began earlier and waited for a lock must not turn the clock back.
        edited_at: next(
          sql`greatest(${comments.created_at}, ${comments.edited_at}, now())`,
          sql`${comments.edited_at}`,
        ),
        version: sql`${comments.version} + ${isChange}::int`,
        // Keeps a stale search index stale.
        words_version: next(sql`-(${comments.version} + 1)`, sql`${comments.words_version}`),
      })
      .from(locked)
      .innerJoin(given, sql`true`)
      // Comments that have moved with their task since are not in the project whose access was checked.
      .where(and(isOne(params), eq(comments.project_id, locked.project_id)))
      .returning(commentColumns),
  );
  return writeWithAccess<Comment>(db, access, changed, locked, given);
});

const deleteOne = prepared((db, params: QueryParams<ChangedComment>) => {
  const access = accessOf(db, params);
  const locked = lockOf(db, access, deletions);
  // The number of its comments changes.
  const task = db.$with('task').as(
    db
      .select({ id: tasks.id })
      .from(locked)
      .innerJoin(tasks, and(eq(tasks.id, locked.task_id), eq(tasks.project_id, locked.project_id)))
      .for('no key update', { of: tasks }),
  );
  const deleted = db.$with('deleted', { id: comments.id }).as(sql`
    delete from ${comments} using ${task} where ${isOne(params)} and ${comments.task_id} = ${task.id}
    returning ${comments.id}`);
  return writeWithAccess<{ id: string }>(db, access, deleted, locked, task);
});
