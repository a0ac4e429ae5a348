/**
 * Reads the tasks (`VTODO`) of iCalendar, RFC 5545, one component at a time. The lines are unfolded and the components found
 * here, so that memory does not grow with the document and each fault has its line; ical.js reads each property.
 */
import ICAL from 'ical.js';
import { ownCopy } from '../../lib/own-copy.ts';
import { type CalendarZones, calendarZones } from './calendar-zones.ts';
import { type Due, localInstant } from './dates.ts';
import {
  type ForeignItem,
  type ForeignPiece,
  faultAt,
  type Note,
  newTask,
} from './foreign-task.ts';
import { type Line, linesOf } from './lines.ts';

/** A component in a component in the calendar. */
const DEPTH_MAX = 8;
/** A component has up to this many properties, and this many characters. Thunderbird's longest time zone has 300 lines. */
const PROPERTIES_MAX = 2000;
const COMPONENT_CHARACTERS_MAX = 1024 ** 2;
/** ical.js takes more than linear time for them. */
const PARAMETERS_CHARACTERS_MAX = 4096;

/** A property as ical.js reads it. */
interface Property {
  name: string;
  parameters: Record<string, string | string[]>;
  /** Texts, numbers and booleans; a value of parts, such as a rule, is its text. */
  values: unknown[];
}

interface Component {
  /** In upper case. */
  name: string;
  line: number;
  lines: string[];
  characters: number;
  /** The content lines of components in it, by their names. */
  inner: { name: string; lines: string[] }[];
}

/** Yields the tasks of all calendars in the document. */
export async function* readICalendar(
  chunks: AsyncIterable<Uint8Array>,
  zone: string,
): AsyncGenerator<ForeignPiece> {
  const zones = calendarZones(zone);
  const seen = new Set<string>();
  let item = 0;
  let isNamed = false;
  for await (const part of componentsOf(contentLinesOf(chunks))) {
    if (typeof part === 'string') {
      const property = readProperty(part);
      if (isNamed || !/^(x-wr-calname|name)$/.test(property?.name ?? '')) continue;
      isNamed = true;
      yield { kind: 'name', name: unescaped(String(property?.values[0] ?? '')) };
    } else if (part.name === 'VTIMEZONE') zones.define(part.lines, part.inner);
    else yield readComponent(part, item++, zones, seen);
  }
}

/** §3.3.11, in one pass: ical.js knows neither property as a TEXT. */
const unescaped = (text: string) =>
  text.replace(/\\([\\;,nN])/g, (_, character) => (/n/i.test(character) ? ' ' : character));

// --- Lines and components ------------------------------------------------------------------------------------------

/** Yields the content lines (RFC 5545 §3.1): a line that begins with white space goes on with the one before it. */
async function* contentLinesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Line[]> {
  let number = 0;
  let parts: string[] = [];
  let characters = 0;
  const take = () => ({ number, text: parts.join('') });
  for await (const lines of linesOf(chunks)) {
    const whole: Line[] = [];
    for (const line of lines) {
      if (parts.length > 0 && /^[ \t]/.test(line.text)) {
        characters += line.text.length;
        if (characters > COMPONENT_CHARACTERS_MAX)
          throw faultAt(number, 'is longer than a mebibyte', 'too_long');
        parts.push(line.text.slice(1));
        continue;
      }
      if (parts.length > 0) whole.push(take());
      [number, parts, characters] = [line.number, [line.text], line.text.length];
    }
    yield whole;
  }
  if (parts.length > 0) yield [take()];
}

