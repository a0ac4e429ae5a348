/**
 * Natural batching. While a statement of one shape is in flight, further calls of that shape wait. When it has answered,
 * they go to PostgreSQL in one statement, each as a row of its input, and each gets its own rows of the answer. A call
 * that finds nothing in flight is sent at once and alone, so an idle server answers as fast as without batching.
 */
// Decision: docs/decisions/33-natural-batching.md
import { Column, DrizzleQueryError, is, Param, Placeholder, type SQL, sql } from 'drizzle-orm';
import { PgDialect } from 'drizzle-orm/pg-core';
import type { Actor } from '../schemas/current-user.ts';
import { type Call, type Callers, createLane, type Lane } from './batch-lane.ts';
import type { Database } from './database.ts';
import {
  type BuildQuery,
  type CompiledQuery,
  compile,
  compiledShapes,
  execute,
  type ParamValues,
  placeholderOf,
  type QueryParam,
  type QueryParams,
  type RunQuery,
  rememberText,
  type TypedQuery,
} from './prepared.ts';
import { queryRows, rowMapper } from './row-mapper.ts';
import { noTable } from './row-values.ts';

/** A batch gives up a lock that it does not get in this time, so that one locked row does not hold up the others. */
const BATCH_LOCK_TIMEOUT_MS = 20;

/** Databases whose connections serve all requests of the process. On Workers a connection belongs to one request. */
const shared = new WeakMap<Database, Callers>();

/** All calls are those of one client, and wait for each other. */
export const oneCaller: Callers = {
  holdTimesMs: { alone: 60_000, together: 60_000 },
  waitTimeoutMs: 60_000,
  currentClient: () => undefined,
  isHeldBack: () => false,
  runShort: (work) => work(),
  runFor: (_client, _isShort, work) => work(),
  begin: () => ({ allowedMs: 60_000, end: () => undefined }),
  deadlineMissed: () => new Error('the time limit of the request has passed'),
};

/** Lets calls that arrive together at this database share statements. */
export function allowBatching(db: Database, callers = oneCaller): void {
  shared.set(db, callers);
}

/**
 * Returns a function that runs a query which only reads, together with the calls of its shape that arrive meanwhile.
 * @param isShort whether a call takes little time whatever its values are, so that others may wait for it. A call that
 * is not short goes alone.
 */
export function batchedRead<Params extends object, Row, Variant extends unknown[] = []>(
  build: BuildQuery<Params, Row, Variant>,
  isShort: (values: Params) => boolean = () => true,
): RunQuery<Params, Row, Variant> {
  return batched<Params, Row, Variant>(
    (db, params, scalars, ...variant) => {
      const query = build(db, params, ...variant);
      return createShape(compile(query), compileReads(query, scalars), true);
    },
    (values) => (isShort(values) ? reads : undefined),
  );
}

/** How a writing statement names its calls: one call, whose values are parameters, or the rows of an input. */
export interface Calls {
  /** For FROM: a row for each call. */
  readonly from: SQL;
  /** The call that a row of `from` belongs to, from 1. */
  readonly call: SQL<number>;
  /** How many they are. */
  readonly count: SQL<number>;
  /** A condition that is always true and bounds the wait for locks, where a lock would hold up other calls. */
  readonly limitsLocks: SQL;
  /** A condition that is always true and sets who acts on a task or project, for the triggers that record events. */
  actsOn(actor: QueryParams<Actor>, subjectId: QueryParam): SQL;
}

/** The calls of a statement for one. */
export const oneCall: Calls = {
  from: noTable,
  call: sql`1`,
  count: sql`1`,
  limitsLocks: sql`true`,
  actsOn: ({ id, token_name }) =>
    sql`set_config('mantou.actor', ${id}, true) || set_config('mantou.actor_token', ${token_name}, true) is not null`,
};

const lockTimeout = sql`set_config('lock_timeout', ${sql.raw(`'${BATCH_LOCK_TIMEOUT_MS}ms'`)}, true)`;

const manyCalls: Calls = {
  from: sql`input`,
  call: sql`input.call`,
  count: sql`(select count(*) from input)`,
  // Subqueries of their own run once for the statement, before it reads a row.
  limitsLocks: sql`(select ${lockTimeout}) is not null`,
  actsOn: ({ id, token_name }, subjectId) =>
    sql`(select set_config('mantou.actors', json_object_agg(${subjectId}, ${id})::text, true)
      || set_config('mantou.actor_tokens', coalesce(json_object_agg(${subjectId}, ${token_name})
        filter (where ${token_name} <> '')::text, ''), true)
      || ${lockTimeout} from input) is not null`,
};

/** Builds a statement that writes, whether for one call or for many. The call comes last among the fields it selects. */
export type BuildWrite<Params extends object, Row> = (
  db: Database,
  params: Params,
  calls: Calls,
) => TypedQuery<Row>;

/** What a call writes, so that no other writes the same in the same statement. */
export interface Written {
  /** The id of the row, in whatever case the client writes it. */
  row: QueryParam;
  key?: string | undefined;
}

/**
 * Returns a function that runs a statement which writes, together with the calls of its shape that arrive meanwhile.
 * @param written undefined for a call that goes alone.
 */
export function batchedWrite<Params extends object, Row>(
  build: BuildWrite<Params, Row>,
  written: (values: Params) => Written | undefined,
): RunQuery<Params, Row, []> {
  return batched<Params, Row, []>(
    (db, params, scalars) =>
      createShape(
        compile(build(db, params, oneCall)),
        compileWrites(build(db, params, manyCalls), scalars),
        false,
      ),
    (values) => {
      const call = written(values);
      return call && { ...call, row: String(call.row).toLowerCase() };
    },
  );
}

