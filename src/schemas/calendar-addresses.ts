import { type Static, Type } from '@sinclair/typebox';
import { Id } from './types/id.ts';
import { Instant } from './types/instant.ts';
import { Nullable, Parameters, ResponseObject, StrictObject } from './types/object.ts';
import { Page, pageParameters } from './types/page.ts';
import { Text } from './types/text.ts';

const name = Text({
  minLength: 1,
  maxLength: 120,
  visible: true,
  description: 'The program that reads the calendar.',
  examples: ['phone'],
});

export const CalendarAddressCreate = StrictObject('CalendarAddressCreate', { name });
export type CalendarAddressCreate = Static<typeof CalendarAddressCreate>;

const fields = {
  id: Id('The address.'),
  name,
  last_used_at: Nullable(
    Instant('When a program last read the calendar there, to the minute; null: never.'),
    { examples: [null] },
  ),
  created_at: Instant('When the address was created.'),
};

export const CalendarAddress = ResponseObject('CalendarAddress', fields);
export type CalendarAddress = Static<typeof CalendarAddress>;

export const CalendarAddressCreated = StrictObject('CalendarAddressCreated', {
  ...fields,
  url: Type.String({
    description:
      'Give it to the program. A client that knows it reads the calendar. Returned only in this response; absolute where the server knows its public URL.',
    examples: [
      'https://todo.example.org/calendars/q3Xv1mJ0b9K7yT5sR2wZ8nL4cF6hG1dE0aU9iO3pVxY.ics',
    ],
  }),
});
export type CalendarAddressCreated = Static<typeof CalendarAddressCreated>;

export const CalendarAddressPage = Page('CalendarAddressPage', CalendarAddress);
export type CalendarAddressPage = Static<typeof CalendarAddressPage>;

export const CalendarAddressPath = Parameters({ calendar_id: Id('The address.') });
export const CalendarAddressListQuery = Parameters(pageParameters);

export const SecretCalendarPath = Parameters({
  file: Type.String({
    pattern: String.raw`^[A-Za-z0-9_-]{43}\.ics$`,
    description: 'The secret of the address, and `.ics`.',
    examples: ['q3Xv1mJ0b9K7yT5sR2wZ8nL4cF6hG1dE0aU9iO3pVxY.ics'],
  }),
});
