import { Kind, type Static, Type } from '@sinclair/typebox';
import { validate as isUuid } from 'uuid';
import { taskStatuses } from '../db/schema.ts';
import type { FieldError } from '../errors/problem.ts';
import { ChosenId } from './types/chosen-id.ts';
import { Id } from './types/id.ts';
import { FullDate, Instant, InstantInput, InstantOrDate } from './types/instant.ts';
import { annotated, defineKind } from './types/kind.ts';
import { DistinctList } from './types/list.ts';
import { Nullable, Parameters, ResponseObject, StrictObject } from './types/object.ts';
import { OneOf } from './types/one-of.ts';
import { Page, pageParameters } from './types/page.ts';
import { QueryInteger, QueryList, Search, SortBy } from './types/query.ts';
import { Text } from './types/text.ts';
import { ExpectedVersion } from './types/version.ts';

/** In code points, as the bounds of all texts. */
export const TITLE_LENGTH_MAX = 500;
export const DESCRIPTION_LENGTH_MAX = 20_000;
export const LABEL_LENGTH_MAX = 50;

const title = Text({
  minLength: 1,
  maxLength: TITLE_LENGTH_MAX,
  visible: true,
  examples: ['Choose the tiles'],
});
const description = Nullable(
  Text({ maxLength: DESCRIPTION_LENGTH_MAX, examples: ['Slate or terracotta?'] }),
);
const status = OneOf(taskStatuses, {
  title: 'TaskStatus',
  description: 'Setting `done` sets `completed_at`; any other status clears it.',
  examples: ['todo'],
});
const priority = Type.Integer({
  minimum: 0,
  maximum: 4,
  description: 'From 0 (none) to 4 (urgent).',
  examples: [2],
});
const dueAt = Nullable(
  InstantInput('When the task is due, with any UTC offset. Not beside `due_on`.'),
);
const dueOn = Nullable(
  FullDate(
    'The day on which the task is due, without a time. It counts as the end of that day in UTC. At most one of `due_at` and `due_on` is set: to set one in place of the other, set the other to null in the same request.',
  ),
  { examples: [null] },
);
const assigneeId = Nullable(Id('The assignee, a member of the project.'), { examples: [null] });

defineKind('AssigneeInput', (_, value) =>
  value === 'me' || (typeof value === 'string' && isUuid(value))
    ? undefined
    : { code: 'invalid_id', message: 'must be me or a UUID' },
);

const assigneeInput = Nullable(
  Type.Unsafe<string>({
    [Kind]: 'AssigneeInput',
    type: 'string',
    description: 'The assignee, a member of the project: their id, or `me`.',
  }),
  { examples: ['me'] },
);

/** One label. */
export const label = Text({
  minLength: 1,
  maxLength: LABEL_LENGTH_MAX,
  visible: true,
  pattern: '^[^,]*$',
  expected: 'without commas',
});
export const LABELS_MAX = 20;
/** A filter names up to this many projects. */
export const PROJECTS_MAX = 50;
const labels = DistinctList(label, { itemsMax: LABELS_MAX, examples: [['shopping']] });

/** A task without a parent is on the first level. A trigger in the migrations has the same number. */
export const TREE_LEVELS_MAX = 5;
export const BLOCKERS_MAX = 20;
const parentId = Nullable(
  Id(
    `The task of which this is a subtask. It is in the same project, and subtasks have up to ${TREE_LEVELS_MAX} levels.`,
  ),
  { examples: [null] },
);
/** Where a patch puts a task. */
const place = {
  after: Type.Optional(
    Nullable(
      Id(
        'Puts the task right after this one of its project, in the order of `sort=position`; null: before all others. Not beside `before`.',
      ),
      { examples: [null] },
    ),
  ),
  before: Type.Optional(
    annotated(Nullable(Id('Puts the task right before this one; null: after all others.')), {
      examples: undefined,
    }),
  ),
};
const blockedBy = DistinctList(Id('A task.'), {
  itemsMax: BLOCKERS_MAX,
  description: 'The tasks that have to be done or cancelled first. They may be in other projects.',
  examples: [[]],
});
/** A task has up to this many comments. */
export const COMMENTS_PER_TASK_MAX = 1000;

