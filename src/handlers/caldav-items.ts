/** Tasks as the items of a CalDAV client: what it named them, and what it reads of them. */
import { and, eq, inArray, type SQL, sql } from 'drizzle-orm';
import { alias } from 'drizzle-orm/pg-core';
import { visibleTo } from '../db/authorization.ts';
import type { Database } from '../db/database.ts';
import { arrayLiteral } from '../db/full-text.ts';
import {
  afterRow,
  type CreatedRow,
  oldestFirst,
  pagesOf,
  WALK_PAGE_ROWS,
} from '../db/pagination.ts';
import { dav_items, project_members, type Role, tasks } from '../db/schema.ts';
import { taskColumns } from '../db/visible-columns.ts';
import { Problem, unmet } from '../errors/problem.ts';
import { updateItem, writeItem } from '../formats/todo-item.ts';
import { pauseEvery } from '../lib/sleep.ts';
import type { CurrentUser } from '../schemas/current-user.ts';
import type { Task } from '../schemas/tasks.ts';
import { uuidOf } from './caldav.ts';
import { readChanges } from './events.ts';

/** What a client needs to see whether it has an item. */
export interface DavItemTag {
  readonly id: string;
  /** The last segment of its path, decoded. */
  readonly name: string;
  readonly version: number;
  /** Its entity tag. It names the task, because another task may come to have the same name. */
  readonly tag: string;
  readonly created_at: string;
  readonly updated_at: string;
}

export interface DavItem extends DavItemTag {
  readonly uid: string;
  readonly task: Task;
  /** That of the user in the project. */
  readonly role: Role;
  /** iCalendar, as the last client wrote it where nothing has changed since. */
  readonly text: string;
}

/** The items of parents. */
const parents = alias(dav_items, 'parent_items');
const itemOfParent = and(
  eq(parents.task_id, tasks.parent_id),
  eq(parents.project_id, tasks.project_id),
);

const itemOfTask = and(eq(dav_items.task_id, tasks.id), eq(dav_items.project_id, tasks.project_id));

/** The name of a task that no client has named. */
const defaultName = (id: string) => `${id}.ics`;

const tagColumns = {
  id: tasks.id,
  version: tasks.version,
  created_at: tasks.created_at,
  updated_at: tasks.updated_at,
  given_name: dav_items.name,
};

/** Yields the tags of all items of a project, page by page. */
export async function* listTags(
  db: Database,
  user: CurrentUser,
  projectId: string,
): AsyncGenerator<DavItemTag[]> {
  const pages = pagesOf((last: CreatedRow | undefined) =>
    db
      .select(tagColumns)
      .from(tasks)
      .innerJoin(project_members, visibleTo(user, tasks.project_id))
      .leftJoin(dav_items, itemOfTask)
      .where(and(eq(tasks.project_id, projectId), afterRow(tasks, last)))
      .orderBy(...oldestFirst(tasks))
      .limit(WALK_PAGE_ROWS),
  );
  for await (const page of pages) yield page.map(asTag);
}

const asTag = ({
  given_name,
  ...row
}: Omit<DavItemTag, 'name' | 'tag'> & { given_name: string | null }): DavItemTag => ({
  ...row,
  name: given_name ?? defaultName(row.id),
  tag: tagOf(row.id, row.version),
});

/** The end of an id is random. */
export const tagOf = (id: string, version: number) => `${id.slice(-12)}.${version}`;

/** Yields all items of a project, page by page. */
export async function* listItems(
  db: Database,
  user: CurrentUser,
  projectId: string,
): AsyncGenerator<DavItem[]> {
  yield* pagesOf(async (last) => selectItems(db, user, projectId, afterRow(tasks, last)));
}

/** Returns the items that have one of these names, by name. */
export async function findItems(
  db: Database,
  user: CurrentUser,
  projectId: string,
  names: readonly string[],
): Promise<Map<string, DavItem>> {
  const found = await selectItems(db, user, projectId, isNamed(projectId, names));
  const byName = new Map(found.map((item) => [item.name, item]));
  return new Map(names.flatMap((name) => [[name, byName.get(name)] as const]).filter(isFound));
}

