/**
 * Builds every error response, from codes alone, so it holds no submitted value, SQL, stack or text of a library. It never
 * throws. Register it before every route.
 */
import type { ValueError } from '@sinclair/typebox/errors';
import { Elysia, ValidationError } from 'elysia';
import { toProblem } from '../db/errors.ts';
import {
  catalogue,
  Problem,
  type ProblemCode,
  type ProblemDetails,
  validationProblem,
} from '../errors/problem.ts';
import type { AllowedMethods } from '../http/allowed-methods.ts';
import { clientIp } from '../http/client-ip.ts';
import { davHeaders } from '../http/dav.ts';
import type { LastCalendar, LastCalendars } from '../http/last-calendars.ts';
import { describeUnknownPath } from '../http/path-hints.ts';
import { publicUrl } from '../http/public-url.ts';
import { requestState } from '../http/request-state.ts';
import { headersAlone } from '../http/stream-response.ts';
import { parseDatabaseError } from '../lib/database-error.ts';
import { describeError } from '../lib/describe-error.ts';
import type { Platform } from '../platform.ts';
import { CALENDAR_TYPE } from '../schemas/calendar.ts';
import { findFieldErrors } from '../schemas/field-errors.ts';
import { preflightHeaders } from './cors.ts';
import { noContent } from './default-headers.ts';
import { includesTag } from './etag.ts';
import { FORM_TYPE, mediaType } from './request-body.ts';

const RETRY_AFTER_SECONDS = 1;

/** Problems that may show an attack, beside those that have an audit event of their own. */
const audited: ReadonlySet<ProblemCode> = new Set([
  'invalid_credentials',
  'invalid_refresh_token',
  'insufficient_scope',
  'forbidden',
]);

/**
 * Returns the plugin.
 * @param allowedMethods is called at the first error, when every route is registered.
 * @param calendars answer polls in place of a refusal.
 */
export const errorHandler = (
  platform: Platform,
  allowedMethods: () => AllowedMethods,
  calendars?: LastCalendars,
) =>
  new Elysia({ name: 'problems' }).onError(
    { as: 'global' },
    ({ code, error, request, set, path }) => {
      const hasNoRoute = code === 'NOT_FOUND';
      // Patterns are tried only where no route matches, so that a flood of refusals costs little.
      const allowed = hasNoRoute ? allowedMethods().of(path) : allowedMethods().ofFixedPath(path);
      if (hasNoRoute && request.method === 'OPTIONS' && allowed?.length)
        return answerOptions(set, allowed);
      const found = hasNoRoute
        ? problemOfRouting(request.method, path, allowed ?? [])
        : problemOnFixedPath(findProblem(error, request), request.method, allowed);
      record(platform, { request, set }, found, error);
      const problem = calendars?.answer(request, path, found) ?? found;
      if (!(problem instanceof Problem)) return answerCalendar({ request, set }, problem);
      requestState(request).problem = problem.code;
      const { status, title } = catalogue[problem.code];
      set.status = status;
      Object.assign(set.headers, headersOf(problem), { 'cache-control': 'no-store' });
      if (problem.particulars.condition) {
        set.headers['content-type'] = 'application/xml; charset=utf-8';
        return webdavError(problem.particulars);
      }
      set.headers['content-type'] = 'application/problem+json';
      return {
        type: publicUrl(platform, `/problems/${problem.code}`),
        title,
        status,
        code: problem.code,
        detail: problem.message,
        request_id: String(set.headers['x-request-id']),
        ...(problem.particulars.errors && { errors: problem.particulars.errors }),
        ...(problem.particulars.version && { version: problem.particulars.version }),
        ...(isTokenRequest(request, path) && oauthError(problem)),
      };
    },
  );

/** Returns the body that names the condition of WebDAV that is not met (RFC 4918 §14.5). */
function webdavError({ condition, conditionHref }: ProblemDetails): string {
  const href = conditionHref === undefined ? '' : `<d:href>${conditionHref}</d:href>`;
  return `<?xml version="1.0" encoding="utf-8"?>
<d:error xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"><${condition}>${href}</${condition}></d:error>`;
}

/** Answers a poll with the calendar that the program was last sent, or with 304 where it has that one. */
function answerCalendar({ request, set }: CalendarContext, { tag, text }: LastCalendar): Response {
  Object.assign(set.headers, { etag: `"${tag}"`, 'cache-control': 'private, no-cache' });
  if (includesTag(request.headers.get('if-none-match'), tag)) {
    set.status = 304;
    delete set.headers['content-type'];
    return new Response(null, { status: 304 });
  }
  set.status = 200;
  const headers = { 'content-type': `${CALENDAR_TYPE}; charset=utf-8` };
  if (request.method === 'HEAD') return headersAlone(request, headers);
  return new Response(text, { headers });
}

