/**
 * Events: the history of a project, and the feed of a user's changes. An event gets its position in the feed after its
 * commit (`sequence_events` in the migrations). So a reader at a position has seen every event before it, and the order in
 * which transactions began and ended does not matter.
 */
// Decision: docs/decisions/15-events-by-triggers.md
// Decision: docs/decisions/16-feed-positions-after-commit.md
import {
  and,
  asc,
  type Column,
  desc,
  eq,
  gt,
  isNotNull,
  isNull,
  lt,
  lte,
  max,
  sql,
} from 'drizzle-orm';
import { membershipOf } from '../db/authorization.ts';
import type { Database } from '../db/database.ts';
import { arrayLiteral } from '../db/full-text.ts';
import { decodeCursor, encodeCursor, fingerprintOf } from '../db/pagination.ts';
import { asParam, prepared, type QueryParam, type QueryParams } from '../db/prepared.ts';
import { columnsOf } from '../db/row-mapper.ts';
import { rowsOrNotFound } from '../db/row-values.ts';
import { events, feed, feed_timelines, project_members } from '../db/schema.ts';
import { Problem } from '../errors/problem.ts';
import type { CurrentUser } from '../schemas/current-user.ts';
import type { ChangesQuery, Event, EventPage } from '../schemas/events.ts';
import type { PageQuery } from '../schemas/types/page.ts';

const eventColumns = {
  // Never null in an event that was selected by its position.
  position: sql<number>`${events.position}`.mapWith(Number).as('position'),
  id: events.id,
  at: events.at,
  actor_id: events.actor_id,
  actor_token: events.actor_token,
  action: events.action,
  project_id: events.project_id,
  subject: events.subject,
  subject_id: events.subject_id,
  version: events.version,
  fields: events.fields,
};

type EventRow = Omit<Event, 'cursor'> & { position: number };

/**
 * Gives every committed event its position, deletes some of the events beyond retention, and notifies the listeners. Where
 * there is nothing to do it only reads. Every GET of events calls it, so such a GET may write.
 */
export async function assignPositions(db: Database, retentionSeconds: number): Promise<void> {
  const retention = sql`make_interval(secs => ${retentionSeconds}::int)`;
  let hasMore = true;
  while (hasMore) {
    const rows = await db.execute(sql`select sequence_events(${retention}) as more`);
    const [row] = [...(rows as unknown as Iterable<{ more: boolean }>)];
    hasMore = row?.more ?? false;
  }
}

/** Returns a page of the events of a project, latest first. @throws {Problem} `not_found`, `invalid_cursor`, `cursor_expired`. */
export async function listEvents(
  db: Database,
  user: CurrentUser,
  projectId: string,
  { cursor, limit }: PageQuery,
  retentionSeconds: number,
): Promise<EventPage> {
  await assignPositions(db, retentionSeconds);
  const feed = await readFeed(db);
  const history = await feedCursors(feed, user, `events of ${projectId.toLowerCase()}`);
  const { toEvent } = await feedCursors(feed, user);
  const rows = await selectHistory(db, {
    user: { id: user.id },
    project_id: projectId,
    before: cursor === undefined ? Number.MAX_SAFE_INTEGER : history.read(cursor).position,
    count: limit + 1,
  });
  const found = rowsOrNotFound(rows, 'event');
  const items = found.slice(0, limit);
  const last = items.at(-1);
  return {
    items: items.map(toEvent),
    next_cursor: last && found.length > limit ? history.encode(last.position) : null,
  };
}

interface HistoryParams {
  user: { id: string };
  project_id: string;
  before: number;
  /** One more than the limit of the page. */
  count: number;
}

const selectHistory = prepared((db, params: QueryParams<HistoryParams>) => {
  const page = db
    .select(eventColumns)
    .from(events)
    .where(
      and(
        eq(events.project_id, project_members.project_id),
        isNull(events.recipient_id),
        lt(events.position, sql`${params.before}::bigint`),
      ),
    )
    .orderBy(desc(events.position))
    .limit(asParam<number>(params.count))
    .as('page');
  return db
    .select({ event: columnsOf(page) })
    .from(project_members)
    .leftJoinLateral(page, sql`true`)
    .where(and(eq(project_members.project_id, params.project_id), membershipOf(params.user)))
    .orderBy(desc(page.position));
});

