import { type Static, Type } from '@sinclair/typebox';
import { actions, subjects } from '../db/schema.ts';
import {
  Id,
  Instant,
  Nullable,
  OneOf,
  Page,
  Parameters,
  pageParameters,
  Resource,
  StrictObject,
  Text,
} from './common.ts';

const CURSOR_LENGTH_MAX = 200;

export const Event = Resource('Event', {
  cursor: Type.String({
    description: 'Its place in your feed: give it as `since` to get what came after.',
    examples: ['WyJhIiwiYiIsMTJd'],
  }),
  id: Id('The event.'),
  at: Instant('When it happened.'),
  actor_id: Nullable(Id('Who did it; null where nobody is known.')),
  action: OneOf(actions, {
    description:
      '`access.granted` and `access.lost` are told to you alone: from the one on you see the project, after the other it is gone for you, deleted or not.',
    examples: ['task.updated'],
  }),
  project_id: Id('The project it belongs to.'),
  subject: OneOf(subjects, { description: 'What was changed.', examples: ['task'] }),
  subject_id: Id('The task, the project, or the user who is a member.'),
  version: Type.Integer({
    minimum: 0,
    description: 'Of the task, or else of the project, since this change; 0 where it is deleted.',
    examples: [2],
  }),
  fields: Type.Record(Type.String(), Type.Unknown(), {
    description: 'What has changed, as it was from then on: all fields of what is new.',
    examples: [{ status: 'done' }],
  }),
});
export type Event = Static<typeof Event>;

export const EventPage = Page('EventPage', Event);
export type EventPage = Static<typeof EventPage>;

export const ChangePage = StrictObject('ChangePage', {
  items: Type.Array(Event),
  next_cursor: Type.String({
    description: 'To come back with as `since`. Always given.',
    examples: ['WyJhIiwiYiIsMTJd'],
  }),
});
export type ChangePage = Static<typeof ChangePage>;

const since = Type.Optional(
  Text({
    minLength: 1,
    maxLength: CURSOR_LENGTH_MAX,
    description:
      'The `cursor` of an event or the `next_cursor` of a page. Left out: nothing is listed, and `next_cursor` is now.',
  }),
);

export const ChangesQuery = Parameters({ since, limit: pageParameters.limit });
export type ChangesQuery = Static<typeof ChangesQuery>;

export const StreamQuery = Parameters({ since });
export type StreamQuery = Static<typeof StreamQuery>;

export const EventListQuery = Parameters(pageParameters);

/** WHATWG HTML §9.2. */
export const EVENT_STREAM_TYPE = 'text/event-stream; charset=utf-8';

export const ChangeStreamText = Type.String({
  $id: 'ChangeStream',
  description: 'Server-sent events, each with an `Event` as its data.',
  examples: ['event: change\nid: WyJhIiwiYiIsMTJd\ndata: {"action":"task.updated",…}\n\n'],
});
