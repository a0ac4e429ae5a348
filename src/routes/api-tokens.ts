import { Elysia } from 'elysia';
import { createApiToken, deleteApiToken, listApiTokens } from '../handlers/api-tokens.ts';
import { operation } from '../openapi/operation.ts';
import type { Platform } from '../platform.ts';
import type { SessionRoutes } from '../plugins/route-groups.ts';
import {
  ApiTokenCreate,
  ApiTokenCreated,
  ApiTokenListQuery,
  ApiTokenPage,
  ApiTokenPath,
} from '../schemas/api-tokens.ts';
import { Nothing } from '../schemas/types/object.ts';

export const apiTokens = ({ database: db }: Platform, group: SessionRoutes) =>
  new Elysia({ prefix: '/users/me/tokens', tags: ['API tokens'] })
    .use(group)
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
        detail: operation('createApiToken', 'Create an API token', {
          description: 'For scripts. The token is returned once, in this response.',
          problems: ['forbidden', 'conflict'],
        }),
      },
    )
    .get('/', ({ user, query }) => listApiTokens(db, user, query), {
      query: ApiTokenListQuery,
      response: { 200: ApiTokenPage },
      detail: operation('listApiTokens', 'List your API tokens', {
        problems: ['forbidden', 'invalid_cursor'],
      }),
    })
    .delete(
      '/:token_id',
      async ({ user, params }) => {
        await deleteApiToken(db, user, params.token_id);
      },
      {
        endsCredentials: 'api_token_revoked',
        params: ApiTokenPath,
        response: { 204: Nothing },
        detail: operation('deleteApiToken', 'Revoke an API token', {
          problems: ['forbidden', 'not_found'],
        }),
      },
    );
