/** CalDAV (RFC 4791): none of its methods is in the OpenAPI document, which knows none of them. docs/caldav.md describes them. */
import { Elysia } from 'elysia';
import { type DavCaller, homeHref, itemHref, principalHref } from '../dav/caller.ts';
import { makeList, patchList, patchNothing } from '../dav/collections.ts';
import { readAsked, readDepth, XML_TYPE } from '../dav/multistatus.ts';
import { findHome, findItem, findList, findPrincipal, findRoot } from '../dav/propfind.ts';
import { reportList } from '../dav/reports.ts';
import { c, d, ITEM_TYPE } from '../dav/resources.ts';
import { readBody, requireBody } from '../dav/xml-body.ts';
import { Problem } from '../errors/problem.ts';
import { findProjectId } from '../handlers/caldav.ts';
import { readItemNamed } from '../handlers/caldav-items.ts';
import { deleteItem, type ItemCondition, putItem } from '../handlers/caldav-writes.ts';
import { DAV_ROOT, decodeSegment } from '../http/dav.ts';
import { publicUrl } from '../http/public-url.ts';
import { streamText } from '../http/stream-response.ts';
import type { Platform } from '../platform.ts';
import type { CurrentUserPlugin } from '../plugins/current-user.ts';
import { noContent } from '../plugins/default-headers.ts';
import { etag, includesTag } from '../plugins/etag.ts';
import { davRoutes, type OpenRoutes } from '../plugins/route-groups.ts';
import { ITEM_BYTES_MAX } from '../schemas/caldav.ts';
import type { CurrentUser } from '../schemas/current-user.ts';

/** The answer to a program that knows no more than the host (RFC 6764 §5). */
export const caldavDiscovery = (platform: Platform, group: OpenRoutes) => {
  const redirect = ({ set }: { set: { headers: Record<string, unknown> } }) => {
    delete set.headers['content-type'];
    const location = publicUrl(platform, `${DAV_ROOT}/`);
    return new Response(null, { status: 301, headers: { location } });
  };
  return new Elysia({ detail: { hide: true } })
    .use(group)
    .get('/.well-known/caldav', redirect)
    .route('PROPFIND', '/.well-known/caldav', redirect);
};

