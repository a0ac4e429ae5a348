/** The order by hand: where a patch puts a task. PostgreSQL finds the place between its neighbors, and no other task changes. */
// Decision: docs/decisions/46-order-by-hand.md
import { sql } from 'drizzle-orm';
import type { Database } from '../db/database.ts';
import { bumpVersion } from '../db/row-values.ts';
import { tasks } from '../db/schema.ts';
import { taskColumns } from '../db/visible-columns.ts';
import { problemsOf, validationProblem } from '../errors/problem.ts';
import { findSecondPlace, placeErrors, type Task, type TaskPatch } from '../schemas/tasks.ts';

/** Right after a task or right before it; without one, before all others or after them. */
export interface Place {
  is_placed: boolean;
  is_after: boolean;
  anchor_id: string | null;
}

/** Returns the place that a patch names. @param location of the fields: `body`. @throws {Problem} `validation_failed`. */
export function placeIn(patch: Pick<TaskPatch, 'after' | 'before'>, location: string): Place {
  const error = findSecondPlace(patch);
  if (error) throw validationProblem([{ ...error, location: `${location}.${error.location}` }]);
  const { after, before } = patch;
  return {
    is_placed: after !== undefined || before !== undefined,
    is_after: after !== undefined,
    anchor_id: after ?? before ?? null,
  };
}

/** Returns the problems of a place. @param location of the field: `body.after`. */
export const placeRefusals = (location: string) => problemsOf(placeErrors(location));

/** Puts a task, which is locked, in its place. @returns the task as it is now. */
export async function putTask(
  tx: Database,
  { id, project_id }: Pick<Task, 'id' | 'project_id'>,
  { anchor_id, is_after }: Place,
): Promise<Task> {
  const [task] = await tx
    .update(tasks)
    .set({
      position: sql`place_task(${id}::uuid, ${project_id}::uuid, ${anchor_id}::uuid, ${is_after}::boolean)`,
      ...bumpVersion(tasks),
    })
    .where(sql`${tasks.id} = ${id}`)
    .returning(taskColumns);
  return task as Task;
}
