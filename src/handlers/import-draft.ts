/** Writes the projects of an import in small statements. They are not visible until the last statement publishes them. */
import { and, eq, inArray, not, sql } from 'drizzle-orm';
import { actorOf, setActor, suppressEvents } from '../db/authorization.ts';
import { oneCall } from '../db/batching.ts';
import type { Database } from '../db/database.ts';
import { onViolation } from '../db/errors.ts';
import {
  commentLexemes,
  projectLexemes,
  projectSearchColumns,
  taskLexemes,
  taskSearchText,
} from '../db/full-text.ts';
import {
  type ClaimedKey,
  type Created,
  claimKey,
  claimOrReplay,
  type IdempotencyKey,
  isFirstUse,
  storedResponse,
  storeResponse,
} from '../db/idempotency.ts';
import { columnsOf } from '../db/row-mapper.ts';
import { decodeRow, insertRow, noTable } from '../db/row-values.ts';
import { comments, project_members, projects, tasks } from '../db/schema.ts';
import { projectColumns } from '../db/visible-columns.ts';
import { idTaken, Problem, validationProblem } from '../errors/problem.ts';
import { newId } from '../lib/new-id.ts';
import type { CurrentUser } from '../schemas/current-user.ts';
import type { ImportReport } from '../schemas/import-reports.ts';
import type { ExportedComment, ExportedTask } from '../schemas/project-exports.ts';
import { type ProjectImported, UNASSIGNED_NAMED_MAX } from '../schemas/project-imports.ts';
import type { Project } from '../schemas/projects.ts';
import { BLOCKERS_MAX, COMMENTS_PER_TASK_MAX } from '../schemas/tasks.ts';
import { tooSlow } from './import-reader.ts';
import { draftedFields, draftsOf } from './task-drafts.ts';
import { parentRefusals } from './task-tree.ts';

/** A statement writes up to this many tasks or comments, or this many characters of them. */
const BATCH_ROWS_MAX = 500;
const BATCH_CHARACTERS_MAX = 512 * 1024;

/** Older drafts are left over from a process that died. An import takes much less time, so none that runs is deleted. */
const LEFTOVER_MINUTES_MIN = 60;
/** Each import deletes up to this many leftovers. */
const SWEPT_PROJECTS_MAX = 2;
const DELETED_TASKS_MAX = 5000;

/** A project as it is published. */
export interface DraftedProject {
  id: string;
  name: string;
  description: string | null;
  archived_at: string | null;
  created_at: string;
  updated_at: string;
  viewers_may_comment: boolean;
}

/** Returns a draft: it writes tasks and comments in batches, one while the next is read, into projects that are not visible yet. */
export function createDraft(db: Database, user: CurrentUser) {
  const begun = new Set<string>();
  const unassigned: ProjectImported['unassigned'] = [];
  const counts = { tasks: 0, comments: 0, unassigned_total: 0 };
  /** The id of each task that has a `ref`. */
  const ids = new Map<string, DraftedRef>();
  const relations: Relation[] = [];
  let batch: DraftBatch = { tasks: [], comments: [] };
  let characters = 0;
  let writing: Promise<unknown> = Promise.resolve();

  async function begin(projectId: string) {
    if (begun.has(projectId)) return;
    const drafting = { projects_pkey: () => idTaken('body.project.id') };
    await onViolation(drafting, beginProject(db, user, projectId));
    begun.add(projectId);
  }

  function addRef(ref: string, { id, project_id }: DraftedTask, index: number) {
    if (ids.has(ref))
      throw validationProblem([
        {
          location: `body.tasks.${index}.ref`,
          code: 'repeated',
          message: 'must not be the ref of another task',
        },
      ]);
    ids.set(ref, { id, project_id, comments: 0 });
  }

  async function flush() {
    const drafted = batch;
    batch = { tasks: [], comments: [] };
    characters = 0;
    await writing;
    for (const { project_id } of drafted.tasks) await begin(project_id);
    writing = onViolation(takenIds, insertBatch(db, drafted));
    // The next batch awaits it. Until then this handler keeps a failure from being an unhandled rejection.
    writing.catch(() => undefined);
  }

  async function flushIfFull(added: number) {
    characters += added;
    const rows = batch.tasks.length + batch.comments.length;
    if (rows === BATCH_ROWS_MAX || characters > BATCH_CHARACTERS_MAX) await flush();
  }

  return {
    async add(task: ExportedTask, line: number, projectId: string) {
      const { ref, parent, blocked_by, ...fields } = task;
      const drafted = draftOf(fields, user, projectId);
      if (ref !== undefined) addRef(ref, drafted, counts.tasks);
      if (parent !== undefined || blocked_by?.length)
        relations.push({ id: drafted.id, project_id: projectId, line, parent, blocked_by });
      if (task.assignee !== null && drafted.assignee_id === null) {
        counts.unassigned_total += 1;
        if (unassigned.length < UNASSIGNED_NAMED_MAX)
          unassigned.push({ line, task_id: drafted.id, username: task.assignee });
      }
      counts.tasks += 1;
      batch.tasks.push(drafted);
      await flushIfFull(task.title.length + (task.description?.length ?? 0));
    },

    /** Leaves out a comment on a task that has not been added. @throws {Problem} `validation_failed` for too many on one. */
    async addComment(comment: ExportedComment, index: number) {
      const task = ids.get(comment.task);
      if (!task) return;
      task.comments += 1;
      if (task.comments > COMMENTS_PER_TASK_MAX) throw tooManyComments(index);
      counts.comments += 1;
      batch.comments.push(commentDraftOf(comment, user, task));
      await flushIfFull(comment.body.length);
    },

    /** Publishes the projects, of which there is at least one. @param foreign of a document of another program. */
    async publish(
      drafted: readonly DraftedProject[],
      request: IdempotencyKey | undefined,
      { report, orphans }: ForeignFindings = {},
    ) {
      await flush();
      await writing;
      for (const { id } of drafted) await begin(id);
      await onViolation(parentRefusals('body.tasks'), relateTasks(db, relations, ids, orphans));
      return publishProjects(db, user, drafted, { ...counts, unassigned, report }, request);
    },

    /** Deletes the projects. A later import sweeps what cannot be deleted now. */
    async rollBack() {
      await writing.catch(() => undefined);
      for (const id of begun) await discardProject(db, id).catch(() => undefined);
    },
  };
}

