/** What a request throws. */
import type { components } from './api.ts';

export type ProblemCode = components['schemas']['ProblemCode'];
export type Problem = components['schemas']['Problem'];

/** A problem of the API (RFC 9457). Branch on `code`: it never changes. */
export class ProblemError extends Error {
  override readonly name: string = 'ProblemError';
  /** `no_problem`: the response is not of the API, but of a proxy in front of it. */
  readonly code: ProblemCode | 'no_problem';
  /** The HTTP status. */
  readonly status: number;
  /** The fields at fault, where the request is not valid. */
  readonly errors: NonNullable<Problem['errors']>;
  /** The id of the request in the log of the server. */
  readonly requestId: string | undefined;
  /** How long the server asks to wait; the client waits by itself up to its `waitSecondsMax`. */
  readonly retryAfterSeconds: number | undefined;

  constructor(response: Response, problem: Partial<Problem>) {
    const { status, headers } = response;
    super(problem.detail ?? problem.title ?? `The server answered ${status}`);
    this.code = problem.code ?? 'no_problem';
    this.status = status;
    this.errors = problem.errors ?? [];
    this.requestId = problem.request_id ?? headers.get('x-request-id') ?? undefined;
    this.retryAfterSeconds = secondsOf(headers.get('retry-after'));
  }
}

/**
 * The cursor is older than the changes that the server keeps, or of changes that it has lost: begin again with `snapshot()`.
 * Its code is `cursor_expired`.
 */
export class StartAfreshError extends ProblemError {
  override readonly name = 'StartAfreshError';
}

/** Returns the problem of a response as an error. */
export async function problemOf(response: Response): Promise<ProblemError> {
  const problem = (await response.json().catch(() => ({}))) as Partial<Problem>;
  return problem.code === 'cursor_expired'
    ? new StartAfreshError(response, problem)
    : new ProblemError(response, problem);
}

/** Reads `Retry-After`: seconds or a date (RFC 9110 §10.2.3). */
function secondsOf(value: string | null): number | undefined {
  if (value === null) return undefined;
  const seconds = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : undefined;
}
