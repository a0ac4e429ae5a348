/**
 * Finds the user of a request. A handler of a route with `currentUser` always gets a `User`, never undefined. The user is
 * derived before the body is read and before anything is validated, so an unauthenticated client gets 401 and learns nothing
 * else.
 */
// Decision: docs/decisions/05-kept-in-memory.md
// Decision: docs/decisions/19-revocation.md

import { Elysia } from 'elysia';
import { type Scope, scopes } from '../db/schema.ts';
import { catalogue, Problem } from '../errors/problem.ts';
import { API_TOKEN_PREFIX, findApiTokenUser } from '../handlers/api-tokens.ts';
import { findCalendarAddressUser } from '../handlers/calendar-addresses.ts';
import { findSessionUser } from '../handlers/sessions.ts';
import { READING_METHODS } from '../http/dav.ts';
import type { LastCalendars } from '../http/last-calendars.ts';
import { requestState } from '../http/request-state.ts';
import { decodeBase64 } from '../lib/base64.ts';
import { parseDatabaseError } from '../lib/database-error.ts';
import { createTtlCache } from '../lib/ttl-cache.ts';
import type { Platform } from '../platform.ts';
import type { CurrentUser, LoggedInUser } from '../schemas/current-user.ts';
import type { AccessTokensPlugin } from './access-tokens.ts';

/** A revocation in another process takes effect here within this time. SECURITY.md promises 5 s. */
const CREDENTIAL_TTL_MS = 4000;
const CREDENTIALS_MAX = 10_000;

/**
 * Caches the user of a session or API token, so that most requests cost no query for it. A route that ends a credential
 * calls `invalidateCredentials`.
 */
export const credentials = ({ database, now, peers }: Platform, lastCalendars: LastCalendars) => {
  const options = { ttlMs: CREDENTIAL_TTL_MS, entriesMax: CREDENTIALS_MAX, now };
  const sessions = createTtlCache((id) => findSessionUser(database, id), options);
  const apiTokens = createTtlCache((token) => findApiTokenUser(database, token), options);
  const calendars = createTtlCache((secret) => findCalendarAddressUser(database, secret), options);
  const clear = (userId: string | undefined) => {
    lastCalendars.forget(userId);
    sessions.clear();
    apiTokens.clear();
    calendars.clear();
  };
  peers?.on('credentials_ended', (userId) => clear(userId as string | undefined));
  return new Elysia({ name: 'credentials' }).decorate({
    credentials: { sessions, apiTokens, calendars },
    /** Resolves once the other workers have cleared their caches too. @param userId undefined where it is unknown. */
    async invalidateCredentials(userId?: string) {
      clear(userId);
      await peers?.request('credentials_ended', userId);
    },
  });
};

export type CredentialsPlugin = ReturnType<typeof credentials>;

/** Gives routes `user`, who has a live session or an API token with the scope that the request needs. */
export const currentUser = (tokens: AccessTokensPlugin, credentials: CredentialsPlugin) =>
  deriveUser('current-user', tokens, credentials, bearerToken);

export type CurrentUserPlugin = ReturnType<typeof currentUser>;

/** Like `currentUser` for a route whose method says nothing of its effect: the scope `read` suffices to send a request. */
export const agentUser = (tokens: AccessTokensPlugin, credentials: CredentialsPlugin) =>
  deriveUser('agent-user', tokens, credentials, bearerToken, undefined, { needs: 'read' });

/**
 * Like `currentUser`, but accepts HTTP Basic, because calendar programs send only a user name and a password. The password is an
 * API token. The user name beside it is ignored, because the token names its user. The password of an account is not accepted.
 */
export const calendarUser = (tokens: AccessTokensPlugin, credentials: CredentialsPlugin) =>
  deriveUser('calendar-user', tokens, credentials, basicOrBearerToken, challengeWithBasic);

/** Like `calendarUser`, for CalDAV: a program that may only read learns that it lacks the privilege to write (RFC 3744 §7.1.1). */
export const davUser = (tokens: AccessTokensPlugin, credentials: CredentialsPlugin) =>
  deriveUser('dav-user', tokens, credentials, basicOrBearerToken, (error) =>
    error instanceof Problem && error.code === 'insufficient_scope'
      ? new Problem(error.code, { ...error.particulars, condition: 'd:need-privileges' })
      : challengeWithBasic(error),
  );

/**
 * Like `currentUser`, for a response that stays open. In an outage of the database a client with a valid access token may open
 * it. The stream must authenticate the client again before it sends an event.
 */
export const streamUser = (tokens: AccessTokensPlugin, credentials: CredentialsPlugin) =>
  deriveUser('stream-user', tokens, credentials, bearerToken, undefined, { opensInOutage: true });

