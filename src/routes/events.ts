import { Elysia } from 'elysia';
import type { ChangePoll } from '../handlers/change-poll.ts';
import type { ChangeStream } from '../handlers/change-stream.ts';
import { listEvents, readChanges } from '../handlers/events.ts';
import { headersAlone } from '../http/stream-response.ts';
import { operation } from '../openapi/operation.ts';
import type { Platform } from '../platform.ts';
import type { UserRoutes } from '../plugins/route-groups.ts';
import {
  ChangePage,
  ChangesQuery,
  EVENT_STREAM_TYPE,
  Event,
  EventListQuery,
  EventPage,
  StreamQuery,
} from '../schemas/events.ts';
import { ProjectPath } from '../schemas/projects.ts';

export const events = (
  { database: db, settings: { eventsRetentionSeconds } }: Platform,
  group: UserRoutes,
  changes: ChangePoll,
) =>
  new Elysia({ tags: ['Changes'] })
    .use(group)
    .get(
      '/projects/:project_id/events',
      ({ user, params, query }) =>
        listEvents(db, user, params.project_id, query, eventsRetentionSeconds),
      {
        params: ProjectPath,
        query: EventListQuery,
        response: { 200: EventPage },
        detail: operation('listEvents', "List a project's events, newest first", {
          description: 'For all members.',
          problems: ['not_found', 'invalid_cursor', 'cursor_expired'],
        }),
      },
    )
    .get(
      '/changes',
      ({ user, query, request, authenticate }) =>
        changes.read(user, request.method === 'HEAD' ? { ...query, wait: 0 } : query, {
          signal: request.signal,
          authenticate,
        }),
      {
        query: ChangesQuery,
        response: { 200: ChangePage },
        detail: operation('listChanges', 'List changes since a cursor', {
          description:
            'For a client that keeps a copy of its projects. Begin with `snapshot=true`, then always send the last `next_cursor` as `since`; a page with fewer items than `limit` is the last one for now, and `wait` waits for the next. Apply an event only to a resource with a lower version. On `access.granted`, read the whole project: `snapshot=true` with its `project_id`, and the cursor of the event as `since`. Ignore events of projects that you do not have. On `cursor_expired`, start again with a snapshot.',
          problems: ['invalid_cursor', 'cursor_expired'],
        }),
      },
    );

export const changeStream = (
  { database: db, settings: { eventsRetentionSeconds } }: Platform,
  group: UserRoutes,
  changes: ChangeStream,
) =>
  new Elysia({ tags: ['Changes'] }).use(group).get(
    '/changes/stream',
    async ({ user, authenticate, request, query, set }) => {
      // A browser that reconnects sends the last event id, and the URL of its first request.
      const since = request.headers.get('last-event-id') || query.since;
      set.headers['cache-control'] = 'no-store, no-transform';
      // nginx would hold back a stream, its headers too, until its buffers are full.
      set.headers['x-accel-buffering'] = 'no';
      const headers = { 'content-type': EVENT_STREAM_TYPE };
      if (request.method === 'HEAD') {
        await authenticate();
        await readChanges(db, user, { since, limit: 1 }, eventsRetentionSeconds);
        return headersAlone(request, headers);
      }
      return new Response(await changes.follow(user, since, authenticate), { headers });
    },
    {
      query: StreamQuery,
      response: { 200: Event },
      detail: operation('streamChanges', 'Stream changes (server-sent events)', {
        description:
          'Sends server-sent events of type `change`, each with an `Event` as `data` and its cursor as `id`. A client that reconnects sends the last `id` as `Last-Event-ID` and misses nothing. The stream ends when the access token expires: get the next token, then reconnect. While the database is away the stream stays open and sends comments alone. `EventSource` cannot send the `Authorization` header, so browsers read the stream with `fetch`, as `examples/browser-stream.js` does.',
        problems: ['invalid_cursor', 'cursor_expired'],
        produces: 'text/event-stream',
      }),
    },
  );
