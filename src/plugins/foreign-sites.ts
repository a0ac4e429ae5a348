/** Which pages may send requests from a browser (MCP 2026-07-28, "Streamable HTTP", "Security Warning"). */
import { Elysia } from 'elysia';
import { Problem } from '../errors/problem.ts';
import type { Settings } from '../settings.ts';

const LOOPBACK = ['localhost', '127.0.0.1', '[::1]'];

/**
 * Refuses a request whose `Origin` is neither this server nor among `CORS_ORIGINS`. A program sends none. A site whose name
 * an attacker points at this server has the `Host` of that name, so only a loopback address and `PUBLIC_URL` tell that a page
 * is our own.
 */
export function refuseForeignSites({
  corsOrigins,
  publicUrl,
}: Pick<Settings, 'corsOrigins' | 'publicUrl'>) {
  const known = new Set(corsOrigins);
  if (publicUrl !== undefined) known.add(new URL(publicUrl).origin);
  return new Elysia({ name: 'foreign-sites' }).onTransform({ as: 'scoped' }, ({ request }) => {
    const origin = request.headers.get('origin');
    if (origin === null || known.has(origin) || isOwnLoopbackPage(origin, request.url)) return;
    throw new Problem('forbidden', {
      detail: 'This site may not send requests here: the operator names it in CORS_ORIGINS',
    });
  });
}

function isOwnLoopbackPage(origin: string, url: string): boolean {
  const own = new URL(url);
  return origin === own.origin && LOOPBACK.includes(own.hostname);
}
