/**
 * A snapshot for a client that keeps a copy: everything that a user may see, page by page, and the cursor from which the feed
 * goes on. Each page is read as the database is at that moment, and the cursor is of the moment before the first page. So the
 * feed after it holds every change that a page can lack.
 */
// Decision: docs/decisions/39-snapshots-by-replay.md
import { and, asc, type Column, eq, gt, type SQL, sql } from 'drizzle-orm';
import { validate as isUuid } from 'uuid';
import { isOfTask, membershipOf } from '../db/authorization.ts';
import type { Database } from '../db/database.ts';
import { arrayLiteral } from '../db/full-text.ts';
import { decodeCursor, encodeCursor } from '../db/pagination.ts';
import { asParam, prepared, type QueryParams, rawQuery } from '../db/prepared.ts';
import { comments, project_members, projects, tasks, users } from '../db/schema.ts';
import { commentColumns, projectColumns, taskColumns } from '../db/visible-columns.ts';
import { Problem } from '../errors/problem.ts';
import { parseInstant } from '../lib/instant.ts';
import type { CurrentUser } from '../schemas/current-user.ts';
import type { ChangePage, SnapshotComment, SnapshotMember } from '../schemas/events.ts';
import type { Project } from '../schemas/projects.ts';
import type { Task } from '../schemas/tasks.ts';
import {
  assignPositions,
  type ChangesRequest,
  type FeedPlace,
  type FeedState,
  feedCursors,
  feedOf,
  isOneOf,
  latestTimeline,
  readCursor,
  readFeed,
} from './events.ts';
import { memberColumns } from './members.ts';

const FIRST_ID = '00000000-0000-0000-0000-000000000000';
const LAST_ID = 'ffffffff-ffff-ffff-ffff-ffffffffffff';

/** Where a page begins: after this row of this project. Its members come before its tasks, and these before the comments. */
interface Place {
  project_id: string;
  user_id: string;
  /** What the row is which was created then: a task, or a comment after all tasks. */
  of: 'task' | 'comment';
  created_at: string;
  id: string;
}

const beginningOf = (projectId: string): Place => ({
  project_id: projectId,
  user_id: FIRST_ID,
  of: 'task',
  created_at: '-infinity',
  id: FIRST_ID,
});

/** Returns whether a cursor points into a snapshot, which `readSnapshot` continues. */
export async function isSnapshotCursor(
  user: Pick<CurrentUser, 'id'>,
  { since, project_id }: ChangesRequest,
): Promise<boolean> {
  if (since === undefined) return false;
  const codecs = await codecsOf({ last: 0, pruned: 0, timelines: [] }, user, project_id);
  return codecs.ofAll.owns(since) || codecs.own.owns(since);
}

/**
 * Returns a page of a snapshot, of all projects of a user or of some. `since` continues one, or says from where the feed goes
 * on: from the cursor of a client that adds projects to its copy.
 * @throws {Problem} `invalid_cursor`; `cursor_expired`.
 */
export async function readSnapshot(
  db: Database,
  user: CurrentUser,
  query: ChangesRequest,
  retentionSeconds: number,
): Promise<ChangePage> {
  const isContinued = await isSnapshotCursor(user, query);
  if (!isContinued) await assignPositions(db, retentionSeconds);
  const before = await readFeed(db);
  const { isOfAll, position, seen, place } = isContinued
    ? await readPlace(before, user, query)
    : await firstPlace(before, user, query);
  const { next, ...rows } = await readRows(db, user, query, place);
  await assignPositions(db, retentionSeconds);
  const after = await readFeed(db);
  // A server that took over in between may lack what the page was read from.
  const isSameServer = latestTimeline(before) === latestTimeline(after);
  if (!isSameServer || position < after.pruned) throw new Problem('cursor_expired');
  const reached = { position, seen: Math.max(seen, after.last) };
  return {
    items: [],
    next_cursor: next
      ? await encodePlace(after, user, query, isOfAll, reached, next)
      : (await feedCursors(after, user, isOfAll ? undefined : feedOf(query.project_id ?? [])))
          .afterSeeing(reached.seen)
          .encode(position),
    snapshot: { ...rows, complete: next === undefined },
  };
}

// --- Cursors ---------------------------------------------------------------------------------------------------

/** A cursor in a snapshot of some projects says whether the feed goes on with all projects, or with these alone. */
async function codecsOf(
  feed: FeedState,
  user: Pick<CurrentUser, 'id'>,
  projects: readonly string[] | undefined,
) {
  const name = `snapshot of ${projects ? feedOf(projects) : 'all'}`;
  return {
    ofAll: await feedCursors(feed, user, `${name} for all`),
    own: await feedCursors(feed, user, name),
  };
}

type SnapshotPlace = FeedPlace & { isOfAll: boolean; place: Place };