/** A page of changes, with the position where it ends, for a reader that continues there. */
export interface ChangesRead {
  readonly items: Event[];
  readonly next_cursor: string;
  readonly position: number;
  readonly cursors: FeedCursors;
}

/** What a reader of changes asks for. */
export type ChangesRequest = Pick<ChangesQuery, 'since' | 'limit' | 'project_id'>;

/**
 * Returns the changes since a cursor in all projects of a user, or in some of them, in the order of the feed; without a cursor,
 * none, and the present cursor. Where the user got access to a project since then, only later changes of it are returned. Where
 * they lost access, only `access.lost` is.
 * @throws {Problem} `invalid_cursor` for one of another user or of other projects; `cursor_expired`.
 */
export async function readChanges(
  db: Database,
  user: Pick<CurrentUser, 'id'>,
  { since, limit, project_id }: ChangesRequest,
  retentionSeconds: number,
): Promise<ChangesRead> {
  await assignPositions(db, retentionSeconds);
  const feed = await readFeed(db);
  const until = feed.last;
  const { place, cursors } = await readCursor(feed, user, since, project_id);
  const after = place?.position ?? until;
  if (after < feed.pruned) throw new Problem('cursor_expired');
  const projects = project_id && arrayLiteral(project_id);
  const params = { user: { id: user.id }, after, until, count: limit, projects };
  const rows = after === until ? [] : await selectChanges(db, params);
  const page = rows.sort((a, b) => a.position - b.position).slice(0, limit);
  const last = page.length === limit ? page.at(-1) : undefined;
  const position = last?.position ?? until;
  const nextCursor = cursors.encode(position);
  return { items: page.map(cursors.toEvent), next_cursor: nextCursor, position, cursors };
}

/**
 * Returns the place of a cursor, and the codec for the cursors after it. Changes of some projects also continue from a cursor
 * of the whole feed, whose reader has seen those projects too; the reverse would miss the changes of all others.
 */
export async function readCursor(
  feed: FeedState,
  user: Pick<CurrentUser, 'id'>,
  since: string | undefined,
  projects: readonly string[] | undefined,
): Promise<{ place: FeedPlace | undefined; cursors: FeedCursors; isOfAll: boolean }> {
  const ofAll = await feedCursors(feed, user);
  const isOfAll = projects === undefined || (since !== undefined && ofAll.owns(since));
  const own = projects ? await feedCursors(feed, user, feedOf(projects)) : ofAll;
  if (since === undefined) return { place: undefined, cursors: own, isOfAll: own === ofAll };
  const place = (isOfAll ? ofAll : own).read(since);
  return { place, cursors: own.afterSeeing(place.seen), isOfAll };
}

interface ChangesParams {
  user: { id: string };
  after: number;
  until: number;
  count: number;
  /** An array of PostgreSQL; undefined: all projects of the user. */
  projects: string | undefined;
}

/** The condition that a row belongs to one of the projects. */
export const isOneOf = (projectId: Column, projects: QueryParam | undefined) =>
  projects === undefined ? undefined : sql`${projectId} = any(${projects}::uuid[])`;

