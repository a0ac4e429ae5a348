/** Swagger UI from local files: no request leaves the machine, and the page's policy would not let one. */
import { type AnyElysia, Elysia } from 'elysia';
import type { Platform } from '../platform.ts';
import { Problem } from '../problem.ts';

const PAGE = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>mantou</title>
    <link rel="icon" type="image/png" href="/swagger/favicon-32x32.png">
    <link rel="stylesheet" href="/swagger/swagger-ui.css">
    <style>
      body { margin: 0; background: #fafafa; }
      /* Words about scopes; a log-in has none. */
      .swagger-ui .scope-def { display: none; }
    </style>
  </head>
  <body>
    <div id="swagger-ui"></div>
    <script src="/swagger/swagger-ui-bundle.js"></script>
    <script src="/swagger/start.js"></script>
  </body>
</html>
`;

/**
 * Each way to authorize asks for the focus, and the last one gets it: the dialog would open scrolled past the user
 * name. Its field is the only one that is not an `Input`, so without theirs it has the focus.
 */
const START = `SwaggerUIBundle({
  url: '/swagger/json',
  dom_id: '#swagger-ui',
  deepLinking: true,
  displayRequestDuration: true,
  persistAuthorization: false,
  validatorUrl: null,
  plugins: [
    ({ React }) => ({
      wrapComponents: {
        Input: (Input) => (props) => React.createElement(Input, { ...props, autoFocus: false }),
      },
    }),
  ],
});
`;

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

const files: Record<string, string> = {
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
  'favicon-32x32.png': 'image/png',
};

export const swagger_ui_files = Object.keys(files);

/** The documentation of `api`, at `/swagger` and `/swagger/json`. */
export function docs({ openapi_document, swagger_ui_file }: Platform, api: AnyElysia) {
  let document: unknown;

  return new Elysia({ name: 'docs', detail: { hide: true } })
    .get('/', () => new Response(null, { status: 302, headers: { location: '/swagger' } }))
    .get('/swagger', ({ set }) => {
      set.headers['content-type'] = 'text/html; charset=utf-8';
      set.headers['content-security-policy'] = POLICY;
      return PAGE;
    })
    .get('/swagger/json', async () => {
      document ??= await openapi_document(api);
      return document;
    })
    .get('/swagger/start.js', ({ set }) => {
      set.headers['content-type'] = 'text/javascript; charset=utf-8';
      return START;
    })
    .get('/swagger/:file', async ({ params: { file }, set }) => {
      const type = Object.hasOwn(files, file) ? files[file] : undefined;
      const content = type && (await swagger_ui_file(file));
      if (!content) throw new Problem('not_found');
      set.headers['cache-control'] = 'public, max-age=3600';
      // Stated, because a file brings a type of its own along.
      return new Response(content, { headers: { 'content-type': type } });
    });
}