const isFound = (entry: readonly [string, DavItem | undefined]): entry is [string, DavItem] =>
  entry[1] !== undefined;

/** @throws {Problem} `not_found`. */
export async function readItemNamed(
  db: Database,
  user: CurrentUser,
  projectId: string,
  name: string,
): Promise<DavItem> {
  const found = await findItems(db, user, projectId, [name]);
  const item = found.get(name);
  if (!item) throw new Problem('not_found');
  return item;
}

/** Returns the item with a UID. A task that no client has written has its id for a UID. */
export async function findItemByUid(
  db: Database,
  user: CurrentUser,
  projectId: string,
  uid: string,
): Promise<DavItem | undefined> {
  const named = db
    .select({ id: dav_items.task_id })
    .from(dav_items)
    .where(and(eq(dav_items.project_id, projectId), eq(dav_items.uid, uid)));
  const candidates = sql`${tasks.id} = any(array(${named}) || ${uuidOf(uid)}::uuid)`;
  const found = await selectItems(db, user, projectId, candidates);
  return found.find((item) => item.uid === uid);
}

/** The condition that a task may have one of these names: by the index of names, or by its id. */
function isNamed(projectId: string, names: readonly string[]): SQL {
  const named = sql`select ${dav_items.task_id} from ${dav_items}
    where ${dav_items.project_id} = ${projectId} and ${dav_items.name} = any(${arrayLiteral(names)}::text[])`;
  const ids = names.flatMap((name) => (name.endsWith('.ics') && uuidOf(name.slice(0, -4))) || []);
  return sql`${tasks.id} = any(array(${named}) || ${arrayLiteral(ids)}::text::uuid[])`;
}

/** In UTF-16 units of items, which take some milliseconds where the tasks have changed since. */
const LENGTH_AT_ONCE = 10_000;

/** Returns what a loop over the texts of items awaits after each, so that others run between long ones. */
export const pauseBetweenItems = () => pauseEvery(LENGTH_AT_ONCE);

/** Reads up to a page of items. */
async function selectItems(
  db: Database,
  user: CurrentUser,
  projectId: string,
  condition: SQL | undefined,
): Promise<DavItem[]> {
  const rows = await db
    .select({
      task: taskColumns,
      item: {
        name: dav_items.name,
        uid: dav_items.uid,
        text: dav_items.text,
        version: dav_items.version,
        written_at: dav_items.written_at,
        parent_id: dav_items.parent_id,
      },
      parent_uid: parents.uid,
      role: project_members.role,
    })
    .from(tasks)
    .innerJoin(project_members, visibleTo(user, tasks.project_id))
    .leftJoin(dav_items, itemOfTask)
    .leftJoin(parents, itemOfParent)
    .where(and(eq(tasks.project_id, projectId), condition))
    .orderBy(...oldestFirst(tasks))
    .limit(WALK_PAGE_ROWS);
  const items: DavItem[] = [];
  const pause = pauseBetweenItems();
  for (const { task, item, parent_uid, role } of rows) {
    const { id, version, created_at, updated_at } = task;
    const name = item?.name ?? defaultName(id);
    const uid = item?.uid ?? id;
    const text = textOf(task, uid, item, parent_uid ?? task.parent_id);
    const tag = tagOf(id, version);
    items.push({ id, name, uid, version, tag, created_at, updated_at, task, role, text });
    await pause(text);
  }
  return items;
}

interface ItemRow {
  uid: string;
  text: string | null;
  version: number;
  written_at: string;
  parent_id: string | null;
}

function textOf(task: Task, uid: string, item: ItemRow | null, parentUid: string | null): string {
  if (!item || item.text === null) return writeItem(task, uid, parentUid);
  const { text, version, written_at, parent_id } = item;
  return version === task.version
    ? text
    : updateItem({ uid, text, written_at, parent_id }, task, parentUid);
}

