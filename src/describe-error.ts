import { findFailure } from './db/failure.ts';

/**
 * What the operator needs of an unexpected error, for the log. Messages of drivers and validators hold what was sent,
 * so they are left out.
 */
export function describeError(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { error: typeof error };
  const failure = findFailure(error);
  if (failure)
    return { sqlstate: failure.sqlstate, constraint: failure.constraint, stack: frames(error) };
  if ('code' in error && error.code === 'VALIDATION')
    return { error: 'response does not match its schema', stack: frames(error) };
  return {
    error: error.name,
    message: error.name.startsWith('Drizzle') ? undefined : error.message,
    stack: frames(error),
  };
}

/** The stack without its first line, which repeats the message. */
const frames = (error: Error) =>
  error.stack?.split('\n').filter((line) => line.trimStart().startsWith('at '));
