/**
 * Statements that are written once. Drizzle takes longer to write a statement than PostgreSQL to run it, so a statement
 * is written for the shape of its values, with placeholders, when that shape is first seen, and only filled in from then
 * on. What differs in which values are there has another shape, and another text.
 */
import { Column, DrizzleQueryError, is, Param, Placeholder, SQL, sql } from 'drizzle-orm';
import { PgArray, PgDialect, PgText } from 'drizzle-orm/pg-core';
import type { Database } from './database.ts';

type Scalar = string | number | boolean | null;

/** A value, or what stands for it while a statement is written. */
export type Given<T extends Scalar = string> = T | Placeholder;

/** What stands for values while a statement is written: of the same shape. */
export type Asked<Values> = Values extends Scalar
  ? Given<Values>
  : { [Name in keyof Values]: Asked<Values[Name]> };

/** The values that are asked for. */
type Told<AskedValues> = AskedValues extends Placeholder
  ? never
  : AskedValues extends Scalar
    ? AskedValues
    : { [Name in keyof AskedValues]: Told<AskedValues[Name]> };

/** What Drizzle's `select` gives, as far as it is needed here. */
export interface Select<Row> {
  toSQL(): { sql: string; params: unknown[] };
  readonly _: { readonly selectedFields: Record<string, unknown>; readonly result: Row[] };
}

interface Written {
  text: string;
  /** Whether a parameter is one of the values, by its place among them, or always the same. */
  parameters: readonly ({ place: number } | { always: unknown })[];
  readRows(rows: unknown[][]): unknown[];
}

/** Of each statement. Nobody needs them all at once, so the oldest goes for one that is new. */
const SHAPES_MAX = 500;

/**
 * @param build writes the statement. Nothing may decide its text but which values are there, and the `variant`: what
 * is asked is no value yet.
 * @returns what sends it. Values are as the driver takes them; those that are undefined are not there.
 */
export function statement<Values extends object, Row, Variant extends unknown[] = []>(
  build: (db: Database, asked: Values, ...variant: Variant) => Select<Row>,
): (db: Database, values: Told<Values>, ...variant: Variant) => Promise<Row[]> {
  const known = new Map<string, Written>();
  return (db, values, ...variant) => {
    const scalars: unknown[] = [];
    const shape =
      shapeOf(values as object, scalars) + (variant.length > 0 ? JSON.stringify(variant) : '');
    let written = known.get(shape);
    if (written === undefined) {
      // A Map keeps the order of insertion, so the first is the oldest.
      const oldest = known.size >= SHAPES_MAX ? known.keys().next().value : undefined;
      if (oldest !== undefined) known.delete(oldest);
      const places = { count: 0 };
      written = write(build(db, placeholdersFor(values, places) as Values, ...variant));
      known.set(shape, written);
    }
    return send(db, written, scalars) as Promise<Row[]>;
  };
}

/** Which values are there, as a text. @param scalars takes them in order. */
function shapeOf(values: object, scalars: unknown[]): string {
  let shape = '';
  for (const name of Object.keys(values)) {
    const value = (values as Record<string, unknown>)[name];
    if (value === undefined) continue;
    if (typeof value === 'object' && value !== null) shape += `${name}(${shapeOf(value, scalars)})`;
    else {
      scalars.push(value);
      shape += `${name} `;
    }
  }
  return shape;
}

/** A placeholder for each of the values, named by its place among them. */
function placeholdersFor(values: unknown, places: { count: number }): unknown {
  if (typeof values !== 'object' || values === null) {
    places.count += 1;
    return sql.placeholder(String(places.count - 1));
  }
  if (Array.isArray(values)) return values.map((value) => placeholdersFor(value, places));
  const there = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(there.map(([name, value]) => [name, placeholdersFor(value, places)]));
}

const dialect = new PgDialect();

/**
 * A statement as SQL, where Drizzle's builders do not reach.
 * @param columns those of its rows, in their order.
 */
