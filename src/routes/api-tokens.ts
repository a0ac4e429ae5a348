import { Elysia } from 'elysia';
import { createApiToken, deleteApiToken, listApiTokens } from '../handlers/api-tokens.ts';
import type { Platform } from '../platform.ts';
import { audit } from '../plugins/audit.ts';
import { noContent } from '../plugins/conventions.ts';
import { type CurrentUserPlugin, loggedInUser } from '../plugins/current-user.ts';
import { operation } from '../plugins/operation.ts';
import { strictInput } from '../plugins/strict-input.ts';
import {
  ApiTokenCreate,
  ApiTokenCreated,
  ApiTokenListQuery,
  ApiTokenPage,
  ApiTokenPath,
} from '../schemas/api-tokens.ts';
import { Nothing } from '../schemas/common.ts';

export const apiTokens = (platform: Platform, current: CurrentUserPlugin) => {
  const { database: db, settings } = platform;
  return new Elysia({ prefix: '/users/me/tokens', tags: ['API tokens'] })
    .use(current)
    .derive(loggedInUser)
    .use(audit(platform))
    .use(strictInput(settings.body_limit_bytes))
    .post(
      '/',
      async ({ user, body, set, audit }) => {
        const created = await createApiToken(db, user, body);
        audit('api_token_created', { user_id: user.id, token_id: created.id });
        set.status = 201;
        return created;
      },
      {
        body: ApiTokenCreate,
        response: { 201: ApiTokenCreated },
        detail: operation('createApiToken', 'Make an API token', {
          description: 'For scripts. The token is shown in this answer and never again.',
          problems: ['forbidden', 'conflict'],
        }),
      },
    )
    .get('/', ({ user, query }) => listApiTokens(db, user, query), {
      query: ApiTokenListQuery,
      response: { 200: ApiTokenPage },
      detail: operation('listApiTokens', 'List your API tokens, newest first', {
        problems: ['forbidden', 'invalid_cursor'],
      }),
    })
    .delete(
      '/:token_id',
      async ({ user, params, set, forgetCredentials, audit }) => {
        await deleteApiToken(db, user, params.token_id);
        await forgetCredentials();
        audit('api_token_revoked', { user_id: user.id, token_id: params.token_id });
        return noContent(set);
      },
      {
        params: ApiTokenPath,
        response: { 204: Nothing },
        detail: operation('deleteApiToken', 'Revoke an API token', {
          problems: ['forbidden', 'not_found'],
        }),
      },
    );
};
