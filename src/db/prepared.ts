/**
 * Prepared queries. Building SQL with Drizzle takes longer than running it, so each query is built once for each
 * *shape* (the set of values that are present) with placeholders, and reused. PostgreSQL keeps every text that a
 * connection has seen, so the shapes have to be few: a condition that is optional is a value that may be null, and a
 * list is one array, unless the plan needs another text.
 */
// Decision: docs/decisions/01-prepared-queries.md
import { DrizzleQueryError, is, Param, Placeholder, type SQL, sql } from 'drizzle-orm';
import { PgDialect } from 'drizzle-orm/pg-core';
import { BoundedMap } from '../lib/bounded-map.ts';
import type { Database } from './database.ts';
import { queryRows, rowMapper } from './row-mapper.ts';

type Scalar = string | number | boolean | null;

/** A value or its placeholder. */
export type QueryParam<T extends Scalar = string> = T | Placeholder;

/** The same object with placeholders for values. */
export type QueryParams<Values> = Values extends Scalar
  ? QueryParam<Values>
  : { [Name in keyof Values]: QueryParams<Values[Name]> };

/** The values that replace the placeholders. */
export type ParamValues<Params> = Params extends Placeholder
  ? never
  : Params extends Scalar
    ? Params
    : { [Name in keyof Params]: ParamValues<Params[Name]> };

/** The part of Drizzle's `select` that is needed here. */
export interface TypedQuery<Row> {
  toSQL(): { sql: string; params: unknown[] };
  getSQL(): SQL;
  readonly _: { readonly selectedFields: Record<string, unknown>; readonly result: Row[] };
}

export interface CompiledQuery {
  text: string;
  /** A parameter is one of the values, by its index among them, or a constant. */
  parameters: readonly ({ index: number } | { constant: unknown })[];
  mapRows(rows: unknown[][]): unknown[];
}

/** Compiled shapes kept per query; the oldest is evicted. */
const STATEMENT_CACHE_MAX = 500;

/** A placeholder where Drizzle's types ask for a value: `limit`, `inArray`. */
export const asParam = <T>(param: unknown) => param as T;

/** Builds a query. The SQL may depend only on which values are present and on `variant`, never on a value. */
export type BuildQuery<Params extends object, Row, Variant extends unknown[]> = (
  db: Database,
  params: Params,
  ...variant: Variant
) => TypedQuery<Row>;

/** Runs a query for some values, as the driver takes them; a value that is undefined is absent. */
export type RunQuery<Params extends object, Row, Variant extends unknown[]> = (
  db: Database,
  values: ParamValues<Params>,
  ...variant: Variant
) => Promise<Row[]>;

/** Returns a function that runs a query, built once for each shape of its values. */
export function prepared<Params extends object, Row, Variant extends unknown[] = []>(
  build: BuildQuery<Params, Row, Variant>,
): RunQuery<Params, Row, Variant> {
  const findShape = compiledShapes<Params, Variant, CompiledQuery>((db, params, _, ...variant) =>
    compile(build(db, params, ...variant)),
  );
  return (db, values, ...variant) => {
    const { compiled, scalars } = findShape(db, values, ...variant);
    return execute(db, compiled, scalars) as Promise<Row[]>;
  };
}

/**
 * Returns a function that finds what was compiled for the shape of some values, and the values in the order of their
 * placeholders.
 * @param make is called once for each shape, with placeholders and with the values that were seen first.
 */
export function compiledShapes<Params extends object, Variant extends unknown[], Compiled>(
  make: (
    db: Database,
    params: Params,
    scalars: readonly unknown[],
    ...variant: Variant
  ) => Compiled,
) {
  const shapes = new BoundedMap<string, Compiled>(STATEMENT_CACHE_MAX);
  return (db: Database, values: ParamValues<Params>, ...variant: Variant) => {
    const scalars: unknown[] = [];
    const shape =
      shapeOf(values as object, scalars) + (variant.length > 0 ? JSON.stringify(variant) : '');
    let compiled = shapes.get(shape);
    if (compiled === undefined) {
      const params = placeholdersFor(values, { count: 0 }) as Params;
      compiled = make(db, params, scalars, ...variant);
      shapes.set(shape, compiled);
    }
    return { compiled, scalars };
  };
}

/** Returns which values are present, as a text. @param scalars receives them in order. */
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

/** Returns a placeholder for each of the values, named by its index among them and the name of the value. */
function placeholdersFor(values: unknown, indexes: { count: number }, name = ''): unknown {
  if (typeof values !== 'object' || values === null) {
    indexes.count += 1;
    return sql.placeholder(`${indexes.count - 1} ${name}`);
  }
  if (Array.isArray(values)) return values.map((value) => placeholdersFor(value, indexes, name));
  const present = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(
    present.map(([name, value]) => [name, placeholdersFor(value, indexes, name)]),
  );
}

/** Returns the index among the values, and the name, of the value that a placeholder stands for. */
export function placeholderOf({ name }: Placeholder): [index: number, name: string] {
  const [index = '', value = ''] = name.split(' ');
  return [Number(index), value];
}

const dialect = new PgDialect();

/**
 * A query as SQL, where Drizzle's builders do not reach.
 * @param columns those of its rows, in their order; as names, or as fields that say how to read them.
 */
export const rawQuery = <Row extends object>(
  query: SQL,
  columns: readonly (keyof Row & string)[] | Record<keyof Row & string, unknown>,
): TypedQuery<Row> => ({
  toSQL: () => shareParams(dialect.sqlToQuery(query)),
  getSQL: () => query,
  _: {
    selectedFields: Array.isArray(columns)
      ? Object.fromEntries(columns.map((name) => [name, sql`${sql.identifier(name)}`]))
      : (columns as Record<string, unknown>),
    result: [],
  },
});

/** Sends a value once that stands in several places. SQL that is passed to `rawQuery` casts a value to one type alone. */
function shareParams({ sql: text, params }: { sql: string; params: unknown[] }) {
  const shared: unknown[] = [];
  const indexes = new Map<string, number>();
  const places = params.map((param) => {
    const name = is(param, Placeholder) ? param.name : undefined;
    const known = name === undefined ? undefined : indexes.get(name);
    if (known !== undefined) return known;
    shared.push(param);
    if (name !== undefined) indexes.set(name, shared.length);
    return shared.length;
  });
  return {
    sql: text.replace(/\$(\d+)/g, (_, place) => `$${places[Number(place) - 1]}`),
    params: shared,
  };
}

/** Every text that this process has compiled. A connection keeps those that it has run until it ends. */
const texts = new Set<string>();

/** Adds a text to those that connections may keep. */
export function rememberText(text: string): string {
  texts.add(text);
  return text;
}

/** Returns how many texts connections may keep. The same clients, asking for whatever they like, add a known number. */
export const countTexts = () => texts.size;

export function compile(query: TypedQuery<unknown>): CompiledQuery {
  const { sql: text, params } = query.toSQL();
  rememberText(text);
  const parameters = params.map((parameter) => {
    const value = is(parameter, Param) ? parameter.value : parameter;
    return is(value, Placeholder) ? { index: placeholderOf(value)[0] } : { constant: parameter };
  });
  return { text, parameters, mapRows: rowMapper(query._.selectedFields) };
}

export async function execute(
  db: Database,
  { text, parameters, mapRows }: CompiledQuery,
  scalars: unknown[],
) {
  const params = parameters.map((one) => ('index' in one ? scalars[one.index] : one.constant));
  try {
    return mapRows(await queryRows(db, text, params));
  } catch (error) {
    throw new DrizzleQueryError(text, params, error as Error);
  }
}
