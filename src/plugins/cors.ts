/**
 * CORS: which other web sites may call the API from a browser (Fetch Standard, "CORS protocol"). None may, unless the
 * operator names them. Credentials are never allowed: tokens travel in a header, and there are no cookies.
 */
import { Elysia } from 'elysia';
import type { Settings } from '../settings.ts';

/** Headers that a site may read beside the safelisted ones (Fetch Standard, "CORS-safelisted response-header name"). */
export const exposedHeaders = [
  'Allow',
  'Content-Disposition',
  'ETag',
  'Idempotency-Replayed',
  'Location',
  'RateLimit',
  'RateLimit-Policy',
  'Retry-After',
  'WWW-Authenticate',
  'X-Request-Id',
];

/** Headers that a site may send beside the safelisted ones (Fetch Standard, "CORS-safelisted request-header"). */
export const requestHeaders = [
  'Authorization',
  'Brief',
  'Content-Type',
  'Depth',
  'Idempotency-Key',
  'If-Match',
  'If-None-Match',
  'Last-Event-ID',
  'Mcp-Method',
  'Mcp-Name',
  'Mcp-Protocol-Version',
  'Prefer',
  'Traceparent',
  'X-Request-Id',
];

/** Browsers keep a preflight for up to this long. */
const PREFLIGHT_MAX_AGE_SECONDS = 7200;

/** Sets the headers before anything can fail, so that a site can read errors too. Register it before all that can fail. */
export function cors({ corsOrigins }: Pick<Settings, 'corsOrigins'>) {
  const plugin = new Elysia({ name: 'cors' });
  if (corsOrigins.length === 0) return plugin;
  const origins = new Set(corsOrigins);
  return plugin.onRequest(({ request, set }) => {
    // For every origin: otherwise a cache could give a response without these headers to an allowed site.
    set.headers.vary = 'Origin';
    const origin = request.headers.get('origin');
    if (origin === null || !origins.has(origin)) return;
    set.headers['access-control-allow-origin'] = origin;
    set.headers['access-control-expose-headers'] = exposedHeaders.join(', ');
  });
}

/** Returns the headers of a preflight response for a path with these methods; none for a site that may not call. */
export function preflightHeaders(set: { headers: Record<string, unknown> }, methods: string[]) {
  if (set.headers['access-control-allow-origin'] === undefined) return {};
  return {
    'access-control-allow-methods': methods.join(', '),
    'access-control-allow-headers': requestHeaders.join(', '),
    'access-control-max-age': String(PREFLIGHT_MAX_AGE_SECONDS),
  };
}
