/**
 * What happened, out of one table: the history of a project, and the feed of a user. An event gets its place in the feed
 * after its commit, so a reader who has come to a place has missed nothing before it, in whatever order transactions
 * began and ended (see `sequence_events` in the migrations).
 */
import { type SQL, sql } from 'drizzle-orm';
import type { CurrentUser } from '../db/access.ts';
import type { Database } from '../db/database.ts';
import { events, feed, project_members } from '../db/schema.ts';
import { Problem } from '../problem.ts';
import type { PageQuery } from '../schemas/common.ts';
import type { ChangePage, ChangesQuery, Event, EventPage } from '../schemas/events.ts';
import { digest } from '../secrets.ts';
import { decodeCursor, encodeCursor } from './page.ts';

/** A row of events, its instant as the API writes it. */
type Row = Omit<Event, 'cursor'> & { position: string };

const columns = sql`e.position::text as position, e.id, rfc3339(e.at) as at, e.actor_id, e.action, e.project_id,
  e.subject, e.subject_id, e.version, e.fields`;

/** The condition that a membership counts: see `isMembershipOf`. */
const isIn = sql`m.importing_since is null`;

/** The condition that a member may know of an event: who else is in a project is nothing for viewers. */
const mayKnow = (role: SQL, user_id: SQL) =>
  sql`(${role} <> 'viewer' or e.subject <> 'member' or e.subject_id = ${user_id})`;

/**
 * Gives every committed event its place, and takes away some that are kept no longer. Whoever listens hears of it.
 * Costs a look where there is nothing to do.
 */
export async function sequenceEvents(db: Database, retention_seconds: number): Promise<void> {
  const retention = sql`make_interval(secs => ${retention_seconds}::int)`;
  let there_are_more = true;
  while (there_are_more) {
    const rows = await db.execute(sql`select sequence_events(${retention}) as more`);
    const [row] = [...(rows as unknown as Iterable<{ more: boolean }>)];
    there_are_more = row?.more ?? false;
  }
}

/** What happened in a project, latest first. @throws {Problem} `not_found`, `invalid_cursor`. */
export async function listEvents(
  db: Database,
  user: CurrentUser,
  project_id: string,
  query: PageQuery,
  retention_seconds: number,
): Promise<EventPage> {
  await sequenceEvents(db, retention_seconds);
  const places = await placesOf(db, user);
  const list = `events of ${project_id.toLowerCase()}`;
  const before = query.cursor === undefined ? undefined : await places.read(query.cursor, list);
  const rows = await read(
    db,
    sql`
    select ${columns} from ${project_members} m left join lateral (
      select * from ${events} e
      where e.project_id = m.project_id and e.recipient_id is null and e.position < ${before ?? Number.MAX_SAFE_INTEGER}::bigint
        and ${mayKnow(sql`m.role`, sql`m.user_id`)}
      order by e.position desc limit ${query.limit + 1}::int
    ) e on true
    where m.project_id = ${project_id} and m.user_id = ${user.id} and ${isIn}
    order by e.position desc`,
  );
  // One row without an event says that the project is there.
  if (rows.length === 0) throw new Problem('not_found');
  const found = rows.filter(({ position }) => position !== null);
  const items = found.slice(0, query.limit);
  const last = items.at(-1);
  return {
    items: await Promise.all(items.map((row) => places.toEvent(row))),
    next_cursor:
      last && found.length > query.limit ? await places.write(Number(last.position), list) : null,
  };
}

/**
 * What changed since a cursor in all projects of a user, in the order of the feed; without a cursor, where it is now.
 * Of a project that he has come to see since, nothing from before that; of one that he sees no longer, only that.
 * @throws {Problem} `invalid_cursor` for one of another user, or of the future; `cursor_expired`.
 */