type DraftedTask = ReturnType<typeof draftOf>;

/** A comment comes after its task. */
interface DraftBatch {
  tasks: DraftedTask[];
  comments: ReturnType<typeof commentDraftOf>[];
}

const takenIds = {
  tasks_pkey: () => idTaken('body.tasks'),
  comments_pkey: () => idTaken('body.comments'),
};

async function insertBatch(db: Database, drafted: DraftBatch) {
  await insertTasks(db, drafted.tasks);
  await insertComments(db, drafted.comments);
}

const tooManyComments = (index: number) =>
  validationProblem([
    {
      location: `body.comments.${index}.task`,
      code: 'too_many',
      message: `at most ${COMMENTS_PER_TASK_MAX} comments on a task`,
    },
  ]);

function draftOf(
  { assignee, created_by, ...task }: Omit<ExportedTask, 'ref' | 'parent' | 'blocked_by'>,
  user: CurrentUser,
  projectId: string,
) {
  return {
    ...task,
    due_on: task.due_on ?? null,
    parent_id: null,
    blocked_by: [],
    id: newId(task.id),
    project_id: projectId,
    assignee_id: ownIdOf(user, assignee),
    created_by: ownIdOf(user, created_by),
    version: 1,
    words_version: -1,
    comment_count: 0,
    ...taskLexemes(task),
  };
}

const commentDraftOf = (
  { id, task: _, author, ...comment }: ExportedComment,
  user: CurrentUser,
  task: DraftedRef,
) => ({
  ...comment,
  id: newId(id),
  project_id: task.project_id,
  task_id: task.id,
  author_id: ownIdOf(user, author),
  version: 1,
  words_version: -1,
  ...commentLexemes(comment.body),
});

/** Returns the user's id where the name is theirs. */
const ownIdOf = (user: CurrentUser, username: string | null) =>
  username?.toLowerCase() === user.username.toLowerCase() ? user.id : null;