async function firstPlace(
  feed: FeedState,
  user: CurrentUser,
  { since, project_id }: ChangesRequest,
): Promise<SnapshotPlace> {
  const { place, isOfAll } = await readCursor(feed, user, since, project_id);
  const { position, seen } = place ?? { position: feed.last, seen: feed.last };
  return { isOfAll, position, seen, place: beginningOf(FIRST_ID) };
}

async function readPlace(
  feed: FeedState,
  user: CurrentUser,
  { since = '', project_id }: ChangesRequest,
): Promise<SnapshotPlace> {
  const { ofAll, own } = await codecsOf(feed, user, project_id);
  const isOfAll = ofAll.owns(since);
  const [, , , , ...keys] = decodeCursor(since);
  const read = (isOfAll ? ofAll : own).read(since);
  // A cursor of an earlier release stands among the tasks.
  const [projectId, userId, createdAt, id, of = 'task'] = keys;
  const isTime =
    createdAt === '-infinity' ||
    (typeof createdAt === 'string' && parseInstant(createdAt) === createdAt);
  const isPlace =
    [projectId, userId, id].every(isUuid) && isTime && /^(task|comment)$/.test(`${of}`);
  if (!isPlace) throw new Problem('invalid_cursor');
  const place = { project_id: projectId, user_id: userId, of, created_at: createdAt, id } as Place;
  return { ...read, isOfAll, place };
}

async function encodePlace(
  feed: FeedState,
  user: CurrentUser,
  { project_id }: ChangesRequest,
  isOfAll: boolean,
  reached: FeedPlace,
  place: Place,
): Promise<string> {
  const { ofAll, own } = await codecsOf(feed, user, project_id);
  const { project_id: projectId, user_id, of, created_at, id } = place;
  const parts = (isOfAll ? ofAll : own).parts(reached);
  return encodeCursor([...parts, projectId, user_id, created_at, id, of]);
}

// --- Rows ------------------------------------------------------------------------------------------------------

/** Returns up to `limit` rows after a place, a project before its members, tasks and comments, in this order, and where they end. */
async function readRows(
  db: Database,
  user: CurrentUser,
  { limit, project_id }: ChangesRequest,
  place: Place,
) {
  const found = await selectSnapshotProjects(db, {
    user: { id: user.id },
    after: place.project_id,
    count: limit,
    projects: project_id && arrayLiteral(project_id),
  });
  // The statements below read these projects alone: one that the user gets meanwhile is in the feed.
  const read = arrayLiteral([place.project_id, ...found.map(({ id }) => id)]);
  const params = { user: { id: user.id }, read, place: { ...place }, count: limit };
  const [members, ofProjects, comments] = [
    await selectMembers(db, params),
    await selectSnapshotTasks(db, params),
    await selectSnapshotComments(db, params),
  ];
  const ofMembers = Map.groupBy(members, (member) => member.project_id);
  const ofTasks = Map.groupBy(ofProjects, ({ task }) => task.project_id);
  const ofComments = Map.groupBy(comments, (comment) => comment.project_id);

  const page = {
    projects: [] as Project[],
    members: [] as SnapshotMember[],
    tasks: [] as Task[],
    comments: [] as SnapshotComment[],
  };
  let last = place;
  let left = limit;
  for (const project of [undefined, ...found]) {
    if (left === 0) return { ...page, next: last };
    if (project) {
      page.projects.push(project);
      last = beginningOf(project.id);
      left -= 1;
    }
    for (const member of ofMembers.get(last.project_id)?.slice(0, left) ?? []) {
      page.members.push(member);
      last = { ...last, user_id: member.user_id };
      left -= 1;
    }
    for (const { task } of ofTasks.get(last.project_id)?.slice(0, left) ?? []) {
      page.tasks.push(task);
      last = { ...last, user_id: LAST_ID, created_at: task.created_at, id: task.id };
      left -= 1;
    }
    for (const comment of ofComments.get(last.project_id)?.slice(0, left) ?? []) {
      page.comments.push(comment);
      const { created_at, id } = comment;
      last = { ...last, user_id: LAST_ID, of: 'comment', created_at, id };
      left -= 1;
    }
  }
  // A page that is not full has read everything: each statement returned fewer rows than it could.
  return { ...page, next: left === 0 ? last : undefined };
}

interface SnapshotProjectsParams {
  user: { id: string };
  after: string;
  count: number;
  projects: string | undefined;
}

/** The memberships are found first, so that no plan walks the projects of others. */
const selectSnapshotProjects = prepared(
  (db, { user, after, count, projects: only }: QueryParams<SnapshotProjectsParams>) => {
    const page = db
      .select({ project_id: project_members.project_id, role: project_members.role })
      .from(project_members)
      .where(
        and(
          membershipOf(user),
          isOneOf(project_members.project_id, only),
          gt(project_members.project_id, sql`${after}::uuid`),
        ),
      )
      .orderBy(asc(project_members.project_id))
      .limit(asParam<number>(count))
      .as('page');
    return db
      .select({ ...projectColumns, role: page.role })
      .from(page)
      .innerJoin(projects, eq(projects.id, page.project_id))
      .orderBy(asc(page.project_id));
  },
);

