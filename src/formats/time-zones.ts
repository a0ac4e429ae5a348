/** Local times of iCalendar (RFC 5545 §3.3.5) as instants. */
import type ICAL from 'ical.js';
import { instantAt, isTimeZone } from '../lib/time-zones.ts';

const DAY_MS = 24 * 60 * 60_000;

/**
 * Returns the instant of a local time, both in milliseconds since 1970.
 * @param tzid a name of the IANA time zone database, perhaps after the name of a vendor, or a zone that the calendar defines. A time
 * without a known zone is taken for UTC: which zone its reader is in is unknown.
 */
export function instantOf(
  localMs: number,
  tzid: string | undefined,
  calendar: ICAL.Component,
): number {
  if (tzid === undefined) return localMs;
  const definition = calendar
    .getAllSubcomponents('vtimezone')
    .find((zone) => zone.getFirstPropertyValue('tzid') === tzid);
  const named = definition?.getFirstPropertyValue('x-lic-location')?.toString();
  // As in `/freeassociation.sourceforge.net/Europe/Berlin`.
  const parts = tzid.split('/');
  const names = [tzid, parts.slice(-3).join('/'), parts.slice(-2).join('/'), named];
  const zone = names.find((name) => name !== undefined && isTimeZone(name));
  if (zone !== undefined) return instantAt(localMs, zone);
  return definition ? localMs - offsetDefinedBy(definition, localMs) : localMs;
}

/** Returns the offset of the observance (§3.6.5) that began last; 0 where none has. */
function offsetDefinedBy(definition: ICAL.Component, localMs: number): number {
  const observances = ['standard', 'daylight'].flatMap((name) =>
    definition.getAllSubcomponents(name),
  );
  let latest = { onsetMs: Number.NEGATIVE_INFINITY, offsetMs: 0 };
  for (const observance of observances) {
    const onsetMs = lastOnset(observance, localMs);
    if (onsetMs === undefined || onsetMs < latest.onsetMs) continue;
    latest = { onsetMs, offsetMs: readOffset(rawValue(observance, 'tzoffsetto')) };
  }
  return latest.offsetMs;
}

/** Returns when an observance last began. Of rules it knows the one that zones have: a weekday of a month, each year. */
function lastOnset(observance: ICAL.Component, localMs: number): number | undefined {
  const [, ...start] =
    /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)/.exec(String(rawValue(observance, 'dtstart'))) ??
    [];
  if (start.length === 0) return undefined;
  const [year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0] = start.map(Number);
  const startMs = Date.UTC(year, month - 1, day, hour, minute, second);
  if (startMs > localMs) return undefined;
  const rule = rawValue(observance, 'rrule') as Record<string, unknown> | undefined;
  const [, nth, weekday = ''] = /^([+-]?\d)(\w\w)$/.exec(String(rule?.byday)) ?? [];
  const ruleMonth = Number(rule?.bymonth ?? month);
  if (nth === undefined) return startMs;
  const timeMs = startMs - Date.UTC(year, month - 1, day);
  const presentYear = new Date(localMs).getUTCFullYear();
  return [presentYear, presentYear - 1]
    .map((one) => nthWeekday(one, ruleMonth, Number(nth), weekday) + timeMs)
    .find((onsetMs) => onsetMs <= localMs && onsetMs >= startMs);
}

const WEEKDAYS = ['SU', 'MO', 'TU', 'WE', 'TH', 'FR', 'SA'];

/** @param nth from the beginning of the month; negative: from its end. */
function nthWeekday(year: number, month: number, nth: number, weekday: string): number {
  const edge = new Date(nth > 0 ? Date.UTC(year, month - 1, 1) : Date.UTC(year, month, 0));
  const wanted = WEEKDAYS.indexOf(weekday.toUpperCase());
  const ahead = (wanted - edge.getUTCDay() + 7) % 7;
  const days = nth > 0 ? ahead + (nth - 1) * 7 : ((ahead - 7) % 7) + (nth + 1) * 7;
  return edge.getTime() + days * DAY_MS;
}

/** Returns a UTC offset (§3.3.14) as jCal writes it, `+01:00`, in milliseconds. */
function readOffset(value: unknown): number {
  const [, sign, hours = 0, minutes = 0, seconds = 0] =
    /^([+-])(\d\d):?(\d\d):?(\d\d)?/.exec(String(value)) ?? [];
  const ms = (Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds)) * 1000;
  return sign === '-' ? -ms : ms;
}

/** Returns the value as the parser left it: reading it may throw for what is no date. */
const rawValue = (component: ICAL.Component, name: string): unknown =>
  component.getFirstProperty(name)?.toJSON()[3];