const selectChanges = prepared((db, params: QueryParams<ChangesParams>) => {
  const { user, projects } = params;
  const count = asParam<number>(params.count);
  const [after, until] = [sql`${params.after}::bigint`, sql`${params.until}::bigint`];
  const granted = db.$with('granted').as(
    db
      .select({ project_id: events.project_id, position: max(events.position).as('position') })
      .from(events)
      .where(
        and(
          eq(events.recipient_id, user.id),
          eq(events.action, 'access.granted'),
          isNotNull(events.position),
        ),
      )
      .groupBy(events.project_id),
  );
  const mine = db.$with('mine').as(
    db
      .select({
        project_id: project_members.project_id,
        after: sql`greatest(${after}, ${granted.position})`.as('after'),
      })
      .from(project_members)
      .leftJoin(granted, eq(granted.project_id, project_members.project_id))
      .where(and(membershipOf(user), isOneOf(project_members.project_id, projects))),
  );
  const page = db
    .select(eventColumns)
    .from(events)
    .where(
      and(
        eq(events.project_id, mine.project_id),
        isNull(events.recipient_id),
        gt(events.position, mine.after),
        lte(events.position, until),
      ),
    )
    .orderBy(asc(events.position))
    .limit(count)
    .as('page');
  const ofProjects = db
    .with(granted, mine)
    .select(columnsOf(page))
    .from(mine)
    .crossJoinLateral(page)
    .orderBy(asc(page.position))
    .limit(count);
  const ofUser = db
    .select(eventColumns)
    .from(events)
    .where(
      and(
        eq(events.recipient_id, user.id),
        isOneOf(events.project_id, projects),
        gt(events.position, after),
        lte(events.position, until),
      ),
    )
    .orderBy(asc(events.position))
    .limit(count);
  return ofProjects.unionAll(ofUser);
});

/** An event, and the users who see it: its recipient, or the members of its project. */
export interface NewEvent {
  readonly position: number;
  readonly recipient_id: string | null;
  readonly audience: readonly string[];
  readonly event: Omit<Event, 'cursor'>;
}

/** Returns the events of the whole feed between two positions, in order, each with its audience. */
export async function readNewEvents(
  db: Database,
  after: number,
  until: number,
  limit: number,
): Promise<NewEvent[]> {
  const rows = await selectNewEvents(db, { after, until, count: limit });
  return rows.map(({ position, recipient_id, audience, ...event }) => {
    return { position, recipient_id, audience, event };
  });
}

interface NewEventsParams {
  after: number;
  until: number;
  count: number;
}

const selectNewEvents = prepared((db, params: QueryParams<NewEventsParams>) => {
  const members = db
    .select({ ids: sql`coalesce(json_agg(${project_members.user_id}), '[]')` })
    .from(project_members)
    .where(
      and(
        eq(project_members.project_id, events.project_id),
        isNull(project_members.importing_since),
      ),
    );
  return db
    .select({
      ...eventColumns,
      recipient_id: events.recipient_id,
      audience: sql<string[]>`case when ${events.recipient_id} is null then (${members})
        else json_build_array(${events.recipient_id}) end`,
    })
    .from(events)
    .where(
      and(
        gt(events.position, sql`${params.after}::bigint`),
        lte(events.position, sql`${params.until}::bigint`),
      ),
    )
    .orderBy(asc(events.position))
    .limit(asParam<number>(params.count));
});

// --- Cursors ---------------------------------------------------------------------------------------------------

const FEED = 'changes';
const TIMELINE_LENGTH = 8;

/** The last position of the feed, and the timeline to which each position belongs. */
export interface FeedState {
  readonly last: number;
  readonly pruned: number;
  /** In order: the name of each timeline, and the position after which its own positions begin. */
  readonly timelines: readonly { readonly name: string; readonly began: number }[];
}

export async function readFeed(db: Database): Promise<FeedState> {
  const rows = await selectFeed(db, {});
  const [row] = rows;
  if (!row) throw new Error('sequence_events has left no feed');
  return {
    last: row.last_position,
    pruned: row.pruned_position,
    timelines: rows.map(({ timeline, began_position }) => ({
      name: timeline.slice(0, TIMELINE_LENGTH),
      began: began_position,
    })),
  };
}

const selectFeed = prepared((db) =>
  db
    .select({
      last_position: feed.last_position,
      pruned_position: feed.pruned_position,
      timeline: feed_timelines.id,
      began_position: feed_timelines.began_position,
    })
    .from(feed)
    .innerJoin(feed_timelines, sql`true`)
    // The first timeline comes first, also where another began at the same position.
    .orderBy(asc(feed_timelines.began_position), sql`${feed_timelines.id} <> ${feed.epoch}`),
);

