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

interface Field {
  /** The name of the nested object that it belongs to; undefined for a field of the row itself. */
  group: string | undefined;
  name: string;
  /** Where its value stands among those of the driver. */
  index: number;
  /** Converts a value of the driver; undefined where the driver's value is right already. */
  decode: ((value: unknown) => unknown) | undefined;
}

/**
 * Returns what converts the driver's arrays into the objects that Drizzle would make of them. A nested object is null
 * where its first field is null, so its first field has to be a column that is never null.
 */
export function rowMapper(fields: Record<string, unknown>) {
  const groups = Map.groupBy(fieldsOf(fields), ({ group }) => group);
  const readRow = objectReader(Object.keys(fields), groups.get(undefined) ?? []);
  groups.delete(undefined);
  const nested = [...groups].map(([group, inner]) => ({
    group: String(group),
    firstIndex: inner[0]?.index ?? 0,
    read: objectReader(
      inner.map(({ name }) => name),
      inner,
    ),
  }));
  return (rows: unknown[][]) =>
    rows.map((row) => {
      const object = readRow(row);
      for (const { group, firstIndex, read } of nested)
        if (row[firstIndex] !== null) object[group] = read(row);
      return object;
    });
}

type Selected = Column | SQL | SQL.Aliased;

const isSelected = (field: unknown): field is Selected =>
  is(field, Column) || is(field, SQL) || is(field, SQL.Aliased);

/** Returns the fields in the order of the driver's values. */
function fieldsOf(fields: Record<string, unknown>): Field[] {
  const found: Field[] = [];
  const add = (group: string | undefined, name: string, field: Selected) =>
    found.push({ group, name, index: found.length, decode: decoderOf(field) });
  for (const [name, field] of Object.entries(fields)) {
    if (isSelected(field)) add(undefined, name, field);
    else
      for (const [inner, one] of Object.entries(field as Record<string, Selected>))
        add(name, inner, one);
  }
  return found;
}

/** @param names of all fields that the object will have; those that are not read here are null. */
function objectReader(names: readonly string[], fields: readonly Field[]) {
  // To fill a copy takes half as long as to add each field to an empty object.
  const blank: Record<string, unknown> = Object.fromEntries(names.map((name) => [name, null]));
  return (row: unknown[]) => {
    const object = { ...blank };
    for (const { name, index, decode } of fields) {
      const value = row[index];
      object[name] = value === null || decode === undefined ? value : decode(value);
    }
    return object;
  };
}

function decoderOf(field: Selected) {
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