/** The fields that a task has in every response. */
export const taskFields = {
  id: Id('The task.'),
  project_id: Id('The project it belongs to.'),
  title,
  description,
  status,
  priority,
  due_at: Nullable(Instant('When the task is due, if it has a time.')),
  due_on: Nullable(FullDate('The day on which the task is due, if it has no time.'), {
    examples: [null],
  }),
  assignee_id: assigneeId,
  labels,
  parent_id: parentId,
  blocked_by: blockedBy,
  completed_at: Nullable(Instant('When the status became `done`; null for any other status.'), {
    examples: [null],
  }),
  created_at: Instant('When the task was created.'),
  updated_at: Instant('When the task last changed.'),
  created_by: Nullable(Id('The creator; null after the account was deleted.')),
  version: Type.Integer({
    minimum: 1,
    description: 'Increases by one with each change.',
    examples: [1],
  }),
  comment_count: Type.Integer({
    minimum: 0,
    maximum: COMMENTS_PER_TASK_MAX,
    description: 'How many comments the task has. It changes without a new version of the task.',
    examples: [0],
  }),
};

const Person = ResponseObject('Person', {
  id: Id('The user.'),
  username: Type.String({ description: 'The user name.', examples: ['ada'] }),
});
export type Person = Static<typeof Person>;

const person = (description: string) =>
  Type.Optional(Nullable(Person, { description, examples: [null] }));

const SubtaskCounts = ResponseObject('SubtaskCounts', {
  open: Type.Integer({
    description: 'Those with the status `todo` or `in_progress`.',
    examples: [2],
  }),
  done: Type.Integer({ description: 'Those with the status `done`.', examples: [1] }),
});

export const Task = ResponseObject('Task', {
  ...taskFields,
  subtask_counts: Type.Optional(
    annotated(SubtaskCounts, {
      description: 'The subtasks right below this task, with `expand=progress`.',
    }),
  ),
  is_blocked: Type.Optional(
    Type.Boolean({
      description: 'Whether a task of `blocked_by` is open, with `expand=progress`.',
      examples: [false],
    }),
  ),
  assignee: person('The assignee, with `expand=people`.'),
  creator: person('The creator, with `expand=people`; null once the account is deleted.'),
});
export type Task = Static<typeof Task>;

export const TaskPage = Page('TaskPage', Task);
export type TaskPage = Static<typeof TaskPage>;

/** The optional writable fields. Creating and replacing a task use the same defaults. */
const optional = {
  description: Type.Optional(description),
  status: Type.Optional(status),
  priority: Type.Optional(priority),
  due_at: Type.Optional(dueAt),
  due_on: Type.Optional(dueOn),
  assignee_id: Type.Optional(assigneeInput),
  labels: Type.Optional(labels),
  parent_id: Type.Optional(parentId),
  blocked_by: Type.Optional(blockedBy),
};

export const TaskWrite = StrictObject(
  'TaskWrite',
  { id: ChosenId('the task'), title, ...optional },
  'An omitted field gets its default: no description, `todo`, priority 0, no due date, no assignee, no labels, no parent, not blocked.',
);
export type TaskWrite = Static<typeof TaskWrite>;

const expectedVersion = ExpectedVersion({
  description: 'Write only on this version, as `If-Match` does.',
});

/** What a task is read with and is not written: accepted unchanged, so that a client can send back what it read. */
const readBack = Type.Partial(
  Type.Object({
    id: annotated(taskFields.id, { readOnly: true }),
    project_id: annotated(taskFields.project_id, { readOnly: true }),
    completed_at: annotated(taskFields.completed_at, { readOnly: true }),
    created_at: annotated(taskFields.created_at, { readOnly: true }),
    updated_at: annotated(taskFields.updated_at, { readOnly: true }),
    created_by: annotated(taskFields.created_by, { readOnly: true }),
    comment_count: annotated(taskFields.comment_count, { readOnly: true }),
  }),
).properties;
export type UnwritableField = Exclude<keyof typeof readBack, 'comment_count'>;

export const TaskReplace = StrictObject(
  'TaskReplace',
  {
    title,
    ...optional,
    version: expectedVersion,
    ...readBack,
  },
  'An omitted field gets its default. Read-only fields may be sent back unchanged.',
);
export type TaskReplace = Static<typeof TaskReplace>;

/** Without an example: no id of another server would do in a request that is tried out. */
const moveTo = Type.Optional(
  annotated(
    Id(
      'Moves the task to this project, where you have to be an owner or editor too. Its subtasks go along, and it has no parent there. Assignees are kept if they are members there. The histories and the feed have a deletion in the one project and a creation in the other.',
    ),
    { examples: undefined },
  ),
);