export const caldav = (platform: Platform, user: CurrentUserPlugin) => {
  const { database: db, settings, log, bindStream } = platform;
  const basePath = new URL(publicUrl(platform, '/'), 'http://localhost').pathname.replace(
    /\/$/,
    '',
  );
  const place = { basePath };
  const retentionSeconds = settings.eventsRetentionSeconds;

  const callerOf = ({ request, user }: { request: Request; user: CurrentUser }): DavCaller => ({
    db,
    user,
    eventsRetentionSeconds: retentionSeconds,
    basePath,
    itemBytesMax: Math.min(settings.bodyLimitBytes, ITEM_BYTES_MAX),
    isBrief:
      /\breturn=minimal\b/.test(request.headers.get('prefer') ?? '') ||
      request.headers.get('brief')?.trim() === 't',
  });

  /** Returns 207 with the pieces, which are written as fast as the client reads them. */
  const multistatus = async (
    { request, user, set }: { request: Request; user: CurrentUser; set: Sets },
    pieces: AsyncGenerator<string> | Promise<AsyncGenerator<string>>,
  ) =>
    streamText(
      request,
      bindStream(await pieces),
      XML_TYPE,
      () => log('error', 'dav_cut', { request_id: set.headers['x-request-id'], user_id: user.id }),
      207,
    );

  const findOf = ({ request, body }: { request: Request; body: unknown }) => ({
    asked: readAsked(readBody(bodyOf({ body }), d('propfind'))),
    depth: readDepth(request.headers.get('depth')),
  });

  return new Elysia({ detail: { hide: true } })
    .use(davRoutes(platform, user))
    .use(etag)
    .route('PROPFIND', '/', (context) =>
      multistatus(context, findRoot(callerOf(context), findOf(context))),
    )
    .route('PROPFIND', '/dav', (context) =>
      multistatus(context, findRoot(callerOf(context), findOf(context))),
    )
    .route('PROPFIND', '/dav/me', (context) =>
      multistatus(context, findPrincipal(callerOf(context), findOf(context))),
    )
    .route('PROPFIND', '/dav/projects', (context) =>
      multistatus(context, findHome(callerOf(context), findOf(context))),
    )
    .route('PROPPATCH', '/dav/me', (context) =>
      multistatus(context, patchNothing(principalHref(place), requireBody(bodyOf(context)))),
    )
    .route('PROPPATCH', '/dav/projects', (context) =>
      multistatus(context, patchNothing(homeHref(place), requireBody(bodyOf(context)))),
    )
    .route('PROPFIND', '/dav/projects/:list', (context) => {
      const [list] = namesIn(context);
      return multistatus(context, findList(callerOf(context), list, findOf(context)));
    })
    .route('REPORT', '/dav/projects/:list', (context) => {
      const [list] = namesIn(context);
      const report = requireBody(bodyOf(context));
      return multistatus(context, reportList(callerOf(context), list, report));
    })
    .route('PROPPATCH', '/dav/projects/:list', (context) => {
      const [list] = namesIn(context);
      const update = requireBody(bodyOf(context));
      return multistatus(context, patchList(callerOf(context), list, update));
    })
    .route('MKCALENDAR', '/dav/projects/:list', async (context) => {
      const [list] = namesIn(context);
      const body = readBody(bodyOf(context), c('mkcalendar'));
      await makeList(callerOf(context), list, 'MKCALENDAR', body);
      return created(context);
    })
    .route('MKCOL', '/dav/projects/:list', async (context) => {
      const [list] = namesIn(context);
      const body = readBody(bodyOf(context), d('mkcol'));
      await makeList(callerOf(context), list, 'MKCOL', body);
      return created(context);
    })
    .route('PROPFIND', '/dav/projects/:list/:item', (context) => {
      const [list, item] = namesIn(context);
      return multistatus(context, findItem(callerOf(context), list, item, findOf(context)));
    })
    .get('/dav/projects/:list/:item', async (context) => {
      const { user, notModified } = context;
      const [list, name] = namesIn(context);
      const projectId = await findProjectId(db, user, list);
      const item = await readItemNamed(db, user, projectId, name);
      if (notModified(item.tag)) return new Response(null, { status: 304 });
      return new Response(item.text, { headers: { 'content-type': ITEM_TYPE } });
    })
    .put('/dav/projects/:list/:item', async (context) => {
      const { user, set } = context;
      const [list, name] = namesIn(context);
      const projectId = await findProjectId(db, user, list);
      const text = bodyOf(context) ?? '';
      const hrefOf = (one: string) => itemHref(place, list, one);
      const condition = conditionOf(context);
      const options = { retentionSeconds, hrefOf };
      const written = await putItem(db, user, projectId, name, text, condition, options);
      if (written.tag !== undefined) set.headers.etag = `"${written.tag}"`;
      return written.isNew ? created(context) : noContent(set);
    })
    .delete('/dav/projects/:list/:item', async (context) => {
      const { user, set } = context;
      const [list, name] = namesIn(context);
      const projectId = await findProjectId(db, user, list);
      await deleteItem(db, user, projectId, name, conditionOf(context));
      return noContent(set);
    });
};

/** The group has read it as text. */
const bodyOf = ({ body }: { body: unknown }) => body as string | undefined;

interface Sets {
  status?: number | string;
  headers: Record<string, unknown>;
}

function created({ set }: { set: Sets }): Response {
  delete set.headers['content-type'];
  return new Response(null, { status: 201 });
}

/** Returns what the request knows of the item that it writes. */
function conditionOf({ request }: { request: Request }): ItemCondition {
  const ifMatch = request.headers.get('if-match');
  return {
    ifMatch: ifMatch === null ? undefined : (tag) => includesTag(ifMatch, tag),
    ifNoneMatch: request.headers.get('if-none-match')?.trim() === '*',
  };
}

/** Returns the names of the list and the item in the path. The router would decode what cannot be. @throws {Problem} `not_found`. */
function namesIn({ request }: { request: Request }): [list: string, item: string] {
  const { pathname } = new URL(request.url);
  const [list, item] = pathname.slice(`${DAV_ROOT}/projects/`.length).split('/').map(decodeSegment);
  if (list === undefined) throw new Problem('not_found');
  if (item === undefined && pathname.replace(/\/$/, '').split('/').length > 4)
    throw new Problem('not_found');
  return [list, item ?? ''];
}
