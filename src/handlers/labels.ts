/**
 * The labels of tasks. They are no rows of their own: a label exists as long as a task has it. So a list reads a bounded number
 * of tasks, and a rename writes each task, `STEP_TASKS` in a statement.
 */
// Decision: docs/decisions/35-labels-without-a-table.md
import { and, eq, inArray, sql } from 'drizzle-orm';
import { NIL as NIL_UUID } from 'uuid';
import {
  actorOf,
  assertPermitted,
  projectWriteAccess,
  taskWriteLock,
} from '../db/authorization.ts';
import type { Database } from '../db/database.ts';
import {
  labelLexeme,
  labelWord,
  lexemeScope,
  taskSearchText,
  taskWordsMatchIn,
} from '../db/full-text.ts';
import { isSearchStale } from '../db/index-expressions.ts';
import { parsePage, type SortOrder, toPage } from '../db/pagination.ts';
import { asParam, prepared, type QueryParams, rawQuery } from '../db/prepared.ts';
import { columnsOf } from '../db/row-mapper.ts';
import { bumpVersion } from '../db/row-values.ts';
import { tasks } from '../db/schema.ts';
import type { Actor, CurrentUser } from '../schemas/current-user.ts';
import {
  LABELLED_TASKS_READ_MAX,
  type Label,
  type LabelChange,
  type LabelListQuery,
  type LabelPage,
  RELABELLED_TASKS_MAX,
} from '../schemas/labels.ts';
import { writes } from './task-fields.ts';
import { assertVisible, projectsOf, type Scope, scopeOf } from './task-lists.ts';

// --- List ------------------------------------------------------------------------------------------------------

/** The order by name. A label has no id. */
const byName: SortOrder<Label> = {
  by: sql`name`,
  type: 'text',
  id: tasks.id,
  descending: false,
  keyOf: ({ name }) => name,
  idOf: () => NIL_UUID,
};

/**
 * Lists the labels of all projects that the user sees, or of some of them, by name.
 * @throws {Problem} `not_found` for a project that the user does not see; `invalid_cursor`.
 */
export async function listLabels(
  db: Database,
  user: CurrentUser,
  { limit, cursor, ...query }: LabelListQuery,
): Promise<LabelPage> {
  const list = ['labels', query.archived, query.project_id];
  const page = await parsePage(list, { limit, cursor }, byName);
  await assertVisible(db, user, query.project_id);
  const rows = await selectLabels(db, {
    user: { id: user.id },
    ...scopeOf(query),
    after: page.position === undefined ? null : String(page.position.key),
    count: page.count,
  });
  const labels = rows.flatMap(({ name, count }) =>
    name === null || count === null ? [] : [{ name, count }],
  );
  return { ...(await toPage(page, labels)), more: rows[0]?.more ?? false };
}

interface ListParams extends Scope {
  user: Pick<CurrentUser, 'id'>;
  after: string | null;
  count: number;
}

const selectLabels = prepared((_db, params: QueryParams<ListParams>) => {
  const max = sql.raw(String(LABELLED_TASKS_READ_MAX));
  const after = sql`${params.after}::text`;
  return rawQuery<{ more: boolean; name: string | null; count: number | null }>(
    sql`
    with mine as materialized (${projectsOf(params)}),
    -- Of each project the same share, and one task more, which says that there are more.
    size as materialized (select greatest(${max} / greatest(count(*), 1), 1) as share from mine),
    latest as materialized (
      select mine.project_id, task.labels
      from mine cross join lateral (
        select ${tasks.labels} from ${tasks} where ${tasks.project_id} = mine.project_id
        order by ${tasks.created_at} desc, ${tasks.id} desc limit (select share + 1 from size)
      ) task
      limit ${max}
    ),
    counted as (
      select label as name, count(*)::int as count from latest cross join unnest(latest.labels) label
      where ${after} is null or label collate "C" > ${after}
      group by label order by label collate "C" limit ${params.count}::bigint
    ),
    bound as (
      select exists (
        select from latest group by project_id having count(*) > (select share from size)
      ) or (select count(*) from latest) = ${max} as reached
    )
    select bound.reached, counted.name, counted.count
    from bound left join counted on true order by counted.name collate "C"`,
    ['more', 'name', 'count'],
  );
});

// --- Changes ---------------------------------------------------------------------------------------------------

/** One statement locks and changes up to this many tasks. */
const STEP_TASKS = 200;
/** Tasks whose words an earlier release wrote: beside the index of words, a step reads up to this many of all projects. */
const STALE_TASKS_READ_MAX = 10_000;
const STEPS_MAX = RELABELLED_TASKS_MAX / STEP_TASKS;

