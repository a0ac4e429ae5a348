import { type Static, Type } from '@sinclair/typebox';
import { actions, subjects } from '../db/schema.ts';
import { Comment } from './comments.ts';
import { Member } from './members.ts';
import { Project } from './projects.ts';
import { PROJECTS_MAX, Task } from './tasks.ts';
import { Id } from './types/id.ts';
import { Instant } from './types/instant.ts';
import { Nullable, Parameters, ResponseObject, StrictObject } from './types/object.ts';
import { OneOf } from './types/one-of.ts';
import { PAGE_LIMIT_MAX, Page, pageParameters } from './types/page.ts';
import { QueryInteger, QueryList } from './types/query.ts';
import { Text } from './types/text.ts';

/**
 * A cursor of the feed or of a history: a fingerprint, a timeline and two positions; in a snapshot three ids, a time and a word as well.
 */
export const EVENT_CURSOR_LENGTH_MAX = 400;

export const Event = ResponseObject('Event', {
  cursor: Type.String({
    description: 'The position in your feed. Send it as `since` to get later events.',
    examples: ['WyJhIiwiYiIsMTJd'],
  }),
  id: Id('The event.'),
  at: Instant('When it happened.'),
  actor_id: Nullable(Id('The user who made the change; null if unknown.')),
  actor_token: Nullable(
    Type.String({
      description: 'The name of the API token that the change came with; null for a session.',
      examples: ['planner'],
    }),
  ),
  action: OneOf(actions, {
    title: 'EventAction',
    description:
      'What happened. A task that moves to another project is `task.deleted` in the one and `task.created` in the other, with its id and its next version, and a `comment.created` for each of its comments. `task.restored` is a task that left the trash, followed by its comments as well. Comments leave with their task without an event of their own. `access.granted` and `access.lost` are sent only to you: after the first you can see the project, after the second you cannot, whether it was deleted or not. `project.deleted` and `project.restored` are in its history.',
    examples: ['task.updated'],
  }),
  project_id: Id('The project it belongs to.'),
  subject: OneOf(subjects, {
    title: 'EventSubject',
    description: 'The kind of resource that changed.',
    examples: ['task'],
  }),
  subject_id: Id('The id of the task, comment or project, or of the user who is a member.'),
  version: Type.Integer({
    minimum: 0,
    description:
      'The version after this change, of the task or comment, or otherwise of the project; 0 after a deletion.',
    examples: [2],
  }),
  fields: Type.Unsafe<Record<string, unknown>>({
    type: 'object',
    additionalProperties: true,
    description:
      'The changed fields with their new values, and `after`, the task after which one was put by hand; all fields of a new or restored resource, and those that a deleted task had. An event of a comment always has its `task_id`, and, where there is one comment more or less, `comment_count`: how many the task has now.',
    examples: [{ status: 'done' }],
  }),
});
export type Event = Static<typeof Event>;

export const EventPage = Page('EventPage', Event);
export type EventPage = Static<typeof EventPage>;

export const SnapshotMember = ResponseObject('SnapshotMember', {
  project_id: Id('The project.'),
  ...Member.properties,
});
export type SnapshotMember = Static<typeof SnapshotMember>;

export const SnapshotComment = ResponseObject('SnapshotComment', {
  project_id: Id('The project.'),
  ...Comment.properties,
});
export type SnapshotComment = Static<typeof SnapshotComment>;

export const Snapshot = StrictObject(
  'Snapshot',
  {
    projects: Type.Array(Project, { maxItems: PAGE_LIMIT_MAX }),
    members: Type.Array(SnapshotMember, { maxItems: PAGE_LIMIT_MAX }),
    tasks: Type.Array(Task, { maxItems: PAGE_LIMIT_MAX }),
    comments: Type.Array(SnapshotComment, { maxItems: PAGE_LIMIT_MAX }),
    complete: Type.Boolean({
      description:
        'Whether this is the last page of the snapshot; then `next_cursor` is where the changes go on.',
      examples: [true],
    }),
  },
  'A page of a snapshot. A project comes before its members, its tasks and the comments on them, in this page or an earlier one. A comment may come whose task is new or has moved: the changes bring the task, or take it away with its comments. Store each row in place of one with the same id: a task that moves meanwhile can come twice, and the later row is the newer one.',
);

export const ChangePage = StrictObject('ChangePage', {
  items: Type.Array(Event, { maxItems: PAGE_LIMIT_MAX }),
  snapshot: Type.Optional(Snapshot),
  next_cursor: Type.String({
    description: 'Send it as `since` to get later changes. Never null.',
    examples: ['WyJhIiwiYiIsMTJd'],
  }),
});
export type ChangePage = Static<typeof ChangePage>;

const since = Type.Optional(
  Text({
    minLength: 1,
    maxLength: EVENT_CURSOR_LENGTH_MAX,
    description:
      'The `cursor` of an event or the `next_cursor` of a page. If omitted, no item is listed and `next_cursor` is the current position.',
  }),
);

/** A proxy with the defaults of nginx waits for a response for 60 seconds. */
export const CHANGES_WAIT_SECONDS_MAX = 30;

export const ChangesQuery = Parameters({
  since,
  limit: pageParameters.limit,
  project_id: Type.Optional(
    QueryList(Id('A project.'), {
      maxItems: PROJECTS_MAX,
      description: `Lists only the changes of these projects, up to ${PROJECTS_MAX}, and your access to them. They may be projects that you do not see yet, or no longer. The cursors are valid for the same projects only; a cursor of all projects is accepted, too.`,
      examples: [['019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23']],
    }),
  ),
  wait: Type.Optional(
    QueryInteger({
      minimum: 0,
      maximum: CHANGES_WAIT_SECONDS_MAX,
      description:
        'Where there is no change after `since`, wait up to this many seconds for one. A user may have 20 waiting requests and streams.',
      examples: [30],
    }),
  ),
  snapshot: Type.Optional(
    OneOf(['true', 'false'], {
      description:
        '`true` begins a snapshot: the page has `snapshot` with everything that you see, or that is in `project_id`, and no items. Continue with its `next_cursor` as `since`: first come the other pages of the snapshot, then the changes. With `since`, the changes go on from there.',
      examples: ['true'],
    }),
  ),
});
export type ChangesQuery = Static<typeof ChangesQuery>;

export const StreamQuery = Parameters({ since });
export type StreamQuery = Static<typeof StreamQuery>;

export const EventListQuery = Parameters(pageParameters);

/** WHATWG HTML §9.2. */
export const EVENT_STREAM_TYPE = 'text/event-stream; charset=utf-8';
