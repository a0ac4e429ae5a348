import { Elysia } from 'elysia';
import {
  endOtherSessions,
  endSession,
  type IssuedSession,
  listSessions,
  logIn,
  logOut,
  refreshSession,
} from '../handlers/sessions.ts';
import { operation } from '../openapi/operation.ts';
import type { Platform } from '../platform.ts';
import type { AccessTokens, AccessTokensPlugin } from '../plugins/access-tokens.ts';
import type { CredentialsPlugin } from '../plugins/current-user.ts';
import { FORM_TYPE } from '../plugins/request-body.ts';
import type { SessionRoutes, TokenRoutes } from '../plugins/route-groups.ts';
import {
  Credentials,
  Refresh,
  SessionListQuery,
  SessionPage,
  SessionPath,
  Tokens,
} from '../schemas/sessions.ts';
import { Nothing } from '../schemas/types/object.ts';

const sessionPolicy = ({ settings, jwtSecret }: Platform) => ({
  key: jwtSecret,
  idleSeconds: settings.refreshTokenTtlSeconds,
  rateLimit: settings.rateLimit,
});

/** For clients that have no access token yet, or one that has expired. */
export const logins = (
  platform: Platform,
  group: TokenRoutes,
  jwt: AccessTokensPlugin,
  credentials: CredentialsPlugin,
) => {
  const { database: db, passwords } = platform;
  const policy = sessionPolicy(platform);
  const failures = ['internal', 'database_unavailable'] as const;
  return new Elysia({ prefix: '/users', tags: ['Sessions'] })
    .use(jwt)
    .use(credentials)
    .use(group)
    .post(
      '/login',
      async ({ body, tokens, device, audit }) => {
        const issued = await logIn(db, body, device, policy, passwords);
        audit('logged_in', { user_id: issued.user_id, session_id: issued.session_id });
        return tokensOf(tokens, issued);
      },
      {
        body: Credentials,
        response: { 200: Tokens },
        detail: operation('logIn', 'Log in', {
          description:
            'Starts a session and returns its tokens. Accepts JSON, or the form of the OAuth2 password grant (RFC 6749 §4.3.2).',
          public: true,
          alsoConsumes: [FORM_TYPE],
          problems: ['invalid_credentials', 'overloaded', ...failures],
        }),
      },
    )
    .post(
      '/refresh',
      async ({ body, tokens, device, audit, invalidateCredentials }) => {
        const { refresh_token } = body;
        const issued = await refreshSession(
          db,
          refresh_token,
          device,
          policy,
          invalidateCredentials,
        );
        audit('refreshed', { user_id: issued.user_id, session_id: issued.session_id });
        return tokensOf(tokens, issued);
      },
      {
        body: Refresh,
        response: { 200: Tokens },
        detail: operation('refreshSession', 'Refresh the tokens', {
          description:
            'Returns a new access token and a new refresh token, and invalidates the old refresh token. Reusing an old one ends the session, except that the previous one still works for 10 seconds. Accepts JSON, or the OAuth2 form (RFC 6749 §6).',
          public: true,
          alsoConsumes: [FORM_TYPE],
          problems: ['invalid_refresh_token', ...failures],
        }),
      },
    );
};

/** RFC 6749 §5.1. */
async function tokensOf(
  tokens: AccessTokens,
  { refresh_token, user_id, session_id, username }: IssuedSession,
): Promise<Tokens> {
  return {
    access_token: await tokens.sign({ userId: user_id, sessionId: session_id, username }),
    token_type: 'bearer',
    expires_in: tokens.ttlSeconds,
    refresh_token,
  };
}

export const sessions = (platform: Platform, group: SessionRoutes) => {
  const { database: db } = platform;
  return new Elysia({ prefix: '/users', tags: ['Sessions'] })
    .use(group)
    .post(
      '/logout',
      async ({ user }) => {
        await logOut(db, user);
      },
      {
        endsCredentials: 'logged_out',
        response: { 204: Nothing },
        detail: operation('logOut', 'Log out', {
          problems: ['forbidden'],
        }),
      },
    )
    .get(
      '/me/sessions',
      ({ user, query }) => listSessions(db, user, query, sessionPolicy(platform)),
      {
        query: SessionListQuery,
        response: { 200: SessionPage },
        detail: operation('listSessions', 'List your sessions', {
          problems: ['forbidden', 'invalid_cursor'],
        }),
      },
    )
    .delete(
      '/me/sessions',
      async ({ user }) => {
        await endOtherSessions(db, user);
      },
      {
        endsCredentials: 'other_sessions_ended',
        response: { 204: Nothing },
        detail: operation('endOtherSessions', 'Log out of all other sessions', {
          problems: ['forbidden'],
        }),
      },
    )
    .delete(
      '/me/sessions/:session_id',
      async ({ user, params }) => {
        await endSession(db, user, params.session_id);
      },
      {
        endsCredentials: 'session_ended',
        params: SessionPath,
        response: { 204: Nothing },
        detail: operation('endSession', 'Log out of one session', {
          problems: ['forbidden', 'not_found'],
        }),
      },
    );
};