/**
 * Renames a label in up to `RELABELLED_TASKS_MAX` tasks of the project. A task that has the new label already has it once. Each
 * step is complete by itself, so a request that was interrupted can be repeated.
 * @throws {Problem} `not_found`, `forbidden`, `conflict`.
 */
export const renameLabel = (
  db: Database,
  user: CurrentUser,
  projectId: string,
  label: string,
  name: string,
): Promise<LabelChange> => changeLabel(db, user, projectId, label, name);

/** Removes a label from up to `RELABELLED_TASKS_MAX` tasks of the project. @throws {Problem} as `renameLabel` does. */
export const removeLabel = (
  db: Database,
  user: CurrentUser,
  projectId: string,
  label: string,
): Promise<LabelChange> => changeLabel(db, user, projectId, label, null);

async function changeLabel(
  db: Database,
  user: CurrentUser,
  projectId: string,
  label: string,
  name: string | null,
): Promise<LabelChange> {
  const params = {
    user: actorOf(user),
    project_id: projectId,
    label,
    query: labelLexeme(label),
    word: labelWord(label),
    name,
    lexeme: name === null ? '' : labelLexeme(name),
    // Where the name stays the same, nothing changes, but the access is checked.
    count: name === label ? 0 : STEP_TASKS,
  };
  let changed = 0;
  for (let step = 0; step < STEPS_MAX; step += 1) {
    const [found] = await changeSome(db, params);
    assertPermitted(found?.access, writes);
    changed += found.row.changed;
    if (found.row.found < STEP_TASKS)
      return { changed, more: found.row.stale === STALE_TASKS_READ_MAX };
  }
  return { changed, more: true };
}

interface Change {
  user: Actor;
  project_id: string;
  label: string;
  query: string;
  word: string;
  /** Null removes the label. */
  name: string | null;
  lexeme: string;
  count: number;
}

const changeSome = prepared((db, params: QueryParams<Change>) => {
  const access = projectWriteAccess(db, params.user, params.project_id);
  const locked = taskWriteLock(db, access, writes);
  const [label, name] = [sql`${params.label}::text`, sql`${params.name}::text`];
  const hasLabel = sql`${tasks.labels} @> array[${label}]`;
  const projectId = sql`(select ${locked.project_id} from ${locked})`;
  // Ordered as their index is. Otherwise the planner, which expects most of the table, would read all of it.
  const stale = db
    .$with('stale')
    .as(
      db
        .select({ id: tasks.id, project_id: tasks.project_id, labels: tasks.labels })
        .from(tasks)
        .where(isSearchStale(tasks, tasks.title_words))
        .orderBy(tasks.id)
        .limit(STALE_TASKS_READ_MAX),
    );
  const some = db.$with('some').as(
    db
      .select({ id: tasks.id })
      .from(tasks)
      .where(and(taskWordsMatchIn(sql`${params.query}::text`, projectId), hasLabel))
      .unionAll(
        db
          .select({ id: stale.id })
          .from(stale)
          .where(sql`${stale.project_id} = ${projectId} and ${stale.labels} @> array[${label}]`),
      )
      .limit(asParam<number>(params.count)),
  );
  // Locked in the order of all writers, without tasks that have lost the label or left the project meanwhile.
  const chosen = db.$with('chosen').as(
    db
      .select({ id: tasks.id })
      .from(tasks)
      .where(
        sql`${inArray(tasks.id, db.select({ id: some.id }).from(some))} and ${tasks.project_id} = ${projectId} and ${hasLabel}`,
      )
      .orderBy(tasks.id)
      .for('update'),
  );
  const changed = db.$with('changed').as(
    db
      .update(tasks)
      .set({
        labels: sql`case when ${name} is null or ${name} = any(${tasks.labels})
          then array_remove(${tasks.labels}, ${label}) else array_replace(${tasks.labels}, ${label}, ${name}) end`,
        label_words: sql`ts_delete(${tasks.label_words}, ${lexemeScope(tasks.project_id)} || ${params.word}::text)
          || ${taskSearchText(sql`${params.lexeme}::text`, tasks.project_id)}`,
        ...bumpVersion(tasks),
      })
      .from(chosen)
      .where(eq(tasks.id, chosen.id))
      .returning({ id: tasks.id }),
  );
  return db
    .with(access, locked, stale, some, chosen, changed)
    .select({
      access: columnsOf(access),
      row: {
        found: sql<number>`(select count(*)::int from ${some})`,
        changed: sql<number>`(select count(*)::int from ${changed})`,
        stale: sql<number>`(select count(*)::int from ${stale})`,
      },
    })
    .from(access);
});
