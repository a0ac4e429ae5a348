/** Writes of CalDAV clients. A task and what the client wrote of it change in one transaction. */
// Decision: docs/decisions/43-caldav-texts.md
import { and, eq, isNull, lt, not, sql } from 'drizzle-orm';
import {
  actorOf,
  projectWriteAccess,
  taskWriteLock,
  unwrapWrite,
  versionMatches,
  versionsParam,
  writeWithAccess,
} from '../db/authorization.ts';
import type { Database } from '../db/database.ts';
import { onViolation } from '../db/errors.ts';
import { bumpVersion } from '../db/row-values.ts';
import { dav_items, tasks, trashed_tasks } from '../db/schema.ts';
import { taskColumns } from '../db/visible-columns.ts';
import { Problem, unmet } from '../errors/problem.ts';
import {
  readItem,
  restoreCategories,
  type TodoFields,
  type TodoItem,
} from '../formats/todo-item.ts';
import type { CurrentUser } from '../schemas/current-user.ts';
import type { Task, TaskPatch } from '../schemas/tasks.ts';
import { DAV_NAME_LENGTH_MAX } from './caldav.ts';
import { type DavItem, findItemByUid, findItems, readItemNamed, tagOf } from './caldav-items.ts';
import { writes } from './task-fields.ts';
import { createTask, deleteTask, patchTask } from './tasks.ts';

/** What a client knows of the item that it writes (RFC 9110 §13.1). */
export interface ItemCondition {
  /** `If-Match`: the item exists, and its entity tag is among those of the client; undefined where the client does not ask. */
  readonly ifMatch: ((tag: string) => boolean) | undefined;
  /** `If-None-Match: *`: there is none. */
  readonly ifNoneMatch: boolean;
}

/** What became of a write. */
export interface WrittenItem {
  readonly isNew: boolean;
  /** Undefined where the item is not what the client has sent, so that the client reads it (RFC 4791 §5.3.4). */
  readonly tag: string | undefined;
}

/** A write starts over up to this many times when another request changes the item. */
const ATTEMPTS_MAX = 5;

/** How many names of items that are long gone a write clears away. */
const SWEPT_MAX = 100;

/**
 * Creates or changes the item with a name. Only the fields change in which the text differs from what a client reads of the
 * item: what iCalendar cannot say stays as it is.
 * @param hrefOf returns the path of an item, by its name.
 * @throws {Problem} `precondition_failed`; `webdav_condition`, `forbidden`.
 */
export async function putItem(
  db: Database,
  user: CurrentUser,
  projectId: string,
  name: string,
  text: string,
  condition: ItemCondition,
  options: { retentionSeconds: number; hrefOf: (name: string) => string },
): Promise<WrittenItem> {
  readSent(text);
  let mayHaveParent = true;
  if (name.length > DAV_NAME_LENGTH_MAX) throw unmet('c:valid-calendar-object-resource');
  for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt += 1) {
    const present = (await findItems(db, user, projectId, [name])).get(name);
    assertCondition(condition, present);
    const kept = present ? restoreCategories(text, present.text) : text;
    const item = readSent(kept);
    const parentId = mayHaveParent ? await findParentId(db, user, projectId, item) : null;
    const place = { projectId, name, text: kept, item, parentId };
    if (await isTaken(db, user, place, present, options.hrefOf)) continue;
    if (present?.text === kept)
      return { isNew: false, tag: kept === text ? present.tag : undefined };
    if (present && !isWriter(present)) {
      const patched = await patchStatus(db, user, present, item).catch(unlessRefused);
      if (patched) return { isNew: false, tag: undefined };
      continue;
    }
    const task = await onViolation(
      { dav_items_project_id_name_key: startsOver, dav_items_project_id_uid_key: startsOver },
      db.transaction(async (tx) => {
        const written = present
          ? await changeTask(tx, user, place, present)
          : await createNamedTask(tx, user, place, options.retentionSeconds);
        await storeText(tx, written, place);
        return written;
      }),
    ).catch((error) => {
      if (!mayHaveParent || !isOfParent(error)) return unlessRefused(error);
      // The text keeps what it says, and the task has no parent.
      mayHaveParent = false;
      return undefined;
    });
    if (!task) continue;
    const version = await joinFamily(db, user, place, task, !present);
    return { isNew: !present, tag: kept === text ? tagOf(task.id, version) : undefined };
  }
  throw new Problem('conflict', { detail: 'The item is being changed by others' });
}

/** @throws {Problem} `webdav_condition` for what is no item. */
function readSent(text: string): TodoItem {
  const item = readItem(text);
  if (typeof item === 'string') throw unmet(`c:${item}`);
  return item;
}

/** The item that a client writes. */
interface Place {
  projectId: string;
  name: string;
  text: string;
  item: TodoItem;
  /** The task with the UID of the parent; null where there is none. */
  parentId: string | null;
}

