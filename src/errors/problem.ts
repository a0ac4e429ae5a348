/**
 * The catalogue of client errors, as RFC 9457 problems. Handlers and plugins throw a `Problem`; `plugins/error-handler` is
 * the only place that turns one into a response. The codes are stable: clients may branch on them.
 */

interface Definition {
  status: number;
  title: string;
  /** What happened and what the client can do, for `GET /problems/{code}` and the OpenAPI document. */
  explanation: string;
}

export const catalogue = {
  malformed_json: {
    status: 400,
    title: 'Malformed JSON',
    explanation: 'The body is not valid JSON (RFC 8259) in UTF-8, or its nesting is too deep.',
  },
  malformed_request: {
    status: 400,
    title: 'Malformed request',
    explanation: 'A header, the query or the form in the body has a syntax error.',
  },
  unauthenticated: {
    status: 401,
    title: 'Authentication required',
    explanation:
      'The request has no credentials. Send `Authorization: Bearer` with an access token from `POST /users/login`, or an API token.',
  },
  invalid_token: {
    status: 401,
    title: 'Invalid token',
    explanation:
      'The token is malformed, expired, revoked or from another server. Log in again, or create a new API token.',
  },
  token_expired: {
    status: 401,
    title: 'Access token expired',
    explanation:
      'The access token has expired. Get a new one at `POST /users/refresh`, or log in again.',
  },
  invalid_credentials: {
    status: 401,
    title: 'Wrong user name or password',
    explanation:
      'No account has this user name or email with this password. The response does not say which of the two is wrong.',
  },
  invalid_refresh_token: {
    status: 401,
    title: 'Invalid refresh token',
    explanation: 'The refresh token is unknown, already used, expired or revoked. Log in again.',
  },
  forbidden: {
    status: 403,
    title: 'Not allowed',
    explanation:
      'You can see the resource, but you are not allowed to do this: your role in the project does not permit it, or the operation requires a log-in instead of an API token.',
  },
  insufficient_scope: {
    status: 403,
    title: 'Insufficient scope',
    explanation: 'The API token does not have the scope that this request requires.',
  },
  webdav_condition: {
    status: 403,
    title: 'WebDAV condition not met',
    explanation:
      'A request of a CalDAV client does not meet a condition of WebDAV or CalDAV (RFC 4918 §16). The response is XML and names it.',
  },
  registration_closed: {
    status: 403,
    title: 'Registration is closed',
    explanation:
      'The operator of this server has closed registration. An account can be created with an `invitation` to a project.',
  },
  not_found: {
    status: 404,
    title: 'Not found',
    explanation:
      'The resource does not exist, or you have no access to it. The response does not say which.',
  },
  method_not_allowed: {
    status: 405,
    title: 'Method not allowed',
    explanation:
      'The path does not support this method. The `Allow` header lists the methods that it supports.',
  },
  username_taken: {
    status: 409,
    title: 'User name taken',
    explanation: 'Another account has this user name. User names are unique regardless of case.',
  },
  email_taken: {
    status: 409,
    title: 'Email taken',
    explanation: 'Another account has this email. Emails are unique regardless of case.',
  },
  id_taken: {
    status: 409,
    title: 'Id taken',
    explanation:
      'The id that you chose exists. If you chose it for this resource, an earlier request has created it; otherwise choose another.',
  },
  conflict: {
    status: 409,
    title: 'Conflict with the state of the resource',
    explanation:
      'The state of the resource does not allow this. For example, an archived project is read-only until it is unarchived.',
  },
  shared_projects: {
    status: 409,
    title: 'Shared projects',
    explanation:
      'You own projects that have other members; `errors` names them. Hand them over, or send `"projects": "delete"` to delete them with your account.',
  },
  idempotency_in_flight: {
    status: 409,
    title: 'Request in progress',
    explanation:
      'Another request with this `Idempotency-Key` is still being processed. Try again after `Retry-After` seconds.',
  },
  cursor_expired: {
    status: 410,
    title: 'Cursor expired',
    explanation:
      'The changes after this cursor have been deleted, because they are older than the retention time. Start again without a cursor.',
  },
  invitation_ended: {
    status: 410,
    title: 'Invitation ended',
    explanation:
      'The invitation was used up, has expired or was revoked. `detail` says which. Ask the owner of the project for another.',
  },
  precondition_failed: {
    status: 412,
    title: 'Version mismatch',
    explanation:
      'The version of the resource is not the one that the request names in `If-Match` or in the operation of a batch: another request has changed it. Read it again, then decide.',
  },
  payload_too_large: {
    status: 413,
    title: 'Body too large',
    explanation:
      'The body exceeds the limit of this server: 1 MiB by default, 64 MiB for an import.',
  },
  unsupported_media_type: {
    status: 415,
    title: 'Unsupported media type',
    explanation:
      'Send the body as `application/json`, or as another media type that the operation accepts.',
  },
  validation_failed: {
    status: 422,
    title: 'Invalid request',
    explanation: '`errors` lists each field that is not valid, with a code and a message.',
  },
  weak_password: {
    status: 422,
    title: 'Weak password',
    explanation:
      'The password is common, or too similar to your name. Choose a longer, less predictable one.',
  },
  invalid_cursor: {
    status: 422,
    title: 'Invalid cursor',
    explanation:
      'A cursor is valid only for the list, filters and sort that returned it as `next_cursor`. Start again without a cursor.',
  },
  idempotency_key_reused: {
    status: 422,
    title: 'Idempotency key reused',
    explanation:
      'The `Idempotency-Key` was used for a request with another route, path or body. Use a new key.',
  },
  rate_limited: {
    status: 429,
    title: 'Too many requests',
    explanation: 'A rate limit was exceeded. Wait for the number of seconds in `Retry-After`.',
  },
  internal: {
    status: 500,
    title: 'Internal server error',
    explanation: 'An unexpected error occurred. It has been logged with the `request_id`.',
  },
  not_implemented: {
    status: 501,
    title: 'Not implemented',
    explanation: 'The operation is not available on this platform. `detail` names the alternative.',
  },
  database_unavailable: {
    status: 503,
    title: 'Database unavailable',
    explanation:
      'The database did not respond. Try again after `Retry-After` seconds. A write may or may not have been applied: check before you repeat it, or repeat it with the same `Idempotency-Key`.',
  },
  overloaded: {
    status: 503,
    title: 'Server overloaded',
    explanation: 'Too many requests are waiting. Try again after `Retry-After` seconds.',
  },
} as const satisfies Record<string, Definition>;