/** Yields the components of calendars, and the content lines of the calendars themselves. */
async function* componentsOf(lines: AsyncIterable<Line[]>): AsyncGenerator<Component | string> {
  /** The names of the components that are open, outermost first. */
  const open: string[] = [];
  let component: Component | undefined;
  let last = 1;
  let hasCalendar = false;
  for await (const some of lines)
    for (const { number, text } of some) {
      last = number;
      if (text.trim() === '') continue;
      const [, verb = '', word = ''] = /^(BEGIN|END):\s*([\w-]+)\s*$/i.exec(text) ?? [];
      const name = word.toUpperCase();
      if (verb === '') {
        if (open.length === 0) throw notACalendar(number);
        if (!component) yield text;
        else addLine(component, text, open.length);
      } else if (verb.toUpperCase() === 'BEGIN') {
        if ((open.length === 0) !== (name === 'VCALENDAR')) throw notACalendar(number);
        if (open.length === DEPTH_MAX) throw faultAt(number, 'nests too deeply');
        hasCalendar = true;
        open.push(name);
        if (open.length === 2)
          component = { name, line: number, lines: [], characters: 0, inner: [] };
        else if (open.length === 3) component?.inner.push({ name, lines: [] });
        if (component) addLine(component, '', open.length);
      } else {
        if (open.pop() !== name) throw faultAt(number, 'ends a component that is not open');
        if (open.length !== 1 || !component) continue;
        yield component;
        component = undefined;
      }
    }
  if (open.length > 0)
    throw faultAt(
      component?.line ?? last,
      'begins a component that has no end: the document is cut',
    );
  if (!hasCalendar) throw notACalendar(1);
}

const notACalendar = (line: number) =>
  faultAt(line, 'is not iCalendar, which begins with BEGIN:VCALENDAR');

/** @param depth of the component in which the line stands: 2 for that of a calendar. */
function addLine(component: Component, text: string, depth: number) {
  const { lines, inner, line } = component;
  component.characters += text.length + 1;
  if (component.characters > COMPONENT_CHARACTERS_MAX)
    throw faultAt(line, 'begins a component that is longer than a mebibyte', 'too_long');
  if (text === '') return;
  const into = depth === 2 ? lines : depth === 3 ? inner.at(-1)?.lines : undefined;
  into?.push(text);
  if (lines.length + inner.length > PROPERTIES_MAX)
    throw faultAt(
      line,
      `begins a component with more than ${PROPERTIES_MAX} properties`,
      'too_many',
    );
}

/** Returns the property of a content line; undefined where the line is none, or its name and parameters are too long. */
function readProperty(text: string): Property | undefined {
  if (endOfParameters(text) > PARAMETERS_CHARACTERS_MAX) return undefined;
  try {
    const [name, parameters, , ...values] = ICAL.parse.property(text) as unknown as [
      string,
      Record<string, string | string[]>,
      string,
      ...unknown[],
    ];
    // ical.js makes objects that have no text of their own, also of a `SUMMARY;VALUE=RECUR`.
    const raw = text.slice(endOfParameters(text) + 1);
    return {
      name,
      parameters,
      values: values.map((value) => (typeof value === 'object' ? raw : value)),
    };
  } catch {
    return undefined;
  }
}

/** Returns where the value begins. Before it a colon may stand in quotes. */
function endOfParameters(text: string): number {
  let inQuotes = false;
  for (let at = 0; at < text.length && at <= PARAMETERS_CHARACTERS_MAX; at += 1) {
    const character = text[at];
    if (character === '"') inQuotes = !inQuotes;
    else if (character === ':' && !inQuotes) return at;
  }
  return text.length;
}

// --- Tasks ---------------------------------------------------------------------------------------------------------

const STATUS = {
  'NEEDS-ACTION': 'todo',
  'IN-PROCESS': 'in_progress',
  COMPLETED: 'done',
  CANCELLED: 'cancelled',
} as const;

const DONE_PERCENT = 100;

/** Properties that are read below, and those that mean nothing in another program. */
const READ =
  /^(summary|description|due|duration|dtstart|status|completed|percent-complete|priority|categories|created|last-modified|uid|recurrence-id|related-to|rrule|rdate|attendee|organizer|location|url|comment|contact|attach)$/;
const OF_THE_PROGRAM =
  /^(dtstamp|sequence|class|transp|exdate|exrule|request-status|x-mantou-id|x-moz-.*|x-apple-sort-order|x-oc-hidesubtasks|x-oc-.*|x-radicale-.*)$/;

/** Returns the priority of RFC 5545 §3.8.1.9 in ours: 1 is urgent, 2 to 4 are high, 5 is medium, 6 to 9 are low. */
function priorityOf(given: number): number {
  if (given === 1) return 4;
  if (given < 5) return 3;
  return given === 5 ? 2 : 1;
}