/** @throws {Problem} `precondition_failed`. */
function assertCondition({ ifMatch, ifNoneMatch }: ItemCondition, present: DavItem | undefined) {
  const isExpected = !ifMatch || (present && ifMatch(present.tag));
  if (!isExpected || (ifNoneMatch && present))
    throw new Problem('precondition_failed', present && { version: present.version });
}

/**
 * Refuses a UID that another item of the project has, and another UID than the item has (RFC 4791 §5.3.2.1).
 * @returns whether another request has created the item meanwhile.
 * @throws {Problem} `webdav_condition`.
 */
async function isTaken(
  db: Database,
  user: CurrentUser,
  { projectId, name, item }: Place,
  present: DavItem | undefined,
  hrefOf: (name: string) => string,
): Promise<boolean> {
  if (present?.uid === item.uid) return false;
  const namesake = await findItemByUid(db, user, projectId, item.uid);
  if (!present && namesake?.name === name) return true;
  const other = namesake ?? present;
  if (other) throw unmet('c:no-uid-conflict', hrefOf(other.name));
  return false;
}

/** Another request has taken the name or the UID, or has changed the item: the write starts over. */
class ChangedMeanwhile extends Error {}

/** Returns undefined for a write that starts over. @throws what refuses it for good. */
function unlessRefused(error: unknown): undefined {
  if (error instanceof ChangedMeanwhile) return undefined;
  throw refusalOf(error);
}

/** Returns the refusal that tells a client which privilege it lacks (RFC 3744 §7.1.1): what it wrote is to stay out. */
function refusalOf(error: unknown): unknown {
  const isReadOnly = error instanceof Problem && ['forbidden', 'conflict'].includes(error.code);
  return isReadOnly ? new Problem('forbidden', { condition: 'd:need-privileges' }) : error;
}

const startsOver = () => new ChangedMeanwhile();

async function createNamedTask(
  tx: Database,
  user: CurrentUser,
  { projectId, name, item, parentId }: Place,
  retentionSeconds: number,
): Promise<Task> {
  const { row } = await createTask(tx, user, projectId, { ...item.fields, parent_id: parentId });
  await forgetGone(tx, projectId, name, item.uid, retentionSeconds);
  return row;
}

/**
 * Makes room for an item whose name or UID one had that is gone, and clears away names that no client can ask for any more. A task in
 * the trash keeps its text, under another name.
 */
async function forgetGone(
  tx: Database,
  projectId: string,
  name: string,
  uid: string,
  retentionSeconds: number,
) {
  await tx.execute(sql`select free_dav_name(${projectId}::uuid, ${name}, ${uid})`);
  // A task that was restored from the trash has its row again.
  const isIn = (table: typeof tasks | typeof trashed_tasks) =>
    sql`exists (select from ${table} where ${table.id} = ${dav_items.task_id} and ${table.project_id} = ${dav_items.project_id})`;
  const expired = tx
    .select({ task_id: dav_items.task_id, project_id: dav_items.project_id })
    .from(dav_items)
    .where(
      and(
        lt(dav_items.removed_at, sql`now() - make_interval(secs => ${retentionSeconds}::int)`),
        not(isIn(tasks)),
        not(isIn(trashed_tasks)),
      ),
    )
    .orderBy(dav_items.removed_at)
    .limit(SWEPT_MAX);
  await tx
    .delete(dav_items)
    .where(sql`(${dav_items.task_id}, ${dav_items.project_id}) in (${expired})`);
}

async function storeText(
  tx: Database,
  { id, version, parent_id }: Task,
  { projectId, name, text, item }: Place,
) {
  const row = {
    name,
    uid: item.uid,
    text,
    version,
    parent_uid: item.parentUid,
    parent_id,
    written_at: sql`now()`,
    removed_at: null,
  };
  await tx
    .insert(dav_items)
    .values({ project_id: projectId, task_id: id, ...row })
    .onConflictDoUpdate({ target: [dav_items.task_id, dav_items.project_id], set: row });
}

const isWriter = ({ role }: DavItem) => writes.roles.includes(role);

/**
 * Writes what a viewer may write of a task that is assigned to them: its status. What the text says beside the fields of the task
 * stays out, and the item keeps its own.
 * @throws {Problem} `forbidden` where another field differs.
 */
const patchStatus = (
  db: Database,
  user: CurrentUser,
  present: DavItem,
  item: TodoItem,
): Promise<Task> =>
  patchTask(db, user, present.id, differenceOf(present, item, present.task.parent_id), [
    present.version,
  ]).catch(refuseChanged);

/** Returns the task with its next version, also where the text says nothing else of the task. */
async function changeTask(
  tx: Database,
  user: CurrentUser,
  { projectId, item, parentId }: Place,
  present: DavItem,
): Promise<Task> {
  const difference = differenceOf(present, item, parentId);
  // With a second field the patch is no status alone: it takes the role that the item was read with.
  const patch = { priority: present.task.priority, ...difference };
  try {
    const patched =
      Object.keys(difference).length === 0
        ? present.task
        : await patchTask(tx, user, present.id, patch, [present.version]);
    return patched.version === present.version
      ? await touchTask(tx, user, projectId, present)
      : patched;
  } catch (error) {
    return refuseChanged(error);
  }
}

