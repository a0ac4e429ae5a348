import { Elysia } from 'elysia';
import { Problem } from '../errors/problem.ts';
import {
  type CalendarScope,
  calendarScope,
  projectCalendarScope,
  readCalendarTag,
  writeCalendar,
} from '../handlers/calendar.ts';
import { consumeUnknownCalendar } from '../handlers/login-limits.ts';
import type { LastCalendars } from '../http/last-calendars.ts';
import { requestState } from '../http/request-state.ts';
import { streamText } from '../http/stream-response.ts';
import { operation } from '../openapi/operation.ts';
import type { Platform } from '../platform.ts';
import type { CredentialsPlugin, CurrentUserPlugin } from '../plugins/current-user.ts';
import { etag } from '../plugins/etag.ts';
import { requestBody } from '../plugins/request-body.ts';
import type { OpenRoutes } from '../plugins/route-groups.ts';
import {
  CALENDAR_TYPE,
  Calendar,
  CalendarQuery,
  ProjectCalendarQuery,
} from '../schemas/calendar.ts';
import { SecretCalendarPath } from '../schemas/calendar-addresses.ts';
import type { CurrentUser } from '../schemas/current-user.ts';
import { ProjectPath } from '../schemas/projects.ts';
import { Nothing } from '../schemas/types/object.ts';

const options = { produces: CALENDAR_TYPE, basicAuth: true, servesPolls: true } as const;

const contents =
  'The open tasks with a due date, and those done in the last 30 days, with the filters of the lists: `?assignee_id=me&priority_min=3`. `status` or `status_not` replaces this choice. A calendar program sends any user name, and an API token as the password.';

/** Gives routes `sendCalendar`, which returns the calendar, or 304 where the client has it. */
const calendarResponses = ({ database: db, log, bindStream }: Platform, calendars: LastCalendars) =>
  new Elysia()
    .use(etag)
    .derive(({ request, notModified, set }) => ({
      async sendCalendar(user: CurrentUser, scope: CalendarScope): Promise<Response> {
        const tag = await readCalendarTag(db, user, scope);
        if (notModified(tag)) return new Response(null, { status: 304 });
        const sent = { userId: user.id, tag };
        const pieces = calendars.keep(request, sent, writeCalendar(db, user, scope));
        return streamText(request, bindStream(pieces), CALENDAR_TYPE, () =>
          log('error', 'calendar_cut', {
            request_id: set.headers['x-request-id'],
            user_id: user.id,
          }),
        );
      },
    }))
    .as('scoped');

export const calendar = (platform: Platform, user: CurrentUserPlugin, calendars: LastCalendars) => {
  const { database: db, settings } = platform;
  return new Elysia({ tags: ['Calendars'] })
    .use(user)
    .use(requestBody(settings.bodyLimitBytes))
    .use(calendarResponses(platform, calendars))
    .get(
      '/tasks/calendar.ics',
      async ({ user, query, sendCalendar }) =>
        sendCalendar(user, await calendarScope(db, user, query)),
      {
        query: CalendarQuery,
        response: { 200: Calendar, 304: Nothing },
        detail: operation('readCalendar', 'Calendar feed (iCalendar)', {
          ...options,
          problems: ['not_found'],
          description: `${contents} Archived projects are left out.`,
        }),
      },
    )
    .get(
      '/projects/:project_id/calendar.ics',
      async ({ user, params, query, sendCalendar }) =>
        sendCalendar(user, await projectCalendarScope(db, user, params.project_id, query)),
      {
        params: ProjectPath,
        query: ProjectCalendarQuery,
        response: { 200: Calendar, 304: Nothing },
        detail: operation('readProjectCalendar', 'Calendar feed of a project (iCalendar)', {
          ...options,
          problems: ['not_found'],
          description: `${contents} The calendar has the name of the project. That of an archived project is empty.`,
        }),
      },
    );
};

/** The calendar under its secret addresses. A request has no other credential, so each wrong one is the same 404. */
export const secretCalendar = (
  platform: Platform,
  group: OpenRoutes,
  cached: CredentialsPlugin,
  calendars: LastCalendars,
) => {
  const { database: db, settings } = platform;
  return new Elysia({ tags: ['Calendars'] })
    .use(group)
    .use(cached)
    .use(calendarResponses(platform, calendars))
    .get(
      '/calendars/:file',
      async ({ request, params, query, device, credentials, sendCalendar }) => {
        const user = await credentials.calendars.find(params.file.replace(/\.ics$/, ''));
        if (!user) {
          await consumeUnknownCalendar(db, device.address, settings.rateLimit);
          throw new Problem('not_found');
        }
        requestState(request).user = user;
        return sendCalendar(user, await calendarScope(db, user, query));
      },
      {
        params: SecretCalendarPath,
        query: CalendarQuery,
        response: { 200: Calendar, 304: Nothing },
        detail: operation('readSecretCalendar', 'Calendar feed at a secret address (iCalendar)', {
          public: true,
          servesPolls: true,
          produces: CALENDAR_TYPE,
          problems: ['not_found', 'rate_limited', 'internal', 'database_unavailable', 'overloaded'],
          description:
            'What `GET /tasks/calendar.ics` returns, with the same parameters, for programs that can send no password. `POST /users/me/calendars` creates an address. One that is unknown or revoked is a 404.',
        }),
      },
    );
};
