/** Exports a project page by page: as a document that can be imported again, or as a table. */
import { and, eq, isNotNull, type SQL, sql } from 'drizzle-orm';
import { alias } from 'drizzle-orm/pg-core';
import { isOfTask, projectAccess, visibleTo } from '../db/authorization.ts';
import type { Database } from '../db/database.ts';
import { placeOf } from '../db/index-expressions.ts';
import { afterRow, oldestFirst, pagesOf, WALK_PAGE_ROWS } from '../db/pagination.ts';
import { columnsOf } from '../db/row-mapper.ts';
import { rowsOrNotFound } from '../db/row-values.ts';
import { comments, project_members, projects, tasks, users } from '../db/schema.ts';
import { Problem } from '../errors/problem.ts';
import { asText, csvLines } from '../formats/csv.ts';
import type { CurrentUser } from '../schemas/current-user.ts';
import {
  type ExportedComment,
  type ExportedProject,
  type ExportedTask,
  type ExportQuery,
  PROJECT_FORMAT,
  PROJECT_FORMAT_VERSION,
} from '../schemas/project-exports.ts';
import { conditionOf } from './task-filters.ts';

/**
 * Yields the text of the document, piece by piece, each task that passes the filters on a line of its own, and then each of their
 * comments. A change during the export may be in it or not; each row is complete.
 * @throws {Problem} before the first piece: `validation_failed` for filters that contradict each other, `not_found`; the
 * latter also later, if the user has lost access to the project.
 */
export async function* exportProject(
  db: Database,
  user: CurrentUser,
  projectId: string,
  filters: Omit<ExportQuery, 'format'>,
): AsyncGenerator<string> {
  const matches = conditionOf(user, filters, tasks.project_id);
  const head = {
    format: PROJECT_FORMAT,
    format_version: PROJECT_FORMAT_VERSION,
    exported_at: new Date().toISOString(),
    project: await findProject(db, user, projectId),
  };
  // The list takes the place of the closing brace of the head.
  yield `${JSON.stringify(head).slice(0, -1)},"tasks":[`;
  const tasksInLines = createLines();
  const isInOrder = await isOrdered(db, projectId);
  for await (const page of pagesOfTasks(db, user, projectId, matches, isInOrder))
    yield tasksInLines(page.map(exported));
  yield '\n],"comments":[';
  const commentsInLines = createLines();
  for await (const page of pagesOfComments(db, user, projectId, matches))
    yield commentsInLines(page.map(({ id: _, ...comment }) => comment satisfies ExportedComment));
  yield '\n]}\n';
}

/** Returns a function that writes items of one list, each on a line of its own. */
function createLines() {
  let separator = '\n';
  return (items: readonly object[]) =>
    items
      .map((item) => {
        const line = separator + JSON.stringify(item);
        separator = ',\n';
        return line;
      })
      .join('');
}

/** Yields the tasks as lines of a table, after a line with the names of the columns. @throws {Problem} as `exportProject` does. */
export async function* exportTaskTable(
  db: Database,
  user: CurrentUser,
  projectId: string,
  filters: Omit<ExportQuery, 'format'>,
): AsyncGenerator<string> {
  const matches = conditionOf(user, filters, tasks.project_id);
  await findProject(db, user, projectId);
  yield csvLines([columns]);
  for await (const page of pagesOfTasks(db, user, projectId, matches))
    yield csvLines(page.map(cellsOf));
}

async function findProject(
  db: Database,
  user: CurrentUser,
  projectId: string,
): Promise<ExportedProject> {
  const { name, description, archived_at, created_at, updated_at, viewers_may_comment } = projects;
  const [project] = await db
    .select({ name, description, archived_at, created_at, updated_at, viewers_may_comment })
    .from(projects)
    .innerJoin(project_members, visibleTo(user, projects.id))
    .where(eq(projects.id, projectId));
  if (!project) throw new Problem('not_found');
  return project;
}

interface Row extends Required<Omit<ExportedTask, 'position' | 'ref' | 'parent'>> {
  position: string | null;
  parent_id: string | null;
  /** Whether another task or a comment refers to it. */
  is_referred: boolean;
}

/** Returns whether a task of the project was put somewhere by hand. */
async function isOrdered(db: Database, projectId: string): Promise<boolean> {
  const found = await db
    .select({ id: tasks.id })
    .from(tasks)
    .where(and(eq(tasks.project_id, projectId), isNotNull(tasks.position)))
    .limit(1);
  return found.length > 0;
}

/** Returns the task of the document. What few tasks have is left out of the others. */
const exported = ({
  id,
  position,
  parent_id,
  blocked_by,
  is_referred,
  ...task
}: Row): ExportedTask => ({
  ...task,
  ...(position !== null && { position }),
  ...(is_referred && { ref: id }),
  ...(parent_id !== null && { parent: parent_id }),
  ...(blocked_by.length > 0 && { blocked_by }),
});

