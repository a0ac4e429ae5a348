/** The names of the people of tasks, for clients that ask for them. */
import { sql } from 'drizzle-orm';
import type { Database } from '../db/database.ts';
import { arrayLiteral } from '../db/full-text.ts';
import { prepared, type QueryParams } from '../db/prepared.ts';
import { users } from '../db/schema.ts';
import type { Person, Task } from '../schemas/tasks.ts';

/** Returns the tasks with their assignees and creators, who are members of the project or have been. */
export async function expandPeople(db: Database, tasks: readonly Task[]): Promise<Task[]> {
  const ids = new Set(
    tasks.flatMap((task) => [task.assignee_id ?? [], task.created_by ?? []].flat()),
  );
  const people = await findPeople(db, ids);
  const personOf = (id: string | null) => (id === null ? null : (people.get(id) ?? null));
  return tasks.map((task) => ({
    ...task,
    assignee: personOf(task.assignee_id),
    creator: personOf(task.created_by),
  }));
}

/** Returns people by id. The ids are those that the user has read in tasks or events. */
export async function findPeople(
  db: Database,
  ids: ReadonlySet<string>,
): Promise<Map<string, Person>> {
  if (ids.size === 0) return new Map();
  const found: Person[] = await selectPeople(db, { ids: arrayLiteral([...ids]) });
  return new Map(found.map((person) => [person.id, person]));
}

const selectPeople = prepared((db, { ids }: QueryParams<{ ids: string }>) =>
  db
    .select({ id: users.id, username: users.username })
    .from(users)
    .where(sql`${users.id} = any(${ids}::text::uuid[])`),
);
