/** Sets the headers of every response, and checks `Host` before the request is routed. */
import { Elysia } from 'elysia';
import { Problem } from '../errors/problem.ts';

const REQUEST_ID = /^[A-Za-z0-9._-]{1,128}$/;

/** RFC 9110 §7.2 with RFC 3986 §3.2.2: a name, an IPv4 or a bracketed IPv6 address, and perhaps a port. */
const HOST = /^(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/;

export const defaultHeaders = new Elysia({ name: 'conventions' })
  .headers({
    'content-type': 'application/json; charset=utf-8',
    'x-content-type-options': 'nosniff',
    // A browser that shows a response as a page loads nothing, runs nothing and cannot frame it.
    'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
    'referrer-policy': 'no-referrer',
    // Against embedding. Reading by CORS is not affected (Fetch Standard, "cross-origin resource policy check").
    'cross-origin-resource-policy': 'same-origin',
    'cache-control': 'no-store',
  })
  .onRequest(({ request, set }) => {
    const given = request.headers.get('x-request-id') ?? '';
    set.headers['x-request-id'] = REQUEST_ID.test(given) ? given : crypto.randomUUID();
    // Elysia cuts the path out of the URL. Bun puts the Host into the URL unchecked, and nothing where HTTP/1.0 has none.
    const host = request.headers.get('host');
    if (!request.url.includes('://') || (host !== null && !HOST.test(host)))
      throw new Problem('malformed_request', { detail: 'The Host header is not a host' });
  });

/** Sets 204, without the media type that a body would have. */
export function noContent(set: {
  status?: number | string;
  headers: Record<string, unknown>;
}): undefined {
  set.status = 204;
  delete set.headers['content-type'];
}