export const written = <Row extends object>(
  query: SQL,
  columns: readonly (keyof Row & string)[],
): Select<Row> => ({
  toSQL: () => dialect.sqlToQuery(query),
  _: {
    selectedFields: Object.fromEntries(columns.map((name) => [name, sql`${sql.identifier(name)}`])),
    result: [],
  },
});

function write(query: Select<unknown>): Written {
  const { sql: text, params } = query.toSQL();
  const parameters = params.map((parameter) => {
    const asked = is(parameter, Param) ? parameter.value : parameter;
    return is(asked, Placeholder) ? { place: Number(asked.name) } : { always: parameter };
  });
  return { text, parameters, readRows: rowReader(query._.selectedFields) };
}

/** What both of Drizzle's sessions have, whichever driver they use: rows as arrays. */
interface Session {
  query(text: string, params: unknown[]): Promise<unknown[][]>;
}

async function send(db: Database, { text, parameters, readRows }: Written, scalars: unknown[]) {
  const params = parameters.map((one) => ('place' in one ? scalars[one.place] : one.always));
  try {
    return readRows(await (db._.session as unknown as Session).query(text, params));
  } catch (error) {
    throw new DrizzleQueryError(text, params, error as Error);
  }
}

// --- Rows --------------------------------------------------------------------------------------------------------

/** Fields that stand together, in the row itself or under a name in it. */
interface Group {
  name: string | undefined;
  /** The place of the first among the values of a row. */
  start: number;
  names: string[];
  /** How a value of the driver becomes one of ours; undefined where it is one already. */
  decoders: (((value: unknown) => unknown) | undefined)[];
}

/**
 * Makes of the driver's arrays what Drizzle makes of them: objects, and objects in them. One of those is null where its
 * first field is, so that has to be a field that is never null by itself.
 */
function rowReader(fields: Record<string, unknown>) {
  const groups = groupsOf(fields);
  return (rows: unknown[][]) =>
    rows.map((row) => {
      const read: Record<string, unknown> = {};
      for (const group of groups) {
        if (group.name === undefined) readGroup(group, row, read);
        else read[group.name] = row[group.start] === null ? null : readGroup(group, row, {});
      }
      return read;
    });
}

function groupsOf(fields: Record<string, unknown>): Group[] {
  const groups: Group[] = [];
  let start = 0;
  for (const [name, field] of Object.entries(fields)) {
    const is_field = is(field, Column) || is(field, SQL) || is(field, SQL.Aliased);
    const members: [string, unknown][] = is_field
      ? [[name, field]]
      : Object.entries(field as object);
    groups.push({
      name: is_field ? undefined : name,
      start,
      names: members.map(([member]) => member),
      decoders: members.map(([, member]) => decoderOf(member as SQL)),
    });
    start += members.length;
  }
  return groups;
}

function readGroup(group: Group, row: unknown[], into: Record<string, unknown>) {
  const { start, names, decoders } = group;
  for (let n = 0; n < names.length; n += 1) {
    const value = row[start + n];
    const decode = decoders[n];
    into[names[n] as string] = value === null || decode === undefined ? value : decode(value);
  }
  return into;
}

function decoderOf(field: Column | SQL | SQL.Aliased) {
  const decoder = is(field, SQL.Aliased) ? field.sql : field;
  const reader = is(decoder, SQL) ? (decoder as unknown as { decoder: Column }).decoder : decoder;
  // Most columns have nothing to do.
  if (reader.mapFromDriverValue === Column.prototype.mapFromDriverValue) return undefined;
  // Both drivers give arrays of texts as such.
  if (is(reader, PgArray) && is(reader.baseColumn, PgText)) return undefined;
  // The column of a subquery is a proxy, through which each look takes its time.
  const bare: Column = Object.create(
    Object.getPrototypeOf(reader),
    Object.getOwnPropertyDescriptors(reader),
  );
  return (value: unknown) => bare.mapFromDriverValue(value);
}
