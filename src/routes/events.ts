import { Elysia } from 'elysia';
import { listChanges, listEvents } from '../handlers/events.ts';
import type { Platform } from '../platform.ts';
import type { ChangeStream } from '../plugins/change-stream.ts';
import type { CurrentUserPlugin } from '../plugins/current-user.ts';
import { operation } from '../plugins/operation.ts';
import { strictInput } from '../plugins/strict-input.ts';
import {
  ChangePage,
  ChangeStreamText,
  ChangesQuery,
  EVENT_STREAM_TYPE,
  EventListQuery,
  EventPage,
  StreamQuery,
} from '../schemas/events.ts';
import { ProjectPath } from '../schemas/projects.ts';

export const events = (
  { database: db, settings: { body_limit_bytes, events_retention_seconds } }: Platform,
  current: CurrentUserPlugin,
  changes: ChangeStream,
) =>
  new Elysia({ tags: ['Changes'] })
    .use(current)
    .use(strictInput(body_limit_bytes))
    .get(
      '/projects/:project_id/events',
      ({ user, params, query }) =>
        listEvents(db, user, params.project_id, query, events_retention_seconds),
      {
        params: ProjectPath,
        query: EventListQuery,
        response: { 200: EventPage },
        detail: operation('listEvents', "A project's history, latest first", {
          description: 'Who is in the project is told to owners and editors alone.',
          problems: ['not_found', 'invalid_cursor'],
        }),
      },
    )
    .get('/changes', ({ user, query }) => listChanges(db, user, query, events_retention_seconds), {
      query: ChangesQuery,
      response: { 200: ChangePage },
      detail: operation('listChanges', 'What changed in your projects since a cursor', {
        description:
          'To keep a copy: take a cursor, list everything, then come back with it, again and again; a page that is not full is the last for now. Apply an event to what has a lower version. `access.granted` says that a project is to be read whole; of one that you do not have, leave events out. `cursor_expired` says to start afresh.',
        problems: ['invalid_cursor', 'cursor_expired'],
      }),
    })
    .get(
      '/changes/stream',
      async ({ user, authenticate, request, query }) => {
        // A browser that comes back names the last event it has had, and the address it first came with.
        const since = request.headers.get('last-event-id') || query.since;
        const stream = await changes.follow(user, since, authenticate);
        return new Response(stream, { headers: { 'content-type': EVENT_STREAM_TYPE } });
      },
      {
        query: StreamQuery,
        response: { 200: ChangeStreamText },
        detail: operation('streamChanges', 'The same, as it happens', {
          description:
            'Server-sent events of the type `change`, each with an event as `data` and its cursor as `id`. A client that comes back sends the last `id` as `Last-Event-ID` and misses nothing. The stream ends when the token does.',
          problems: ['invalid_cursor', 'cursor_expired'],
          answers_as: 'text/event-stream',
        }),
      },
    );