function readComponent(
  component: Component,
  item: number,
  zones: CalendarZones,
  seen: Set<string>,
): ForeignItem {
  const found: ForeignItem = { kind: 'item', line: component.line, item, notes: [] };
  const { notes } = found;
  const note = (code: Note['code'], field: string, value?: unknown) =>
    notes.push({ code, field, value: value === undefined ? undefined : String(value) });

  const properties = new Map<string, Property[]>();
  for (const text of component.lines) {
    const property = readProperty(text);
    const same = property && properties.get(property.name);
    if (same) same.push(property);
    else if (property) properties.set(property.name, [property]);
    else note('field_left_out', 'a line that is no property', text);
  }
  const all = (name: string) => properties.get(name) ?? [];
  const firstOf = (name: string) => all(name)[0]?.values[0];
  const textOf = (name: string) => String(firstOf(name) ?? '').trim();
  const textsOf = (name: string) =>
    all(name).flatMap(({ values }) => values.map((value) => String(value).trim()).filter(Boolean));

  if (component.name !== 'VTODO') {
    note('item_left_out', component.name, textOf('summary') || undefined);
    return found;
  }
  const uid = textOf('uid');
  // A change of one occurrence has the UID of the task that recurs.
  if (properties.has('recurrence-id')) {
    note('item_left_out', 'RECURRENCE-ID', textOf('summary') || undefined);
    return found;
  }
  if (uid !== '' && seen.has(uid)) {
    note('item_repeated', 'UID', uid);
    return found;
  }
  if (uid !== '') seen.add(ownCopy(uid));

  const timeOf = (name: string): Due | undefined => {
    const [property] = all(name);
    return property && readTime(property, zones, note);
  };
  const instantOf = (name: string): string | undefined => {
    const time = timeOf(name);
    if (!time) return undefined;
    return 'at' in time ? time.at : localInstant(`${time.on}T00:00:00.000Z`, zones.fallback);
  };

  const task = newTask(textOf('summary'));
  if (uid !== '') task.ref = uid;
  const begins = timeOf('dtstart');
  const due = timeOf('due');
  const duration = due ? '' : textOf('duration');
  const end = after(begins, duration);
  task.due = due ?? end;
  if (duration !== '' && !end) note('date_left_out', 'DURATION', duration);
  const description = String(firstOf('description') ?? '');
  if (description.trim() !== '') task.paragraphs.push(description);
  const kept = (field: string, paragraph: string) => {
    task.paragraphs.push(paragraph);
    note('moved_to_description', field, paragraph);
  };
  for (const name of ['location', 'url', 'comment', 'contact'])
    for (const text of textsOf(name)) kept(name.toUpperCase(), `${labels[name]}: ${text}`);
  for (const { values, parameters } of all('attach'))
    if (String(parameters.value).toLowerCase() === 'binary' || !/^\w+:/.test(String(values[0])))
      note('field_left_out', 'ATTACH', parameters['x-filename'] ?? parameters.filename);
    else kept('ATTACH', `Attachment: ${values[0]}`);
  if (begins && !end && !isSame(begins, task.due))
    kept('DTSTART', `Start: ${'on' in begins ? begins.on : begins.at}`);

  const percent = Number(firstOf('percent-complete') ?? 0);
  const given = textOf('status').toUpperCase();
  const isDone = properties.has('completed') || percent >= DONE_PERCENT;
  const status = STATUS[given as keyof typeof STATUS];
  task.status = status ?? (isDone ? 'done' : 'todo');
  if (given !== '' && !status) note('status_changed', 'STATUS', given);
  if (task.status !== 'done' && percent > 0) note('field_left_out', 'PERCENT-COMPLETE', percent);
  if (task.status === 'done') task.completed_at = instantOf('completed');

  const priority = Number(firstOf('priority') ?? 0);
  if (Number.isInteger(priority) && priority >= 0 && priority <= 9)
    task.priority = priority === 0 ? 0 : priorityOf(priority);
  else note('priority_changed', 'PRIORITY', firstOf('priority'));
  task.labels = textsOf('categories');
  task.created_at = instantOf('created');
  task.updated_at = instantOf('last-modified');

  for (const { values, parameters } of all('related-to')) {
    const isParent = /^(parent|undefined)$/i.test(String(parameters.reltype));
    if (isParent) task.parent ??= String(values[0]);
    else note('link_left_out', 'RELATED-TO', values[0]);
  }
  for (const name of ['rrule', 'rdate'])
    if (properties.has(name))
      note('recurrence_left_out', name.toUpperCase(), rawValue(component, name));
  for (const name of ['organizer', 'attendee'])
    for (const { values, parameters } of all(name))
      note('person_left_out', name.toUpperCase(), parameters.cn ?? values[0]);
  for (const { name, lines } of component.inner)
    if (name === 'VALARM')
      note(
        'reminder_left_out',
        'VALARM',
        lines.find((line) => /^TRIGGER\b/i.test(line)),
      );
    else note('field_left_out', name);
  const others = [...properties.keys()].filter(
    (name) => !READ.test(name) && !OF_THE_PROGRAM.test(name),
  );
  if (others.length > 0)
    note('field_left_out', others.map((name) => name.toUpperCase()).join(', '));
  return { ...found, task };
}

