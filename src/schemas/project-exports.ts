import { type Static, Type } from '@sinclair/typebox';
import { commentFields } from './comments.ts';
import { projectFields } from './projects.ts';
import { filters, taskFields } from './tasks.ts';
import { ChosenId } from './types/chosen-id.ts';
import { Id } from './types/id.ts';
import { Instant } from './types/instant.ts';
import { annotated } from './types/kind.ts';
import { Nullable, Parameters, StrictObject } from './types/object.ts';
import { OneOf } from './types/one-of.ts';
import { Text } from './types/text.ts';
import { Username } from './users.ts';

export const PROJECT_FORMAT = 'mantou-project';
export const PROJECT_FORMAT_VERSION = 1;

const {
  title,
  description,
  status,
  priority,
  due_at,
  due_on,
  labels,
  blocked_by,
  completed_at,
  ...task
} = taskFields;

/** A task. An export has no ids, but a `ref` where another task or a comment refers to it; an import may choose ids. */
export const ExportedTask = StrictObject('ExportedTask', {
  id: ChosenId('the task in an import'),
  title,
  description,
  status,
  priority,
  due_at,
  due_on: Type.Optional(due_on),
  assignee: Nullable(Username, {
    description: 'The user name of the assignee.',
    examples: [null],
  }),
  labels,
  completed_at,
  created_at: task.created_at,
  updated_at: task.updated_at,
  created_by: Nullable(Username, {
    description: 'The user name of the creator; null after the account was deleted.',
  }),
  position: Type.Optional(
    Text({
      minLength: 1,
      maxLength: 1000,
      pattern: '^[0-9a-f]+$',
      expected: 'hexadecimal digits',
      description: 'The place of a task that was put somewhere in the order by hand.',
    }),
  ),
  ref: Type.Optional(
    Id(
      'A name of this task in the document, to which other tasks and comments refer. It is no id after an import.',
    ),
  ),
  parent: Type.Optional(
    annotated(Id('The `ref` of the task of which this is a subtask.'), { examples: undefined }),
  ),
  blocked_by: Type.Optional(
    annotated(blocked_by, {
      description:
        'The `ref` of each task that blocks this one. One that is not in the document is left out by an import, as is such a parent.',
    }),
  ),
});
export type ExportedTask = Static<typeof ExportedTask>;

/** A comment. An export has no ids; an import may choose them. */
export const ExportedComment = StrictObject('ExportedComment', {
  id: ChosenId('the comment in an import'),
  task: Id(
    'The `ref` of its task, which comes before it. A comment on a task that is not in the document is left out by an import.',
  ),
  body: commentFields.body,
  author: Nullable(Username, {
    description: 'The user name of the author; null after the account was deleted.',
  }),
  created_at: commentFields.created_at,
  edited_at: commentFields.edited_at,
});
export type ExportedComment = Static<typeof ExportedComment>;

const { id: _, version: __, viewers_may_comment, ...kept } = projectFields;

const ExportedProject = StrictObject('ExportedProject', {
  id: ChosenId('the project in an import, where it comes before the tasks'),
  ...kept,
  viewers_may_comment: Type.Optional(viewers_may_comment),
});
export type ExportedProject = Static<typeof ExportedProject>;

export const ProjectExport = StrictObject(
  'ProjectExport',
  {
    format: Type.Literal(PROJECT_FORMAT),
    format_version: Type.Literal(PROJECT_FORMAT_VERSION),
    exported_at: Instant('When the export was made.'),
    project: ExportedProject,
    tasks: Type.Array(ExportedTask, { description: 'The tasks, oldest first.' }),
    comments: Type.Optional(
      Type.Array(ExportedComment, {
        description: 'The comments on these tasks, which come before them, oldest first.',
      }),
    ),
  },
  'A project with its tasks and their comments: users are named by user name. Each task and each comment is on its own line. An export has no ids.',
);

export const TaskTable = Type.String({
  $id: 'TaskTable',
  description:
    'CSV (RFC 4180) with a header, in UTF-8. Labels are separated by commas. A text that a spreadsheet would run as a formula, or that begins with an apostrophe, is prefixed with an apostrophe.',
  examples: [
    'id,title,description,status,priority,due_at,due_on,assignee,labels,completed_at,created_at,updated_at,created_by,parent_id,blocked_by\r\n',
  ],
});

export const ExportQuery = Parameters({
  format: Type.Optional(
    OneOf(['json', 'csv'], {
      description:
        '`json` can be imported again, `csv` is for spreadsheets. If omitted, the `Accept` header decides, and otherwise `json`.',
      examples: ['json'],
    }),
  ),
  ...filters,
});
export type ExportQuery = Static<typeof ExportQuery>;
