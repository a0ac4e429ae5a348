/** Dates and times as other programs write them. */
import { parseDate, parseInstant } from '../../lib/instant.ts';
import { instantAt, wallTimeAt } from '../../lib/time-zones.ts';

/** When a task is due: at an instant in UTC, or on a day. */
export type Due = { at: string } | { on: string };

/** ISO 8601 in its extended and basic forms, with a `T` or a space, with or without seconds, fraction and offset. */
const ISO =
  /^(\d{4})(?:-(\d\d)-(\d\d)|\/(\d\d)\/(\d\d)|(\d\d)(\d\d))(?:[Tt ]+(\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?\s*(Z|z|[+-]\d\d(?::?\d\d)?)?)?$/;
/** `24.12.2026 17:00`, as spreadsheets of many countries show it. */
const DOTTED = /^(\d{1,2})\.(\d{1,2})\.(\d{4})(?:,?\s+(\d{1,2}):(\d\d)(?::(\d\d))?)?$/;
/** `12/24/2026 5:00 PM` and `24/12/2026`: taken only where one of the first two numbers can be no month. */
const SLASHED =
  /^(\d{1,2})\/(\d{1,2})\/(\d{4})(?:,?\s+(\d{1,2}):(\d\d)(?::(\d\d))?(?:\s*([AaPp])\.?[Mm]\.?)?)?$/;
const MONTHS = 12;

interface Parts {
  date: string;
  /** `17:00:00.000`; undefined for a day. */
  time: string | undefined;
  /** `Z` or `+01:00`; undefined for a local time. */
  offset: string | undefined;
}

/**
 * Returns what a text says as a date or a time; undefined where it is neither, or its year is not 1970 to 9999.
 * @param zone of a time without an offset.
 */
export function readDate(text: string, zone: string): Due | undefined {
  const parts = partsOf(text.trim());
  if (!parts) return undefined;
  const { date, time, offset } = parts;
  if (time === undefined) {
    const on = parseDate(date);
    return on === undefined ? undefined : { on };
  }
  // It has to be a time of the calendar in any case.
  const wall = parseInstant(`${date}T${time}${offset ?? 'Z'}`);
  if (wall === undefined) return undefined;
  const at = offset === undefined ? localInstant(wall, zone) : wall;
  return at === undefined ? undefined : { at };
}

/**
 * Returns the instant at which clocks in the zone show a time, which is given as if it were UTC; undefined for a time that
 * the calendar does not have, and outside the years 1970 to 9999.
 */
export function localInstant(wall: string, zone: string): string | undefined {
  const valid = parseInstant(wall);
  return valid && parseInstant(new Date(instantAt(Date.parse(valid), zone)).toISOString());
}

/** Returns a date or a time as an instant: a day is its beginning in the zone. */
export function readInstant(text: string, zone: string): string | undefined {
  const read = readDate(text, zone);
  if (!read) return undefined;
  return 'at' in read ? read.at : localInstant(`${read.on}T00:00:00.000Z`, zone);
}

/** Returns the day whose midnight in the zone is this instant: some programs write days so. Otherwise the instant. */
export function dayAtMidnight(at: string, zone: string): Due {
  const shown = new Date(wallTimeAt(Date.parse(at), zone)).toISOString();
  return shown.endsWith('T00:00:00.000Z') ? { on: shown.slice(0, 10) } : { at };
}

function partsOf(text: string): Parts | undefined {
  const iso = ISO.exec(text);
  if (iso) {
    const [, year, m1, d1, m2, d2, m3, d3, hour, minute, second, fraction, offset] = iso;
    return {
      date: `${year}-${m1 ?? m2 ?? m3}-${d1 ?? d2 ?? d3}`,
      time: timeOf(hour, minute, second, fraction),
      offset: offset === undefined ? undefined : longOffset(offset),
    };
  }
  const dotted = DOTTED.exec(text);
  if (dotted) {
    const [, day, month, year, hour, minute, second] = dotted;
    return {
      date: dateOf(year, month, day),
      time: timeOf(hour, minute, second),
      offset: undefined,
    };
  }
  const slashed = SLASHED.exec(text);
  if (!slashed) return undefined;
  const [, first, second, year, hour, minute, seconds, half] = slashed;
  const isDayFirst = Number(first) > MONTHS;
  if (!isDayFirst && Number(second) <= MONTHS && first !== second) return undefined;
  const [month, day] = isDayFirst ? [second, first] : [first, second];
  const isAfternoon = half?.toLowerCase() === 'p';
  const hours = half === undefined ? hour : String((Number(hour) % 12) + (isAfternoon ? 12 : 0));
  return {
    date: dateOf(year, month, day),
    time: timeOf(hours, minute, seconds),
    offset: undefined,
  };
}

const two = (text = '0') => text.padStart(2, '0');
const dateOf = (year = '', month = '', day = '') => `${year}-${two(month)}-${two(day)}`;

/** A fraction finer than a millisecond is cut. */
const timeOf = (hour?: string, minute?: string, second?: string, fraction = '') =>
  hour === undefined
    ? undefined
    : `${two(hour)}:${two(minute)}:${two(second)}.${fraction.slice(0, 3).padEnd(3, '0')}`;

/** RFC 3339 has `Z` or hours and minutes. */
const longOffset = (offset: string) =>
  /^z$/i.test(offset) ? 'Z' : `${offset.slice(0, 3)}:${offset.slice(3).replace(':', '') || '00'}`;
