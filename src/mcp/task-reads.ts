/** Tools that read tasks. */
import { Type } from '@sinclair/typebox';
import { taskStatuses } from '../db/schema.ts';
import { listAllTasks } from '../handlers/task-lists.ts';
import { readTask } from '../handlers/tasks.ts';
import { AllTasksQuery, label, type Task } from '../schemas/tasks.ts';
import { DistinctList } from '../schemas/types/list.ts';
import { OneOf } from '../schemas/types/one-of.ts';
import type { Caller } from './caller.ts';
import { commentLines, withComments } from './comment-tools.ts';
import { resolvePeople, resolveProject } from './names.ts';
import {
  asString,
  closed,
  cursor,
  integer,
  optional,
  person,
  projectName,
  taskId,
} from './pieces.ts';
import { ifVisible } from './problem-result.ts';
import { quoteLines } from './quote.ts';
import { inBrief, TaskView, taskLine, viewTasks, WholeTask } from './task-view.ts';
import { defineTool } from './tool.ts';

const PAGE_MAX = 100;
const PAGE_DEFAULT = 25;
const READ_MAX = 50;

const { q, due_from, due_before, updated_from } = AllTasksQuery.properties;
const OPEN = ['todo', 'in_progress'] as const;
const SORTS = ['due_at', '-priority', '-updated_at', '-created_at', 'title'] as const;

export const findTasks = defineTool('find_tasks', {
  description: 'Find tasks, by default open ones, soonest due first.',
  effect: 'reads',
  input: closed({
    q: optional(q, 'Words in title or description'),
    project: optional(projectName, 'Name or id'),
    status: Type.Optional({
      ...DistinctList(OneOf(taskStatuses), { itemsMax: taskStatuses.length }),
      default: OPEN,
    }),
    label: optional(DistinctList(label, { itemsMax: 20 }), 'Any of these'),
    assignee: optional(person, 'me, none, user name or id'),
    priority_min: optional(integer(0, 4), '0 to 4'),
    due_from: optional(asString(due_from), 'Date or RFC 3339'),
    due_before: optional(asString(due_before), 'Exclusive: Monday for this week'),
    updated_from: optional(asString(updated_from)),
    sort: Type.Optional({ ...OneOf(SORTS), default: 'due_at' }),
    limit: Type.Optional({ ...integer(1, PAGE_MAX), default: PAGE_DEFAULT }),
    cursor,
  }),
  output: closed({
    tasks: Type.Array(TaskView),
    next_cursor: Type.Optional(Type.String()),
  }),
  async run(caller, input) {
    const { project, assignee, status = [...OPEN], sort = 'due_at', limit = PAGE_DEFAULT } = input;
    const { q, label, priority_min, due_from, due_before, updated_from, cursor } = input;
    const { items, next_cursor } = await listAllTasks(caller.db, caller.user, {
      limit,
      cursor,
      sort,
      status,
      q,
      label,
      priority_min,
      due_from,
      due_before,
      updated_from,
      assignee_id: assignee && (await personOf(caller, assignee)),
      // A project that is named is meant, archived or not.
      ...(project
        ? { project_id: [await resolveProject(caller, project)], archived: 'any' }
        : { archived: 'false' }),
    });
    const tasks = (await viewTasks(caller, items)).map(inBrief);
    const more = next_cursor === null ? '' : ` There are more: cursor ${next_cursor}`;
    return {
      data: { tasks, ...(next_cursor !== null && { next_cursor }) },
      text: [`${tasks.length} tasks.${more}`, ...tasks.map(taskLine)].join('\n'),
    };
  },
});

async function personOf(caller: Caller, text: string): Promise<string> {
  const ids = await resolvePeople(caller, [{ text, location: 'body.assignee' }]);
  return ids.get(text) ?? text;
}

export const readTasks = defineTool('read_tasks', {
  description: 'Read up to 50 tasks by id, with descriptions and latest comments.',
  effect: 'reads',
  input: closed({ ids: Type.Array(taskId, { minItems: 1, maxItems: READ_MAX }) }),
  output: closed({
    tasks: Type.Array(WholeTask),
    missing: Type.Array(Type.String()),
  }),
  async run(caller, { ids }) {
    const found = await Promise.all(ids.map((id) => readIfVisible(caller, id)));
    const tasks = await withComments(
      caller,
      await viewTasks(
        caller,
        found.flatMap((task) => task ?? []),
      ),
    );
    const missing = ids.filter((_, index) => found[index] === undefined);
    return { data: { tasks, missing }, text: wholeText(tasks, missing) };
  },
});

/** Returns a task; undefined where the user sees none. */
export const readIfVisible = ({ db, user }: Caller, id: string): Promise<Task | undefined> =>
  ifVisible(() => readTask(db, user, id));

const wholeText = (tasks: readonly WholeTask[], missing: readonly string[]) =>
  [
    `${tasks.length} tasks, ${missing.length} not found.`,
    ...tasks.flatMap((task) => [
      taskLine(inBrief(task)),
      ...(task.description ? [quoteLines(task.description)] : []),
      ...commentLines(task),
    ]),
  ].join('\n');
