/** RFC 3339 instants, to the millisecond, and dates. */
import { Kind, Type } from '@sinclair/typebox';
import { parseDate, parseInstant } from '../../lib/instant.ts';
import { defineKind, wrongType } from './kind.ts';

defineKind('Instant', (_, value) => {
  if (typeof value !== 'string') return wrongType('a string');
  return parseInstant(value) === undefined ? invalidInstant(value) : undefined;
});

defineKind('InstantOrDate', (_, value) => {
  if (typeof value !== 'string') return wrongType('a string');
  return parseDate(value) === undefined && parseInstant(value) === undefined
    ? invalidInstant(value, ', or a date such as 2026-11-23')
    : undefined;
});

defineKind('FullDate', (_, value) => {
  if (typeof value !== 'string') return wrongType('a string');
  return parseDate(value) === undefined
    ? {
        code: 'invalid_date',
        message: 'must be an RFC 3339 date of the years 1970 to 9999, such as 2026-11-23',
      }
    : undefined;
});

function invalidInstant(value: string, orElse = '') {
  // In a query, + stands for a space (WHATWG URL, "application/x-www-form-urlencoded").
  const message =
    parseInstant(value.replace(/ (?=\d\d:\d\d$)/, '+')) === undefined
      ? `must be an RFC 3339 instant of the years 1970 to 9999 with at most 3 decimals, such as 2026-11-23T03:14:07.123Z${orElse}`
      : 'has a space before its offset: write %2B for + in a query';
  return { code: 'invalid_instant', message };
}

const instant = (description: string, example: string) =>
  Type.Unsafe<string>({
    [Kind]: 'Instant',
    type: 'string',
    format: 'date-time',
    description,
    examples: [example],
  });

/** An instant as clients send it, with any offset. */
export const InstantInput = (description: string, example = '2026-12-24T18:00:00+01:00') =>
  instant(`${description} At most three decimals.`, example);

/** An instant as the server writes it: UTC with milliseconds. */
export const Instant = (description: string) => instant(description, '2026-11-23T03:14:07.123Z');

/** A day without a time (RFC 3339 full-date). */
export const FullDate = (description: string, example = '2026-12-24') =>
  Type.Unsafe<string>({
    [Kind]: 'FullDate',
    type: 'string',
    format: 'date',
    description,
    examples: [example],
  });

/** An instant with any offset, or a date. */
export const InstantOrDate = (description: string, examples: string[]) =>
  Type.Unsafe<string>({
    [Kind]: 'InstantOrDate',
    // A generator of clients takes the type from each of them.
    anyOf: [
      { type: 'string', format: 'date-time' },
      { type: 'string', format: 'date' },
    ],
    description,
    examples,
  });
