/**
 * Everything that can go wrong, as RFC 9457 problems. Handlers and plugins throw a `Problem`; `plugins/problems`
 * is the one door through which it leaves. The codes are stable: clients may branch on them.
 */

interface Definition {
  status: number;
  title: string;
  /** What happened and what to do about it, for `GET /problems/{code}` and for the OpenAPI document. */
  explanation: string;
}

export const catalogue = {
  malformed_json: {
    status: 400,
    title: 'The body is not JSON',
    explanation: 'The body could not be read as JSON (RFC 8259) in UTF-8, or nests too deeply.',
  },
  malformed_request: {
    status: 400,
    title: 'The request is malformed',
    explanation: 'A header or the form in the body does not follow its syntax.',
  },
  unauthenticated: {
    status: 401,
    title: 'Log in first',
    explanation:
      'The request carries no credentials. Send `Authorization: Bearer` with an access token from `POST /users/login`.',
  },
  invalid_token: {
    status: 401,
    title: 'The token is not valid',
    explanation:
      'The token is malformed, not of this server, expired or revoked. Log in, or make a new API token.',
  },
  token_expired: {
    status: 401,
    title: 'The token has expired',
    explanation:
      'The access token was valid once. Trade the refresh token for a new one at `POST /users/refresh`, or log in.',
  },
  invalid_credentials: {
    status: 401,
    title: 'Wrong user name or password',
    explanation:
      'No account has this user name or email with this password. Which of the two was wrong is not told.',
  },
  invalid_refresh_token: {
    status: 401,
    title: 'The refresh token is not valid',
    explanation: 'The refresh token is unknown, spent, expired or revoked. Log in.',
  },
  forbidden: {
    status: 403,
    title: 'You may not do this',
    explanation:
      'You may see the resource but not do this to it: your role in the project is too low, or only a log-in will do.',
  },
  insufficient_scope: {
    status: 403,
    title: 'The token lacks a scope',
    explanation: 'The API token was made without the scope that this request needs.',
  },
  registration_closed: {
    status: 403,
    title: 'Registration is closed',
    explanation: 'The operator of this server lets nobody make an account.',
  },
  not_found: {
    status: 404,
    title: 'There is no such resource',
    explanation: 'Nothing is here, or nothing that you may see: the two are not told apart.',
  },
  method_not_allowed: {
    status: 405,
    title: 'The method is not allowed here',
    explanation: 'The path exists, the method does not. The `Allow` header lists those that do.',
  },
  username_taken: {
    status: 409,
    title: 'The user name is taken',
    explanation: 'User names are unique without regard to case. Choose another.',
  },
  email_taken: {
    status: 409,
    title: 'The email is taken',
    explanation: 'Emails are unique without regard to case. Perhaps you already have an account.',
  },
  conflict: {
    status: 409,
    title: 'The resource is in a state that does not allow this',
    explanation: 'For example, an archived project is read-only until it is unarchived.',
  },
  idempotency_in_flight: {
    status: 409,
    title: 'The same request is still being handled',
    explanation: 'A request with this `Idempotency-Key` has not finished yet. Try again shortly.',
  },
  cursor_expired: {
    status: 410,
    title: 'The cursor is older than what is kept',
    explanation: 'Start afresh, without a cursor.',
  },
  precondition_failed: {
    status: 412,
    title: 'The resource has changed',
    explanation:
      'Its version is not the one in `If-Match`, or in the operation of a batch: somebody else was faster. Read it again, then decide.',
  },
  payload_too_large: {
    status: 413,
    title: 'The body is too large',
    explanation:
      'The body is larger than this server accepts (1 MiB unless configured otherwise, 64 MiB for an import).',
  },
  unsupported_media_type: {
    status: 415,
    title: 'The media type is not supported',
    explanation: 'Send the body as `application/json`, or as a type that the operation documents.',
  },
  validation_failed: {
    status: 422,
    title: 'The request is not valid',
    explanation: '`errors` lists each field that needs attention, with a code and a message.',
  },
  weak_password: {
    status: 422,
    title: 'The password is too weak',
    explanation:
      'The password is common, or close to your own name. Choose a longer, stranger one.',
  },
  invalid_cursor: {
    status: 422,
    title: 'The cursor is not valid',
    explanation:
      'A cursor comes from `next_cursor` of the same list with the same filters and sort. Start without one.',
  },
  idempotency_key_reused: {
    status: 422,
    title: 'The idempotency key was used for another request',
    explanation:
      'An `Idempotency-Key` belongs to one request: its route, path and body. Make a new key.',
  },
  rate_limited: {
    status: 429,
    title: 'Too many requests',
    explanation: 'Wait as many seconds as `Retry-After` says.',
  },
  internal: {
    status: 500,
    title: 'Something went wrong on the server',
    explanation: 'The fault is ours and has been logged under `request_id`.',
  },
  not_implemented: {
    status: 501,
    title: 'This server cannot do it',
    explanation: 'It runs where the operation has no meaning. Use what the detail names instead.',
  },
  database_unavailable: {
    status: 503,
    title: 'The database does not answer',
    explanation:
      'Try again after `Retry-After` seconds. A write may have happened or not: look before you repeat it.',
  },
  overloaded: {
    status: 503,
    title: 'The server is busy',
    explanation: 'More work is waiting than is sensible. Try again after `Retry-After` seconds.',
  },
} as const satisfies Record<string, Definition>;

export type ProblemCode = keyof typeof catalogue;

/** One field that needs attention. `message` is made from rules alone and never holds the submitted value. */
export interface FieldError {
  /** Where, as a path: `body.title`, `query.limit`. */
  location: string;
  /** What, for programs: `required`, `too_long`, … */
  code: string;
  /** What, for people. */
  message: string;
}

export interface Particulars {
  /** One sentence about this occurrence; the explanation is used where it is missing. */
  detail?: string;
  errors?: FieldError[];
  /** Answer headers that belong to the problem, such as `Allow`. */
  headers?: Record<string, string>;
  /** The name of the limit that was reached, for those who count. */
  limit?: string;
  /** For the audit log alone: what happened, and to whom. */
  audit?: { event: string; user_id?: string; session_id?: string; limit?: string };
}

/** The only error that is meant for a client. `code` is a key of the catalogue. */
export class Problem extends Error {
  override readonly name = 'Problem';

  constructor(
    readonly code: ProblemCode,
    readonly particulars: Particulars = {},
  ) {
    super(particulars.detail ?? catalogue[code].explanation);
  }
}

/** How many fields one answer names at the most. */
export const ERRORS_MAX = 20;

/** A 422 that names the fields; the detail counts them. */
export function invalid(errors: FieldError[]): Problem {
  const detail =
    errors.length === 1 ? '1 field needs attention' : `${errors.length} fields need attention`;
  return new Problem('validation_failed', { detail, errors });
}

/** An assignee who is no member of the project. */
export const notAMember = (location: string): FieldError => ({
  location,
  code: 'not_a_member',
  message: 'must be a member of the project',
});
