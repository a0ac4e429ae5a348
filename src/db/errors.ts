/** What a violated constraint or a lost connection means to the client. */
import { Problem } from '../errors/problem.ts';
import { type DatabaseError, parseDatabaseError } from '../lib/database-error.ts';

/**
 * What any statement may violate, because another transaction was faster. A handler maps the constraints that say more by
 * `onViolation`, where its statement is. A constraint that is in neither is a fault of ours: 500.
 */
const violations: Record<string, () => Problem> = {
  // The first request with the key has finished since this one claimed it.
  idempotency_keys_pkey: () => new Problem('idempotency_in_flight'),
  // The token outlived its user.
  idempotency_keys_user_id_fkey: () => new Problem('invalid_token'),
  project_members_user_id_fkey: () => new Problem('invalid_token'),
  tasks_created_by_fkey: () => new Problem('invalid_token'),
  comments_author_id_fkey: () => new Problem('invalid_token'),
  // The project was deleted while the task or the comment was being written.
  tasks_project_id_fkey: () => new Problem('not_found'),
  comments_project_id_fkey: () => new Problem('not_found'),
};

/** Returns the problem that a driver's error is to the client; undefined where it is a fault of ours. */
export function toProblem(failure: DatabaseError): Problem | undefined {
  if (failure.unavailable) return new Problem('database_unavailable');
  return violations[failure.constraint ?? '']?.();
}

/** Awaits a statement, and throws the error that stands under the name of the constraint that it violates. */
export async function onViolation<T>(
  problems: Record<string, (failure: DatabaseError) => Error>,
  statement: PromiseLike<T>,
): Promise<T> {
  try {
    return await statement;
  } catch (error) {
    const failure = parseDatabaseError(error);
    const problem = problems[failure?.constraint ?? ''];
    throw failure && problem ? problem(failure) : error;
  }
}
