/**
 * The one door through which errors leave. It builds the answer from codes alone, so no submitted value, SQL, stack
 * or library's text can pass, and it never throws. It has to be registered before every route.
 */
import type { ValueError } from '@sinclair/typebox/errors';
import { Elysia, ValidationError } from 'elysia';
import { findFailure, problemOfFailure } from '../db/failure.ts';
import { describeError } from '../describe-error.ts';
import type { Platform } from '../platform.ts';
import { catalogue, invalid, Problem, type ProblemCode } from '../problem.ts';
import { findFieldErrors } from '../schemas/faults.ts';
import { findClientAddress } from './client-address.ts';
import { noContent } from './conventions.ts';
import { preflightHeaders } from './cors.ts';
import type { Observed } from './observe.ts';
import { FORM_TYPE, mediaType } from './strict-input.ts';

const RETRY_AFTER_SECONDS = 1;

/** Refusals that whoever watches for attacks wants to see, beside those that say so themselves. */
const audited: ReadonlySet<ProblemCode> = new Set([
  'invalid_credentials',
  'invalid_refresh_token',
  'insufficient_scope',
  'forbidden',
]);

/** @param allowedMethods the methods that a path knows, for 405; empty for an unknown path. */
export const problems = (platform: Platform, allowedMethods: (path: string) => string[]) =>
  new Elysia({ name: 'problems' }).onError({ as: 'global' }, (context) => {
    const { code, error, request, set, path } = context;
    const { log, metrics } = platform;
    // Looked for where no route was found alone: a flood of refusals should cost little.
    const allowed = code === 'NOT_FOUND' ? allowedMethods(path) : [];
    if (request.method === 'OPTIONS' && allowed.length > 0) return answerOptions(set, allowed);
    const problem = findProblem(error, request, allowed);
    // For the line of this request.
    (context as Observed).problem = problem.code;
    const request_id = String(set.headers['x-request-id']);
    if (problem.code === 'internal')
      log('error', 'internal_error', {
        request_id,
        method: request.method,
        ...describeError(error),
      });
    const { audit, limit } = problem.particulars;
    if (limit !== undefined) metrics?.countLimit(limit);
    if (audit || audited.has(problem.code)) {
      const { event = problem.code, ...whom } = audit ?? {};
      log('warn', event, { request_id, address: findClientAddress(platform, request), ...whom });
    }
    const { status, title } = catalogue[problem.code];
    set.status = status;
    Object.assign(set.headers, headersOf(problem), {
      'content-type': 'application/problem+json',
      'cache-control': 'no-store',
    });
    return {
      type: `/problems/${problem.code}`,
      title,
      status,
      code: problem.code,
      detail: problem.message,
      request_id,
      ...(problem.particulars.errors && { errors: problem.particulars.errors }),
      ...(isTokenRequest(request, path) && oauthError(problem)),
    };
  });

function findProblem(error: unknown, request: Request, allowed: string[]): Problem {
  const thrown = findThrown(error);
  if (thrown) return thrown;
  if (error instanceof ValidationError) return problemOfValidation(error, request);
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'NOT_FOUND') return problemOfRouting(request.method, allowed);
  const failure = findFailure(error);
  return (failure && problemOfFailure(failure)) ?? new Problem('internal');
}

/** The problem itself, or what Drizzle has wrapped around it. */
function findThrown(error: unknown): Problem | undefined {
  if (error instanceof Problem) return error;
  return error instanceof Error && error.cause instanceof Problem ? error.cause : undefined;
}

function problemOfRouting(method: string, allowed: string[]): Problem {
  if (allowed.length === 0 || allowed.includes(method)) return new Problem('not_found');
  return new Problem('method_not_allowed', { headers: { allow: allowed.join(', ') } });
}

/** No path has an OPTIONS route of its own, so the question arrives here as an unknown path. */
function answerOptions(set: Parameters<typeof noContent>[0], allowed: string[]): Response {
  noContent(set);
  Object.assign(set.headers, { allow: allowed.join(', ') }, preflightHeaders(set, allowed));
  return new Response(null, { status: 204 });
}

function headersOf({ code, particulars }: Problem): Record<string, string> {
  const { status } = catalogue[code];
  return {
    // RFC 6750 §3: the error is named only where a token was sent.
    ...(status === 401 && {
      'www-authenticate': `Bearer realm="api"${code === 'invalid_token' || code === 'token_expired' ? ', error="invalid_token"' : ''}`,
    }),
    ...((status === 503 || status === 429) && { 'retry-after': String(RETRY_AFTER_SECONDS) }),
    ...particulars.headers,
  };
}

// --- Validation ------------------------------------------------------------------------------------------------

interface Validator {
  Errors(value: unknown): Iterable<ValueError>;
}

function problemOfValidation(error: ValidationError, request: Request): Problem {
  // A row that does not fit its schema is our fault, not the client's.
  if (error.type === 'response') return new Problem('internal');
  // A path parameter that no id can be equal to names nothing.
  if (error.type === 'params') return new Problem('not_found');
  const { validator, value, type } = error;
  // An & that was not encoded makes a field of a form out of half a password.
  const hides_unknown = mediaType(request) === FORM_TYPE;
  return invalid(findFieldErrors((validator as Validator).Errors(value), type, { hides_unknown }));
}

// --- OAuth2 ----------------------------------------------------------------------------------------------------

/** Clients that log in with the OAuth2 form expect RFC 6749's words. */
const isTokenRequest = (request: Request, path: string) =>
  /^\/users\/(login|refresh)\/?$/.test(path) && mediaType(request) === FORM_TYPE;

/** RFC 6749 §5.2. */
function oauthError({ code, message, particulars }: Problem) {
  const wrongGrant = particulars.errors?.some(
    ({ location, code }) => location === 'body.grant_type' && code === 'not_allowed',
  );
  const grants: ProblemCode[] = ['invalid_credentials', 'invalid_refresh_token'];
  const error = wrongGrant
    ? 'unsupported_grant_type'
    : grants.includes(code)
      ? 'invalid_grant'
      : catalogue[code].status < 500
        ? 'invalid_request'
        : 'temporarily_unavailable';
  return { error, error_description: message };
}
