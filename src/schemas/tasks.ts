import { Kind, type Static, Type } from '@sinclair/typebox';
import { validate as isUuid } from 'uuid';
import { task_statuses } from '../db/schema.ts';
import {
  CommaList,
  defineKind,
  Id,
  Instant,
  InstantInput,
  Nullable,
  OneOf,
  Page,
  Parameters,
  pageParameters,
  QueryInteger,
  Resource,
  Search,
  SortBy,
  StrictObject,
  Text,
} from './common.ts';

const title = Text({ minLength: 1, maxLength: 500, visible: true, examples: ['Choose the tiles'] });
const description = Nullable(Text({ maxLength: 20_000, examples: ['Slate or terracotta?'] }));
const status = OneOf(task_statuses, {
  description: 'Entering `done` sets `completed_at`, leaving it clears it.',
  examples: ['todo'],
});
const priority = Type.Integer({
  minimum: 0,
  maximum: 4,
  description: 'From 0 (none) to 4 (urgent).',
  examples: [2],
});
const due_at = Nullable(InstantInput('When it is due, with any offset.'));
const assignee_id = Nullable(Id('A member of the project.'), { examples: [null] });
const label = Text({
  minLength: 1,
  maxLength: 50,
  visible: true,
  pattern: '^[^,]*$',
  expected: 'without commas',
});
const LABELS_MAX = 20;
const labels = Type.Array(label, {
  maxItems: LABELS_MAX,
  uniqueItems: true,
  examples: [['shopping']],
});

/** Those of a task, as they are everywhere. */
export const task_fields = {
  id: Id('The task.'),
  project_id: Id('The project it belongs to.'),
  title,
  description,
  status,
  priority,
  due_at: Nullable(Instant('When it is due.')),
  assignee_id,
  labels,
  completed_at: Nullable(Instant('When it became done; null while it is not.'), {
    examples: [null],
  }),
  created_at: Instant('When the task was made.'),
  updated_at: Instant('When it last changed.'),
  created_by: Nullable(Id('Who made it; null once the account is deleted.')),
  version: Type.Integer({
    minimum: 1,
    description: 'Grows by one with each change.',
    examples: [1],
  }),
};

export const Task = Resource('Task', task_fields);
export type Task = Static<typeof Task>;

export const TaskPage = Page('TaskPage', Task);
export type TaskPage = Static<typeof TaskPage>;

/** What a client may write. Creating and replacing take the same fields with the same defaults. */
const optional = {
  description: Type.Optional(description),
  status: Type.Optional(status),
  priority: Type.Optional(priority),
  due_at: Type.Optional(due_at),
  assignee_id: Type.Optional(assignee_id),
  labels: Type.Optional(labels),
};

export const TaskWrite = StrictObject(
  'TaskWrite',
  { title, ...optional },
  'What is left out gets its default: no description, `todo`, priority 0, no due date, no assignee, no labels.',
);
export type TaskWrite = Static<typeof TaskWrite>;

export const TaskPatch = StrictObject(
  'TaskPatch',
  { title: Type.Optional(title), ...optional },
  'A merge patch (RFC 7396): what is left out stays, null clears.',
);
export type TaskPatch = Static<typeof TaskPatch>;

// --- Batch -----------------------------------------------------------------------------------------------------

const BATCH_OPERATIONS_MAX = 100;
const version = Type.Optional(
  Type.Integer({
    minimum: 1,
    description: 'Write only on this version.',
    examples: [1],
  }),
);

const operations = [
  StrictObject('TaskBatchCreate', {
    op: Type.Literal('create'),
    project_id: Id('The project to make a task in.'),
    title,
    ...optional,
  }),
  StrictObject('TaskBatchUpdate', {
    op: Type.Literal('update'),
    task_id: Id('The task to change.'),
    version,
    title: Type.Optional(title),
    ...optional,
  }),
  StrictObject('TaskBatchDelete', {
    op: Type.Literal('delete'),
    task_id: Id('The task to delete.'),
    version,
  }),
] as const;

const BatchOperation = Type.Union([...operations], { discriminator: { propertyName: 'op' } });
export type BatchOperation = Static<typeof BatchOperation>;

export const TaskBatch = StrictObject(
  'TaskBatch',
  {
    operations: Type.Array(BatchOperation, { minItems: 1, maxItems: BATCH_OPERATIONS_MAX }),
  },
  'What is left out of an `update` stays, null clears. A task may be named once.',
);
export type TaskBatch = Static<typeof TaskBatch>;

export const BatchResults = StrictObject('TaskBatchResults', {
  results: Type.Array(
    StrictObject('TaskBatchResult', {
      op: OneOf(['create', 'update', 'delete'], { examples: ['create'] }),
      task: Task,
    }),
    { description: 'In the order of the operations. A deleted task is as it was.' },
  ),
});
export type BatchResults = Static<typeof BatchResults>;

export const TaskPath = Parameters({ task_id: Id('The task.') });
export const task_sorts = ['created_at', 'updated_at', 'due_at', 'priority', 'title'] as const;

defineKind('AssigneeFilter', (_, value) =>
  value === 'me' || value === 'none' || isUuid(value)
    ? undefined
    : { code: 'invalid_id', message: 'must be me, none or a UUID' },
);

export const TaskListQuery = Parameters({
  ...pageParameters,
  sort: SortBy(task_sorts),
  status: Type.Optional(
    CommaList(status, {
      items_max: task_statuses.length,
      description: 'Any of these statuses, each named once.',
      examples: ['todo,in_progress'],
    }),
  ),
  label: Type.Optional(
    CommaList(label, {
      items_max: LABELS_MAX,
      description: `Any of these labels, up to ${LABELS_MAX}, exactly as written, each named once.`,
      examples: ['shopping,urgent'],
    }),
  ),
  priority_min: Type.Optional(
    QueryInteger({ minimum: 0, maximum: 4, description: 'This priority or above.', examples: [3] }),
  ),
  assignee_id: Type.Optional(
    Type.Unsafe<string>({
      [Kind]: 'AssigneeFilter',
      type: 'string',
      description: '`me`, `none`, or the id of a user.',
      examples: ['me'],
    }),
  ),
  due_before: Type.Optional(InstantInput('Due before this instant, which is after `due_after`.')),
  due_after: Type.Optional(InstantInput('Due after this instant.')),
  q: Type.Optional(Search('the title or the description')),
});
export type TaskListQuery = Static<typeof TaskListQuery>;
