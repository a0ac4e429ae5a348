/**
 * The groups of routes: open, with a session, with a session or an API token. A route module is built on one of them. The group
 * decides who may call its routes, and reads their bodies strictly.
 */
import { Elysia } from 'elysia';
import { requestState } from '../http/request-state.ts';
import type { Platform } from '../platform.ts';
import { davBodyTypes, ITEM_BYTES_MAX } from '../schemas/caldav.ts';
import { audit, auditOf } from './audit.ts';
import { type CredentialsPlugin, type CurrentUserPlugin, requireSession } from './current-user.ts';
import { noContent } from './default-headers.ts';
import { refuseForeignSites } from './foreign-sites.ts';
import { FORM_TYPE, JSON_TYPE, requestBody, textBody } from './request-body.ts';

/** Enough for a user name, an email and a password, the largest body without credentials. */
const OPEN_BODY_BYTES_MAX = 16 * 1024;

const openBodyLimitBytes = ({ settings }: Platform) =>
  Math.min(settings.bodyLimitBytes, OPEN_BODY_BYTES_MAX);

/** Checks the credential again after the body has arrived: it may have ended meanwhile. */
async function authenticateAgain({
  request,
  authenticate,
}: {
  request: Request;
  authenticate: () => Promise<unknown>;
}) {
  if (request.body !== null) await authenticate();
}

/** Routes that need no credential. */
export const openRoutes = (platform: Platform) =>
  new Elysia({ name: 'open-routes' })
    .use(audit(platform))
    .use(requestBody(openBodyLimitBytes(platform)))
    .as('scoped');

export type OpenRoutes = ReturnType<typeof openRoutes>;

/** Open routes that issue tokens. They also take a form, as OAuth2 clients send it (RFC 6749 §4.3.2). */
export const tokenRoutes = (platform: Platform) =>
  new Elysia({ name: 'token-routes' })
    .use(audit(platform))
    .use(requestBody(openBodyLimitBytes(platform), [JSON_TYPE, FORM_TYPE]))
    .as('scoped');

export type TokenRoutes = ReturnType<typeof tokenRoutes>;

/** Routes for a user with a session or an API token. */
export const userRoutes = ({ settings }: Platform, currentUser: CurrentUserPlugin) =>
  new Elysia({ name: 'user-routes' })
    .use(currentUser)
    .use(requestBody(settings.bodyLimitBytes))
    .onTransform(authenticateAgain)
    .as('scoped');

export type UserRoutes = ReturnType<typeof userRoutes>;

/** Like `userRoutes`, for agents: a page of another site is refused, although it would have to know a token. */
export const agentRoutes = ({ settings }: Platform, agentUser: CurrentUserPlugin) =>
  new Elysia({ name: 'agent-routes' })
    .use(agentUser)
    .use(refuseForeignSites(settings))
    .use(requestBody(settings.bodyLimitBytes))
    .onTransform(authenticateAgain)
    .as('scoped');

export type AgentRoutes = ReturnType<typeof agentRoutes>;

/** Like `userRoutes`, for responses that stay open. An outage of the database does not refuse them. */
export const streamRoutes = ({ settings }: Platform, streamUser: CurrentUserPlugin) =>
  new Elysia({ name: 'stream-routes' })
    .use(streamUser)
    .use(requestBody(settings.bodyLimitBytes))
    .as('scoped');

/** Routes for CalDAV clients. Their bodies are text. */
export const davRoutes = ({ settings }: Platform, davUser: CurrentUserPlugin) =>
  new Elysia({ name: 'dav-routes' })
    .use(davUser)
    .use(textBody(settings.bodyLimitBytes, ITEM_BYTES_MAX, davBodyTypes))
    .onTransform(authenticateAgain)
    .as('scoped');

/** DELETE is among them because the deletion of an account has a password in its body. */
const SESSION_METHODS_WITH_BODY = ['POST', 'PUT', 'PATCH', 'DELETE'];

/**
 * Routes for a user who has logged in. `endsCredentials: event` marks a route that ends sessions or API tokens: after the handler,
 * no worker accepts them any more, the audit log has the event, and the response is 204.
 */
export const sessionRoutes = (
  platform: Platform,
  currentUser: CurrentUserPlugin,
  credentials: CredentialsPlugin,
) =>
  new Elysia({ name: 'session-routes' })
    .use(currentUser)
    .derive(requireSession)
    .use(audit(platform))
    .use(requestBody(platform.settings.bodyLimitBytes, [JSON_TYPE], SESSION_METHODS_WITH_BODY))
    .onTransform(authenticateAgain)
    .macro({
      endsCredentials: (event: string) => ({
        async afterHandle({ request, set, params }) {
          const { user } = requestState(request);
          await credentials.decorator.invalidateCredentials(user?.id);
          const { audit } = auditOf(platform, { request, set });
          audit(event, { user_id: user?.id, session_id: user?.sessionId, ...params });
          return noContent(set);
        },
      }),
    })
    .as('scoped');

export type SessionRoutes = ReturnType<typeof sessionRoutes>;
