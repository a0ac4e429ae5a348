/** Tools that write tasks. Each call is one batch: all of it is done, or nothing. */
import { type Static, Type } from '@sinclair/typebox';
import type { IdempotencyKey } from '../db/idempotency.ts';
import { batchTasks } from '../handlers/task-batch.ts';
import type { BatchOperation, TaskPatch } from '../schemas/tasks.ts';
import { DistinctList } from '../schemas/types/list.ts';
import { OneOf } from '../schemas/types/one-of.ts';
import { Text } from '../schemas/types/text.ts';
import { callKey } from './call-key.ts';
import type { Caller } from './caller.ts';
import { type Reference, resolvePeople, resolveProject } from './names.ts';
import { closed, optional, projectName, taskFields, taskId, taskRefs, version } from './pieces.ts';
import { readIfVisible } from './task-reads.ts';
import { rowLine, TaskRow } from './task-view.ts';
import { defineTool } from './tool.ts';

const TASKS_MAX = 100;

/** The tasks as they are now, and whether an earlier call, which was the same, has done it. Deleted ones are as they were. */
const output = closed({ tasks: Type.Array(TaskRow), replayed: Type.Boolean() });

/** @param what was done to them: `created`. */
async function apply(
  caller: Caller,
  what: string,
  operations: BatchOperation[],
  key: IdempotencyKey | undefined,
) {
  // Names may have taken a moment to look up.
  await caller.authenticate();
  const { row, replayed } = await batchTasks(caller.db, caller.user, { operations }, key);
  const written = row.results.map(({ task }) => task);
  // Since the first call, others may have changed and deleted them.
  const present =
    replayed && what !== 'deleted'
      ? (await Promise.all(written.map(({ id }) => readIfVisible(caller, id)))).flatMap(
          (task) => task ?? [],
        )
      : written;
  const tasks = present.map(({ id, title, version }) => ({ id, title, version }));
  const gone = written.length - present.length;
  const sentence = replayed
    ? `Nothing new: the same call ${what} ${written.length} tasks before${gone > 0 ? `, of which ${gone} are gone` : ''}.`
    : `${tasks.length} tasks ${what}.`;
  return { data: { tasks, replayed }, text: [sentence, ...tasks.map(rowLine)].join('\n') };
}

/**
 * Changes tasks. A call that names the version of every task has a key: its repetition has nothing left to do. Without the
 * versions it may have, because others may have changed the tasks meanwhile.
 */
async function change(caller: Caller, tool: string, what: string, operations: BatchOperation[]) {
  const namesVersions = operations.every((one) => one.op !== 'create' && one.version !== undefined);
  const key = namesVersions ? await callKey(tool, operations, undefined) : undefined;
  return apply(caller, what, operations, key);
}

type Fields = Partial<Static<ReturnType<typeof closed<typeof taskFields>>>>;

/** Returns what the API calls the fields of tasks, with ids in place of the names of assignees. */
async function withAssignees<T extends Fields>(caller: Caller, tasks: readonly T[]) {
  const ids = await resolvePeople(
    caller,
    references(tasks, 'assignee', ({ assignee }) => assignee),
  );
  return tasks.map(({ assignee, ...fields }) => ({
    ...fields,
    ...(assignee !== undefined && { assignee_id: ids.get(assignee) ?? assignee }),
  }));
}

const references = <T>(
  tasks: readonly T[],
  argument: string,
  textOf: (task: T) => string | undefined,
): Reference[] =>
  tasks.flatMap((task, index) => {
    const text = textOf(task);
    return text === undefined ? [] : [{ text, location: `body.tasks.${index}.${argument}` }];
  });

export const createTasks = defineTool('create_tasks', {
  description:
    'Create tasks, up to 100, all or none. The same call within a day is replayed, unless its key is new.',
  effect: 'writes',
  input: closed({
    project: { ...projectName, description: 'Name or id' },
    tasks: Type.Array(closed(taskFields), { minItems: 1, maxItems: TASKS_MAX }),
    key: Type.Optional(Text({ minLength: 1, maxLength: 100 })),
  }),
  output,
  async run(caller, { project, tasks, key }) {
    const projectId = await resolveProject(caller, project);
    const fields = await withAssignees(caller, tasks);
    const operations = fields.map((one) => ({
      op: 'create' as const,
      project_id: projectId,
      ...one,
    }));
    return apply(caller, 'created', operations, await callKey('create_tasks', operations, key));
  },
});

const CLEARABLE = ['description', 'due_on', 'due_at', 'assignee'] as const;

export const updateTasks = defineTool('update_tasks', {
  description: 'Change fields of up to 100 tasks, all or none. labels replaces the list.',
  effect: 'writes',
  input: closed({
    tasks: Type.Array(
      closed({
        id: taskId,
        version,
        ...taskFields,
        title: optional(taskFields.title),
        clear: Type.Optional({
          ...DistinctList(OneOf(CLEARABLE), { itemsMax: CLEARABLE.length }),
          description: 'Fields to empty',
        }),
      }),
      { minItems: 1, maxItems: TASKS_MAX },
    ),
  }),
  output,
  async run(caller, { tasks }) {
    const fields = await withAssignees(caller, tasks);
    const operations = fields.map(({ id, clear = [], ...one }) => ({
      op: 'update' as const,
      task_id: id,
      ...cleared(clear),
      ...one,
    }));
    return change(caller, 'update_tasks', 'updated', operations);
  },
});

const cleared = (names: readonly (typeof CLEARABLE)[number][]): TaskPatch =>
  Object.fromEntries(names.map((name) => [name === 'assignee' ? 'assignee_id' : name, null]));

export const completeTasks = defineTool('complete_tasks', {
  description: 'Mark up to 100 tasks as done.',
  effect: 'writes',
  input: closed({ tasks: taskRefs }),
  output,
  async run(caller, { tasks }) {
    const operations = tasks.map(({ id, version }) => ({
      op: 'update' as const,
      task_id: id,
      version,
      status: 'done' as const,
    }));
    return change(caller, 'complete_tasks', 'completed', operations);
  },
});

export const moveTasks = defineTool('move_tasks', {
  description:
    'Move up to 100 tasks to another project. An assignee who is no member there is dropped.',
  effect: 'writes',
  input: closed({ tasks: taskRefs, project: { ...projectName, description: 'Name or id' } }),
  output,
  async run(caller, { tasks, project }) {
    const projectId = await resolveProject(caller, project);
    const operations = tasks.map(({ id, version }) => ({
      op: 'update' as const,
      task_id: id,
      version,
      project_id: projectId,
    }));
    return change(caller, 'move_tasks', 'moved', operations);
  },
});

export const deleteTasks = defineTool('delete_tasks', {
  description:
    'Move up to 100 tasks to the trash, all or none. To only close one, complete it or set its status to cancelled.',
  effect: 'destroys',
  input: closed({ tasks: taskRefs }),
  output,
  async run(caller, { tasks }) {
    const operations = tasks.map(({ id, version }) => ({
      op: 'delete' as const,
      task_id: id,
      version,
    }));
    return change(caller, 'delete_tasks', 'deleted', operations);
  },
});
