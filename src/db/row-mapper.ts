/**
 * Everything here that is no public API of Drizzle, in one place: the columns and the name of a CTE, the session below
 * a database, and how a row of the driver becomes an object. It is written against the version below; a test compares
 * that with the one that is installed, so that an upgrade begins by reading this file.
 */
import { Column, is, SQL } from 'drizzle-orm';
import { PgArray } from 'drizzle-orm/pg-core';
import type { Database } from './database.ts';

export const DRIZZLE_VERSION = '0.45.4';

interface Selection<Fields, Name extends string> {
  readonly _: { readonly selectedFields: Fields; readonly alias: Name };
}

/** All columns of a CTE or subquery, to select. */
export const columnsOf = <Fields>(source: Selection<Fields, string>): Fields =>
  source._.selectedFields;

/** The name of a CTE, for SQL that Drizzle's builders do not reach. */
export const nameOf = (source: Selection<unknown, string>): string => source._.alias;

/** What both of Drizzle's sessions have, whichever driver they use: rows as arrays. */
interface Session {
  query(text: string, params: unknown[]): Promise<unknown[][]>;
}

/** Sends a statement. @returns its rows, as the driver's arrays. */
export const queryRows = (db: Database, text: string, params: unknown[]): Promise<unknown[][]> =>
  (db._.session as unknown as Session).query(text, params);

// --- Rows --------------------------------------------------------------------------------------------------------

/** Fields that stand together, in the row itself or under a name in it. */
interface Group {
  name: string | undefined;
  /** The index of the first among the values of a row. */
  start: number;
  names: string[];
  /** Convert a value of the driver; undefined where the driver's value is right already. */
  decoders: (((value: unknown) => unknown) | undefined)[];
}

/**
 * Returns what converts the driver's arrays into the objects that Drizzle would make of them. A nested object is null
 * where its first field is null, so its first field has to be a column that is never null.
 */
export function rowMapper(fields: Record<string, unknown>) {
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
    const isField = is(field, Column) || is(field, SQL) || is(field, SQL.Aliased);
    const members: [string, unknown][] = isField
      ? [[name, field]]
      : Object.entries(field as object);
    groups.push({
      name: isField ? undefined : name,
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
  // Most columns convert nothing.
  if (convertsNothing(reader)) return undefined;
  // The column of a subquery is a proxy, and each access through it costs time: the clone is none.
  const bare: Column = Object.create(
    Object.getPrototypeOf(reader),
    Object.getOwnPropertyDescriptors(reader),
  );
  const convert = (value: unknown) => bare.mapFromDriverValue(value);
  // Drivers return some arrays as arrays, and those of other types as text.
  return is(reader, PgArray) && convertsNothing(reader.baseColumn)
    ? (value: unknown) => (Array.isArray(value) ? value : convert(value))
    : convert;
}

const convertsNothing = ({ mapFromDriverValue }: Column) =>
  mapFromDriverValue === Column.prototype.mapFromDriverValue;
