/** The filter of a calendar-query (RFC 4791 §7.8, §9.7 to §9.9), matched against one item. */
import type ICAL from 'ical.js';
import { unmet } from '../errors/problem.ts';
import { calendarOf, instantOf } from './todo-item.ts';
import { CALDAV, childOf, childrenOf, type XmlElement } from './xml.ts';

const c = (name: string) => `{${CALDAV}}${name}`;

/** Which items a query wants. */
export interface ItemFilter {
  /** Whether it asks for more than tasks: without the text of an item the answer is unknown. */
  readonly needsText: boolean;
  /** Whether no task matches, whatever it says. */
  readonly matchesNone: boolean;
  matches(text: string): boolean;
}

/**
 * Returns the filter of a query. Without one, every item matches.
 * @throws {Problem} `webdav_condition` for a filter that is malformed or asks for what this server cannot compare.
 */
export function readFilter(element: XmlElement | undefined): ItemFilter {
  const whole = childOf(element, c('comp-filter'));
  if (element && !whole) throw unmet('c:valid-filter');
  if (whole) {
    if (countElements(whole) > ELEMENTS_MAX) throw unmet('c:supported-filter');
    checkFilter(whole);
  }
  const parts = whole?.children ?? [];
  const [only] = parts;
  const isCalendar = !whole || named(whole) === 'vcalendar';
  const isOfTasks = only?.name === c('comp-filter') && named(only) === 'vtodo';
  const asksForTasksAlone = parts.length === 1 && isOfTasks && only.children.length === 0;
  return {
    needsText: parts.length > 0 && !asksForTasksAlone,
    matchesNone: !isCalendar || (parts.length === 1 && isForeign(only)),
    matches(text) {
      if (!whole || asksForTasksAlone) return true;
      const calendar = calendarOf(text);
      return matchesComponent(whole, [calendar], calendar);
    },
  };
}

/** Returns whether a filter asks for events or journals to be there, which no list has. */
const isForeign = (filter: XmlElement | undefined) =>
  filter?.name === c('comp-filter') &&
  ['vevent', 'vjournal', 'vfreebusy'].includes(named(filter)) &&
  !childOf(filter, c('is-not-defined'));

const named = ({ attributes }: XmlElement) => (attributes.name ?? '').toLowerCase();

// --- Checking ----------------------------------------------------------------------------------------------

/** The elements that stand in each kind of filter. */
const PARTS: Record<string, readonly string[]> = {
  [c('comp-filter')]: ['is-not-defined', 'time-range', 'prop-filter', 'comp-filter'].map(c),
  [c('prop-filter')]: ['is-not-defined', 'time-range', 'text-match', 'param-filter'].map(c),
  [c('param-filter')]: ['is-not-defined', 'text-match'].map(c),
};

/** A filter with all that stands in it, each of which is matched against every item. */
const ELEMENTS_MAX = 50;
/** In UTF-16 units. */
const MATCH_LENGTH_MAX = 1000;

const countElements = ({ children }: XmlElement): number =>
  children.reduce((count, child) => count + countElements(child), 1);

const COLLATIONS = ['i;ascii-casemap', 'i;unicode-casemap', 'i;octet', 'default'];

/** @throws {Problem} */
function checkFilter(filter: XmlElement): void {
  const { name, attributes, children, text } = filter;
  const parts = PARTS[name];
  if (parts && attributes.name === undefined) throw unmet('c:valid-filter');
  if (name === c('time-range')) readRange(filter);
  if (name === c('text-match') && !COLLATIONS.includes(attributes.collation ?? 'default'))
    throw unmet('c:supported-collation');
  if (name === c('text-match') && text.length > MATCH_LENGTH_MAX) throw unmet('c:supported-filter');
  for (const child of children) {
    if (parts && !parts.includes(child.name)) throw unmet('c:supported-filter');
    checkFilter(child);
  }
}

// --- Matching ----------------------------------------------------------------------------------------------

/** @param components those with the name of the filter, one of which has to match. */
function matchesComponent(
  filter: XmlElement,
  components: readonly ICAL.Component[],
  calendar: ICAL.Component,
): boolean {
  if (childOf(filter, c('is-not-defined'))) return components.length === 0;
  return components.some((component) =>
    filter.children.every((part) => {
      if (part.name === c('time-range')) return overlaps(readRange(part), component, calendar);
      if (part.name === c('prop-filter')) return matchesProperty(part, component, calendar);
      return matchesComponent(part, component.getAllSubcomponents(named(part)), calendar);
    }),
  );
}

