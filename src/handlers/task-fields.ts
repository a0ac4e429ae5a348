/** The rules of every write of a task: who may write, the defaults, and the rules between fields. */
import type { Permission } from '../db/authorization.ts';
import { validationProblem } from '../errors/problem.ts';
import { parseInstant } from '../lib/instant.ts';
import type { CurrentUser } from '../schemas/current-user.ts';
import { findSecondDueDate, type Task, type TaskPatch, type TaskWrite } from '../schemas/tasks.ts';

/** Who may write tasks, and when. */
export const writes: Permission = { roles: ['owner', 'editor'], whileArchived: false };

/** Returns whether a patch sets the status and nothing else: a viewer may send it for a task that is assigned to them. */
export const isStatusAlone = (patch: TaskPatch): boolean =>
  patch.status !== undefined &&
  Object.entries(patch).every(([name, value]) => name === 'status' || value === undefined);

/** The value of a writable field that a client leaves out of a task that it creates or replaces. */
export const defaults = {
  description: null,
  status: 'todo',
  priority: 0,
  due_at: null,
  due_on: null,
  assignee_id: null,
  labels: [],
  parent_id: null,
  blocked_by: [],
} as const satisfies Omit<Required<TaskWrite>, 'id' | 'title'>;

/** Returns the fields with the user's id for `me`. */
export const withOwnId = <Fields extends Pick<TaskPatch, 'assignee_id'>>(
  user: CurrentUser,
  fields: Fields,
): Fields => (fields.assignee_id === 'me' ? { ...fields, assignee_id: user.id } : fields);

/** A write starts over up to this many times when another request moves its task. */
export const MOVES_MAX = 10;

/** Returns an instant of a client in UTC. */
export const inUtc = (instant: string | null) =>
  instant === null ? null : (parseInstant(instant) ?? null);

/**
 * Refuses fields that would leave a task with two due dates. None is cleared unless the client says so.
 * @param task as it is; undefined for a new one.
 * @param location of the fields: `body`.
 * @throws {Problem} `validation_failed`.
 */
export function refuseSecondDueDate(
  fields: TaskPatch,
  task?: Pick<Task, 'due_at' | 'due_on'>,
  location = 'body',
): void {
  const error = findSecondDueDate({ ...task, ...fields }, fields.due_on ? 'due_on' : 'due_at');
  if (error) throw validationProblem([{ ...error, location: `${location}.${error.location}` }]);
}
