/**
 * The trash. A deleted task is a row of `trashed_tasks`, which a trigger writes. A deleted project stays in place: its
 * members' rows are hidden, as they are during an import, so that no statement sees it. What is older than the retention
 * time is invisible at once, and `postgres/purge-trash.ts` deletes it in small steps.
 */
// Decision: docs/decisions/41-trash.md
import {
  and,
  eq,
  getTableColumns,
  inArray,
  isNull,
  type SQL,
  type SQLWrapper,
  sql,
} from 'drizzle-orm';
import {
  actorOf,
  isPermitted,
  membershipOf,
  setActor,
  taskWriteLock,
  trashedTaskAccess,
  unwrapWrite,
  writeWithAccess,
} from '../db/authorization.ts';
import type { Database } from '../db/database.ts';
import { onViolation } from '../db/errors.ts';
import {
  afterCursor,
  type CursorPosition,
  orderBy,
  parsePage,
  type SortOrder,
  toPage,
} from '../db/pagination.ts';
import { prepared, type QueryParam, type QueryParams, rawQuery } from '../db/prepared.ts';
import {
  comments,
  project_members,
  projects,
  tasks,
  trashed_projects,
  trashed_tasks,
  users,
} from '../db/schema.ts';
import { projectColumns, taskColumns } from '../db/visible-columns.ts';
import { Problem } from '../errors/problem.ts';
import type { CurrentUser } from '../schemas/current-user.ts';
import type { Project } from '../schemas/projects.ts';
import type { Task } from '../schemas/tasks.ts';
import type { Restored, TrashItem, TrashPage } from '../schemas/trash.ts';
import type { PageQuery } from '../schemas/types/page.ts';
import { writes } from './task-fields.ts';

/** A user may restore their own projects. */
const owns = eq(project_members.role, 'owner');

/** One statement empties up to this many rows. */
const EMPTIED_ROWS_MAX = 2000;

const latestFirst: Omit<SortOrder<TrashItem>, 'by' | 'id'> = {
  type: 'timestamptz',
  descending: true,
  keyOf: ({ deleted_at }) => deleted_at,
  idOf: ({ id }) => id,
};

/** Returns a page of what the user may restore, latest first. @throws {Problem} `invalid_cursor`. */
export async function listTrash(
  db: Database,
  user: CurrentUser,
  query: PageQuery,
  retentionSeconds: number,
): Promise<TrashPage> {
  const order = { ...latestFirst, by: trashed_tasks.deleted_at, id: trashed_tasks.id };
  const page = await parsePage<TrashItem>('trash', query, order);
  const { position, count } = page;
  const params = { user: { id: user.id }, retention: retentionSeconds, position, count };
  const rows = await selectTrash(db, params);
  return toPage(
    page,
    rows.map((row) => ({
      ...row,
      purge_at: new Date(Date.parse(row.deleted_at) + retentionSeconds * 1000).toISOString(),
    })),
  );
}

interface TrashParams {
  user: Pick<CurrentUser, 'id'>;
  retention: number;
  position: CursorPosition | undefined;
  count: number;
}

