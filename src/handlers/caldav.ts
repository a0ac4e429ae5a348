/** Projects as the task lists of a user's CalDAV clients: each has a name in the user's home, and a token for its changes. */
import { and, eq, isNull, max, notExists, or, type SQL, sql } from 'drizzle-orm';
import { visibleTo } from '../db/authorization.ts';
import type { Database } from '../db/database.ts';
import { onViolation } from '../db/errors.ts';
import {
  afterRow,
  type CreatedRow,
  oldestFirst,
  pagesOf,
  WALK_PAGE_ROWS,
} from '../db/pagination.ts';
import { dav_collections, events, project_members, projects } from '../db/schema.ts';
import { projectColumns } from '../db/visible-columns.ts';
import { Problem, unmet } from '../errors/problem.ts';
import { cutText } from '../lib/cut-text.ts';
import type { CurrentUser } from '../schemas/current-user.ts';
import { NAME_LENGTH_MAX, type Project } from '../schemas/projects.ts';
import { isVisible } from '../schemas/types/text.ts';
import { assignPositions, feedCursors, feedOf, readFeed } from './events.ts';
import { createProject } from './projects.ts';

/** A project in the home of a user. */
export interface DavCollection {
  readonly project: Project;
  /** The last segment of its path, decoded. */
  readonly name: string;
  /** Changes with every change in the project. A client that has it asks for what came after it. */
  readonly token: string;
}

/** The length of a name that a client gives, in UTF-16 units; its octets have to fit into an index. */
export const DAV_NAME_LENGTH_MAX = 255;

/** The condition that a project has a name in the home of a user: one that a client gave it, or its id. */
function hasName(db: Database, user: CurrentUser, name: string): SQL {
  const given = db
    .select({ id: dav_collections.project_id })
    .from(dav_collections)
    .where(and(eq(dav_collections.user_id, user.id), eq(dav_collections.name, name)));
  return eq(projects.id, sql`coalesce((${given}), ${uuidOf(name)}::uuid)`);
}

/** Returns the id of a project by its name. @throws {Problem} `not_found`. */
export async function findProjectId(
  db: Database,
  user: CurrentUser,
  name: string,
): Promise<string> {
  const [row] = await db
    .select({ id: projects.id })
    .from(projects)
    .innerJoin(project_members, visibleTo(user, projects.id))
    .where(hasName(db, user, name));
  if (!row) throw new Problem('not_found');
  return row.id;
}

/** @throws {Problem} `not_found`. */
export async function findCollection(
  db: Database,
  user: CurrentUser,
  name: string,
  retentionSeconds: number,
): Promise<DavCollection> {
  const tokenOf = await openTokens(db, user, retentionSeconds);
  const [row] = await selectCollections(db, user, hasName(db, user, name));
  if (!row) throw new Problem('not_found');
  return { project: row.project, name, token: await tokenOf(row) };
}

/** Yields every project that the user sees, page by page. */
export async function* listCollections(
  db: Database,
  user: CurrentUser,
  retentionSeconds: number,
): AsyncGenerator<DavCollection> {
  const tokenOf = await openTokens(db, user, retentionSeconds);
  const pages = pagesOf((last: CreatedRow | undefined) =>
    selectCollections(db, user, afterRow(projects, last)),
  );
  for await (const page of pages)
    for (const row of page)
      yield { project: row.project, name: row.name ?? row.id, token: await tokenOf(row) };
}

async function selectCollections(db: Database, user: CurrentUser, condition: SQL | undefined) {
  const last = db
    .select({ position: max(events.position).as('position') })
    .from(events)
    .where(
      and(
        eq(events.project_id, projects.id),
        // The access that a user was granted is a change for that user alone.
        or(isNull(events.recipient_id), eq(events.recipient_id, user.id)),
      ),
    )
    .as('last');
  const rows = await db
    .select({
      project: { ...projectColumns, role: project_members.role },
      name: dav_collections.name,
      position: sql<number | null>`${last.position}`.mapWith((value) => value && Number(value)),
    })
    .from(projects)
    .innerJoin(project_members, visibleTo(user, projects.id))
    .leftJoin(
      dav_collections,
      and(eq(dav_collections.project_id, projects.id), eq(dav_collections.user_id, user.id)),
    )
    .leftJoinLateral(last, sql`true`)
    .where(condition)
    .orderBy(...oldestFirst(projects))
    .limit(WALK_PAGE_ROWS);
  return rows.map((row) => ({ ...row, id: row.project.id, created_at: row.project.created_at }));
}

type CollectionRow = Awaited<ReturnType<typeof selectCollections>>[number];

/**
 * Returns what makes the token of a project: the cursor of its last change. It stays the same while others change, which the
 * cursor of the whole feed does not, and it is never so old that it has expired.
 */
async function openTokens(db: Database, user: CurrentUser, retentionSeconds: number) {
  await assignPositions(db, retentionSeconds);
  const feed = await readFeed(db);
  return async ({ id, position }: CollectionRow) => {
    const cursors = await feedCursors(feed, user, feedOf([id]));
    return cursors.encode(Math.max(position ?? 0, feed.pruned));
  };
}

/** Returns the id that a name is; null where it is none. */
export const uuidOf = (name: string): string | null =>
  /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(name) ? name.toLowerCase() : null;

/** What a client asks for with a new list. */
export interface NewCollection {
  displayname: string | undefined;
  description: string | undefined;
}

/**
 * Creates a project under a name that the client chooses.
 * @throws {Problem} `method_not_allowed` where there is one already; `webdav_condition`.
 */
export async function createCollection(
  db: Database,
  user: CurrentUser,
  name: string,
  { displayname = name, description }: NewCollection,
): Promise<void> {
  if (name.length > DAV_NAME_LENGTH_MAX) throw unmet('c:calendar-collection-location-ok');
  const title = cutText(displayname.trim(), NAME_LENGTH_MAX);
  const input = { name: isVisible(title) ? title : 'Tasks', description: description ?? null };
  const taken = () =>
    new Problem('method_not_allowed', {
      condition: 'd:resource-must-be-null',
      headers: { allow: 'OPTIONS, PROPFIND, PROPPATCH, REPORT' },
    });
  if (await findProjectId(db, user, name).catch(nothingFound)) throw taken();
  await onViolation(
    { dav_collections_pkey: taken },
    db.transaction(async (tx) => {
      const { row: project } = await createProject(tx, user, input);
      await forgetUnseen(tx, user, name);
      await tx.insert(dav_collections).values({ user_id: user.id, name, project_id: project.id });
    }),
  );
}

/** Frees a name that the user gave to a project that they see no more. Restored, it is known by its id. */
async function forgetUnseen(tx: Database, user: CurrentUser, name: string) {
  const isSeen = tx
    .select({ project_id: project_members.project_id })
    .from(project_members)
    .where(visibleTo(user, dav_collections.project_id));
  await tx
    .delete(dav_collections)
    .where(
      and(eq(dav_collections.user_id, user.id), eq(dav_collections.name, name), notExists(isSeen)),
    );
}

function nothingFound(error: unknown): undefined {
  if (!(error instanceof Problem) || error.code !== 'not_found') throw error;
}
