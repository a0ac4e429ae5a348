/** The time zones of a calendar: those that the runtime knows by name, and others by their definitions (RFC 5545 §3.6.5). */
import ICAL from 'ical.js';
import { ownCopy } from '../../lib/own-copy.ts';
import { isTimeZone } from '../../lib/time-zones.ts';
import { localInstant } from './dates.ts';

export interface CalendarZones {
  /** Of times that name no zone. */
  fallback: string;
  /**
   * Learns a zone that the runtime does not know, if its rules can be followed.
   * @param lines of `VTIMEZONE`. @param inner `STANDARD` and `DAYLIGHT`.
   */
  define(lines: readonly string[], inner: readonly Observance[]): void;
  /** Returns the instant of a local time, which is given as if it were UTC; undefined in an unknown zone. */
  instantOf(wall: string, tzid: string): string | undefined;
}

interface Observance {
  name: string;
  lines: readonly string[];
}

/**
 * ical.js makes a list of every change of the clock from the beginning of a rule to the year that is asked for, at 150 µs each. A zone
 * has two rules, for summer and winter, or four where they have changed.
 */
const ZONES_MAX = 5;
const RULES_MAX = 4;
const LINES_MAX = 200;
const LINE_CHARACTERS_MAX = 4096;
/** No task is due before. Outlook's rules begin in 1601. */
const YEAR_MIN = 1970;
/** Later years have the rules of one that falls on the same days: the calendar repeats itself every 28 years, 2100 aside. */
const YEAR_MAX = 2099;
const CALENDAR_CYCLE_YEARS = 28;

/** Names that are looked up once. */
const NAMES_MAX = 100;

/**
 * The rules that are followed: yearly, in one month, on a day that every year has. Of others, ical.js might look for the next
 * occurrence without an end.
 */
const YEARLY =
  /^RRULE:FREQ=YEARLY(?:;(?:INTERVAL=1|BYMONTH=(?:[1-9]|1[0-2])|BYDAY=(?:-1|\+?[1-4])(?:MO|TU|WE|TH|FR|SA|SU)|UNTIL=\d{8}(?:T\d{6}Z?)?|WKST=[A-Z]{2}))*$/i;
const BEGINNING = /^(DTSTART[^:]*:)(1[6-9]\d\d|20\d\d)(\d{4}T\d{6})$/i;
/** What a definition needs. */
const READ = /^(?:DTSTART|RRULE|RDATE|TZOFFSETFROM|TZOFFSETTO)[:;]/i;

/** @param fallback the zone of times that name none. */
export function calendarZones(fallback: string): CalendarZones {
  const names = new Map<string, string | undefined>();
  const defined = new Map<string, ICAL.Timezone>();

  /** Finds `Europe/Berlin` in `/freeassociation.sourceforge.net/Europe/Berlin`. */
  function nameOf(tzid: string): string | undefined {
    const known = names.get(tzid);
    if (known !== undefined || names.has(tzid)) return known;
    const parts = tzid.split('/');
    const candidates = [tzid, parts.slice(-3).join('/'), parts.slice(-2).join('/')];
    const name = candidates.find(isTimeZone);
    if (names.size < NAMES_MAX) names.set(ownCopy(tzid), name);
    return name;
  }

  return {
    fallback,
    define(lines, inner) {
      const named = lines.find((line) => /^TZID\b/i.test(line)) ?? '';
      const tzid = named.slice(named.indexOf(':') + 1);
      if (tzid === '' || tzid.length > LINE_CHARACTERS_MAX || defined.size === ZONES_MAX) return;
      if (nameOf(tzid) !== undefined) return;
      const zone = zoneOf(tzid, inner);
      if (zone) defined.set(tzid, zone);
    },
    instantOf(wall, tzid) {
      const name = nameOf(tzid);
      if (name !== undefined) return localInstant(wall, name);
      const zone = defined.get(tzid);
      if (!zone) return undefined;
      const near = withinYears(wall);
      const shown = instantIn(zone, near);
      if (shown === undefined) {
        defined.delete(tzid);
        return undefined;
      }
      const offset = Date.parse(near) - shown;
      const instant = new Date(Date.parse(wall) - offset);
      return Number.isNaN(instant.getTime())
        ? undefined
        : localInstant(instant.toISOString(), 'UTC');
    },
  };
}

/** Returns the milliseconds since 1970; undefined where the definition has values that ical.js cannot read, which it reads only here. */
function instantIn(zone: ICAL.Timezone, wall: string): number | undefined {
  try {
    const time = ICAL.Time.fromDateTimeString(wall.slice(0, 19));
    time.zone = zone;
    return time.toJSDate().getTime();
  } catch {
    return undefined;
  }
}

/** Returns the time in a year with the same days. */
function withinYears(wall: string): string {
  const beyond = Number(wall.slice(0, 4)) - YEAR_MAX;
  if (beyond <= 0) return wall;
  const cycles = Math.ceil(beyond / CALENDAR_CYCLE_YEARS);
  return `${YEAR_MAX + beyond - cycles * CALENDAR_CYCLE_YEARS}${wall.slice(4)}`;
}

function zoneOf(tzid: string, inner: readonly Observance[]): ICAL.Timezone | undefined {
  const kept = inner.map(({ name, lines }) => ({
    name,
    lines: lines.filter((one) => READ.test(one)),
  }));
  const lines = kept.flatMap((one) => one.lines);
  const rules = lines.filter((line) => /^RRULE/i.test(line));
  const isSafe =
    lines.length <= LINES_MAX &&
    rules.length <= RULES_MAX &&
    rules.every((rule) => YEARLY.test(rule)) &&
    lines.every(
      (line) =>
        line.length <= LINE_CHARACTERS_MAX && (!/^DTSTART/i.test(line) || BEGINNING.test(line)),
    );
  if (!isSafe) return undefined;
  const text = [
    'BEGIN:VTIMEZONE',
    ...kept.flatMap((one) => [
      `BEGIN:${one.name}`,
      ...beginningLater(one.lines),
      `END:${one.name}`,
    ]),
    'END:VTIMEZONE',
  ].join('\r\n');
  try {
    const component = new ICAL.Component(ICAL.parse(text) as unknown as object[]);
    return new ICAL.Timezone({ component, tzid });
  } catch {
    // Then its times are taken in the time zone of the import, and the report says so.
    return undefined;
  }
}

/** A rule that began long ago begins two years before the first that is asked for, or before it ends. */
function beginningLater(lines: readonly string[]): string[] {
  const rule = lines.find((line) => /^RRULE/i.test(line));
  if (rule === undefined) return [...lines];
  const until = /UNTIL=(\d{4})/i.exec(rule)?.[1];
  const earliest = Math.min(YEAR_MIN, Number(until ?? YEAR_MIN)) - 2;
  return lines.map((line) =>
    line.replace(
      BEGINNING,
      (_, before, year, rest) => `${before}${Math.max(earliest, Number(year))}${rest}`,
    ),
  );
}
