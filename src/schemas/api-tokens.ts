import { type Static, Type } from '@sinclair/typebox';
import { scopes as allScopes } from '../db/schema.ts';
import { Id } from './types/id.ts';
import { Instant, InstantInput } from './types/instant.ts';
import { Nullable, Parameters, ResponseObject, StrictObject } from './types/object.ts';
import { OneOf } from './types/one-of.ts';
import { Page, pageParameters } from './types/page.ts';
import { Text } from './types/text.ts';

const name = Text({
  minLength: 1,
  maxLength: 120,
  visible: true,
  description: 'What the token is for.',
  examples: ['nightly report'],
});

const scopes = Type.Array(OneOf(allScopes), {
  minItems: 1,
  maxItems: allScopes.length,
  uniqueItems: true,
  contains: Type.Literal('read'),
  description: '`read` allows reading. `write` requires `read`.',
  examples: [['read', 'write']],
});

export const ApiTokenCreate = StrictObject('ApiTokenCreate', {
  name,
  scopes,
  expires_at: Type.Optional(
    Nullable(InstantInput('When the token expires. Null or omitted: never.'), { examples: [null] }),
  ),
});
export type ApiTokenCreate = Static<typeof ApiTokenCreate>;

const fields = {
  id: Id('The API token.'),
  name,
  scopes,
  expires_at: Nullable(Instant('When the token expires; null: never.'), { examples: [null] }),
  last_used_at: Nullable(Instant('When the token was last used, to the minute; null: never.'), {
    examples: [null],
  }),
  created_at: Instant('When the token was created.'),
};

export const ApiToken = ResponseObject('ApiToken', fields);
export type ApiToken = Static<typeof ApiToken>;

export const ApiTokenCreated = StrictObject('ApiTokenCreated', {
  ...fields,
  token: Type.String({
    description: 'Send it as `Authorization: Bearer`. Returned only in this response.',
    examples: ['mt_q3Xv1mJ0b9K7yT5sR2wZ8nL4cF6hG1dE0aU9iO3pVxY'],
  }),
});
export type ApiTokenCreated = Static<typeof ApiTokenCreated>;

export const ApiTokenPage = Page('ApiTokenPage', ApiToken);
export type ApiTokenPage = Static<typeof ApiTokenPage>;

export const ApiTokenPath = Parameters({ token_id: Id('The API token.') });
export const ApiTokenListQuery = Parameters(pageParameters);
