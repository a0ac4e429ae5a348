/** RFC 3339 instants and dates. */

const INSTANT =
  /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))$/;

/**
 * Parses an RFC 3339 date-time (§5.6) with any offset and returns the same instant in UTC with milliseconds. Returns
 * undefined for a day that the calendar does not have, a leap second, a fraction finer than a millisecond, and a year
 * outside 1970 to 9999 (in UTC).
 */
export function parseInstant(text: string): string | undefined {
  const [
    ,
    year,
    month,
    day,
    hour,
    minute,
    second,
    fraction = '',
    ,
    offsetHour = '0',
    offsetMinute = '0',
  ] = INSTANT.exec(text) ?? [];
  if (year === undefined || Number(hour) > 23 || Number(minute) > 59 || Number(second) > 59)
    return undefined;
  if (Number(offsetHour) > 23 || Number(offsetMinute) > 59 || /[1-9]/.test(fraction.slice(3)))
    return undefined;
  const lastDay = new Date(Date.UTC(Number(year), Number(month), 0)).getUTCDate();
  if (Number(month) < 1 || Number(month) > 12 || Number(day) < 1 || Number(day) > lastDay)
    return undefined;
  const instant = new Date(text.toUpperCase());
  const utcYear = instant.getUTCFullYear();
  return utcYear >= 1970 && utcYear <= 9999 ? instant.toISOString() : undefined;
}

/** Returns an RFC 3339 full-date (§5.6) of the years 1970 to 9999 as it is; undefined for any other text. */
export const parseDate = (text: string): string | undefined =>
  /^\d{4}-\d\d-\d\d$/.test(text) && parseInstant(startOfDay(text)) ? text : undefined;

/** Returns the first millisecond of a day in UTC; `endOfDay` the last. */
export const startOfDay = (date: string) => `${date}T00:00:00.000Z`;
export const endOfDay = (date: string) => `${date}T23:59:59.999Z`;