export const TaskPatch = StrictObject(
  'TaskPatch',
  {
    title: Type.Optional(title),
    ...optional,
    project_id: moveTo,
    ...place,
    version: expectedVersion,
  },
  'A merge patch (RFC 7396): an omitted field keeps its value, null clears it.',
);
export type TaskPatch = Static<typeof TaskPatch>;

// --- Batch -----------------------------------------------------------------------------------------------------

const BATCH_OPERATIONS_MAX = 100;
const version = ExpectedVersion({
  description: 'Apply the operation only to this version.',
  examples: [1],
});

const operations = [
  StrictObject('TaskBatchCreate', {
    op: Type.Literal('create'),
    project_id: Id('The project of the new task.'),
    id: ChosenId('the task'),
    title,
    ...optional,
  }),
  StrictObject('TaskBatchUpdate', {
    op: Type.Literal('update'),
    task_id: Id('The task to update.'),
    version,
    title: Type.Optional(title),
    ...optional,
    project_id: moveTo,
    ...place,
  }),
  StrictObject('TaskBatchDelete', {
    op: Type.Literal('delete'),
    task_id: Id('The task to delete.'),
    version,
  }),
] as const;

const BatchOperation = Type.Union([...operations], {
  discriminator: {
    propertyName: 'op',
    mapping: Object.fromEntries(
      operations.map(({ $id, properties }) => [properties.op.const, `#/components/schemas/${$id}`]),
    ),
  },
});
export type BatchOperation = Static<typeof BatchOperation>;

export const TaskBatch = StrictObject(
  'TaskBatch',
  {
    operations: Type.Array(BatchOperation, { minItems: 1, maxItems: BATCH_OPERATIONS_MAX }),
  },
  'An `update` keeps omitted fields and clears a field with null. Each task may occur once.',
);
export type TaskBatch = Static<typeof TaskBatch>;

export const BatchResults = StrictObject('TaskBatchResults', {
  results: Type.Array(
    StrictObject('TaskBatchResult', {
      op: OneOf(['create', 'update', 'delete'], {
        title: 'TaskBatchOperationKind',
        examples: ['create'],
      }),
      task: Task,
    }),
    {
      maxItems: BATCH_OPERATIONS_MAX,
      description:
        'The results in the order of the operations. A deleted task is returned as it was.',
    },
  ),
});
export type BatchResults = Static<typeof BatchResults>;

export const TaskPath = Parameters({ task_id: Id('The task.') });
export const taskSorts = [
  'created_at',
  'updated_at',
  'due_at',
  'completed_at',
  'priority',
  'title',
] as const;

/** The order by hand is that of one project. */
export const projectTaskSorts = [...taskSorts, 'position'] as const;

defineKind('AssigneeFilter', (_, value) =>
  value === 'me' || value === 'none' || isUuid(value)
    ? undefined
    : { code: 'invalid_id', message: 'must be me, none or a UUID' },
);

defineKind('ParentFilter', (_, value) =>
  value === 'none' || isUuid(value)
    ? undefined
    : { code: 'invalid_id', message: 'must be none or a UUID' },
);

defineKind('CreatorFilter', (_, value) =>
  value === 'me' || isUuid(value)
    ? undefined
    : { code: 'invalid_id', message: 'must be me or a UUID' },
);

/** A label in a filter. Without a character, it stands for tasks that have no labels: no label is empty. */
const labelOrNone = Text({
  minLength: 0,
  maxLength: LABEL_LENGTH_MAX,
  pattern: '^(?:[^,!][^,]*)?$',
  expected:
    'a label without commas; label_not leaves a label out, and label_all takes one that begins with !',
});

const statuses = (description: string, example: string[]) =>
  Type.Optional(
    QueryList(OneOf(taskStatuses, { title: 'TaskStatus' }), {
      maxItems: taskStatuses.length,
      description,
      examples: [example],
    }),
  );

const labelList = (item: typeof label, description: string, example: string[]) =>
  Type.Optional(QueryList(item, { maxItems: LABELS_MAX, description, examples: [example] }));

const priorityFilter = (description: string, example: number) =>
  Type.Optional(QueryInteger({ minimum: 0, maximum: 4, description, examples: [example] }));

