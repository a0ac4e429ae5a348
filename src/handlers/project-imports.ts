/**
 * Imports a project from the document that an export writes, or projects from one of another program. The tasks are written
 * as they arrive, in small statements, into a project that is not visible; one last statement publishes it and stores the response. So memory stays flat, no
 * transaction waits for a client, and a failure before that statement leaves nothing visible.
 */
// Decision: docs/decisions/10-hidden-imports.md
import type { Database } from '../db/database.ts';
import { type Created, hasStoredResponse, idempotencyKey } from '../db/idempotency.ts';
import { validationProblem } from '../errors/problem.ts';
import { detectFormat } from '../formats/imports/detect.ts';
import { type ConcurrencyLimit, limitConcurrency } from '../lib/concurrency-limit.ts';
import { limitFairly } from '../lib/fair-concurrency-limit.ts';
import { parseInstant } from '../lib/instant.ts';
import { newId } from '../lib/new-id.ts';
import { timeout } from '../lib/timeout.ts';
import type { CurrentUser } from '../schemas/current-user.ts';
import type { ImportQuery, ImportReport } from '../schemas/import-reports.ts';
import {
  findHeadErrors,
  type ImportedHead,
  type ProjectImported,
} from '../schemas/project-imports.ts';
import { importForeign, reportForeign } from './foreign-imports.ts';
import { createDraft, type DraftedProject, readImported } from './import-draft.ts';
import { type DocumentSink, readDocument, withDeadline } from './import-reader.ts';
import { createReport } from './import-report.ts';

/** Imports at once in a process. Each holds up to two batches, and a connection at times. */
const IMPORTS_MAX = 16;
const IMPORTS_PER_USER_MAX = 2;
const IMPORTS_PER_ADDRESS_MAX = 4;
/** Imports that wait. Their documents are not read yet. */
const WAITING_MAX = 64;
const WAITING_PER_USER_MAX = 8;
const WAIT_MAX_MS = 10_000;

/** Limits concurrent imports in total and per user, so that slow uploads do not block others. */
export function limitImports() {
  const ofAll = limitFairly(
    'imports',
    {
      inFlightMax: IMPORTS_MAX,
      inFlightPerClientMax: IMPORTS_PER_ADDRESS_MAX,
      waitingMax: WAITING_MAX,
    },
    timeout(WAIT_MAX_MS),
  );
  const byUser = new Map<string, ConcurrencyLimit>();

  return async <T>(
    { id }: CurrentUser,
    address: string | undefined,
    work: () => Promise<T>,
  ): Promise<T> => {
    const mine =
      byUser.get(id) ??
      limitConcurrency(
        'imports-user',
        IMPORTS_PER_USER_MAX,
        WAITING_PER_USER_MAX,
        timeout(WAIT_MAX_MS),
      );
    byUser.set(id, mine);
    try {
      return await mine.run(() => ofAll.run(address, work));
    } finally {
      if (mine.inFlight + mine.waiting === 0) byUser.delete(id);
    }
  };
}

export interface ImportRequest extends ImportQuery {
  mediaType: string;
  /** Of `Idempotency-Key`. It is bound to the content of the document, not to its format. */
  key: string | undefined;
}

/**
 * Imports a document, whose format its beginning tells, or reports what an import would make of it.
 * @throws {Problem} `malformed_json`, `validation_failed` with the line; `payload_too_large`; `malformed_request` for a
 * client that is too slow; `unsupported_media_type`; `idempotency_key_reused`, `idempotency_in_flight`; what `chunks` throws.
 */
