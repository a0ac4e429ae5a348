/** What every answer has in common, and what every request must have before it is routed. */
import { Elysia } from 'elysia';
import { Problem } from '../problem.ts';

const REQUEST_ID = /^[A-Za-z0-9._-]{1,128}$/;

/** RFC 9110 §7.2 with RFC 3986 §3.2.2: a name, an IPv4 or a bracketed IPv6 address, and perhaps a port. */
const HOST = /^(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/;

export const conventions = new Elysia({ name: 'conventions' })
  .headers({
    'content-type': 'application/json; charset=utf-8',
    'x-content-type-options': 'nosniff',
    // An answer that a browser is led to show as a page can load nothing, run nothing and be framed by nobody.
    'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
    'referrer-policy': 'no-referrer',
    // Against embedding: whoever reads by CORS is not concerned (Fetch Standard, "cross-origin resource policy check").
    'cross-origin-resource-policy': 'same-origin',
    'cache-control': 'no-store',
  })
  .onRequest(({ request, set }) => {
    const given = request.headers.get('x-request-id') ?? '';
    set.headers['x-request-id'] = REQUEST_ID.test(given) ? given : crypto.randomUUID();
    // Elysia cuts the path out of the URL, into which Bun has put the Host as it came, or nothing for HTTP/1.0 without.
    const host = request.headers.get('host');
    if (!request.url.includes('://') || (host !== null && !HOST.test(host)))
      throw new Problem('malformed_request', { detail: 'The Host header is not a host' });
  });

/** 204: no body, so no type of it. */
export function noContent(set: {
  status?: number | string;
  headers: Record<string, unknown>;
}): undefined {
  set.status = 204;
  delete set.headers['content-type'];
}
