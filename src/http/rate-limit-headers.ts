/** A rate limit as clients see it: its headers, and the problem once it is used up. */
import { Problem, type ProblemDetails } from '../errors/problem.ts';

/** Up to `quota` requests in `windowSeconds`. The name says what is counted: a user, an address or a token. */
export interface RateLimit {
  readonly name: string;
  readonly quota: number;
  readonly windowSeconds: number;
}

/** Returns the fields of draft-ietf-httpapi-ratelimit-headers with what is left (Structured Fields, RFC 9651). */
export function rateLimitHeaders(
  { name, quota, windowSeconds }: RateLimit,
  remaining: number,
  resetsInSeconds: number,
) {
  return {
    'ratelimit-policy': `"${name}";q=${quota};w=${windowSeconds}`,
    ratelimit: `"${name}";r=${remaining};t=${resetsInSeconds}`,
  };
}

/** Returns the 429 that names the limit that is used up, and when to try again. */
export function rateLimited(
  limit: RateLimit,
  retryAfterSeconds: number,
  resetsInSeconds = retryAfterSeconds,
  audit?: ProblemDetails['audit'],
): Problem {
  return new Problem('rate_limited', {
    limit: limit.name,
    audit,
    detail: `Try again in ${retryAfterSeconds} s`,
    headers: {
      ...rateLimitHeaders(limit, 0, resetsInSeconds),
      'retry-after': String(retryAfterSeconds),
    },
  });
}
