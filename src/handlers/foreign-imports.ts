/**
 * Imports the document of another program: lenient in what it reads, all or nothing in what it writes. Each item is read, made
 * to fit and written before the next, so memory does not grow with the document; a report says what was changed.
 */
// Decision: docs/decisions/42-foreign-imports.md
import type { Database } from '../db/database.ts';
import { type Created, hasStoredResponse, idempotencyKey } from '../db/idempotency.ts';
import { validationProblem } from '../errors/problem.ts';
import { type ForeignItem, faultAt, type Note } from '../formats/imports/foreign-task.ts';
import { readers } from '../formats/imports/readers.ts';
import { newId } from '../lib/new-id.ts';
import type { CurrentUser } from '../schemas/current-user.ts';
import {
  type ForeignFormat,
  IMPORTED_PROJECTS_MAX,
  type ImportQuery,
  type ImportReport,
} from '../schemas/import-reports.ts';
import type { ExportedTask } from '../schemas/project-exports.ts';
import type { ProjectImported } from '../schemas/project-imports.ts';
import { fitProjectName, fitTask } from './foreign-tasks.ts';
import { createForeignTree, type Unfit } from './foreign-tree.ts';
import { createDraft, readImported } from './import-draft.ts';
import { createFingerprint } from './import-reader.ts';
import { createReport } from './import-report.ts';

/** A document may have up to this many items, tasks or not: their identifiers are held, to tell repeated ones. */
const ITEMS_MAX = 100_000;
const ZONE_DEFAULT = 'UTC';

/** The name of a project that neither the document nor the client names. */
const nameOf: Record<ForeignFormat, string> = {
  icalendar: 'Calendar',
  csv: 'Tasks',
  todoist: 'Todoist',
  trello: 'Trello',
  taskwarrior: 'Taskwarrior',
  todotxt: 'todo.txt',
  github: 'GitHub issues',
};

type Options = Omit<ImportQuery, 'format' | 'dry_run'> & { format: ForeignFormat };

/** What receives the tasks, each with the id of its project. */
type Add = (task: ExportedTask, line: number, projectId: string) => Promise<void>;

/**
 * Creates the projects of a document with this user as their owner.
 * @throws {Problem} as `importProject` does; `validation_failed` for a document without a task.
 */
export async function importForeign(
  db: Database,
  user: CurrentUser,
  chunks: AsyncIterable<Uint8Array>,
  options: Options,
  key: string | undefined,
): Promise<Created<ProjectImported>> {
  const isReplay = key !== undefined && (await hasStoredResponse(db, user, key));
  const draft = createDraft(db, user);
  try {
    const { projects, report, fingerprint, orphans } = await readForeign(
      user,
      chunks,
      options,
      isReplay ? noop : draft.add,
    );
    if (report.tasks === 0) throw nothingToImport();
    const request = key === undefined ? undefined : await idempotencyKey(key, fingerprint);
    if (request && isReplay) return { row: await readImported(db, user, request), replayed: true };
    const now = new Date().toISOString();
    const created = await draft.publish(
      projects.map(({ id, name }) => ({
        ...{ id, name, description: null, archived_at: null },
        ...{ created_at: now, updated_at: now, viewers_may_comment: false },
      })),
      request,
      { report, orphans },
    );
    if (created.replayed) await draft.rollBack();
    return created;
  } catch (error) {
    await draft.rollBack();
    throw error;
  }
}

/** Returns what an import of the document would report. It writes nothing. @throws {Problem} as `importForeign` does. */
export async function reportForeign(
  user: CurrentUser,
  chunks: AsyncIterable<Uint8Array>,
  options: Options,
): Promise<ImportReport> {
  const { report } = await readForeign(user, chunks, options, noop);
  return report;
}

const noop = async () => undefined;

const nothingToImport = () =>
  validationProblem([
    {
      location: 'body',
      code: 'empty',
      message: 'has no task to import; with dry_run=true the response says what is left out',
    },
  ]);

interface ReadProject {
  id: string;
  name: string;
  tasks: number;
}