/** The tasks of each project are read by their index, so that no page reads more of a project than it can show. */
const selectTrash = prepared((_db, params: QueryParams<TrashParams>) => {
  const { user, position } = params;
  const pageOf = (table: typeof trashed_tasks | typeof trashed_projects) => {
    const keyset = { by: table.deleted_at, id: table.id };
    return {
      where: and(
        isKept(table.deleted_at, params.retention),
        afterCursor(position, { ...latestFirst, ...keyset }),
      ),
      order: sql.join(orderBy({ ...latestFirst, ...keyset }), sql`, `),
    };
  };
  const limit = sql`${params.count}::bigint`;
  const [ofTasks, ofProjects] = [pageOf(trashed_tasks), pageOf(trashed_projects)];
  return rawQuery<Omit<TrashItem, 'purge_at'>>(
    sql`
    select page.id, 'task' as type, page.task ->> 'title' as name, ${projects.id} as project_id,
      ${projects.name} as project_name, page.deleted_at, page.deleted_by
    from ${project_members}
    join ${projects} on ${projects.id} = ${project_members.project_id}
    cross join lateral (
      select * from ${trashed_tasks}
      where ${trashed_tasks.project_id} = ${project_members.project_id} and ${ofTasks.where}
        and not exists (select from ${trashed_tasks} parent where ${wentWith(trashed, sql`parent`)})
      order by ${ofTasks.order} limit ${limit}
    ) page
    where ${membershipOf(user)} and ${isPermitted({ role: project_members.role, archived_at: projects.archived_at }, writes)}
    union all
    select ${trashed_projects.id}, 'project', ${projects.name}, ${projects.id}, ${projects.name},
      ${trashed_projects.deleted_at}, ${trashed_projects.deleted_by}
    from ${project_members}
    join ${trashed_projects} on ${trashed_projects.id} = ${project_members.project_id}
    join ${projects} on ${projects.id} = ${trashed_projects.id}
    where ${project_members.user_id} = ${user.id} and ${owns} and ${isNull(trashed_projects.discarded_at)} and ${ofProjects.where}
    order by deleted_at desc, id desc limit ${limit}`,
    {
      id: trashed_tasks.id,
      type: sql`type`,
      name: projects.name,
      project_id: projects.id,
      project_name: projects.name,
      deleted_at: trashed_tasks.deleted_at,
      deleted_by: trashed_tasks.deleted_by,
    },
  );
});

/** As the table is called where a list reads it. */
const trashed = sql`${trashed_tasks}`;

/** The condition that the retention time is not over. */
const isKept = (deletedAt: SQLWrapper, retentionSeconds: QueryParam<number>) =>
  sql`${deletedAt} > now() - make_interval(secs => ${retentionSeconds}::int)`;

// --- Restoring -------------------------------------------------------------------------------------------------

/**
 * Restores a task into its project, or a project with all that it had.
 * @throws {Problem} `not_found`, `forbidden`; `conflict` where the project of the task is archived or in the trash.
 */
export async function restore(
  db: Database,
  user: CurrentUser,
  id: string,
  retentionSeconds: number,
): Promise<Restored> {
  const project = await restoreProject(db, user, id, retentionSeconds);
  if (project) return { type: 'project', project, task: null };
  const task = await restoreTask(db, user, id, retentionSeconds);
  return { type: 'task', task, project: null };
}

async function restoreProject(
  db: Database,
  user: CurrentUser,
  id: string,
  retentionSeconds: number,
): Promise<Project | undefined> {
  const locked = ownTrashedProject(db, user, id, retentionSeconds);
  const taken = db
    .$with('taken')
    .as(
      db
        .delete(trashed_projects)
        .where(sql`${trashed_projects.id} in (select id from ${locked})`)
        .returning({ id: trashed_projects.id }),
    );
  const shown = db.$with('shown').as(
    db
      .update(project_members)
      .set({ importing_since: null })
      .from(taken)
      .where(eq(project_members.project_id, taken.id))
      .returning({
        project_id: project_members.project_id,
        user_id: project_members.user_id,
        role: project_members.role,
      }),
  );
  const [project] = await db
    .with(locked, taken, shown)
    .select({ ...projectColumns, role: shown.role })
    .from(shown)
    .innerJoin(projects, eq(projects.id, shown.project_id))
    .where(eq(shown.user_id, user.id));
  return project as Project | undefined;
}