/** Returns the timeline in which positions are assigned now. */
export const latestTimeline = ({ timelines }: FeedState) => timelines.at(-1)?.name;

/** What a cursor says: its reader goes on after `position`, and holds rows as they were at `seen`, which is not before it. */
export interface FeedPlace {
  readonly position: number;
  readonly seen: number;
}

export interface FeedCursors {
  /** Returns the cursor of a position. */
  encode(position: number): string;
  /** Returns a place as the beginning of a longer cursor. */
  parts(place: FeedPlace): unknown[];
  /** Returns the codec for a reader who has seen rows as they were up to a position. */
  afterSeeing(position: number): FeedCursors;
  /** Returns whether a cursor is of this user and this list. */
  owns(cursor: string): boolean;
  /**
   * Returns the place of a cursor.
   * @throws {Problem} `invalid_cursor`; `cursor_expired` for a position that this database has not assigned: it was restored,
   * or promoted before it had what the client has seen.
   */
  read(cursor: string): FeedPlace;
  /** Returns a cursor's position, or the last one before it that this database has assigned; undefined for an invalid cursor. */
  resume(cursor: string): number | undefined;
  toEvent(row: EventRow): Event;
}

/** The name of the feed of some projects, to which its cursors are tied. */
export const feedOf = (projects: readonly string[]) =>
  `${FEED} of ${projects
    .map((id) => id.toLowerCase())
    .sort()
    .join()}`;

/**
 * Returns the codec for the cursors of one user in one list of events. A cursor names the timeline of what its reader has seen.
 * @param list the feed by default: every event has a cursor in it.
 */
export async function feedCursors(
  feed: FeedState,
  user: Pick<CurrentUser, 'id'>,
  list = FEED,
): Promise<FeedCursors> {
  return codecOf(feed, await fingerprintOf(`${list} ${user.id}`), 0);
}

/** @param seenUpTo a reader of earlier positions has seen rows up to this one: its cursors say so. */
function codecOf(feed: FeedState, fingerprint: string, seenUpTo: number): FeedCursors {
  const { last, timelines } = feed;
  const timelineOf = (position: number) =>
    (timelines.findLast(({ began }) => began < position) ?? timelines[0])?.name;
  const encode = (position: number) =>
    encodeCursor([
      fingerprint,
      timelineOf(Math.max(position, seenUpTo)),
      position,
      ...(position < seenUpTo ? [seenUpTo] : []),
    ]);
  const endOf = (timeline: unknown) => {
    const index = timelines.findIndex(({ name }) => name === timeline);
    return index < 0 ? -1 : (timelines[index + 1]?.began ?? last);
  };
  return {
    encode,
    parts: ({ position, seen }) => [fingerprint, timelineOf(seen), position, seen],
    afterSeeing: (position) => codecOf(feed, fingerprint, position),
    owns: (cursor) => decodeCursor(cursor)[0] === fingerprint,
    read(cursor) {
      const [ofList, timeline, position, seen = position] = decodeCursor(cursor);
      const isPosition = (value: unknown) => Number.isSafeInteger(value) && Number(value) >= 0;
      if (ofList !== fingerprint || !isPosition(position) || !isPosition(seen))
        throw new Problem('invalid_cursor');
      if (Number(seen) > endOf(timeline)) throw new Problem('cursor_expired');
      return { position: Number(position), seen: Math.max(Number(position), Number(seen)) };
    },
    resume(cursor) {
      const [ofList, timeline, position] = decodeCursor(cursor);
      const end = endOf(timeline);
      if (ofList !== fingerprint || end < 0 || !Number.isSafeInteger(position)) return undefined;
      return Math.min(Number(position), end);
    },
    toEvent: ({ position, ...event }) => ({ cursor: encode(position), ...event }),
  };
}