export async function importDocument(
  db: Database,
  user: CurrentUser,
  chunks: AsyncIterable<Uint8Array>,
  { mediaType, key, ...query }: ImportRequest,
): Promise<{ created: Created<ProjectImported> } | { report: ImportReport }> {
  const { format: asked, dry_run, name, time_zone } = query;
  const { format, all } = await detectFormat(withDeadline(chunks), mediaType, asked);
  const isDry = dry_run === 'true';
  if (format === 'mantou') {
    return isDry
      ? { report: await reportProject(user, all, query) }
      : { created: await importProject(db, user, all, name, key) };
  }
  const options = { format, name, time_zone };
  return isDry
    ? { report: await reportForeign(user, all, options) }
    : { created: await importForeign(db, user, all, options, key) };
}

/**
 * Creates a project with this user as its owner. It leaves out assignees and creators other than the user, because the project
 * has no other member, and a document must not attribute its work to others.
 * @param name of the project, in place of the one in the document.
 */
async function importProject(
  db: Database,
  user: CurrentUser,
  chunks: AsyncIterable<Uint8Array>,
  name: string | undefined,
  key: string | undefined,
): Promise<Created<ProjectImported>> {
  // With a stored response, the document is read only to compare it with the first one.
  const isReplay = key !== undefined && (await hasStoredResponse(db, user, key));
  const draft = createDraft(db, user);
  let projectId: string | undefined;
  const sink: DocumentSink = {
    addTask(task, line, head) {
      projectId ??= newId(chosenIdOf(head));
      return draft.add(task, line, projectId);
    },
    addComment: draft.addComment,
  };
  try {
    const { head, fingerprint } = await readDocument(chunks, isReplay ? unread : sink);
    const asked = name === undefined ? fingerprint : [...fingerprint, name];
    const request = key === undefined ? undefined : await idempotencyKey(key, asked);
    if (request && isReplay) return { row: await readImported(db, user, request), replayed: true };
    const project = projectOf(head, projectId);
    const created = await draft.publish([{ ...project, name: name ?? project.name }], request);
    if (created.replayed) await draft.rollBack();
    return created;
  } catch (error) {
    await draft.rollBack();
    throw error;
  }
}

const noop = async () => undefined;
const unread: DocumentSink = { addTask: noop, addComment: noop };

/** Returns the id of the project, where the client has chosen one. */
function chosenIdOf({ project }: Record<string, unknown>): string | undefined {
  return findHeadErrors({ project }, '').some(({ location }) => /project/.test(location))
    ? undefined
    : (project as ImportedHead['project']).id;
}

/** @param begun the id under which tasks are written already. */
function projectOf({ project }: ImportedHead, begun: string | undefined): DraftedProject {
  const { archived_at, created_at, updated_at } = project;
  const id = begun ?? newId(project.id);
  if (project.id !== undefined && project.id.toLowerCase() !== id) throw misplacedId();
  return {
    ...{ id, name: project.name, description: project.description },
    archived_at: archived_at && (parseInstant(archived_at) ?? null),
    created_at: parseInstant(created_at) ?? created_at,
    updated_at: parseInstant(updated_at) ?? updated_at,
    viewers_may_comment: project.viewers_may_comment ?? false,
  };
}

const misplacedId = () =>
  validationProblem([
    { location: 'body.project.id', code: 'misplaced', message: 'must come before the tasks' },
  ]);

/** Returns what an import of a document of this API would report. It writes nothing. */
async function reportProject(
  user: CurrentUser,
  chunks: AsyncIterable<Uint8Array>,
  { name, time_zone = 'UTC' }: Pick<ImportQuery, 'name' | 'time_zone'>,
): Promise<ImportReport> {
  const report = createReport(time_zone);
  let tasks = 0;
  const { head } = await readDocument(chunks, {
    async addTask({ assignee, title }, line) {
      if (assignee !== null && assignee.toLowerCase() !== user.username.toLowerCase())
        report.add({ line, item: tasks, title }, [
          { code: 'person_left_out', field: 'assignee', value: assignee },
        ]);
      tasks += 1;
    },
    addComment: noop,
  });
  return report.of('mantou', [{ name: name ?? head.project.name, tasks }]);
}