/** Reads the document to its end. */
async function readForeign(
  user: CurrentUser,
  chunks: AsyncIterable<Uint8Array>,
  { format: asked, time_zone: zone = ZONE_DEFAULT, name }: Options,
  add: Add,
) {
  const read = await readers[asked]();
  const report = createReport(zone);
  const fingerprint = createFingerprint();
  const projects = createProjects();
  const tree = createForeignTree();
  const now = new Date().toISOString();
  let format = asked;
  let documentName: string | undefined;
  let count = 0;

  for await (const piece of read(chunks, zone)) {
    await fingerprint.add(piece);
    if (piece.kind === 'format') format = piece.format;
    else if (piece.kind === 'name') documentName = fitName(piece.name);
    else {
      const { line, item, notes } = piece;
      count += 1;
      if (count > ITEMS_MAX)
        throw faultAt(line, `at most ${ITEMS_MAX} items: divide the document`, 'too_many');
      const task = piece.task && fitTask(piece.task, notes, line, user.username, now);
      if (task) {
        const projectId = projectOf(piece, notes);
        const placed = { ...task, position: placeOf(now, count) };
        await add(tree.add(placed, piece, projectId), line, projectId);
        if (task.assignee !== null && !isOf(user, task.assignee))
          notes.push({ code: 'person_left_out', field: 'assignee', value: task.assignee });
      }
      report.add({ line, item, title: task?.title }, notes);
    }
  }

  /** Returns the id of the project of an item. */
  function projectOf({ task }: ForeignItem, notes: Note[]): string {
    // A name for the whole document joins the repositories of issues.
    const given = name !== undefined && format === 'github' ? undefined : task?.project;
    const named = given === undefined ? undefined : fitProjectName(given, notes);
    const found = projects.find(named);
    if (found) return found;
    notes.push({ code: 'project_changed', field: 'project', value: named });
    return projects.find(undefined) as string;
  }

  /** A name of the document that is not valid is as good as none. */
  function fitName(given: string): string | undefined {
    const notes: Note[] = [];
    const fitted = fitProjectName(given, notes);
    report.add({ line: 1, item: undefined, title: undefined }, notes);
    return fitted;
  }

  const unfit = tree.unfit();
  for (const { at, notes } of unfit) report.add(at, notes);
  const isOrphan = ({ notes }: Unfit) => notes.some(({ code }) => code === 'parent_left_out');
  const named = projects.all(name ?? documentName ?? nameOf[format]);
  return {
    projects: named,
    report: report.of(
      format,
      named.map((project) => ({ name: project.name, tasks: project.tasks })),
    ),
    orphans: new Set(unfit.filter(isOrphan).map(({ at }) => at.line)),
    fingerprint: ['importForeign', asked, zone, name ?? null, await fingerprint.end()],
  };
}

/** The digits of the time and of the rest of a place, as `db/index-expressions` writes them. */
const PLACE_DIGITS = 12;

/** Returns the place of an item in the order by hand: in the order of the document, before what is created later. */
const placeOf = (now: string, count: number) =>
  [Date.parse(now), count].map((part) => part.toString(16).padStart(PLACE_DIGITS, '0')).join('');

const isOf = (user: CurrentUser, username: string) =>
  user.username.toLowerCase() === username.toLowerCase();

/** Collects the projects of a document, in the order in which their first tasks come. */
function createProjects() {
  const byName = new Map<string | undefined, { id: string; tasks: number }>();
  return {
    /** Returns the id of the project with this name; undefined where it is one too many. The one without a name is always there. */
    find(name: string | undefined): string | undefined {
      const known = byName.get(name);
      const room = name === undefined ? IMPORTED_PROJECTS_MAX : IMPORTED_PROJECTS_MAX - 1;
      if (!known && byName.size >= room) return undefined;
      const project = known ?? { id: newId(), tasks: 0 };
      project.tasks += 1;
      byName.set(name, project);
      return project.id;
    },
    all: (unnamed: string): ReadProject[] =>
      [...byName].map(([name, project]) => ({ ...project, name: name ?? unnamed })),
  };
}