const labels: Record<string, string> = {
  location: 'Location',
  url: 'URL',
  comment: 'Comment',
  contact: 'Contact',
};

/** The value of a property as the document has it. */
const rawValue = ({ lines }: Component, name: string) =>
  lines.find((line) => line.toLowerCase().startsWith(name))?.replace(/^[^:]*:/, '');

const isSame = (one: Due, other: Due | undefined) => JSON.stringify(one) === JSON.stringify(other);

/** §3.3.4 and §3.3.5, as ical.js writes them, also where it took a date without `VALUE=DATE` for a date-time. */
const TIME = /^(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d):(\d\d)(Z)?)?(?![\d])/;

function readTime(
  { name, parameters, values }: Property,
  zones: CalendarZones,
  note: (code: Note['code'], field: string, value?: unknown) => void,
): Due | undefined {
  const field = name.toUpperCase();
  const leaveOut = () => {
    note('date_left_out', field, values[0]);
    return undefined;
  };
  const [, year, month, day, hour, minute, second, isUtc] = TIME.exec(String(values[0])) ?? [];
  if (year === undefined) return leaveOut();
  const date = `${year}-${month}-${day}`;
  if (hour === undefined)
    return localInstant(`${date}T00:00:00.000Z`, 'UTC') ? { on: date } : leaveOut();
  // §3.3.12: a minute may have a leap second.
  const wall = `${date}T${hour}:${minute}:${second === '60' ? '59' : second}.000Z`;
  if (!localInstant(wall, 'UTC')) return leaveOut();
  const tzid = parameters.tzid === undefined ? undefined : String(parameters.tzid);
  if (isUtc || tzid === undefined) {
    const at = localInstant(wall, isUtc ? 'UTC' : zones.fallback);
    return at === undefined ? leaveOut() : { at };
  }
  const known = zones.instantOf(wall, tzid);
  if (known === undefined) note('time_zone_unknown', field, tzid);
  const at = known ?? localInstant(wall, zones.fallback);
  return at === undefined ? leaveOut() : { at };
}

const SECONDS_PER_DAY = 24 * 60 * 60;
const MS_PER_SECOND = 1000;

/** §3.8.2.5: a task may have a beginning and a duration in place of the time when it is due. */
function after(begins: Due | undefined, duration: string): Due | undefined {
  const seconds = secondsOf(duration);
  if (!begins || seconds === undefined) return undefined;
  const start = Date.parse('on' in begins ? begins.on : begins.at);
  const end = localInstantOf(start + seconds * MS_PER_SECOND);
  if (end === undefined) return undefined;
  return 'on' in begins && seconds % SECONDS_PER_DAY === 0 ? { on: end.slice(0, 10) } : { at: end };
}

/** Returns the seconds of a duration (§3.3.6) that does not go back; undefined where the text is none. */
function secondsOf(duration: string): number | undefined {
  if (!/^[+]?P[\dWDTHMS]{1,40}$/.test(duration)) return undefined;
  try {
    return ICAL.Duration.fromString(duration).toSeconds();
  } catch {
    return undefined;
  }
}

function localInstantOf(ms: number): string | undefined {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? undefined : localInstant(date.toISOString(), 'UTC');
}
