/** A limit as clients see it, wherever it is counted. */
import { type Particulars, Problem } from './problem.ts';

/** So many requests in so many seconds, for whoever the name says is counted. */
export interface RateLimit {
  readonly name: string;
  readonly quota: number;
  readonly window_seconds: number;
}

/** What is left, in the fields of draft-ietf-httpapi-ratelimit-headers (Structured Fields, RFC 9651). */
export function rateLimitHeaders(
  { name, quota, window_seconds }: RateLimit,
  remaining: number,
  resets_in_seconds: number,
) {
  return {
    'ratelimit-policy': `"${name}";q=${quota};w=${window_seconds}`,
    ratelimit: `"${name}";r=${remaining};t=${resets_in_seconds}`,
  };
}

/** A 429 that says which limit is used up, and when to come back. */
export function rateLimited(
  limit: RateLimit,
  retry_after_seconds: number,
  resets_in_seconds = retry_after_seconds,
  audit?: Particulars['audit'],
): Problem {
  return new Problem('rate_limited', {
    limit: limit.name,
    audit,
    detail: `Try again in ${retry_after_seconds} s`,
    headers: {
      ...rateLimitHeaders(limit, 0, resets_in_seconds),
      'retry-after': String(retry_after_seconds),
    },
  });
}