function matchesProperty(
  filter: XmlElement,
  component: ICAL.Component,
  calendar: ICAL.Component,
): boolean {
  const properties = component.getAllProperties(named(filter));
  if (childOf(filter, c('is-not-defined'))) return properties.length === 0;
  const isRange = (part: XmlElement) => part.name === c('time-range');
  const ranges = filter.children.filter(isRange).map(readRange);
  // A component has each time once.
  const instant = ranges.length > 0 ? instantIn(component, named(filter), calendar) : undefined;
  const isWithin = ({ startMs, endMs }: Range) =>
    instant !== undefined && startMs <= instant && instant < endMs;
  if (!ranges.every(isWithin)) return false;
  const others = filter.children.filter((part) => !isRange(part));
  return properties.some((property) =>
    others.every((part) =>
      part.name === c('text-match')
        ? matchesText(part, property.toJSON().slice(3).map(String).join(','))
        : matchesParameter(part, property),
    ),
  );
}

function matchesParameter(filter: XmlElement, property: ICAL.Property): boolean {
  const name = named(filter);
  // The parser turns VALUE into the type.
  const isTyped = name === 'value' && property.type !== property.getDefaultType();
  const value = isTyped ? property.type : property.getParameter(name);
  if (childOf(filter, c('is-not-defined'))) return value === undefined;
  if (value === undefined) return false;
  return childrenOf(filter, c('text-match')).every((part) => matchesText(part, String(value)));
}

function matchesText({ attributes, text }: XmlElement, value: string): boolean {
  const fold = (one: string) => (attributes.collation === 'i;octet' ? one : one.toLowerCase());
  const isFound = fold(value).includes(fold(text));
  return attributes['negate-condition'] === 'yes' ? !isFound : isFound;
}

// --- Times ---------------------------------------------------------------------------------------------------

interface Range {
  startMs: number;
  endMs: number;
}

/** @throws {Problem} for a range without a beginning and an end, and for what is no time in UTC. */
function readRange({ attributes: { start, end } }: XmlElement): Range {
  if (start === undefined && end === undefined) throw unmet('c:valid-filter');
  return {
    startMs: readTime(start) ?? Number.NEGATIVE_INFINITY,
    endMs: readTime(end) ?? Number.POSITIVE_INFINITY,
  };
}

function readTime(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const iso = text.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z');
  const ms = iso === text ? Number.NaN : Date.parse(iso);
  if (Number.isNaN(ms)) throw unmet('c:valid-filter');
  return ms;
}

/** A filter may ask for one time often, and a zone takes some time to compute. */
const knownInstants = new WeakMap<ICAL.Component, Map<string, number | undefined>>();

/** Returns the instant of a property, in milliseconds since 1970. */
function instantIn(component: ICAL.Component, name: string, calendar: ICAL.Component) {
  const known = knownInstants.get(component) ?? new Map<string, number | undefined>();
  knownInstants.set(component, known);
  if (!known.has(name)) known.set(name, instantOf(component, name, calendar));
  return known.get(name);
}

/** The table of RFC 4791 §9.9. A series has no end here. */
function overlaps(
  { startMs, endMs }: Range,
  component: ICAL.Component,
  calendar: ICAL.Component,
): boolean {
  if (component.name !== 'vtodo') return true;
  const [from, due, completed, created] = ['dtstart', 'due', 'completed', 'created'].map((name) =>
    instantIn(component, name, calendar),
  );
  if (component.hasProperty('rrule')) return endMs > (from ?? due ?? Number.NEGATIVE_INFINITY);
  if (from !== undefined && due !== undefined)
    return (startMs < due || startMs <= from) && (endMs > from || endMs >= due);
  if (from !== undefined) return startMs <= from && endMs > from;
  if (due !== undefined) return startMs < due && endMs >= due;
  if (completed !== undefined && created !== undefined)
    return (startMs <= created || startMs <= completed) && (endMs >= created || endMs >= completed);
  if (completed !== undefined) return startMs <= completed && endMs >= completed;
  return created === undefined || endMs > created;
}