const deriveUser = (
  name: string,
  tokens: AccessTokensPlugin,
  credentials: CredentialsPlugin,
  credentialOf: (request: Request) => string,
  refusalOf = (error: unknown) => error,
  { opensInOutage = false, needs }: { opensInOutage?: boolean; needs?: Scope } = {},
) =>
  new Elysia({ name })
    .use(tokens)
    .use(credentials)
    .derive({ as: 'scoped' }, async ({ request, tokens, credentials }) => {
      /** Checks the credential again. @throws {Problem} once it has ended. */
      async function authenticate(): Promise<CurrentUser> {
        try {
          const user = await findUser(credentialOf(request));
          assertScope(needs ?? scopeOf(request.method), user);
          return user;
        } catch (error) {
          throw refusalOf(error);
        }
      }
      const user = opensInOutage
        ? await authenticate().catch((error) => claimedUser(credentialOf(request), error))
        : await authenticate();
      requestState(request).user = user;
      return { user, authenticate };

      /** Returns the user whom the access token names, where the database cannot say whether the session is live. */
      async function claimedUser(credential: string, error: unknown): Promise<CurrentUser> {
        const isUnknown = parseDatabaseError(error)?.unavailable || isOverload(error);
        if (!isUnknown || credential.startsWith(API_TOKEN_PREFIX)) throw error;
        const { userId, username, sessionId } = await tokens.verify(credential);
        return { id: userId, username, sessionId, scopes };
      }

      async function findUser(credential: string): Promise<CurrentUser> {
        const user = credential.startsWith(API_TOKEN_PREFIX)
          ? await credentials.apiTokens.find(credential)
          : await findLoggedIn(credential);
        if (!user) throw new Problem('invalid_token');
        return user;
      }

      async function findLoggedIn(token: string): Promise<CurrentUser | undefined> {
        const { userId, sessionId } = await tokens.verify(token);
        const found = await credentials.sessions.find(sessionId);
        return found?.id === userId ? { ...found, sessionId, scopes } : undefined;
      }
    });

/**
 * Refuses an API token: it may lie in a script, so it must not change the account. Derive it after `currentUser`.
 */
export function requireSession({ user }: { user: CurrentUser }): { user: LoggedInUser } {
  const { sessionId } = user;
  if (sessionId === undefined)
    throw new Problem('forbidden', { detail: 'Log in: an API token cannot do this' });
  return { user: { ...user, sessionId } };
}

/** Returns the scheme of `Authorization` in lower case, and its credential. */
function authorizationOf(request: Request): [scheme: string, credential: string] {
  const [, scheme = '', credential = ''] =
    /^([^ ]+) *(.*)$/.exec(request.headers.get('authorization') ?? '') ?? [];
  return [scheme.toLowerCase(), credential];
}

/** Returns the Bearer token of the header (RFC 6750 §2.1). A token in the query or the body would end up in logs. */
function bearerToken(request: Request): string {
  const [scheme, token] = authorizationOf(request);
  if (scheme !== 'bearer') throw new Problem('unauthenticated');
  return token;
}

/**
 * Returns the Bearer token or the password of Basic, which begins after the first colon (RFC 7617 §2). Without a password the user
 * name is the token, as in `curl -u TOKEN:`.
 */
function basicOrBearerToken(request: Request): string {
  const [scheme, credential] = authorizationOf(request);
  if (scheme !== 'basic') return bearerToken(request);
  const [, name = '', password] = /^([^:]*):(.*)$/s.exec(decodeCredential(credential)) ?? [];
  const token = password || name;
  if (!token.startsWith(API_TOKEN_PREFIX)) throw new Problem('invalid_token');
  return token;
}

function decodeCredential(text: string): string {
  try {
    return new TextDecoder().decode(decodeBase64(text));
  } catch {
    return '';
  }
}

/** Adds a challenge for Basic to a 401: calendar programs send a password only after one (RFC 7617 §2). */
function challengeWithBasic(error: unknown): unknown {
  if (!(error instanceof Problem) || catalogue[error.code].status !== 401) return error;
  const cause = error.code === 'unauthenticated' ? '' : ', error="invalid_token"';
  const headers = {
    'www-authenticate': `Basic realm="api", charset="UTF-8", Bearer realm="api"${cause}`,
  };
  return new Problem(error.code, { ...error.particulars, headers });
}

const scopeOf = (method: string): Scope => (READING_METHODS.includes(method) ? 'read' : 'write');

/** Refuses a credential without a scope. The challenge names that scope (RFC 6750 §3.1). @throws {Problem} `insufficient_scope`. */
export function assertScope(needed: Scope, user: CurrentUser) {
  if (user.scopes.includes(needed)) return;
  throw new Problem('insufficient_scope', {
    detail: `The API token lacks the scope ${needed}`,
    headers: {
      'www-authenticate': `Bearer realm="api", error="insufficient_scope", scope="${needed}"`,
    },
  });
}

const isOverload = (error: unknown) => error instanceof Problem && error.code === 'overloaded';
