/** What a client may ask for beside the fields of a task. It does not belong to the version of the task. */
import type { Database } from '../db/database.ts';
import type { Task, TaskListQuery } from '../schemas/tasks.ts';
import { expandPeople } from './task-people.ts';
import { expandProgress } from './task-tree.ts';

/** Returns the tasks with what `expand` names. */
export async function expandTasks(
  db: Database,
  expand: TaskListQuery['expand'],
  tasks: Task[],
): Promise<Task[]> {
  let expanded = tasks;
  if (expand?.includes('people')) expanded = await expandPeople(db, expanded);
  if (expand?.includes('progress')) expanded = await expandProgress(db, expanded);
  return expanded;
}