interface RowsParams {
  user: { id: string };
  /** The ids of the projects, as an array of PostgreSQL. */
  read: string;
  place: { [Name in keyof Place]: Place[Name] };
  count: number;
}

/** The projects among those to read that the user sees at this moment, in order. */
const mineOf = ({ user, read }: QueryParams<RowsParams>) => sql`
  (select ${project_members.project_id} from ${project_members}
    where ${membershipOf(user)} and ${project_members.project_id} = any(${read}::uuid[])
    order by ${project_members.project_id} offset 0) mine`;

/** A value in the project where the page begins, and the first one in every other. */
const inFirst = (place: QueryParams<Place>, value: SQL, first: SQL) =>
  sql`case when mine.project_id = ${place.project_id}::uuid then ${value} else ${first} end`;

const firstId = sql.raw(`'${FIRST_ID}'::uuid`);

const selectMembers = prepared((_db, params: QueryParams<RowsParams>) => {
  const { place, count } = params;
  const limit = sql`${count}::bigint`;
  const after = inFirst(place, sql`${place.user_id}::uuid`, firstId);
  return rawQuery<SnapshotMember>(
    sql`
    select ${project_members.project_id}, ${memberColumns.user_id}, ${memberColumns.username},
      ${memberColumns.role}, ${memberColumns.created_at}
    from ${mineOf(params)} cross join lateral (
      select * from ${project_members}
      where ${project_members.project_id} = mine.project_id and ${project_members.user_id} > ${after}
        and ${project_members.importing_since} is null
      order by ${project_members.user_id} limit ${limit}
    ) ${sql.identifier('project_members')} join ${users} on ${users.id} = ${project_members.user_id}
    order by mine.project_id, ${project_members.user_id} limit ${limit}`,
    { project_id: project_members.project_id, ...memberColumns },
  );
});

/**
 * The condition that a row comes after the place of the page.
 * @param otherwise where the rows begin in the project of a place that is not among them: `infinity` where it has passed them.
 */
const afterPlace = (
  place: QueryParams<Place>,
  of: Place['of'],
  otherwise: 'infinity' | '-infinity',
  { created_at, id }: Record<'created_at' | 'id', Column>,
) => {
  const time = (text: string) => sql.raw(`'${text}'::timestamptz`);
  const isHere = sql`${place.of}::text = ${sql.raw(`'${of}'`)}`;
  const createdAt = sql`case when ${isHere} then ${place.created_at}::timestamptz else ${time(otherwise)} end`;
  return sql`(${created_at}, ${id})
    > (${inFirst(place, createdAt, time('-infinity'))}, ${inFirst(place, sql`${place.id}::uuid`, firstId)})`;
};

const selectSnapshotTasks = prepared((_db, params: QueryParams<RowsParams>) => {
  const { place, count } = params;
  const limit = sql`${count}::bigint`;
  const columns = sql.join(
    Object.values(taskColumns).map((column) => sql`${column}`),
    sql`, `,
  );
  return rawQuery<{ task: Task }>(
    sql`
    select ${columns}
    from ${mineOf(params)} cross join lateral (
      select * from ${tasks}
      where ${tasks.project_id} = mine.project_id and ${afterPlace(place, 'task', 'infinity', tasks)}
      order by ${tasks.created_at}, ${tasks.id} limit ${limit}
    ) ${sql.identifier('tasks')}
    order by mine.project_id, ${tasks.created_at}, ${tasks.id} limit ${limit}`,
    { task: taskColumns },
  );
});

/** A comment is there while its task is. */
const selectSnapshotComments = prepared((_db, params: QueryParams<RowsParams>) => {
  const { place, count } = params;
  const limit = sql`${count}::bigint`;
  const columns = sql.join(
    Object.values(commentColumns).map((column) => sql`${column}`),
    sql`, `,
  );
  return rawQuery<SnapshotComment>(
    sql`
    select ${comments.project_id}, ${columns}
    from ${mineOf(params)} cross join lateral (
      select ${comments}.* from ${comments} join ${tasks} on ${isOfTask}
      where ${comments.project_id} = mine.project_id and ${afterPlace(place, 'comment', '-infinity', comments)}
      order by ${comments.created_at}, ${comments.id} limit ${limit}
    ) ${sql.identifier('comments')}
    order by mine.project_id, ${comments.created_at}, ${comments.id} limit ${limit}`,
    { project_id: comments.project_id, ...commentColumns },
  );
});