interface CalendarContext extends RequestContext {
  set: RequestContext['set'] & { status?: number | string };
}

interface RequestContext {
  request: Request;
  set: { headers: Record<string, unknown> };
}

/**
 * Returns the problem that an error is, logged, counted and audited, for a route whose response is not a problem document:
 * the result of a tool holds it.
 */
export function noteProblem(platform: Platform, context: RequestContext, error: unknown): Problem {
  const problem = findProblem(error, context.request);
  record(platform, context, problem, error);
  return problem;
}

function record(platform: Platform, context: RequestContext, problem: Problem, error: unknown) {
  const { log, metrics } = platform;
  const { request, set } = context;
  requestState(request).problem = problem.code;
  const requestId = String(set.headers['x-request-id']);
  if (problem.code === 'internal')
    log('error', 'internal_error', {
      request_id: requestId,
      method: request.method,
      ...describeError(error),
    });
  const { audit, limit } = problem.particulars;
  if (limit !== undefined) metrics?.countRateLimited(limit);
  if (audit || audited.has(problem.code)) {
    const { event = problem.code, ...whom } = audit ?? {};
    log('warn', event, { request_id: requestId, address: clientIp(platform, request), ...whom });
  }
}

function findProblem(error: unknown, request: Request): Problem {
  const thrown = findThrown(error);
  if (thrown) return thrown;
  if (error instanceof ValidationError) return problemOfValidation(error, request);
  const failure = parseDatabaseError(error);
  return (failure && toProblem(failure)) ?? new Problem('internal');
}

/** Returns the problem that was thrown, also where Drizzle has wrapped it; undefined for any other error. */
function findThrown(error: unknown): Problem | undefined {
  if (error instanceof Problem) return error;
  return error instanceof Error && error.cause instanceof Problem ? error.cause : undefined;
}

function problemOfRouting(method: string, path: string, allowed: string[]): Problem {
  if (allowed.length === 0) return new Problem('not_found', { detail: describeUnknownPath(path) });
  return allowed.includes(method) ? new Problem('not_found') : methodNotAllowed(allowed);
}

const methodNotAllowed = (allowed: string[]) =>
  new Problem('method_not_allowed', { headers: { allow: allowed.join(', ') } });

/**
 * Returns 405 for a fixed path without this method, and the problem itself otherwise. The router takes `GET /tasks/batch` for a
 * task with the id `batch`, so the problem may be any.
 */
function problemOnFixedPath(problem: Problem, method: string, allowed: string[] | undefined) {
  const { status } = catalogue[problem.code];
  const isOfRoute = [400, 401, 403, 404, 413, 415, 422].includes(status);
  return allowed && isOfRoute && !allowed.includes(method) ? methodNotAllowed(allowed) : problem;
}

/** Answers OPTIONS. No path has a route for it, so it arrives here as an unknown path. */
function answerOptions(set: Parameters<typeof noContent>[0], allowed: string[]): Response {
  noContent(set);
  Object.assign(
    set.headers,
    { allow: allowed.join(', ') },
    davHeaders(allowed),
    preflightHeaders(set, allowed),
  );
  return new Response(null, { status: 204 });
}

function headersOf({ code, particulars }: Problem): Record<string, string> {
  const { status } = catalogue[code];
  return {
    // RFC 6750 §3: the error is named only where a token was sent.
    ...(status === 401 && {
      'www-authenticate': `Bearer realm="api"${code === 'invalid_token' || code === 'token_expired' ? ', error="invalid_token"' : ''}`,
    }),
    ...((status === 503 || status === 429 || code === 'idempotency_in_flight') && {
      'retry-after': String(RETRY_AFTER_SECONDS),
    }),
    ...particulars.headers,
  };
}

// --- Validation ------------------------------------------------------------------------------------------------

interface Validator {
  Errors(value: unknown): Iterable<ValueError>;
}

function problemOfValidation(error: ValidationError, request: Request): Problem {
  // A response that does not fit its schema is a fault of the server.
  if (error.type === 'response') return new Problem('internal');
  // A path parameter that is no UUID names nothing.
  if (error.type === 'params') return new Problem('not_found');
  const { validator, value, type } = error;
  // An & in a password that is not encoded makes a field of a form out of its second half.
  const hidesUnknown = mediaType(request) === FORM_TYPE;
  return validationProblem(
    findFieldErrors((validator as Validator).Errors(value), type, { hides_unknown: hidesUnknown }),
  );
}

// --- OAuth2 ----------------------------------------------------------------------------------------------------

/** Returns whether the client logs in with the OAuth2 form, and so expects the errors of RFC 6749. */
const isTokenRequest = (request: Request, path: string) =>
  /^\/users\/(login|refresh)\/?$/.test(path) && mediaType(request) === FORM_TYPE;

/** Returns the problem as an error of OAuth 2 (RFC 6749 §5.2). */
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
