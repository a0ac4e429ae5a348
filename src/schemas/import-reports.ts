/** What an import of another program's document reports: what was left out, cut or changed. */
import { Kind, type Static, Type } from '@sinclair/typebox';
import { isTimeZone } from '../lib/time-zones.ts';
import { projectName } from './projects.ts';
import { annotated, defineKind, wrongType } from './types/kind.ts';
import { Nullable, Parameters, StrictObject } from './types/object.ts';
import { OneOf } from './types/one-of.ts';

/** The formats that an import reads. `mantou` is what an export of this API writes. */
export const importFormats = [
  'mantou',
  'icalendar',
  'csv',
  'todoist',
  'trello',
  'taskwarrior',
  'todotxt',
  'github',
] as const;
export type ImportFormat = (typeof importFormats)[number];
export type ForeignFormat = Exclude<ImportFormat, 'mantou'>;

/** The formats of each media type; the first is the default. */
export const importFormatsOf: Record<string, readonly ImportFormat[]> = {
  'application/json': ['mantou', 'trello', 'taskwarrior', 'github'],
  'application/x-ndjson': ['taskwarrior', 'github'],
  'text/calendar': ['icalendar'],
  'text/csv': ['csv', 'todoist'],
  'text/plain': ['todotxt', 'icalendar', 'csv', 'todoist'],
};
export const importTypes = Object.keys(importFormatsOf);

/** What happened to a part of the document, by code. The codes are stable; a later version may add some. */
export const noteCodes = {
  item_left_out: 'is no task, or none any more',
  item_repeated: 'has the identifier of a task before it',
  field_left_out: 'has no place in a task',
  person_left_out: 'is not a member of the new project',
  parent_left_out:
    'is not kept, because it is not in the document or in another project, or too many levels down: the task stands by itself',
  link_left_out: 'is not kept: it is no task of the document that comes first, or one too many',
  recurrence_left_out: 'is not kept: only the next date is',
  reminder_left_out: 'is not kept: tasks have no reminders',
  date_left_out: 'is no date, or none of the years 1970 to 9999',
  label_left_out: 'is blank, repeated or beyond 20 labels',
  label_changed: 'is cut to 50 characters, or has a space in place of a comma',
  title_missing: 'is replaced by "Untitled"',
  title_cut: 'is cut to 500 characters; the description begins with all of it',
  title_changed: 'has a space in place of each line break',
  description_cut: 'is cut to 20,000 characters',
  text_changed: 'has lost characters that are not valid in a text',
  priority_changed: 'is not known: the task has none',
  status_changed: 'is not known or not given: the task has the nearest',
  time_zone_unknown: 'is not known: the time is taken in the time zone of the import',
  completed_at_assumed: 'is not given: the last change, or now, is taken',
  moved_to_description: 'stands in the description',
  project_changed: 'is not valid as a name, or names one of too many projects',
} as const;
export type NoteCode = keyof typeof noteCodes;

/** The most notes that a report lists; it counts all of them. */
export const NOTES_MAX = 1000;
/** The most characters of a value or a title that a note quotes. */
export const QUOTE_LENGTH_MAX = 100;
/** The most projects that one document becomes. */
export const IMPORTED_PROJECTS_MAX = 100;

