/**
 * Who is asking. A module that uses `currentUser` serves nobody else: its handlers get a `user`, never "maybe a user".
 * It is derived before the body is read and anything is validated, so a stranger learns nothing but 401.
 */
import { Elysia } from 'elysia';
import type { CurrentUser, LoggedInUser } from '../db/access.ts';
import { type Scope, scopes } from '../db/schema.ts';
import { API_TOKEN_PREFIX, findApiTokenUser } from '../handlers/api-tokens.ts';
import { findSessionUser } from '../handlers/sessions.ts';
import type { Platform } from '../platform.ts';
import { Problem } from '../problem.ts';
import type { AccessTokensPlugin } from './access-tokens.ts';
import { createCredentialCache } from './credential-cache.ts';

/** Who is behind a session or an API token, remembered for a moment. A route that ends one says `forgetCredentials`. */
export const credentials = ({ database, now }: Platform) => {
  const sessions = createCredentialCache((id) => findSessionUser(database, id), now);
  const api_tokens = createCredentialCache((token) => findApiTokenUser(database, token), now);
  return new Elysia({ name: 'credentials' }).decorate({
    credentials: { sessions, api_tokens },
    forgetCredentials() {
      sessions.clear();
      api_tokens.clear();
    },
  });
};

export type CredentialsPlugin = ReturnType<typeof credentials>;

/** Whoever has a living session or API token, with the scope that the request needs. */
export const currentUser = (tokens: AccessTokensPlugin, known: CredentialsPlugin) =>
  new Elysia({ name: 'current-user' })
    .use(tokens)
    .use(known)
    .derive({ as: 'scoped' }, async ({ request, tokens, credentials }) => {
      const credential = bearerToken(request);
      /** For what goes on after the first answer. @throws {Problem} as soon as the credential is of no use any more. */
      async function authenticate(): Promise<CurrentUser> {
        const user = credential.startsWith(API_TOKEN_PREFIX)
          ? await credentials.api_tokens.find(credential)
          : await findLoggedIn(credential);
        if (!user) throw new Problem('invalid_token');
        refuseMissingScope(request.method, user);
        return user;
      }
      return { user: await authenticate(), authenticate };

      async function findLoggedIn(token: string): Promise<CurrentUser | undefined> {
        const { user_id, session_id } = await tokens.verify(token);
        const found = await credentials.sessions.find(session_id);
        return found?.id === user_id ? { ...found, session_id, scopes } : undefined;
      }
    });

export type CurrentUserPlugin = ReturnType<typeof currentUser>;

/**
 * To derive after `currentUser`, where only a log-in will do: an API token, which may lie in a script, must not change
 * the account itself.
 */
export function loggedInUser({ user }: { user: CurrentUser }): { user: LoggedInUser } {
  const { session_id } = user;
  if (session_id === undefined)
    throw new Problem('forbidden', { detail: 'Log in: an API token cannot do this' });
  return { user: { ...user, session_id } };
}

/** RFC 6750 §2.1: the header alone. A token in the query or the body would end up in logs. */
function bearerToken(request: Request): string {
  const [, scheme, token] =
    /^([^ ]+) *(.*)$/.exec(request.headers.get('authorization') ?? '') ?? [];
  if (scheme?.toLowerCase() !== 'bearer') throw new Problem('unauthenticated');
  return token ?? '';
}

/** RFC 6750 §3.1: the challenge names the scope that is missing. */
function refuseMissingScope(method: string, user: CurrentUser) {
  const needed: Scope = method === 'GET' || method === 'HEAD' ? 'read' : 'write';
  if (user.scopes.includes(needed)) return;
  throw new Problem('insufficient_scope', {
    detail: `The API token lacks the scope ${needed}`,
    headers: {
      'www-authenticate': `Bearer realm="api", error="insufficient_scope", scope="${needed}"`,
    },
  });
}