function refuseChanged(error: unknown): never {
  const isOutdated =
    error instanceof Problem && ['precondition_failed', 'not_found'].includes(error.code);
  throw isOutdated ? startsOver() : error;
}

/** Returns the fields in which an item differs from what its client has read. */
function differenceOf(
  { text, task }: DavItem,
  { fields, parentUid }: TodoItem,
  parentId: string | null,
): TaskPatch {
  const read = readItem(text);
  const entries = Object.entries(fields) as [keyof TodoFields, unknown][];
  const changed = entries.filter(
    ([name, value]) =>
      typeof read === 'string' || JSON.stringify(read.fields[name]) !== JSON.stringify(value),
  );
  // A parent may have come after the text that names it.
  const hasMoved = typeof read === 'string' || read.parentUid !== parentUid || !task.parent_id;
  return {
    ...Object.fromEntries(changed),
    ...(hasMoved && task.parent_id !== parentId && { parent_id: parentId }),
  };
}

// --- Parents ---------------------------------------------------------------------------------------------------

const findParentId = async (
  db: Database,
  user: CurrentUser,
  projectId: string,
  { parentUid }: TodoItem,
): Promise<string | null> =>
  parentUid === null ? null : ((await findItemByUid(db, user, projectId, parentUid))?.id ?? null);

/** Returns whether a write was refused because of the parent: it is below the task, or the tree would be too deep. */
const isOfParent = (error: unknown) =>
  error instanceof Problem &&
  error.particulars.errors?.some(({ location }) => location === 'body.parent_id');

/** Up to this many tasks wait for one parent. */
const CHILDREN_MAX = 200;

/**
 * Joins tasks whose parent was unknown when they were written: clients send them in any order, and at once. Each looks for the other
 * after its own commit, so the later one finds it.
 * @returns the version of the task, which is another one where it has got a parent.
 */
async function joinFamily(
  db: Database,
  user: CurrentUser,
  { projectId, item }: Place,
  task: Task,
  isNew: boolean,
): Promise<number> {
  const waiting = isNew
    ? await db
        .select({ id: tasks.id, version: tasks.version })
        .from(dav_items)
        .innerJoin(tasks, and(eq(tasks.id, dav_items.task_id), eq(tasks.project_id, projectId)))
        .where(
          and(
            eq(dav_items.project_id, projectId),
            eq(dav_items.parent_uid, item.uid),
            isNull(dav_items.parent_id),
            isNull(tasks.parent_id),
          ),
        )
        .limit(CHILDREN_MAX)
    : [];
  for (const child of waiting) await setParent(db, user, child, task.id);
  if (item.parentUid === null || task.parent_id !== null) return task.version;
  const parentId = await findParentId(db, user, projectId, item);
  return parentId === null ? task.version : await setParent(db, user, task, parentId);
}

/** Makes a task a subtask, unless it has changed meanwhile or cannot be one. Its text, which says so already, stays. */
async function setParent(
  db: Database,
  user: CurrentUser,
  { id, version }: Pick<Task, 'id' | 'version'>,
  parentId: string,
): Promise<number> {
  try {
    const task = await patchTask(db, user, id, { parent_id: parentId }, [version]);
    await db
      .update(dav_items)
      .set({ version: task.version, parent_id: parentId })
      .where(
        and(
          eq(dav_items.task_id, id),
          eq(dav_items.project_id, task.project_id),
          eq(dav_items.version, version),
        ),
      );
    return task.version;
  } catch (error) {
    if (error instanceof Problem) return version;
    throw error;
  }
}

/** Gives a task another version without another field, so that clients read again what a client has written beside its fields. */
async function touchTask(
  tx: Database,
  user: CurrentUser,
  projectId: string,
  { id, version }: DavItem,
): Promise<Task> {
  const access = projectWriteAccess(tx, actorOf(user), projectId);
  const locked = taskWriteLock(tx, access, writes);
  const touched = tx.$with('touched').as(
    tx
      .update(tasks)
      .set(bumpVersion(tasks))
      .from(locked)
      .where(
        and(
          eq(tasks.id, id),
          eq(tasks.project_id, locked.project_id),
          versionMatches(tasks.version, versionsParam([version])),
        ),
      )
      .returning(taskColumns),
  );
  const [found] = await writeWithAccess<Task>(tx, access, touched, locked);
  return unwrapWrite(found, writes, [version]);
}

/** Deletes an item, as a task is deleted. @throws {Problem} `not_found`, `precondition_failed`, `forbidden`. */
export async function deleteItem(
  db: Database,
  user: CurrentUser,
  projectId: string,
  name: string,
  condition: ItemCondition,
): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    const item = await readItemNamed(db, user, projectId, name);
    assertCondition(condition, item);
    try {
      return await deleteTask(db, user, item.id, [item.version]);
    } catch (error) {
      const isOutdated = error instanceof Problem && error.code === 'precondition_failed';
      if (!isOutdated || attempt === ATTEMPTS_MAX) throw refusalOf(error);
    }
  }
}