const reads: Omit<Call, 'scalars'> = {};

/** @param callOf undefined for a call that goes alone. */
function batched<Params extends object, Row, Variant extends unknown[]>(
  make: (db: Database, params: Params, scalars: readonly unknown[], ...variant: Variant) => Shape,
  callOf: (values: Params) => Omit<Call, 'scalars'> | undefined,
): RunQuery<Params, Row, Variant> {
  const findShape = compiledShapes<Params, Variant, Shape>(make);
  return (db: Database, values: ParamValues<Params>, ...variant: Variant) => {
    const { compiled, scalars } = findShape(db, values, ...variant);
    const callers = shared.get(db);
    // The values stand where the placeholders stood.
    const call = callers && callOf(values as unknown as Params);
    const rows =
      callers && call
        ? compiled.laneAt(db, callers).run({ scalars, ...call })
        : execute(db, compiled.alone, scalars);
    return rows as Promise<Row[]>;
  };
}

// --- The statement for many ------------------------------------------------------------------------------------

interface CompiledBatch {
  text: string;
  /** What follows the input among the parameters. */
  constants: readonly unknown[];
  /** Where each column of the input stands among the values of a call. */
  columns: readonly number[];
  mapRows(rows: unknown[][]): unknown[];
}

/**
 * Compiles a query for many calls: the same text as a lateral subquery of the input. PostgreSQL can only join that by a
 * nested loop, which keeps the order of each call's rows.
 */
function compileReads(query: TypedQuery<unknown>, scalars: readonly unknown[]): CompiledBatch {
  return compileForInput(
    query,
    scalars,
    (text, input) =>
      `select answer.*, input.call from ${input} cross join lateral (${text}) as answer`,
  );
}

/** Compiles a statement that was built for many calls: its own CTEs follow that of the input. */
function compileWrites(query: TypedQuery<unknown>, scalars: readonly unknown[]): CompiledBatch {
  return compileForInput(query, scalars, (text, input) =>
    text.replace(/^with /, `with input as materialized (select * from ${input}), `),
  );
}

/** Compiles a query with a column of the input where each placeholder stands. */
function compileForInput(
  query: TypedQuery<unknown>,
  scalars: readonly unknown[],
  withInput: (text: string, input: string) => string,
): CompiledBatch {
  const columns: { index: number; type: string }[] = [];
  const constants: unknown[] = [];
  const dialect = new PgDialect();
  dialect.escapeParam = (_: number, parameter?: unknown) => {
    const value = is(parameter, Param) ? parameter.value : parameter;
    if (!is(value, Placeholder)) return `$${constants.push(parameter) + 1}`;
    const [index, name] = placeholderOf(value);
    const encoder = is(parameter, Param) ? parameter.encoder : undefined;
    const type = is(encoder, Column) ? encoder.getSQLType() : sqlTypeOf(name, scalars[index]);
    const known = columns.findIndex((one) => one.index === index && one.type === type);
    return `input.p${known === -1 ? columns.push({ index, type }) - 1 : known}`;
  };
  const { sql: text } = dialect.sqlToQuery(query.getSQL());
  const names = columns.map((_, n) => `p${n}`);
  const definitions = columns.map(({ type }, n) => `p${n} ${type}`);
  const input = `rows from (json_to_recordset($1::text::json) as (${definitions.join(', ')}))
    with ordinality as input (${[...names, 'call'].join(', ')})`;
  return {
    text: rememberText(withInput(text, input)),
    constants,
    columns: columns.map(({ index }) => index),
    mapRows: rowMapper(query._.selectedFields),
  };
}

/** Returns the SQL type of a value: ids are told by their name, and the SQL casts whatever else is no text or number. */
function sqlTypeOf(name: string, value: unknown): string {
  if (/(^|_)id$/.test(name)) return 'uuid';
  if (typeof value === 'number') return 'bigint';
  return typeof value === 'boolean' ? 'boolean' : 'text';
}

/** Runs a query for many calls. @returns the rows of each, in the order of the calls. */
async function executeBatch(
  db: Database,
  { text, constants, columns, mapRows }: CompiledBatch,
  calls: readonly unknown[][],
): Promise<unknown[][]> {
  const input = calls.map((scalars) =>
    Object.fromEntries(columns.map((index, n) => [`p${n}`, scalars[index]])),
  );
  const params = [JSON.stringify(input), ...constants];
  try {
    const answers: unknown[][][] = calls.map(() => []);
    for (const row of await queryRows(db, text, params)) answers[Number(row.at(-1)) - 1]?.push(row);
    return answers.map(mapRows);
  } catch (error) {
    throw new DrizzleQueryError(text, params, error as Error);
  }
}

// --- Shapes ----------------------------------------------------------------------------------------------------

/** One shape, for one call and for many. */
interface Shape {
  readonly alone: CompiledQuery;
  /** Returns where the calls of this shape at a database wait for each other. */
  laneAt(db: Database, callers: Callers): Lane;
}

/** @param isShort whether its statements are short reads. */
function createShape(alone: CompiledQuery, together: CompiledBatch, isShort: boolean): Shape {
  const lanes = new WeakMap<Database, Lane>();
  return {
    alone,
    laneAt(db, callers) {
      let lane = lanes.get(db);
      if (lane === undefined) {
        lane = createLane(callers, {
          isShort,
          alone: (scalars) => execute(db, alone, scalars),
          together: (calls) => executeBatch(db, together, calls),
        });
        lanes.set(db, lane);
      }
      return lane;
    },
  };
}
