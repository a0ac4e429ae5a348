/** Local times of IANA time zones, by `Intl`, whose rules every runtime keeps up to date. */
import { BoundedMap } from './bounded-map.ts';

/** A time as a clock on the wall shows it, as if it were UTC: milliseconds since 1970. */
export type WallMs = number;

const DAY_MS = 24 * 60 * 60_000;
/** A formatter takes about 50 µs to make, and some kilobytes. */
const FORMATTERS_MAX = 32;
const formatters = new BoundedMap<string, Intl.DateTimeFormat>(FORMATTERS_MAX);

/** Returns whether the runtime knows the zone: `Europe/Berlin`, `UTC`. */
export function isTimeZone(name: string): boolean {
  try {
    formatterOf(name);
    return true;
  } catch {
    return false;
  }
}

function formatterOf(zone: string): Intl.DateTimeFormat {
  const known = formatters.get(zone);
  if (known) return known;
  const made = new Intl.DateTimeFormat('en-US', {
    timeZone: zone,
    calendar: 'iso8601',
    numberingSystem: 'latn',
    hourCycle: 'h23',
    ...{ year: 'numeric', month: 'numeric', day: 'numeric' },
    ...{ hour: 'numeric', minute: 'numeric', second: 'numeric' },
  });
  formatters.set(zone, made);
  return made;
}

/** Returns what a clock in the zone shows at an instant. */
export function wallTimeAt(instantMs: number, zone: string): WallMs {
  if (zone === 'UTC') return instantMs;
  const parts: Record<string, number> = {};
  for (const { type, value } of formatterOf(zone).formatToParts(instantMs))
    parts[type] = Number(value);
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = parts;
  return Date.UTC(year, month - 1, day, hour, minute, second) + (instantMs % 1000);
}

/**
 * Returns the instant at which a clock in the zone shows this time. RFC 5545 §3.3.5: a time that occurs twice is the first
 * one; one that a change of the clock skips has the offset from before the change.
 */
export function instantAt(wall: WallMs, zone: string): number {
  if (zone === 'UTC') return wall;
  // No offset is more than a day, so these are the offsets before and behind a change of the clock.
  const before = wallTimeAt(wall - DAY_MS, zone) - (wall - DAY_MS);
  const behind = wallTimeAt(wall + DAY_MS, zone) - (wall + DAY_MS);
  const first = wall - before;
  return wallTimeAt(first, zone) === wall || wallTimeAt(wall - behind, zone) !== wall
    ? first
    : wall - behind;
}