const timeFilter = (description: string, examples = ['2026-12-31T18:00:00+01:00']) =>
  Type.Optional(
    InstantOrDate(`${description} A date means the beginning of that day in UTC.`, examples),
  );

/** The texts in which a search looks. */
const searchedTexts = ['title', 'description', 'comments'] as const;

/** What every list of tasks, the count, the calendar and the export of a project can be filtered by. */
export const filters = {
  status: statuses('Matches tasks with any of these statuses.', ['todo', 'in_progress']),
  status_not: statuses('Leaves out tasks with these statuses.', ['done', 'cancelled']),
  label: labelList(
    labelOrNone,
    `Matches tasks with any of these labels, up to ${LABELS_MAX}, exactly as written. An empty item matches tasks without labels: \`label=\`, or \`label=shopping,\`.`,
    ['shopping', 'urgent'],
  ),
  label_all: labelList(label, 'Matches tasks with all of these labels.', ['shopping', 'urgent']),
  label_not: labelList(
    labelOrNone,
    'Leaves out tasks with these labels. An empty item leaves out tasks without labels.',
    ['waiting'],
  ),
  priority: priorityFilter('Exactly this priority.', 4),
  priority_min: priorityFilter('This priority or above.', 3),
  priority_max: priorityFilter('This priority or below.', 2),
  assignee_id: Type.Optional(
    Type.Unsafe<string>({
      [Kind]: 'AssigneeFilter',
      type: 'string',
      description: '`me`, `none` (unassigned), or the id of a user.',
      examples: ['me'],
    }),
  ),
  created_by: Type.Optional(
    Type.Unsafe<string>({
      [Kind]: 'CreatorFilter',
      type: 'string',
      description: '`me`, or the id of a user.',
      examples: ['me'],
    }),
  ),
  parent_id: Type.Optional(
    Type.Unsafe<string>({
      [Kind]: 'ParentFilter',
      type: 'string',
      description: '`none` (no subtasks), or the id of a task: its subtasks.',
      examples: ['none'],
    }),
  ),
  blocked: Type.Optional(
    OneOf(['true', 'false'], {
      description: 'Whether a task of `blocked_by` is open.',
      examples: ['false'],
    }),
  ),
  due: Type.Optional(
    OneOf(['none', 'any'], {
      description: 'Tasks without a due date, or with any.',
      examples: ['none'],
    }),
  ),
  due_from: timeFilter(
    'Due at this time or later. Windows from `due_from` to `due_before` tile. A task with `due_on` counts as due at the end of that day.',
    ['2026-12-24'],
  ),
  due_after: Type.Optional(
    InstantOrDate('Due after this time. A date means the end of that day in UTC.', [
      '2026-12-24T18:00:00+01:00',
    ]),
  ),
  due_before: timeFilter('Due before this time, which is after `due_from` and `due_after`.', [
    '2026-12-31',
  ]),
  completed_from: timeFilter('Done at this time or later.', ['2026-12-24']),
  completed_before: timeFilter('Done before this time.'),
  updated_from: timeFilter('Last changed at this time or later.', ['2026-12-24T18:00:00+01:00']),
  updated_before: timeFilter('Last changed before this time.'),
  created_from: timeFilter('Created at this time or later.', ['2026-12-24T18:00:00+01:00']),
  created_before: timeFilter('Created before this time.'),
  q: Type.Optional(Search('the title or the description')),
  in: Type.Optional(
    QueryList(OneOf(searchedTexts, { title: 'SearchedText' }), {
      maxItems: searchedTexts.length,
      description:
        'Where `q` looks, by default in `title,description`. All words have to occur in the title and the description together, or, with `comments`, in one comment.',
      examples: [['title', 'description', 'comments']],
    }),
  ),
};

/** Which projects a list over several has. */
export const projectFilters = {
  project_id: Type.Optional(
    QueryList(Id('A project.'), {
      maxItems: PROJECTS_MAX,
      description: `Lists only these of your projects, up to ${PROJECTS_MAX}. One that you do not see is \`not_found\`.`,
      examples: [['019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23']],
    }),
  ),
  archived: OneOf(['false', 'true', 'any'], {
    default: 'false',
    description:
      'Whether tasks of archived projects are listed: `false` leaves them out, `true` lists no others.',
    examples: ['any'],
  }),
};

