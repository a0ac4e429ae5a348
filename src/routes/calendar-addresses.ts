import { Elysia } from 'elysia';
import {
  createCalendarAddress,
  deleteCalendarAddress,
  listCalendarAddresses,
} from '../handlers/calendar-addresses.ts';
import { publicUrl } from '../http/public-url.ts';
import { operation } from '../openapi/operation.ts';
import type { Platform } from '../platform.ts';
import type { SessionRoutes } from '../plugins/route-groups.ts';
import {
  CalendarAddressCreate,
  CalendarAddressCreated,
  CalendarAddressListQuery,
  CalendarAddressPage,
  CalendarAddressPath,
} from '../schemas/calendar-addresses.ts';
import { Nothing } from '../schemas/types/object.ts';

export const calendarAddresses = (platform: Platform, group: SessionRoutes) => {
  const { database: db } = platform;
  return new Elysia({ prefix: '/users/me/calendars', tags: ['Calendars'] })
    .use(group)
    .post(
      '/',
      async ({ user, body, set, audit }) => {
        const { address, secret } = await createCalendarAddress(db, user, body);
        audit('calendar_address_created', { user_id: user.id, calendar_id: address.id });
        set.status = 201;
        return { ...address, url: publicUrl(platform, `/calendars/${secret}.ics`) };
      },
      {
        body: CalendarAddressCreate,
        response: { 201: CalendarAddressCreated },
        detail: operation('createCalendarAddress', 'Create a secret address of the calendar', {
          description:
            'For a program that can send no password, such as Google Calendar. Create one for each program, so that it can be revoked alone. It takes the parameters of `GET /tasks/calendar.ics`.',
          problems: ['forbidden', 'conflict'],
        }),
      },
    )
    .get('/', ({ user, query }) => listCalendarAddresses(db, user, query), {
      query: CalendarAddressListQuery,
      response: { 200: CalendarAddressPage },
      detail: operation('listCalendarAddresses', 'List your secret addresses', {
        problems: ['forbidden', 'invalid_cursor'],
      }),
    })
    .delete(
      '/:calendar_id',
      async ({ user, params }) => {
        await deleteCalendarAddress(db, user, params.calendar_id);
      },
      {
        endsCredentials: 'calendar_address_revoked',
        params: CalendarAddressPath,
        response: { 204: Nothing },
        detail: operation('deleteCalendarAddress', 'Revoke a secret address', {
          problems: ['forbidden', 'not_found'],
        }),
      },
    );
};
