/**
 * The documentation: a reference at `/docs` and Swagger UI at `/swagger`. Every file comes from this server, the policy of the
 * pages allows no other, and every link is relative, so that both work under the path of a proxy.
 */
import { type AnyElysia, Elysia } from 'elysia';
import { Problem } from '../errors/problem.ts';
import { preferredEncoding } from '../http/content-negotiation.ts';
import { encodeBase64url } from '../lib/base64.ts';
import { BoundedMap } from '../lib/bounded-map.ts';
import type { OpenApiDocument, Platform } from '../platform.ts';

const page = (title: string, head: string, body: string) => (base: string) =>
  `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>${title}</title>
    <link rel="icon" type="image/png" href="./swagger/favicon-32x32.png">
    ${head}
  </head>
  <body>
    ${body}
  </body>
</html>
`.replaceAll('"./swagger/', `"${base}swagger/`);

const pages = {
  '/docs': page(
    'mantou: API reference',
    `<link rel="stylesheet" href="./swagger/docs.css">
    <script type="module" src="./swagger/docs.js"></script>`,
    '<button class="menu-button">Menu</button><nav></nav><main><p>Loading…</p></main>',
  ),
  '/swagger': page(
    'mantou',
    `<link rel="stylesheet" href="./swagger/swagger-ui.css">
    <link rel="stylesheet" href="./swagger/swagger.css">
    <script defer src="./swagger/swagger-ui-bundle.js"></script>
    <script type="module" src="./swagger/swagger.js"></script>`,
    '<div id="swagger-ui"></div>',
  ),
};

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const CSS = 'text/css; charset=utf-8';
const JS = 'text/javascript; charset=utf-8';

/** The files that the pages load, each with its media type and its place in a package or in `src`. */
export const docsFiles: Record<string, { type: string; source: string }> = {
  'swagger-ui.css': { type: CSS, source: 'swagger-ui-dist/swagger-ui.css' },
  'swagger-ui-bundle.js': { type: JS, source: 'swagger-ui-dist/swagger-ui-bundle.js' },
  'favicon-32x32.png': { type: 'image/png', source: 'swagger-ui-dist/favicon-32x32.png' },
  'swagger.css': { type: CSS, source: './openapi/pages/swagger.css' },
  'swagger.js': { type: JS, source: './openapi/pages/swagger.js' },
  'docs.css': { type: CSS, source: './openapi/pages/docs.css' },
  'docs.js': { type: JS, source: './openapi/pages/docs.js' },
  'document.js': { type: JS, source: './openapi/pages/document.js' },
  'samples.js': { type: JS, source: './openapi/pages/samples.js' },
  'session.js': { type: JS, source: './openapi/pages/session.js' },
};

/** A browser revalidates its copy each time: a 304 costs little, and an upgrade shows at once. */
const CACHE_CONTROL = 'public, no-cache';

/** Returns the plugin that serves the documentation of `api`. */
export function docs(platform: Platform, api: AnyElysia) {
  const { openapiDocument, docsFile, settings } = platform;
  const send = createSender(platform);
  let document: OpenApiDocument | undefined;

  const app = new Elysia({ name: 'docs', detail: { hide: true } })
    .get('/', () => {
      // Relative, so that it stays under the path of a proxy (RFC 9110 §10.2.2).
      const location = settings.publicUrl ? `${settings.publicUrl}/docs` : 'docs';
      return new Response(null, { status: 302, headers: { location } });
    })
    .get('/swagger/json', async ({ request, set }) => {
      document ??= await openapiDocument(api);
      const url = baseUrl(platform, request);
      const text = withBaseUrl(document, url);
      return send(request, set.headers, `json of ${url}`, 'application/json; charset=utf-8', text);
    })
    .get('/swagger/:file', async ({ params: { file }, request, set }) => {
      const known = Object.hasOwn(docsFiles, file) ? docsFiles[file] : undefined;
      const content = known && (await docsFile(known.source));
      if (!content) throw new Problem('not_found');
      return send(request, set.headers, file, known.type, content);
    });
  for (const [path, page] of Object.entries(pages))
    app.get(path, ({ request, set }) => {
      set.headers['content-security-policy'] = POLICY;
      // Under `/docs/` a relative link starts one level deeper than under `/docs`.
      const base = new URL(request.url).pathname.endsWith('/') ? '../' : '';
      return send(request, set.headers, path + base, 'text/html; charset=utf-8', page(base));
    });
  return app;
}

// --- Sending -----------------------------------------------------------------------------------------------------

interface Prepared {
  etag: string;
  bytes: Uint8Array<ArrayBuffer>;
  compressed: Uint8Array<ArrayBuffer> | undefined;
}

/** Prepared documents that are kept. Each names the host of its request, which clients choose, so their number needs a bound. */
const PREPARED_MAX = 64;

/** Returns a function that sends a text or a file with an ETag, compressed if the platform and the client can. */
function createSender({ compress }: Platform) {
  const prepared = new BoundedMap<string, Prepared>(PREPARED_MAX);

  async function prepare(content: string | Blob): Promise<Prepared> {
    const bytes = new Uint8Array(await new Blob([content]).arrayBuffer());
    const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
    return {
      // Weak (RFC 9110 §8.8.1): it names the content, compressed or not.
      etag: `W/"${encodeBase64url(hash.subarray(0, ETAG_BYTES))}"`,
      bytes,
      compressed: await compress?.(bytes),
    };
  }

  return async (
    request: Request,
    headers: Record<string, unknown>,
    name: string,
    type: string,
    content: string | Blob,
  ): Promise<Response> => {
    const found = prepared.get(name) ?? (await prepare(content));
    prepared.set(name, found);
    const { etag, bytes, compressed } = found;
    headers['cache-control'] = CACHE_CONTROL;
    headers.etag = etag;
    headers.vary = [headers.vary, 'Accept-Encoding'].filter(Boolean).join(', ');
    if (namesTag(request, etag)) return new Response(null, { status: 304 });
    const isCompressed = compressed && preferredEncoding(request, ['gzip']) === 'gzip';
    if (isCompressed) headers['content-encoding'] = 'gzip';
    // Stated here too, because a response without a type would get that of JSON.
    return new Response(isCompressed ? compressed : bytes, { headers: { 'content-type': type } });
  };
}

const ETAG_BYTES = 12;

function namesTag(request: Request, etag: string): boolean {
  const tags = request.headers.get('if-none-match')?.split(',') ?? [];
  return tags.some((tag) => tag.trim() === etag);
}

/** Returns the URL of the API as the client sees it. */
function baseUrl({ settings }: Platform, request: Request): string {
  const { protocol, host } = new URL(request.url);
  const forwarded = settings.trustedProxies > 0 && request.headers.get('x-forwarded-proto');
  const scheme = forwarded === 'https' || forwarded === 'http' ? forwarded : protocol.slice(0, -1);
  return settings.publicUrl ?? `${scheme}://${host}`;
}

/** Returns the document with every URL of the server replaced by this one. */
function withBaseUrl(document: OpenApiDocument, url: string): string {
  const [server] = document.servers;
  return JSON.stringify(document).replaceAll(`"${server?.url}`, `"${url}`);
}
