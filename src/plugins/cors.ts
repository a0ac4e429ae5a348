/**
 * Which other web sites may call the API from a browser (Fetch Standard, "CORS protocol"): none, unless the operator
 * names them. Credentials are never allowed: tokens travel in a header, and there are no cookies.
 */
import { Elysia } from 'elysia';
import type { Settings } from '../settings.ts';

const exposed = [
  'ETag',
  'Idempotency-Replayed',
  'Location',
  'RateLimit',
  'RateLimit-Policy',
  'Retry-After',
  'X-Request-Id',
];

const requested = [
  'Authorization',
  'Content-Type',
  'Idempotency-Key',
  'If-Match',
  'If-None-Match',
  'X-Request-Id',
];

/** No browser keeps a preflight for longer. */
const PREFLIGHT_MAX_AGE_SECONDS = 7200;

/** Set before anything can fail, so that a site may read errors too. It has to be registered first. */
export function cors({ cors_origins }: Pick<Settings, 'cors_origins'>) {
  const plugin = new Elysia({ name: 'cors' });
  if (cors_origins.length === 0) return plugin;
  const origins = new Set(cors_origins);
  return plugin.onRequest(({ request, set }) => {
    // Also for a foreign origin: a cache must not give its answer to a known one.
    set.headers.vary = 'Origin';
    const origin = request.headers.get('origin');
    if (origin === null || !origins.has(origin)) return;
    set.headers['access-control-allow-origin'] = origin;
    set.headers['access-control-expose-headers'] = exposed.join(', ');
  });
}

/** What the answer to OPTIONS says of a path with these methods, to a site that may call: nothing to any other. */
export function preflightHeaders(set: { headers: Record<string, unknown> }, methods: string[]) {
  if (set.headers['access-control-allow-origin'] === undefined) return {};
  return {
    'access-control-allow-methods': methods.join(', '),
    'access-control-allow-headers': requested.join(', '),
    'access-control-max-age': String(PREFLIGHT_MAX_AGE_SECONDS),
  };
}
