import { Elysia } from 'elysia';
import {
  endOtherSessions,
  endSession,
  type Grant,
  listSessions,
  logIn,
  logOut,
  refreshSession,
} from '../handlers/sessions.ts';
import type { Platform } from '../platform.ts';
import type { AccessTokens, AccessTokensPlugin } from '../plugins/access-tokens.ts';
import { audit } from '../plugins/audit.ts';
import { noContent } from '../plugins/conventions.ts';
import {
  type CredentialsPlugin,
  type CurrentUserPlugin,
  loggedInUser,
} from '../plugins/current-user.ts';
import { operation } from '../plugins/operation.ts';
import { FORM_TYPE, JSON_TYPE, strictInput } from '../plugins/strict-input.ts';
import { Nothing } from '../schemas/common.ts';
import {
  Login,
  Refresh,
  SessionListQuery,
  SessionPage,
  SessionPath,
  Tokens,
} from '../schemas/sessions.ts';

export const sessions = (
  platform: Platform,
  tokens: AccessTokensPlugin,
  known: CredentialsPlugin,
  current: CurrentUserPlugin,
) =>
  new Elysia({ prefix: '/users', tags: ['Sessions'] })
    .use(granting(platform, tokens, known))
    .use(managing(platform, current));

const rulesOf = ({ settings, jwt_secret }: Platform) => ({
  key: jwt_secret,
  idle_seconds: settings.refresh_token_ttl_seconds,
  rate_limit: settings.rate_limit,
});

/** For those who have no access token yet, or one that has expired. */
const granting = (platform: Platform, tokens: AccessTokensPlugin, known: CredentialsPlugin) => {
  const { database: db, passwords, settings } = platform;
  const rules = rulesOf(platform);
  const failures = ['internal', 'database_unavailable'] as const;
  return new Elysia()
    .use(tokens)
    .use(known)
    .use(audit(platform))
    .use(strictInput(settings.body_limit_bytes, [JSON_TYPE, FORM_TYPE]))
    .post(
      '/login',
      async ({ body, tokens, device, audit }) => {
        const grant = await logIn(db, passwords, rules, device, body);
        audit('logged_in', { user_id: grant.user_id, session_id: grant.session_id });
        return answer(tokens, grant);
      },
      {
        body: Login,
        response: { 200: Tokens },
        detail: operation('logIn', 'Trade a name and a password for tokens', {
          description:
            'Begins a session. Takes JSON, or the form of the OAuth2 password grant (RFC 6749 §4.3.2).',
          public: true,
          also_accepts: [FORM_TYPE],
          problems: ['invalid_credentials', 'overloaded', ...failures],
        }),
      },
    )
    .post(
      '/refresh',
      async ({ body, tokens, device, audit, forgetCredentials }) => {
        const { refresh_token } = body;
        const grant = await refreshSession(db, rules, device, refresh_token, forgetCredentials);
        audit('refreshed', { user_id: grant.user_id, session_id: grant.session_id });
        return answer(tokens, grant);
      },
      {
        body: Refresh,
        response: { 200: Tokens },
        detail: operation('refreshSession', 'Trade a refresh token for new tokens', {
          description:
            'Spends the refresh token. Using a spent one ends the session, but for 10 seconds its immediate predecessor is honoured. Takes JSON, or the OAuth2 form (RFC 6749 §6).',
          public: true,
          also_accepts: [FORM_TYPE],
          problems: ['invalid_refresh_token', ...failures],
        }),
      },
    );
};

/** RFC 6749 §5.1. */
async function answer(tokens: AccessTokens, { refresh_token, ...claims }: Grant): Promise<Tokens> {
  return {
    access_token: await tokens.sign(claims),
    token_type: 'bearer',
    expires_in: tokens.ttl_seconds,
    refresh_token,
  };
}

const managing = (platform: Platform, current: CurrentUserPlugin) => {
  const { database: db, settings } = platform;
  return new Elysia()
    .use(current)
    .derive(loggedInUser)
    .use(audit(platform))
    .use(strictInput(settings.body_limit_bytes))
    .post(
      '/logout',
      async ({ user, set, forgetCredentials, audit }) => {
        await logOut(db, user);
        await forgetCredentials();
        audit('logged_out', { user_id: user.id, session_id: user.session_id });
        return noContent(set);
      },
      {
        response: { 204: Nothing },
        detail: operation('logOut', 'End this session', {
          problems: ['forbidden'],
        }),
      },
    )
    .get('/me/sessions', ({ user, query }) => listSessions(db, user, rulesOf(platform), query), {
      query: SessionListQuery,
      response: { 200: SessionPage },
      detail: operation('listSessions', 'List your sessions, latest log-in first', {
        problems: ['forbidden', 'invalid_cursor'],
      }),
    })
    .delete(
      '/me/sessions',
      async ({ user, set, forgetCredentials, audit }) => {
        await endOtherSessions(db, user);
        await forgetCredentials();
        audit('other_sessions_ended', { user_id: user.id, session_id: user.session_id });
        return noContent(set);
      },
      {
        response: { 204: Nothing },
        detail: operation('endOtherSessions', 'End all sessions but this one', {
          problems: ['forbidden'],
        }),
      },
    )
    .delete(
      '/me/sessions/:session_id',
      async ({ user, params, set, forgetCredentials, audit }) => {
        await endSession(db, user, params.session_id);
        await forgetCredentials();
        audit('session_ended', { user_id: user.id, session_id: params.session_id });
        return noContent(set);
      },
      {
        params: SessionPath,
        response: { 204: Nothing },
        detail: operation('endSession', 'End one of your sessions', {
          problems: ['forbidden', 'not_found'],
        }),
      },
    );
};