export async function listChanges(
  db: Database,
  user: CurrentUser,
  { since, limit }: ChangesQuery,
  retention_seconds: number,
): Promise<ChangePage> {
  await sequenceEvents(db, retention_seconds);
  const places = await placesOf(db, user);
  if (since === undefined) return { items: [], next_cursor: await places.write(places.last) };
  const after = await places.read(since);
  if (after > places.last) throw new Problem('invalid_cursor');
  if (after < places.pruned) throw new Problem('cursor_expired');
  if (after === places.last) return { items: [], next_cursor: await places.write(after) };
  const rows = await read(
    db,
    sql`
    with granted as (
      select g.project_id, max(g.position) as position from ${events} g
      where g.recipient_id = ${user.id} and g.action = 'access.granted' and g.position is not null group by g.project_id
    ), mine as (
      select m.project_id, m.role, greatest(${after}::bigint, granted.position) as after
      from ${project_members} m left join granted using (project_id)
      where m.user_id = ${user.id} and ${isIn}
    )
    (select ${columns} from mine cross join lateral (
      select * from ${events} e
      where e.project_id = mine.project_id and e.recipient_id is null
        and e.position > mine.after and e.position <= ${places.last}::bigint
        and ${mayKnow(sql`mine.role`, sql`${user.id}::uuid`)}
      order by e.position limit ${limit}::int
    ) e order by e.position limit ${limit}::int)
    union all
    (select ${columns} from ${events} e
      where e.recipient_id = ${user.id} and e.position > ${after}::bigint and e.position <= ${places.last}::bigint
      order by e.position limit ${limit}::int)`,
  );
  const items = rows.sort((a, b) => Number(a.position) - Number(b.position)).slice(0, limit);
  const last = items.at(-1);
  const next = last && items.length === limit ? Number(last.position) : places.last;
  return {
    items: await Promise.all(items.map((row) => places.toEvent(row))),
    next_cursor: await places.write(next),
  };
}

/** An event, and who is to know of it now: its recipient, or the members of its project who may. */
export interface FreshEvent {
  readonly position: number;
  readonly recipient_id: string | null;
  readonly audience: readonly string[];
  readonly event: Omit<Event, 'cursor'>;
}

/**
 * What is in the feed after a position, for whoever passes it on to many.
 * @returns the events, in order, and the position up to which there are no others.
 */
export async function readFresh(
  db: Database,
  after: number,
  limit: number,
): Promise<{ fresh: FreshEvent[]; until: number }> {
  const rows = (await db.execute(sql`
    with last as (select coalesce(max(last_position), 0) as position from ${feed})
    select ${columns}, last.position::text as until, e.recipient_id, case when e.recipient_id is null then (
      select coalesce(json_agg(m.user_id), '[]') from ${project_members} m
      where m.project_id = e.project_id and ${isIn} and ${mayKnow(sql`m.role`, sql`m.user_id`)}
    ) else json_build_array(e.recipient_id) end as audience
    from last left join lateral (
      select * from ${events} e where e.position > ${after}::bigint and e.position <= last.position
      order by e.position limit ${limit}::int
    ) e on true
    order by e.position`)) as unknown as Iterable<
    Row & { until: string; recipient_id: string | null; audience: string[] }
  >;
  let until = after;
  const fresh = [...rows].flatMap((row) => {
    until = Number(row.until);
    if (row.position === null) return [];
    const { position, until: _, recipient_id, audience, ...event } = row;
    return { position: Number(position), recipient_id, audience, event };
  });
  return { fresh, until: fresh.length === limit ? (fresh.at(-1)?.position ?? until) : until };
}

const read = async (db: Database, query: SQL) => [
  ...((await db.execute(query)) as unknown as Iterable<Row>),
];

// --- Cursors ---------------------------------------------------------------------------------------------------

/** How far the feed has come, and the cursors of one user in it. */
export async function placesOf(db: Database, user: CurrentUser) {
  const [row] = await db.select().from(feed);
  if (!row) throw new Error('sequence_events has left no feed');
  const { epoch, last_position, pruned_position } = row;
  const epoch_name = epoch.slice(0, 8);
  const nameOf = async (list: string) => (await digest(`${list} ${user.id}`)).slice(0, 16);
  // Every event has a cursor of its own.
  const changes = await nameOf('changes');

  return {
    last: last_position,
    pruned: pruned_position,
    write: async (position: number, list?: string) =>
      encodeCursor([list ? await nameOf(list) : changes, epoch_name, position]),
    /** @throws {Problem} `invalid_cursor`, `cursor_expired` for one of a database that was restored since. */
    async read(cursor: string, list?: string): Promise<number> {
      const [of, of_epoch, position] = decodeCursor(cursor);
      const name = list ? await nameOf(list) : changes;
      if (of !== name || !Number.isSafeInteger(position) || Number(position) < 0)
        throw new Problem('invalid_cursor');
      if (of_epoch !== epoch_name) throw new Problem('cursor_expired');
      return Number(position);
    },
    async toEvent({ position, ...event }: Row): Promise<Event> {
      return { cursor: await this.write(Number(position)), ...event };
    },
  };
}