// --- Changes ---------------------------------------------------------------------------------------------------

/** What has changed in a project since a token. */
export interface ItemChanges {
  readonly token: string;
  /** Undefined: the client has nothing yet, and lists all items. */
  readonly changedIds: readonly string[] | undefined;
}

const CHANGES_PAGE = 500;
/** With more changes a client lists all items, which is about as much. */
const CHANGES_MAX = 20_000;

/**
 * Returns the ids of the tasks that have changed or left since a token, and the next token.
 * @param token undefined for the first time.
 * @throws {Problem} `webdav_condition` for a token that is unknown or too old.
 */
export async function readItemChanges(
  db: Database,
  user: CurrentUser,
  projectId: string,
  token: string | undefined,
  retentionSeconds: number,
): Promise<ItemChanges> {
  const changed = new Set<string>();
  let since = token;
  for (;;) {
    const asked = {
      limit: CHANGES_PAGE,
      project_id: [projectId],
      ...(since !== undefined && { since }),
    };
    const { items, next_cursor } = await readChanges(db, user, asked, retentionSeconds).catch(
      refuseToken,
    );
    if (token === undefined) return { token: next_cursor, changedIds: undefined };
    // While the user had no access, the project may have changed unseen.
    if (items.some(({ action }) => action === 'access.granted')) throw unmet('d:valid-sync-token');
    for (const { subject, subject_id } of items) if (subject === 'task') changed.add(subject_id);
    if (changed.size > CHANGES_MAX) throw unmet('d:valid-sync-token');
    if (items.length < CHANGES_PAGE) return { token: next_cursor, changedIds: [...changed] };
    since = next_cursor;
  }
}

function refuseToken(error: unknown): never {
  if (error instanceof Problem && ['invalid_cursor', 'cursor_expired'].includes(error.code))
    throw unmet('d:valid-sync-token');
  throw error;
}

/** What a client learns of some tasks. */
export interface ChangedItems {
  readonly present: DavItem[];
  /** The names of those that are gone. */
  readonly goneNames: string[];
}

/** Yields tasks by their ids, page by page: as items, or as the names that they had in the project. */
export async function* readItemsById(
  db: Database,
  user: CurrentUser,
  projectId: string,
  ids: readonly string[],
): AsyncGenerator<ChangedItems> {
  for (let start = 0; start < ids.length; start += WALK_PAGE_ROWS) {
    const page = ids.slice(start, start + WALK_PAGE_ROWS);
    const anyOfPage = sql`any(${arrayLiteral(page)}::text::uuid[])`;
    const present = await selectItems(db, user, projectId, sql`${tasks.id} = ${anyOfPage}`);
    const ofPresent = new Set(present.map(({ id }) => id));
    const goneIds = page.filter((id) => !ofPresent.has(id));
    yield { present, goneNames: await namesOfGone(db, projectId, goneIds) };
  }
}

/** A task that no client had named was known by its id. A name that another task has now is not gone. */
async function namesOfGone(
  db: Database,
  projectId: string,
  ids: readonly string[],
): Promise<string[]> {
  if (ids.length === 0) return [];
  const rows = await db
    .select({ id: dav_items.task_id, name: dav_items.name })
    .from(dav_items)
    .where(and(eq(dav_items.project_id, projectId), inArray(dav_items.task_id, [...ids])));
  const given = new Map(rows.map(({ id, name }) => [id, name]));
  const names = ids.map((id) => given.get(id) ?? defaultName(id));
  const present = await db
    .select(tagColumns)
    .from(tasks)
    .leftJoin(dav_items, itemOfTask)
    .where(and(eq(tasks.project_id, projectId), isNamed(projectId, names)));
  const taken = new Set(present.map((row) => asTag(row).name));
  return names.filter((name) => !taken.has(name));
}