/** Each page checks the access again. */
const pagesOfTasks = (
  db: Database,
  user: CurrentUser,
  projectId: string,
  matches: SQL | undefined,
  isInOrder = false,
) => pagesOf<Row>((last) => readPage(db, user, projectId, matches, isInOrder, last));

async function readPage(
  db: Database,
  user: CurrentUser,
  projectId: string,
  matches: SQL | undefined,
  isInOrder: boolean,
  last: Pick<Row, 'created_at' | 'id'> | undefined,
): Promise<Row[]> {
  const access = projectAccess(db, user, projectId);
  const [assignees, creators] = [alias(users, 'assignees'), alias(users, 'creators')];
  const page = db
    .select({
      id: tasks.id,
      title: tasks.title,
      description: tasks.description,
      status: tasks.status,
      priority: tasks.priority,
      due_at: tasks.due_at,
      due_on: tasks.due_on,
      assignee: sql<string | null>`${assignees.username}`.as('assignee'),
      labels: tasks.labels,
      completed_at: tasks.completed_at,
      created_at: tasks.created_at,
      updated_at: tasks.updated_at,
      created_by: sql<string | null>`${creators.username}`.as('creator'),
      // An import makes new ids, which are a part of the place of a task that was never put anywhere.
      position: sql<string | null>`${isInOrder ? placeOf(tasks) : sql`null`}`.as('position'),
      parent_id: tasks.parent_id,
      blocked_by: tasks.blocked_by,
      is_referred: sql<boolean>`${tasks.comment_count} > 0
        or exists (select from ${tasks} other where other.parent_id = ${tasks.id})
        or exists (select from ${tasks} other where other.blocked_by @> array[${tasks.id}] and other.blocked_by <> '{}')`.as(
        'is_referred',
      ),
    })
    .from(tasks)
    .leftJoin(assignees, eq(assignees.id, tasks.assignee_id))
    .leftJoin(creators, eq(creators.id, tasks.created_by))
    .where(and(sql`${tasks.project_id} = ${access.project_id}`, matches, afterRow(tasks, last)))
    .orderBy(...oldestFirst(tasks))
    .limit(WALK_PAGE_ROWS)
    .as('page');
  const rows = await db
    .with(access)
    .select({ access: access.project_id, task: columnsOf(page) })
    .from(access)
    .leftJoinLateral(page, sql`true`)
    .orderBy(...oldestFirst(page));
  return rowsOrNotFound(rows, 'task');
}

type CommentRow = Required<ExportedComment>;

/** Pages of the comments on the tasks that pass the filters. Each checks the access again. */
const pagesOfComments = (
  db: Database,
  user: CurrentUser,
  projectId: string,
  matches: SQL | undefined,
) => pagesOf<CommentRow>((last) => readComments(db, user, projectId, matches, last));

async function readComments(
  db: Database,
  user: CurrentUser,
  projectId: string,
  matches: SQL | undefined,
  last: Pick<CommentRow, 'created_at' | 'id'> | undefined,
): Promise<CommentRow[]> {
  const access = projectAccess(db, user, projectId);
  const page = db
    .select({
      id: comments.id,
      task: comments.task_id,
      body: comments.body,
      author: users.username,
      created_at: comments.created_at,
      edited_at: comments.edited_at,
    })
    .from(comments)
    .innerJoin(tasks, isOfTask)
    .leftJoin(users, eq(users.id, comments.author_id))
    .where(
      and(sql`${comments.project_id} = ${access.project_id}`, matches, afterRow(comments, last)),
    )
    .orderBy(...oldestFirst(comments))
    .limit(WALK_PAGE_ROWS)
    .as('page');
  const rows = await db
    .with(access)
    .select({ access: access.project_id, comment: columnsOf(page) })
    .from(access)
    .leftJoinLateral(page, sql`true`)
    .orderBy(...oldestFirst(page));
  return rowsOrNotFound(rows, 'comment');
}

const columns = [
  'id',
  'title',
  'description',
  'status',
  'priority',
  'due_at',
  'due_on',
  'assignee',
  'labels',
  'completed_at',
  'created_at',
  'updated_at',
  'created_by',
  'parent_id',
  'blocked_by',
] as const satisfies (keyof Row)[];

const cellsOf = (task: Row) => {
  const cells = {
    ...task,
    title: asText(task.title),
    description: asText(task.description),
    assignee: asText(task.assignee),
    // A label holds no comma.
    labels: asText(task.labels.join(',')),
    created_by: asText(task.created_by),
    blocked_by: task.blocked_by.join(',') || null,
  };
  return columns.map((name) => cells[name]);
};
