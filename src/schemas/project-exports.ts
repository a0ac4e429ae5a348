import { type Static, Type } from '@sinclair/typebox';
import { Instant, Nullable, OneOf, Parameters, StrictObject } from './common.ts';
import { project_fields } from './projects.ts';
import { task_fields } from './tasks.ts';
import { Username } from './users.ts';

export const PROJECT_FORMAT = 'mantou-project';
export const PROJECT_FORMAT_VERSION = 1;

const { title, description, status, priority, due_at, labels, completed_at, ...task } = task_fields;

/** Ids do not travel: what the project and its tasks are called by is made anew where they are imported. */
export const ExportedTask = StrictObject('ExportedTask', {
  title,
  description,
  status,
  priority,
  due_at,
  assignee: Nullable(Username, {
    description: 'The user name of the assignee.',
    examples: [null],
  }),
  labels,
  completed_at,
  created_at: task.created_at,
  updated_at: task.updated_at,
  created_by: Nullable(Username, {
    description: 'The user name of who made it; null once the account is deleted.',
  }),
});
export type ExportedTask = Static<typeof ExportedTask>;

const { id: _, version: __, ...kept } = project_fields;

const ExportedProject = StrictObject('ExportedProject', kept);
export type ExportedProject = Static<typeof ExportedProject>;

export const ProjectExport = StrictObject(
  'ProjectExport',
  {
    format: Type.Literal(PROJECT_FORMAT),
    format_version: Type.Literal(PROJECT_FORMAT_VERSION),
    exported_at: Instant('When it was written.'),
    project: ExportedProject,
    tasks: Type.Array(ExportedTask, { description: 'The oldest first.' }),
  },
  'A project with its tasks, without ids: people are named by their user names. Each task is on a line of its own.',
);

export const TaskTable = Type.String({
  $id: 'TaskTable',
  description:
    'RFC 4180 with a header, in UTF-8; labels with commas between. A text that a spreadsheet would take for a formula, or that begins with an apostrophe, has an apostrophe before it.',
  examples: [
    'id,title,description,status,priority,due_at,assignee,labels,completed_at,created_at,updated_at,created_by\r\n',
  ],
});

export const ExportQuery = Parameters({
  format: OneOf(['json', 'csv'], {
    default: 'json',
    description: '`json` can be imported again, `csv` is for spreadsheets.',
    examples: ['json'],
  }),
});
