/** Writes the project of an import in small statements. It is not visible until the last statement publishes it. */
import { and, eq, inArray, not, sql } from 'drizzle-orm';
import { actorOf, setActor, suppressEvents } from '../db/authorization.ts';
import { oneCall } from '../db/batching.ts';
import type { Database } from '../db/database.ts';
import { onViolation } from '../db/errors.ts';
import { projectLexemes, projectSearchColumns, taskLexemes } from '../db/full-text.ts';
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
import { project_members, projects, tasks } from '../db/schema.ts';
import { projectColumns } from '../db/visible-columns.ts';
import { idTaken, Problem, validationProblem } from '../errors/problem.ts';
import { parseInstant } from '../lib/instant.ts';
import { newId } from '../lib/new-id.ts';
import type { CurrentUser } from '../schemas/current-user.ts';
import type { ExportedTask } from '../schemas/project-exports.ts';
import {
  findHeadErrors,
  type ImportedHead,
  type ProjectImported,
  UNASSIGNED_NAMED_MAX,
} from '../schemas/project-imports.ts';
import type { Project } from '../schemas/projects.ts';
import { tooSlow } from './import-reader.ts';
import { draftedFields, draftsOf } from './task-drafts.ts';

/** A statement writes up to this many tasks, or this many characters of them. */
const BATCH_TASKS_MAX = 500;
const BATCH_CHARACTERS_MAX = 512 * 1024;

/** Older drafts are left over from a process that died. An import takes much less time, so none that runs is deleted. */
const LEFTOVER_MINUTES_MIN = 60;
/** Each import deletes up to this many leftovers. */
const SWEPT_PROJECTS_MAX = 2;
const DELETED_TASKS_MAX = 5000;

/** Returns a draft: it writes tasks in batches, one while the next is read, into a project that is not visible yet. */
export function createDraft(db: Database, user: CurrentUser) {
  let projectId: string | undefined;
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
    projectId ??= newId();
    const drafting = { projects_pkey: () => idTaken('body.project.id') };
    if (!begun) await onViolation(drafting, beginProject(db, user, projectId));
    begun = true;
    writing = onViolation({ tasks_pkey: () => idTaken('body.tasks') }, insertTasks(db, drafted));
    // The next batch awaits it. Until then this handler keeps a failure from being an unhandled rejection.
    writing.catch(() => undefined);
  }

  return {
    /** @param head what came before the tasks, unchecked. */
    async add(task: ExportedTask, line: number, head: Record<string, unknown>) {
      projectId ??= newId(chosenIdOf(head));
      const drafted = draftOf(task, user, projectId);
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

    /** Publishes the project. */
    async publish({ project }: ImportedHead, request?: IdempotencyKey) {
      const { id } = project;
      projectId ??= newId(id);
      if (id !== undefined && id.toLowerCase() !== projectId) throw misplacedId();
      await flush();
      await writing;
      return publishProject(db, user, projectId, project, { ...counts, unassigned }, request);
    },

    /** Deletes the project. A later import sweeps what cannot be deleted now. */
    async rollBack() {
      await writing.catch(() => undefined);
      if (begun && projectId) await discardProject(db, projectId).catch(() => undefined);
    },
  };
}

/** Returns the id of the project, where the client has chosen one. */
function chosenIdOf({ project }: Record<string, unknown>): string | undefined {
  return findHeadErrors({ project }, '').some(({ location }) => /project/.test(location))
    ? undefined
    : (project as ImportedHead['project']).id;
}

const misplacedId = () =>
  validationProblem([
    { location: 'body.project.id', code: 'misplaced', message: 'must come before the tasks' },
  ]);

type DraftedTask = ReturnType<typeof draftOf>;

function draftOf(
  { assignee, created_by, ...task }: ExportedTask,
  user: CurrentUser,
  projectId: string,
) {
  const idOf = (username: string | null) =>
    username?.toLowerCase() === user.username.toLowerCase() ? user.id : null;
  return {
    ...task,
    due_on: task.due_on ?? null,
    id: newId(task.id),
    project_id: projectId,
    assignee_id: idOf(assignee),
    created_by: idOf(created_by),
    version: 1,
    words_version: -1,
    ...taskLexemes(task),
  };
}

/** Creates the invisible project. @throws {Problem} `invalid_token` where the account was deleted. */
async function beginProject(db: Database, user: CurrentUser, projectId: string) {
  await sweepLeftovers(db);
  const now = sql`now()`;
  // The name of the project may stand at the end of the document.
  const project = insertRow(projects, {
    ...{ id: projectId, name: '', description: null, archived_at: null },
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

type Counts = Omit<ProjectImported, 'project'>;

const columns = { ...projectColumns, role: project_members.role };

/** Makes the project visible to its owner, or finds the stored response to an earlier request with the key. */
async function publishProject(
  db: Database,
  user: CurrentUser,
  projectId: string,
  { id: _, archived_at, created_at, updated_at, ...texts }: ImportedHead['project'],
  counts: Counts,
  request: IdempotencyKey | undefined,
): Promise<Created<ProjectImported>> {
  const claim = request && claimKey(db, user, request);
  const shown = db.$with('shown').as(
    db
      .update(project_members)
      .set({ importing_since: null, created_at: sql`now()` })
      .where(
        and(
          eq(project_members.project_id, projectId),
          eq(project_members.user_id, user.id),
          not(isLeftover(LEFTOVER_MINUTES_MIN / 2)),
          setActor(actorOf(user)),
          claim && isFirstUse(claim),
        ),
      )
      .returning({ project_id: project_members.project_id, role: project_members.role }),
  );
  const project = db.$with('project').as(
    db
      .update(projects)
      .set({
        ...texts,
        ...projectSearchColumns(projectLexemes(texts)),
        archived_at: archived_at && (parseInstant(archived_at) ?? null),
        created_at: parseInstant(created_at),
        updated_at: parseInstant(updated_at),
      })
      .from(shown)
      .where(eq(projects.id, shown.project_id))
      .returning({ ...projectColumns, role: shown.role }),
  );
  if (!claim) {
    const [row] = await db.with(shown, project).select().from(project);
    if (!row) throw tooSlow();
    return { row: { project: row as Project, ...counts }, replayed: false };
  }
  const answer = sql`json_build_object('project', row_to_json(project), 'counts', ${JSON.stringify(counts)}::text::json)`;
  const response = { from: project, calls: oneCall, isOfCall: sql`true` };
  const [found] = await db
    .with(claim, shown, project, ...storeResponse(db, user, request, answer, response))
    .select({ claim: columnsOf(claim), project: columnsOf(project) })
    .from(claim)
    .leftJoin(project, sql`true`);
  const replay = storedResponse(found?.claim as ClaimedKey, request);
  if (replay) return { row: fromAnswer(replay), replayed: true };
  if (!found?.project) throw tooSlow();
  return { row: { project: found.project as Project, ...counts }, replayed: false };
}

const fromAnswer = ({ project, counts }: Record<string, unknown>): ProjectImported => ({
  project: decodeRow(columns, project as Record<string, unknown>) as unknown as Project,
  ...(counts as Counts),
});

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
