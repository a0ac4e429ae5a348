import { DrizzleQueryError } from 'drizzle-orm';
import { parseDatabaseError, remedyOf } from './database-error.ts';

const CAUSES_MAX = 10;

/**
 * Returns the fields of an unexpected error that the log may have. Messages of queries and validators may hold what a client sent,
 * so they are left out, also where the error is wrapped.
 */
export function describeError(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { error: typeof error };
  const causes = causesOf(error);
  const failure = causes.map(parseDatabaseError).find((one) => one !== undefined);
  if (failure) {
    const { sqlstate, code, constraint } = failure;
    return {
      sqlstate,
      code,
      constraint,
      cause: remedyOf(failure)?.cause,
      // A message of the server may quote values. The driver and the system write fixed texts.
      message: sqlstate === undefined ? failure.message : undefined,
      stack: framesOf(error),
    };
  }
  const code = causes.map((one) => (one as { code?: unknown }).code).find(isCode);
  if (causes.some(isValidation))
    return { error: 'response does not match its schema', stack: framesOf(error) };
  const isSafe = !causes.some(holdsValues);
  return {
    error: error.name,
    code,
    message: isSafe ? error.message : undefined,
    stack: framesOf(error),
  };
}

/** Returns the error and its causes, outermost first, with the errors of an AggregateError. */
function causesOf(error: unknown, depth = 0): Error[] {
  if (!(error instanceof Error) || depth === CAUSES_MAX) return [];
  const inner = error instanceof AggregateError ? error.errors : [];
  return [error, ...[error.cause, ...inner].flatMap((one) => causesOf(one, depth + 1))];
}

const isCode = (code: unknown): code is string => typeof code === 'string' && /^\w+$/.test(code);

const isValidation = (error: Error) => 'code' in error && error.code === 'VALIDATION';

/** Returns whether the error is of a query: Drizzle's, named `Error`, or a driver's, which has the fields of the server. */
const holdsValues = (error: Error) =>
  error instanceof DrizzleQueryError ||
  ['params', 'parameters', 'query', 'severity'].some((field) => field in error);

/** Returns the frames of the stack without the message before them, of which a line could look like a frame. */
function framesOf({ name, message, stack = '' }: Error): string[] {
  const header = message === '' ? name : `${name}: ${message}`;
  const frames = stack.startsWith(header)
    ? stack.slice(header.length)
    : stack.split(message).at(-1);
  return (frames ?? '').split('\n').filter((line) => /^\s+at /.test(line));
}
