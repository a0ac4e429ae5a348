/** A task as tools show it: names in place of ids, and without what is not set, because each field costs a model attention. */
import { type Static, Type } from '@sinclair/typebox';
import { nameProjects } from '../handlers/projects.ts';
import { findPeople } from '../handlers/task-people.ts';
import type { Task } from '../schemas/tasks.ts';
import type { Caller } from './caller.ts';
import { quote } from './quote.ts';

const text = Type.String();
const fields = {
  id: text,
  project: text,
  title: text,
  status: text,
  priority: Type.Integer(),
  due_on: Type.Optional(text),
  due_at: Type.Optional(text),
  assignee: Type.Optional(text),
  labels: Type.Optional(Type.Array(text)),
  version: Type.Integer(),
};

export const TaskView = Type.Object(fields, { additionalProperties: false });
export type TaskView = Static<typeof TaskView>;

/** What a tool that writes returns: the caller knows the rest. */
export const TaskRow = Type.Object(
  { id: text, title: text, version: Type.Integer() },
  { additionalProperties: false },
);
export type TaskRow = Static<typeof TaskRow>;

export const CommentView = Type.Object(
  { author: Type.Optional(text), at: text, body: text },
  { additionalProperties: false },
);
export type CommentView = Static<typeof CommentView>;

/** With what a list leaves out. */
export const WholeTask = Type.Object(
  {
    ...fields,
    project_id: text,
    description: Type.Optional(text),
    created_by: Type.Optional(text),
    created_at: text,
    updated_at: text,
    completed_at: Type.Optional(text),
    comment_count: Type.Optional(Type.Integer()),
    comments: Type.Optional(Type.Array(CommentView)),
  },
  { additionalProperties: false },
);
export type WholeTask = Static<typeof WholeTask>;

/** Returns the tasks with the names of their projects and people. */
export async function viewTasks(caller: Caller, tasks: readonly Task[]): Promise<WholeTask[]> {
  const [projects, people] = await Promise.all([
    projectNames(caller, new Set(tasks.map(({ project_id }) => project_id))),
    findPeople(
      caller.db,
      new Set(tasks.flatMap((task) => [task.assignee_id ?? [], task.created_by ?? []].flat())),
    ),
  ]);
  const nameOf = (id: string | null) => (id === null ? undefined : people.get(id)?.username);
  return tasks.map((task) =>
    set({
      id: task.id,
      project: projects.get(task.project_id) ?? task.project_id,
      project_id: task.project_id,
      title: task.title,
      description: task.description ?? undefined,
      status: task.status,
      priority: task.priority,
      due_on: task.due_on ?? undefined,
      due_at: task.due_at ?? undefined,
      assignee: nameOf(task.assignee_id),
      labels: task.labels.length > 0 ? task.labels : undefined,
      created_by: nameOf(task.created_by),
      created_at: task.created_at,
      updated_at: task.updated_at,
      completed_at: task.completed_at ?? undefined,
      comment_count: task.comment_count || undefined,
      version: task.version,
    }),
  );
}

/** Returns the names of projects by their ids. */
export async function projectNames(
  { db, user }: Caller,
  ids: ReadonlySet<string>,
): Promise<Map<string, string>> {
  if (ids.size === 0) return new Map();
  const named = await nameProjects(db, user, [...ids]);
  return new Map(named.map(({ id, name }) => [id, name]));
}

const set = <T extends object>(fields: T): T =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T;

/** Returns the task without what only `read_tasks` shows. */
export const inBrief = ({
  description: _,
  created_by: __,
  created_at: ___,
  updated_at: ____,
  completed_at: _____,
  project_id: ______,
  comment_count: _______,
  comments: ________,
  ...brief
}: WholeTask): TaskView => brief;

/** Returns a task on one line. */
export function taskLine(task: TaskView): string {
  const { id, project, title, status, priority, due_on, due_at, assignee, labels = [] } = task;
  const due = due_on ?? due_at;
  const parts = [
    `- ${quote(title)}`,
    status,
    ...(priority > 0 ? [`priority ${priority}`] : []),
    ...(due ? [`due ${due}`] : []),
    ...(assignee ? [`@${assignee}`] : []),
    ...labels.map((label) => `#${quote(label)}`),
    `in ${quote(project)}`,
    `id ${id}`,
    `version ${task.version}`,
  ];
  return parts.join(' · ');
}

/** Returns what was written of a task on one line. */
export const rowLine = ({ id, title, version }: TaskRow) =>
  `- ${quote(title)} · id ${id} · version ${version}`;