/** `with locked as …`: the user's project in the trash. The project is locked before its members, as everywhere. */
const ownTrashedProject = (db: Database, user: CurrentUser, id: string, retentionSeconds: number) =>
  db.$with('locked').as(
    db
      .select({ id: projects.id })
      .from(trashed_projects)
      .innerJoin(projects, eq(projects.id, trashed_projects.id))
      .innerJoin(project_members, eq(project_members.project_id, projects.id))
      .where(
        and(
          eq(trashed_projects.id, id),
          eq(project_members.user_id, user.id),
          owns,
          isNull(trashed_projects.discarded_at),
          isKept(trashed_projects.deleted_at, retentionSeconds),
          setActor(actorOf(user)),
        ),
      )
      .for('no key update', { of: [projects, trashed_projects] }),
  );

/** The row as it was, but for what has ended meanwhile and for what every change sets. */
const restoredRow: Partial<Record<keyof typeof tasks.$inferSelect, SQL>> = {
  assignee_id: sql`(select ${project_members.user_id} from ${project_members}
    where ${project_members.project_id} = kept.project_id and ${project_members.user_id} = kept.assignee_id)`,
  created_by: sql`(select ${users.id} from ${users} where ${users.id} = kept.created_by)`,
  parent_id: sql`(select ${tasks.id} from ${tasks} where ${tasks.id} = kept.parent_id and ${tasks.project_id} = kept.project_id
    union all select taken.id from taken where taken.id = kept.parent_id)`,
  // Tasks that an earlier release deleted lack it.
  blocked_by: sql`coalesce(kept.blocked_by, '{}')`,
  comment_count: sql`(select count(*)::int from ${comments}
    where ${comments.task_id} = kept.id and ${comments.project_id} = kept.project_id)`,
  updated_at: sql`greatest(kept.updated_at, now())`,
  version: sql`kept.version + 1`,
  words_version: sql`kept.words_version - 1`,
};

async function restoreTask(
  db: Database,
  user: CurrentUser,
  id: string,
  retentionSeconds: number,
): Promise<Task> {
  const isRestoring = sql`set_config('mantou.restoring', 'on', true) is not null`;
  const access = trashedTaskAccess(
    db,
    user,
    id,
    and(isKept(trashed_tasks.deleted_at, retentionSeconds), isRestoring),
  );
  const locked = taskWriteLock(db, access, writes);
  const names = Object.keys(getTableColumns(tasks)) as (keyof typeof tasks.$inferSelect)[];
  const values = names.map((name) => restoredRow[name] ?? sql`kept.${sql.identifier(name)}`);
  const restored = db.$with('restored', taskColumns).as(sql`
    insert into ${tasks} (${sql.join(
      names.map((name) => sql.identifier(name)),
      sql`, `,
    )})
    select ${sql.join(values, sql`, `)}
    from taken cross join lateral jsonb_populate_record(null::${tasks}, taken.task) kept
    returning ${sql.join(
      Object.values(taskColumns).map((column) => sql`${column}`),
      sql`, `,
    )}`);
  const root = db
    .$with('root')
    .as(db.select().from(restored).where(sql`${restored.id} = ${id}::uuid`));
  const [found] = await onViolation(
    {
      tasks_parent_levels_check: () =>
        new Problem('conflict', { detail: 'its parent is on too deep a level by now' }),
      // Its parent, or the account of its creator, went while the statement ran.
      tasks_parent_id_fkey: changedMeanwhile,
      tasks_parent_project_check: changedMeanwhile,
      tasks_created_by_fkey: changedMeanwhile,
    },
    writeWithAccess<Task>(db, access, root, locked, takenTree(db, id), restored),
  );
  if (!found) await refuseTaskOfTrashedProject(db, user, id);
  return unwrapWrite(found, writes);
}

const changedMeanwhile = () =>
  new Problem('conflict', {
    detail: 'what it belongs to has just changed: send the request again',
  });

/** Subtasks that were deleted in the same statement as the task above them have the same time. */
const wentWith = (child: SQL, parent: SQL) =>
  sql`(${child}.task ->> 'parent_id')::uuid = ${parent}.id and ${child}.deleted_at = ${parent}.deleted_at`;

