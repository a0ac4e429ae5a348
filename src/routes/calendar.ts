import { Elysia } from 'elysia';
import { readCalendarTag, writeCalendar } from '../handlers/calendar.ts';
import type { Platform } from '../platform.ts';
import type { CurrentUserPlugin } from '../plugins/current-user.ts';
import { etag } from '../plugins/etag.ts';
import { operation } from '../plugins/operation.ts';
import { streamText } from '../plugins/stream.ts';
import { strictInput } from '../plugins/strict-input.ts';
import { CALENDAR_TYPE, Calendar } from '../schemas/calendar.ts';
import { Nothing } from '../schemas/common.ts';

export const calendar = (
  { database: db, settings, log, streamed }: Platform,
  current: CurrentUserPlugin,
) =>
  new Elysia({ prefix: '/tasks', tags: ['Tasks'] })
    .use(current)
    .use(strictInput(settings.body_limit_bytes))
    .use(etag)
    .get(
      '/calendar.ics',
      async ({ user, isUnmodified, set }) => {
        if (isUnmodified(await readCalendarTag(db, user)))
          return new Response(null, { status: 304 });
        return streamText(streamed(writeCalendar(db, user)), CALENDAR_TYPE, () =>
          log('error', 'calendar_cut', {
            request_id: set.headers['x-request-id'],
            user_id: user.id,
          }),
        );
      },
      {
        response: { 200: Calendar, 304: Nothing },
        detail: operation('readCalendar', 'What is due, for calendar programs', {
          description:
            'Open tasks with a due date, of all your projects that are not archived. Calendar programs give an API token as the password, with any user name.',
          answers_as: CALENDAR_TYPE,
          takes_basic: true,
        }),
      },
    );
