/** Documents of `POST /projects/import`, as an export writes them. */

const AT = '2026-11-23T03:14:07.123Z';

/** A task with every field that an export has. */
export const exportedTask = {
  title: 'Tiles',
  description: null,
  status: 'todo',
  priority: 0,
  due_at: null,
  assignee: null,
  labels: [],
  completed_at: null,
  created_at: AT,
  updated_at: AT,
  created_by: null,
};

/** Returns a document. The fields given replace those of its project and of its tasks, and are added to them. */
export const exportedProject = (project: object, tasks: readonly object[] = []) => ({
  format: 'mantou-project',
  format_version: 1,
  exported_at: AT,
  project: {
    name: 'Imported',
    description: null,
    archived_at: null,
    created_at: AT,
    updated_at: AT,
    ...project,
  },
  tasks: tasks.map((task) => ({ ...exportedTask, ...task })),
});