/** `with taken as …`: the rows of a task and its subtasks, which the statement deletes from the trash. */
const takenTree = (db: Database, id: string) =>
  db.$with('taken', { id: trashed_tasks.id, task: trashed_tasks.task }).as(sql`
    delete from ${trashed_tasks} using locked
    where ${trashed_tasks.project_id} = locked.id and ${trashed_tasks.id} in (
      with recursive tree as (
        select id, deleted_at from ${trashed_tasks} root where root.id = ${id}::uuid
        union select child.id, child.deleted_at from tree join ${trashed_tasks} child on ${wentWith(sql`child`, sql`tree`)}
      ) select id from tree
    )
    returning ${trashed_tasks.id}, ${trashed_tasks.task}`);

/** @throws {Problem} `conflict` where the task went to the trash before its project did, and the user could see it there. */
async function refuseTaskOfTrashedProject(db: Database, user: CurrentUser, id: string) {
  const [found] = await db
    .select({ id: trashed_tasks.id })
    .from(trashed_tasks)
    .innerJoin(trashed_projects, eq(trashed_projects.id, trashed_tasks.project_id))
    .innerJoin(project_members, eq(project_members.project_id, trashed_projects.id))
    .where(and(eq(trashed_tasks.id, id), eq(project_members.user_id, user.id)));
  const detail =
    'the project of the task is in the trash itself: its owner has to restore it first';
  if (found) throw new Problem('conflict', { detail });
}

// --- Deleting for good -----------------------------------------------------------------------------------------

/** Deletes a task or a project from the trash. @throws {Problem} `not_found`, `forbidden`, `conflict`. */
export async function discard(
  db: Database,
  user: CurrentUser,
  id: string,
  retentionSeconds: number,
): Promise<void> {
  const locked = ownTrashedProject(db, user, id, retentionSeconds);
  const [project] = await db
    .with(locked)
    .update(trashed_projects)
    .set({ discarded_at: sql`now()` })
    .where(inArray(trashed_projects.id, db.select({ id: locked.id }).from(locked)))
    .returning({ id: trashed_projects.id });
  if (project) return;
  const access = trashedTaskAccess(
    db,
    user,
    id,
    isKept(trashed_tasks.deleted_at, retentionSeconds),
  );
  const [found] = await writeWithAccess<{ id: string }>(
    db,
    access,
    takenTree(db, id),
    taskWriteLock(db, access, writes),
  );
  if (!found) await refuseTaskOfTrashedProject(db, user, id);
  unwrapWrite(found, writes);
}

/** Deletes all that `listTrash` returns. */
export async function emptyTrash(
  db: Database,
  user: CurrentUser,
  retentionSeconds: number,
): Promise<void> {
  const writable = db
    .select({ id: projects.id })
    .from(project_members)
    .innerJoin(projects, eq(projects.id, project_members.project_id))
    .where(
      and(
        membershipOf(user),
        isPermitted({ role: project_members.role, archived_at: projects.archived_at }, writes),
      ),
    );
  const own = db
    .select({ id: project_members.project_id })
    .from(project_members)
    .where(and(eq(project_members.user_id, user.id), owns));
  const some = db
    .select({ id: trashed_tasks.id })
    .from(trashed_tasks)
    .where(
      and(
        inArray(trashed_tasks.project_id, writable),
        isKept(trashed_tasks.deleted_at, retentionSeconds),
      ),
    )
    .limit(EMPTIED_ROWS_MAX);
  let emptied: unknown[];
  do {
    emptied = await db
      .delete(trashed_tasks)
      .where(inArray(trashed_tasks.id, some))
      .returning({ id: trashed_tasks.id });
  } while (emptied.length === EMPTIED_ROWS_MAX);
  await db
    .update(trashed_projects)
    .set({ discarded_at: sql`now()` })
    .where(
      and(
        inArray(trashed_projects.id, own),
        isNull(trashed_projects.discarded_at),
        isKept(trashed_projects.deleted_at, retentionSeconds),
      ),
    );
}
