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
import { catalogue, Problem } from '../problem.ts';
import type { AccessTokensPlugin } from './access-tokens.ts';
import { createCredentialCache } from './credential-cache.ts';

/** Who is behind a session or an API token, remembered for a moment. A route that ends one says `forgetCredentials`. */
export const credentials = ({ database, now, siblings }: Platform) => {
  const sessions = createCredentialCache((id) => findSessionUser(database, id), now);
  const api_tokens = createCredentialCache((token) => findApiTokenUser(database, token), now);
  const forget = () => {
    sessions.clear();
    api_tokens.clear();
  };
  siblings?.on('credentials_ended', forget);
  return new Elysia({ name: 'credentials' }).decorate({
    credentials: { sessions, api_tokens },
    /** Resolves once the siblings have forgotten them too. */
    async forgetCredentials() {
      forget();
      await siblings?.ask('credentials_ended');
    },
  });
};

export type CredentialsPlugin = ReturnType<typeof credentials>;

/** Whoever has a living session or API token, with the scope that the request needs. */
export const currentUser = (tokens: AccessTokensPlugin, known: CredentialsPlugin) =>
  userOf('current-user', tokens, known, bearerToken);

export type CurrentUserPlugin = ReturnType<typeof currentUser>;

/**
 * The same for calendar programs, which can send nothing but a user name and a password: the password is an API token,
 * and the user name is not looked at, because the token says whose it is. The password of an account opens nothing here.
 */
export const calendarUser = (tokens: AccessTokensPlugin, known: CredentialsPlugin) =>
  userOf('calendar-user', tokens, known, basicOrBearerToken, challengeWithBasic);

const userOf = (
  name: string,
  tokens: AccessTokensPlugin,
  known: CredentialsPlugin,
  credentialOf: (request: Request) => string,
  refusalOf = (error: unknown) => error,
) =>
  new Elysia({ name })
    .use(tokens)
    .use(known)
    .derive({ as: 'scoped' }, async ({ request, tokens, credentials }) => {
      /** For what goes on after the first answer. @throws {Problem} as soon as the credential is of no use any more. */
      async function authenticate(): Promise<CurrentUser> {
        try {
          const user = await findUser(credentialOf(request));
          refuseMissingScope(request.method, user);
          return user;
        } catch (error) {
          throw refusalOf(error);
        }
      }
      return { user: await authenticate(), authenticate };

      async function findUser(credential: string): Promise<CurrentUser> {
        const user = credential.startsWith(API_TOKEN_PREFIX)
          ? await credentials.api_tokens.find(credential)
          : await findLoggedIn(credential);
        if (!user) throw new Problem('invalid_token');
        return user;
      }

      async function findLoggedIn(token: string): Promise<CurrentUser | undefined> {
        const { user_id, session_id } = await tokens.verify(token);
        const found = await credentials.sessions.find(session_id);
        return found?.id === user_id ? { ...found, session_id, scopes } : undefined;
      }
    });

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

/** The scheme in lower case, and what stands after it. */
function authorizationOf(request: Request): [scheme: string, credential: string] {
  const [, scheme = '', credential = ''] =
    /^([^ ]+) *(.*)$/.exec(request.headers.get('authorization') ?? '') ?? [];
  return [scheme.toLowerCase(), credential];
}

/** RFC 6750 §2.1: the header alone. A token in the query or the body would end up in logs. */
function bearerToken(request: Request): string {
  const [scheme, token] = authorizationOf(request);
  if (scheme !== 'bearer') throw new Problem('unauthenticated');
  return token;
}

/** RFC 7617 §2: what comes after the first colon is the password. */
function basicOrBearerToken(request: Request): string {
  const [scheme, credential] = authorizationOf(request);
  if (scheme !== 'basic') return bearerToken(request);
  const [, token = ''] = /^[^:]*:(.*)$/.exec(decodeBase64(credential)) ?? [];
  if (!token.startsWith(API_TOKEN_PREFIX)) throw new Problem('invalid_token');
  return token;
}

function decodeBase64(text: string): string {
  try {
    return atob(text);
  } catch {
    return '';
  }
}

/** Calendar programs send a password only to whoever asks for one (RFC 7617 §2). */
function challengeWithBasic(error: unknown): unknown {
  if (!(error instanceof Problem) || catalogue[error.code].status !== 401) return error;
  const cause = error.code === 'unauthenticated' ? '' : ', error="invalid_token"';
  const headers = {
    'www-authenticate': `Basic realm="api", charset="UTF-8", Bearer realm="api"${cause}`,
  };
  return new Problem(error.code, { ...error.particulars, headers });
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