const code = OneOf(Object.keys(noteCodes) as NoteCode[], {
  description: `What happened: ${Object.entries(noteCodes)
    .map(([name, meaning]) => `\`${name}\`: it ${meaning}`)
    .join('; ')}.`,
  examples: ['recurrence_left_out'],
});

const ImportNote = StrictObject('ImportNote', {
  line: Type.Integer({
    minimum: 1,
    description: 'The line of the document on which the item begins.',
    examples: [12],
  }),
  item: Nullable(
    Type.Integer({
      minimum: 0,
      description: 'The place of the item among those of the document, from 0.',
      examples: [3],
    }),
    { description: 'The place of the item in the document, from 0; null for the document itself.' },
  ),
  title: Nullable(
    Type.String({
      description: `The title of the task, up to ${QUOTE_LENGTH_MAX} characters.`,
      examples: ['Choose the tiles'],
    }),
  ),
  code,
  field: Type.String({
    description: 'The field, as the document names it.',
    examples: ['RRULE'],
  }),
  value: Nullable(
    Type.String({
      description: `The value in the document, up to ${QUOTE_LENGTH_MAX} characters.`,
      examples: ['FREQ=WEEKLY'],
    }),
  ),
  message: Type.String({
    description: 'The code in words.',
    examples: [noteCodes.recurrence_left_out],
  }),
});
export type ImportNote = Static<typeof ImportNote>;

export const ImportReport = StrictObject(
  'ImportReport',
  {
    format: OneOf(importFormats, {
      description: 'The format of the document.',
      examples: ['icalendar'],
    }),
    time_zone: Type.String({
      description: 'The time zone in which times without one were taken.',
      examples: ['Europe/Berlin'],
    }),
    projects: Type.Array(
      Type.Object(
        {
          name: Type.String({ description: 'The name of the project.', examples: ['Kitchen'] }),
          tasks: Type.Integer({
            minimum: 0,
            description: 'The number of its tasks.',
            examples: [1],
          }),
        },
        { additionalProperties: false },
      ),
      {
        maxItems: IMPORTED_PROJECTS_MAX,
        description: 'The projects, in the order of the document.',
      },
    ),
    tasks: Type.Integer({ minimum: 0, description: 'The number of tasks.', examples: [1] }),
    left_out: Type.Integer({
      minimum: 0,
      description: 'The number of items that became no task.',
      examples: [0],
    }),
    notes_total: Type.Integer({ minimum: 0, description: 'The number of notes.', examples: [1] }),
    codes: Type.Array(
      Type.Object(
        {
          code,
          count: Type.Integer({ minimum: 1, description: 'How often it occurs.', examples: [1] }),
        },
        { additionalProperties: false },
      ),
      { description: 'How many notes there are with each code that occurs.' },
    ),
    notes: Type.Array(ImportNote, {
      maxItems: NOTES_MAX,
      description: `The first ${NOTES_MAX} notes, in the order of the document.`,
    }),
  },
  'What an import makes of a document, and what it leaves out, cuts or changes.',
);
export type ImportReport = Static<typeof ImportReport>;

defineKind('TimeZone', (_, value) => {
  if (typeof value !== 'string') return wrongType('a string');
  return isTimeZone(value)
    ? undefined
    : { code: 'not_allowed', message: 'must be an IANA time zone, such as Europe/Berlin' };
});

export const ImportQuery = Parameters({
  format: Type.Optional(
    OneOf(importFormats, {
      description:
        'The format of the document. If omitted, its media type and its shape tell: `mantou` is the export of this API; `csv` has a column `title`; `todotxt` takes todo.txt and done.txt.',
      examples: ['icalendar'],
    }),
  ),
  time_zone: Type.Optional(
    Type.Unsafe<string>({
      [Kind]: 'TimeZone',
      type: 'string',
      maxLength: 64,
      description:
        'The IANA time zone of local times in the document of another program. If omitted, `UTC`. A document of ours has no local times.',
      examples: ['Europe/Berlin'],
    }),
  ),
  name: Type.Optional(
    annotated(projectName, {
      description:
        'The name of the new project, in place of the one in the document. In a Taskwarrior document it is for the tasks that name no project.',
    }),
  ),
  dry_run: OneOf(['false', 'true'], {
    default: 'false',
    description: '`true` reads the document and returns the report, and writes nothing.',
    examples: ['true'],
  }),
});
export type ImportQuery = Static<typeof ImportQuery>;

/** A document of another program that is no JSON. */
export const ForeignText = Type.String({
  $id: 'ForeignText',
  description:
    'A document of another program: iCalendar (RFC 5545) as `text/calendar`, tasks or a Todoist export as `text/csv`, todo.txt as `text/plain`, in UTF-8.',
  examples: ['x 2026-11-28 Call the tiler +Kitchen @phone\n'],
});