export type ProblemCode = keyof typeof catalogue;

/** A field that is not valid. `message` comes from the rules and never contains the submitted value. */
export interface FieldError {
  /** A path: `body.title`, `query.limit`. */
  location: string;
  /** For programs: `required`, `too_long`, … */
  code: string;
  /** For people. */
  message: string;
}

/**
 * The conditions of WebDAV and CalDAV that a response may name: of RFC 3744, 4918, 5689 and 6578 with the prefix `d`, of RFC 4791
 * with `c`.
 */
export type WebdavCondition =
  | 'c:calendar-collection-location-ok'
  | 'c:max-resource-size'
  | 'c:no-uid-conflict'
  | 'c:supported-calendar-component'
  | 'c:supported-calendar-data'
  | 'c:supported-collation'
  | 'c:supported-filter'
  | 'c:valid-calendar-data'
  | 'c:valid-calendar-object-resource'
  | 'c:valid-filter'
  | 'd:need-privileges'
  | 'd:number-of-matches-within-limits'
  | 'd:propfind-finite-depth'
  | 'd:resource-must-be-null'
  | 'd:supported-report'
  | 'd:valid-resourcetype'
  | 'd:valid-sync-token';

export interface ProblemDetails {
  /** One sentence about this occurrence. The default is the explanation of the code. */
  detail?: string;
  errors?: FieldError[];
  /** Response headers that belong to the problem, such as `Allow`. */
  headers?: Record<string, string>;
  /** The present version of the resource, where the request asked for another. */
  version?: number;
  /** For CalDAV clients: the condition that is not met. The response is XML. */
  condition?: WebdavCondition;
  /** The resource that the condition is about, as an absolute path. */
  conditionHref?: string;
  /** The name of the limit that was reached, for the metrics. */
  limit?: string;
  /** For the audit log only: the event and the user that it concerns. */
  audit?: { event: string; user_id?: string; session_id?: string; limit?: string };
}

/** The only error whose text a client sees. `code` is a key of the catalogue. */
export class Problem extends Error {
  override readonly name = 'Problem';

  constructor(
    readonly code: ProblemCode,
    readonly particulars: ProblemDetails = {},
  ) {
    super(particulars.detail ?? catalogue[code].explanation);
  }
}

/** The most fields that one response names. */
export const ERRORS_MAX = 20;

/** Returns the refusal of a chosen id. It says nothing about what has the id. @param location of the id: `body.id`. */
export const idTaken = (location: string) =>
  new Problem('id_taken', {
    errors: [{ location, code: 'id_taken', message: catalogue.id_taken.title }],
  });

/** Returns the refusal of a request that does not meet a condition of WebDAV or CalDAV. */
export const unmet = (condition: WebdavCondition, conditionHref?: string) =>
  new Problem('webdav_condition', {
    condition,
    ...(conditionHref !== undefined && { conditionHref }),
  });

/** Returns the 422 for each of some errors, by the names under which the errors stand, such as those of constraints. */
export const problemsOf = (errors: Record<string, FieldError>): Record<string, () => Problem> =>
  Object.fromEntries(
    Object.entries(errors).map(([name, error]) => [name, () => validationProblem([error])]),
  );

/** Returns a 422 that names the fields; its detail counts them. */
export function validationProblem(errors: FieldError[]): Problem {
  const detail =
    errors.length === 1 ? '1 field is not valid' : `${errors.length} fields are not valid`;
  return new Problem('validation_failed', { detail, errors });
}
