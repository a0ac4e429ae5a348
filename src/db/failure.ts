/**
 * What a driver's error means, in one place. Both drivers are read: Bun.sql keeps the SQLSTATE in `errno` and the
 * constraint in `constraint`, postgres.js in `code` and `constraint_name`; Drizzle wraps either in `cause`.
 */
import { invalid, notAMember, Problem } from '../problem.ts';

export interface Failure {
  /** Five characters (PostgreSQL, appendix A), where the server sent an error. */
  sqlstate: string | undefined;
  constraint: string | undefined;
  /** The server cannot be reached, is starting, stopping, or cut the connection. */
  unavailable: boolean;
  /** The server's own words; they may hold submitted values, so they are for the operator alone. */
  message: string;
}

/** Connection errors by the names of Bun.sql, postgres.js and the system. */
const UNAVAILABLE_CODES =
  /^(ERR_POSTGRES_(CONNECTION|IDLE_TIMEOUT|LIFETIME_TIMEOUT)|CONNECT|ECONN|ENOTFOUND|EAI_|EHOST|ENET|ETIMEDOUT|EPIPE|FailedToOpenSocket)/;

/**
 * Connection exceptions, operator intervention (57014 is a query cancelled by its timeout), a server that has no room (on
 * its disk, in its memory, for a connection), only reads, or that a pool cannot reach (58000), and what lost against
 * another transaction: all pass, and nothing was written.
 */
const UNAVAILABLE_STATES = /^(08...|57P..|57014|53...|58000|25006|40001|40P01)$/;

/** Reads a driver's error, wrapped or not; undefined for anything else. */
export function findFailure(error: unknown): Failure | undefined {
  for (
    let cause = error, depth = 0;
    cause instanceof Error && depth < 5;
    cause = cause.cause, depth += 1
  ) {
    const { code, errno, constraint, constraint_name } = cause as Error & Record<string, unknown>;
    const sqlstate = [errno, code].find(
      (one): one is string => typeof one === 'string' && /^[0-9A-Z]{5}$/.test(one),
    );
    const name = constraint ?? constraint_name;
    const unreachable = typeof code === 'string' && UNAVAILABLE_CODES.test(code);
    if (sqlstate === undefined && !unreachable) continue;
    return {
      sqlstate,
      constraint: typeof name === 'string' ? name : undefined,
      unavailable: unreachable || UNAVAILABLE_STATES.test(sqlstate ?? ''),
      message: cause.message,
    };
  }
  return undefined;
}

/** Which constraint says what to the client. A constraint that is not here is a fault of ours: 500. */
const violations: Record<string, () => Problem> = {
  users_username_key: () => new Problem('username_taken'),
  users_email_key: () => new Problem('email_taken'),
  // The first request with the key has finished since this one looked.
  idempotency_keys_pkey: () => new Problem('idempotency_in_flight'),
  // The token outlived its user.
  idempotency_keys_user_id_fkey: () => new Problem('invalid_token'),
  project_members_user_id_fkey: () => new Problem('invalid_token'),
  project_members_pkey: () => new Problem('conflict', { detail: 'The user is a member already' }),
  tasks_created_by_fkey: () => new Problem('invalid_token'),
  // The project was deleted while the task was being written.
  tasks_project_id_fkey: () => new Problem('not_found'),
  tasks_assignee_id_fkey: () => invalid([notAMember('body.assignee_id')]),
};

/** What the client is to hear of a driver's error; undefined where it is a fault of ours. */
export function problemOfFailure(failure: Failure): Problem | undefined {
  if (failure.unavailable) return new Problem('database_unavailable');
  return violations[failure.constraint ?? '']?.();
}
