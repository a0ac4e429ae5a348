import { Type } from '@sinclair/typebox';

export const CALENDAR_TYPE = 'text/calendar';

export const Calendar = Type.String({
  $id: 'Calendar',
  description: 'RFC 5545, with a `VTODO` for each task.',
  examples: ['BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//mantou//mantou//EN\r\nEND:VCALENDAR\r\n'],
});
