import { type Static, Type } from '@sinclair/typebox';
import { Id } from './types/id.ts';
import { Instant } from './types/instant.ts';
import { Nullable, Parameters, ResponseObject, StrictObject } from './types/object.ts';
import { Page, pageParameters } from './types/page.ts';
import { Text } from './types/text.ts';
import { Password } from './users.ts';

/** Parameters that OAuth2 clients add to a token request. They change nothing. */
const oauthExtras = {
  scope: Type.Optional(Text({ maxLength: 256, description: 'Ignored.' })),
  client_id: Type.Optional(Text({ maxLength: 256, description: 'Ignored.' })),
  client_secret: Type.Optional(Text({ maxLength: 256, description: 'Ignored.' })),
};

const grant = <const T extends string>(name: T) =>
  Type.Optional(
    Type.Literal(name, { description: 'Sent by OAuth2 clients (RFC 6749); optional.' }),
  );

/** Not `Login`: that differs from the operation `logIn` only in case, and generated clients name files after both. */
export const Credentials = StrictObject('Credentials', {
  grant_type: grant('password'),
  username: Text({
    minLength: 1,
    maxLength: 254,
    description: 'The user name or the email.',
    examples: ['ada'],
  }),
  password: Password('The password of the account.'),
  ...oauthExtras,
});
export type Credentials = Static<typeof Credentials>;

/** A token is 256 bits in base64url; a longer one cannot be valid. */
const REFRESH_TOKEN_LENGTH_MAX = 256;
const EXAMPLE_TOKEN = 'q3Xv1mJ0b9K7yT5sR2wZ8nL4cF6hG1dE0aU9iO3pVxY';

export const Refresh = StrictObject('Refresh', {
  grant_type: grant('refresh_token'),
  refresh_token: Text({
    minLength: 1,
    maxLength: REFRESH_TOKEN_LENGTH_MAX,
    description: 'The latest refresh token of the session.',
    examples: [EXAMPLE_TOKEN],
  }),
  ...oauthExtras,
});
export type Refresh = Static<typeof Refresh>;

export const Tokens = StrictObject(
  'Tokens',
  {
    access_token: Type.String({
      description: 'A JWT (RFC 9068). Send it as `Authorization: Bearer`.',
      examples: ['eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiIwMTlhIn0.c2lnbmF0dXJl'],
    }),
    token_type: Type.Literal('bearer'),
    expires_in: Type.Integer({
      description: 'Seconds until the access token expires.',
      examples: [900],
    }),
    refresh_token: Type.String({
      description: 'Send it to `POST /users/refresh`, once: each refresh returns the next one.',
      examples: [EXAMPLE_TOKEN],
    }),
  },
  'An OAuth2 token response (RFC 6749 §5.1).',
);
export type Tokens = Static<typeof Tokens>;

export const Session = ResponseObject('Session', {
  id: Id('The session.'),
  current: Type.Boolean({
    description: 'Whether this request belongs to the session.',
    examples: [true],
  }),
  user_agent: Nullable(Type.String(), {
    description: 'The `User-Agent` of the client.',
    examples: ['curl/8.5.0'],
  }),
  address: Nullable(Type.String(), {
    description: 'The IP address that last used the session.',
    examples: ['203.0.113.7'],
  }),
  created_at: Instant('When the user logged in.'),
  last_used_at: Instant('When the session was last refreshed.'),
  expires_at: Instant('When the session ends, if it is not refreshed again.'),
});
export type Session = Static<typeof Session>;

export const SessionPage = Page('SessionPage', Session);
export type SessionPage = Static<typeof SessionPage>;

export const SessionPath = Parameters({ session_id: Id('The session.') });
export const SessionListQuery = Parameters(pageParameters);