const expansions = ['people', 'progress'] as const;

const expand = Type.Optional(
  QueryList(OneOf(expansions), {
    maxItems: expansions.length,
    description:
      '`people` adds the assignee and the creator of each task, with their names; `progress` adds `subtask_counts` and `is_blocked`.',
    examples: [['people']],
  }),
);

export const TaskQuery = Parameters({ expand });

export const TaskListQuery = Parameters({
  ...pageParameters,
  sort: SortBy(projectTaskSorts),
  expand,
  ...filters,
});
export type TaskListQuery = Static<typeof TaskListQuery>;

export const AllTasksQuery = Parameters({
  ...pageParameters,
  sort: SortBy(taskSorts),
  expand,
  ...projectFilters,
  ...filters,
});
export type AllTasksQuery = Static<typeof AllTasksQuery>;

export const TaskCountQuery = Parameters({ ...projectFilters, ...filters });
export type TaskCountQuery = Static<typeof TaskCountQuery>;

export const SubtaskListQuery = Parameters({
  ...pageParameters,
  sort: SortBy(projectTaskSorts),
  expand,
});
export type SubtaskListQuery = Static<typeof SubtaskListQuery>;

export type TaskFilters = Omit<TaskListQuery, 'limit' | 'cursor' | 'sort' | 'expand'>;

/** Up to this many tasks are counted exactly. */
export const TASK_COUNT_MAX = 10_000;

export const TaskCount = StrictObject('TaskCount', {
  count: Type.Integer({
    minimum: 0,
    maximum: TASK_COUNT_MAX,
    description: `How many tasks there are, up to ${TASK_COUNT_MAX}.`,
    examples: [42],
  }),
  more: Type.Boolean({ description: 'Whether there are more than `count`.', examples: [false] }),
});
export type TaskCount = Static<typeof TaskCount>;

/** An assignee who is not a member of the project. @param location of the field: `body.assignee_id`. */
export const notAMemberError = (location: string): FieldError => ({
  location,
  code: 'not_a_member',
  message: 'must be a member of the project',
});

/**
 * Returns what is wrong with a task that has two due dates.
 * @param set the one that the client set.
 */
export const findSecondDueDate = (
  { due_at, due_on }: Partial<Pick<Task, 'due_at' | 'due_on'>>,
  set: 'due_at' | 'due_on' = 'due_on',
): FieldError | undefined => {
  const other = set === 'due_on' ? 'due_at' : 'due_on';
  return due_at && due_on
    ? {
        location: set,
        code: 'contradiction',
        message: `must not be set beside ${other}: one of them is null`,
      }
    : undefined;
};

/**
 * Returns why PostgreSQL refuses the parent of a task, by the name of its constraint. A parent that does not exist and one in
 * another project get the same message.
 * @param location of the field: `body.parent_id`.
 */
export const parentErrors = (location: string): Record<string, FieldError> => {
  const notHere = {
    location,
    code: 'not_in_project',
    message: 'must be a task of the same project',
  };
  return {
    tasks_parent_id_fkey: notHere,
    tasks_parent_project_check: notHere,
    tasks_parent_cycle_check: {
      location,
      code: 'cycle',
      message: 'must not be the task itself or one of its subtasks',
    },
    tasks_parent_levels_check: {
      location,
      code: 'too_deep',
      message: `must leave the tree with at most ${TREE_LEVELS_MAX} levels`,
    },
  };
};

/** Returns why PostgreSQL refuses a place, by the name of its constraint. @param location of the field: `body.after`. */
export const placeErrors = (location: string): Record<string, FieldError> => ({
  tasks_position_anchor_check: {
    location,
    code: 'not_in_project',
    message: 'must be another task of the same project',
  },
  tasks_position_length_check: {
    location,
    code: 'no_room',
    message: 'must be another place: too many tasks were put here',
  },
});

/** Returns what is wrong with a patch that names two places. */
export const findSecondPlace = ({ after, before }: TaskPatch): FieldError | undefined =>
  after !== undefined && before !== undefined
    ? { location: 'before', code: 'contradiction', message: 'must not be set beside after' }
    : undefined;

/** A blocker that the user does not see, or that does not exist. @param location of the field: `body.blocked_by`. */
export const unknownBlockerError = (location: string): FieldError => ({
  location,
  code: 'not_found',
  message: 'must name tasks that you see, and not the task itself',
});