/** Creates the invisible project. @throws {Problem} `invalid_token` where the account was deleted. */
async function beginProject(db: Database, user: CurrentUser, projectId: string) {
  await sweepLeftovers(db);
  const now = sql`now()`;
  // The name of the project may stand at the end of the document.
  const project = insertRow(projects, {
    ...{ id: projectId, name: '', description: null, archived_at: null },
    viewers_may_comment: false,
    ...{ created_at: now, updated_at: now, version: 1, words_version: -1 },
    ...projectSearchColumns(projectLexemes(nameless)),
  });
  const begun = db
    .$with('begun')
    .as(
      db
        .insert(projects)
        .select(db.select(project).from(noTable).where(suppressEvents))
        .returning({ id: projects.id }),
    );
  const row = insertRow(project_members, {
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
  await db
    .insert(tasks)
    .select(
      db.select(insertRow(tasks, draftedFields)).from(draftsOf(drafted)).where(suppressEvents),
    );
}

async function insertComments(db: Database, drafted: DraftBatch['comments']) {
  if (drafted.length === 0) return;
  const draft = (name: string) => sql`draft.${sql.identifier(name)}`;
  const row = insertRow(comments, {
    id: draft('id'),
    project_id: draft('project_id'),
    task_id: draft('task_id'),
    author_id: draft('author_id'),
    body: draft('body'),
    created_at: draft('created_at'),
    edited_at: draft('edited_at'),
    version: draft('version'),
    words: taskSearchText(draft('words'), draft('project_id')),
    runs: draft('runs'),
    words_version: draft('words_version'),
  });
  const rows = sql`json_to_recordset(${JSON.stringify(drafted)}::text::json) as draft (id uuid, project_id uuid, task_id uuid,
    author_id uuid, body text, created_at timestamptz, edited_at timestamptz, version int, words text, runs text, words_version int)`;
  await db.insert(comments).select(db.select(row).from(rows).where(suppressEvents));
}

/** What a task refers to, as the document names it. */
interface Relation extends Pick<ExportedTask, 'parent' | 'blocked_by'> {
  id: string;
  project_id: string;
  line: number;
}

interface DraftedRef extends Pick<DraftedTask, 'id' | 'project_id'> {
  /** How many comments on it have been added. */
  comments: number;
}

/** What was found in a document of another program. */
interface ForeignFindings {
  report?: ImportReport;
  /** The lines of the tasks whose parents are left out. */
  orphans?: ReadonlySet<number>;
}

/** Gives the tasks their parents and blockers, once all are there. Those that are not in the document are left out. */
async function relateTasks(
  db: Database,
  relations: readonly Relation[],
  ids: ReadonlyMap<string, DraftedRef>,
  orphans?: ReadonlySet<number>,
) {
  const found = relations.map(({ id, line, parent, blocked_by = [] }) => ({
    id,
    parent_id: (parent && !orphans?.has(line) && ids.get(parent)?.id) || null,
    blocked_by: blocked_by.flatMap((one) => ids.get(one)?.id ?? []).slice(0, BLOCKERS_MAX),
  }));
  for (let start = 0; start < found.length; start += BATCH_ROWS_MAX) {
    const some = JSON.stringify(found.slice(start, start + BATCH_ROWS_MAX));
    await db.execute(sql`
      update ${tasks} set parent_id = related.parent_id, blocked_by = related.blocked_by
      from json_to_recordset(${some}::text::json) as related (id uuid, parent_id uuid, blocked_by uuid[])
      where ${tasks.id} = related.id and ${suppressEvents}`);
  }
}

/** What a response has beside its projects. */
type Counts = Omit<ProjectImported, 'project' | 'projects' | 'report'> & {
  report: ImportReport | undefined;
};

const columns = { ...projectColumns, role: project_members.role };

/** A row for each project, with its search columns, whose words are text. */
const drafts = (drafted: readonly DraftedProject[]) => {
  const rows = drafted.map((one) => ({ ...one, ...projectLexemes(one) }));
  return sql`json_to_recordset(${JSON.stringify(rows)}::text::json) as draft (id uuid, name text,
    description text, archived_at timestamptz, created_at timestamptz, updated_at timestamptz, viewers_may_comment boolean, name_key text,
    name_words text, name_runs text, description_words text, description_runs text)`;
};

const published = {
  ...{ name: sql`draft.name`, description: sql`draft.description` },
  ...{ archived_at: sql`draft.archived_at`, created_at: sql`draft.created_at` },
  ...{ updated_at: sql`draft.updated_at`, name_key: sql`draft.name_key` },
  viewers_may_comment: sql`draft.viewers_may_comment`,
  ...{ name_words: sql`draft.name_words::tsvector`, name_runs: sql`draft.name_runs` },
  ...{ description_words: sql`draft.description_words::tsvector` },
  ...{ description_runs: sql`draft.description_runs` },
};

/** Makes all projects visible to their owner, or none; or finds the stored response to an earlier request with the key. */
async function publishProjects(
  db: Database,
  user: CurrentUser,
  drafted: readonly DraftedProject[],
  counts: Counts,
  request: IdempotencyKey | undefined,
): Promise<Created<ProjectImported>> {
  const claim = request && claimKey(db, user, request);
  const ids = drafted.map(({ id }) => id);
  const ofImport = and(
    inArray(project_members.project_id, ids),
    eq(project_members.user_id, user.id),
  );
  const fresh = db
    .select({ count: sql`count(*)` })
    .from(project_members)
    .where(and(ofImport, not(isLeftover(LEFTOVER_MINUTES_MIN / 2))));
  const shown = db.$with('shown').as(
    db
      .update(project_members)
      .set({ importing_since: null, created_at: sql`now()` })
      .where(
        and(
          ofImport,
          sql`${fresh} = ${ids.length}::int`,
          setActor(actorOf(user)),
          claim && isFirstUse(claim),
        ),
      )
      .returning({ project_id: project_members.project_id, role: project_members.role }),
  );
  const project = db.$with('project').as(
    db
      .update(projects)
      .set(published)
      .from(shown)
      .innerJoin(drafts(drafted), sql`draft.id = ${shown.project_id}`)
      .where(eq(projects.id, shown.project_id))
      .returning({ ...projectColumns, role: shown.role }),
  );
  const responseOf = (found: readonly (Project | null)[]): Created<ProjectImported> => {
    const byId = new Map(found.map((one) => [one?.id, one]));
    const rows = ids.map((id) => byId.get(id)).filter((one): one is Project => one != null);
    if (rows.length < ids.length) throw tooSlow();
    return { row: rowOf(rows, counts), replayed: false };
  };
  if (!claim)
    return responseOf((await db.with(shown, project).select().from(project)) as Project[]);
  const shownAll = db.$with('shown_all').as(
    db
      .select({ rows: sql`json_agg(row_to_json(project))`.as('rows') })
      .from(project)
      .having(sql`count(*) > 0`),
  );
  const answer = sql`json_build_object('ids', ${JSON.stringify(ids)}::text::json, 'projects', ${shownAll.rows}, 'counts', ${JSON.stringify(counts)}::text::json)`;
  const response = { from: shownAll, calls: oneCall, isOfCall: sql`true` };
  const found = await db
    .with(claim, shown, project, shownAll, ...storeResponse(db, user, request, answer, response))
    .select({ claim: columnsOf(claim), project: columnsOf(project) })
    .from(claim)
    .leftJoin(project, sql`true`);
  const replay = storedResponse(found[0]?.claim as ClaimedKey, request);
  if (replay) return { row: fromAnswer(replay), replayed: true };
  return responseOf(found.map((row) => row.project as Project | null));
}

/** A document of this API is one project, and its response has no report. */
function rowOf(all: Project[], { report, ...counts }: Counts): ProjectImported {
  const [project] = all as [Project];
  // A response that an earlier release stored has no number of comments.
  const { comments = 0 } = counts;
  return { project, ...counts, comments, ...(report && { projects: all, report }) };
}

function fromAnswer({
  ids,
  projects: rows,
  project,
  counts,
}: Record<string, unknown>): ProjectImported {
  // An earlier release stored one project.
  const stored = (rows ?? [project]) as Record<string, unknown>[];
  const decoded = stored.map((row) => decodeRow(columns, row) as unknown as Project);
  const place = ({ id }: Project) => (ids as string[] | undefined)?.indexOf(id) ?? 0;
  return rowOf(
    decoded.sort((one, other) => place(one) - place(other)),
    counts as Counts,
  );
}

/** Returns the stored response. @throws {Problem} `idempotency_key_reused`; `idempotency_in_flight` where it is gone. */
export async function readImported(
  db: Database,
  user: CurrentUser,
  request: IdempotencyKey,
): Promise<ProjectImported> {
  const replay = await claimOrReplay(db, user, request);
  if (!replay) throw new Problem('idempotency_in_flight');
  return fromAnswer(replay);
}

// --- Deleting --------------------------------------------------------------------------------------------------

const isLeftover = (minutes: number) =>
  sql`${project_members.importing_since} <= now() - make_interval(mins => ${minutes}::int)`;

/** Deletes the project in small statements. */
async function discardProject(db: Database, projectId: string) {
  const some = db
    .select({ id: tasks.id })
    .from(tasks)
    .where(eq(tasks.project_id, projectId))
    .limit(DELETED_TASKS_MAX);
  let deleted: unknown[];
  do {
    deleted = await db
      .delete(tasks)
      .where(and(inArray(tasks.id, some), suppressEvents))
      .returning({ id: tasks.id });
  } while (deleted.length > 0);
  await db.delete(projects).where(and(eq(projects.id, projectId), suppressEvents));
}

/** Deletes up to `SWEPT_PROJECTS_MAX` drafts whose process died. */
async function sweepLeftovers(db: Database) {
  const leftovers = await db
    .select({ project_id: project_members.project_id })
    .from(project_members)
    .where(isLeftover(LEFTOVER_MINUTES_MIN))
    .limit(SWEPT_PROJECTS_MAX);
  for (const { project_id } of leftovers) await discardProject(db, project_id);
}
