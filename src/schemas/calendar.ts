import { type Static, Type } from '@sinclair/typebox';
import { filters, projectFilters } from './tasks.ts';
import { Parameters } from './types/object.ts';
import { OneOf } from './types/one-of.ts';

export const CALENDAR_TYPE = 'text/calendar';

export const Calendar = Type.String({
  $id: 'Calendar',
  description: 'An iCalendar document (RFC 5545) with a `VTODO` or a `VEVENT` for each task.',
  examples: ['BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//mantou//mantou//EN\r\nEND:VCALENDAR\r\n'],
});

const { due: _, ...calendarFilters } = filters;

/** The filters of the lists, but for what every task in a calendar has: a due date, and a project that is not archived. */
export const ProjectCalendarQuery = Parameters({
  as: Type.Optional(
    OneOf(['tasks', 'events'], {
      description:
        '`tasks` (default) writes each as a `VTODO`. `events` writes it as a `VEVENT` that takes no time, for programs that show no tasks, such as Google Calendar, Outlook, Apple Calendar and khal.',
      examples: ['events'],
    }),
  ),
  ...calendarFilters,
});
export type ProjectCalendarQuery = Static<typeof ProjectCalendarQuery>;

export const CalendarQuery = Parameters({
  project_id: projectFilters.project_id,
  ...ProjectCalendarQuery.properties,
});
export type CalendarQuery = Static<typeof CalendarQuery>;
