import { type Static, Type } from '@sinclair/typebox';
import { scopes as all_scopes } from '../db/schema.ts';
import {
  Id,
  Instant,
  InstantInput,
  Nullable,
  OneOf,
  Page,
  Parameters,
  pageParameters,
  Resource,
  StrictObject,
  Text,
} from './common.ts';

const name = Text({
  minLength: 1,
  maxLength: 120,
  visible: true,
  description: 'What it is for.',
  examples: ['nightly report'],
});

const scopes = Type.Array(OneOf(all_scopes), {
  minItems: 1,
  uniqueItems: true,
  contains: Type.Literal('read'),
  description: '`read` lets it read; `write` comes with `read`.',
  examples: [['read', 'write']],
});

export const ApiTokenCreate = StrictObject('ApiTokenCreate', {
  name,
  scopes,
  expires_at: Type.Optional(
    Nullable(InstantInput('When it ends; null or left out: never.'), { examples: [null] }),
  ),
});
export type ApiTokenCreate = Static<typeof ApiTokenCreate>;

const fields = {
  id: Id('The API token.'),
  name,
  scopes,
  expires_at: Nullable(Instant('When it ends; null: never.'), { examples: [null] }),
  last_used_at: Nullable(Instant('When it was last used, to the minute; null: never.'), {
    examples: [null],
  }),
  created_at: Instant('When it was made.'),
};

export const ApiToken = Resource('ApiToken', fields);
export type ApiToken = Static<typeof ApiToken>;

export const ApiTokenCreated = StrictObject('ApiTokenCreated', {
  ...fields,
  token: Type.String({
    description: 'To send as `Authorization: Bearer`. Shown this once.',
    examples: ['mt_q3Xv1mJ0b9K7yT5sR2wZ8nL4cF6hG1dE0aU9iO3pVxY'],
  }),
});
export type ApiTokenCreated = Static<typeof ApiTokenCreated>;

export const ApiTokenPage = Page('ApiTokenPage', ApiToken);
export type ApiTokenPage = Static<typeof ApiTokenPage>;

export const ApiTokenPath = Parameters({ token_id: Id('The API token.') });
export const ApiTokenListQuery = Parameters(pageParameters);
