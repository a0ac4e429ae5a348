import { type Static, Type } from '@sinclair/typebox';
import {
  Id,
  Instant,
  Nullable,
  Page,
  Parameters,
  pageParameters,
  Resource,
  StrictObject,
  Text,
} from './common.ts';
import { Password } from './users.ts';

/** What OAuth2 clients add to a token request; a log-in grants everything, to whatever client. */
const oauth_extras = {
  scope: Type.Optional(Text({ maxLength: 256, description: 'Ignored.' })),
  client_id: Type.Optional(Text({ maxLength: 256, description: 'Ignored.' })),
  client_secret: Type.Optional(Text({ maxLength: 256, description: 'Ignored.' })),
};

const grant = <const T extends string>(name: T) =>
  Type.Optional(
    Type.Literal(name, { description: 'Sent by OAuth2 clients (RFC 6749); may be left out.' }),
  );

export const Login = StrictObject('Login', {
  grant_type: grant('password'),
  username: Text({
    minLength: 1,
    maxLength: 254,
    description: 'The user name or the email.',
    examples: ['ada'],
  }),
  password: Password('What the account was registered with.'),
  ...oauth_extras,
});
export type Login = Static<typeof Login>;

/** 256 bits in base64url; anything longer was never ours. */
const REFRESH_TOKEN_LENGTH_MAX = 256;
const EXAMPLE_TOKEN = 'q3Xv1mJ0b9K7yT5sR2wZ8nL4cF6hG1dE0aU9iO3pVxY';

export const Refresh = StrictObject('Refresh', {
  grant_type: grant('refresh_token'),
  refresh_token: Text({
    minLength: 1,
    maxLength: REFRESH_TOKEN_LENGTH_MAX,
    description: 'The latest one of the session.',
    examples: [EXAMPLE_TOKEN],
  }),
  ...oauth_extras,
});
export type Refresh = Static<typeof Refresh>;

export const Tokens = StrictObject(
  'Tokens',
  {
    access_token: Type.String({
      description: 'A JWT (RFC 9068), to send as `Authorization: Bearer`.',
      examples: ['eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiIwMTlhIn0.c2lnbmF0dXJl'],
    }),
    token_type: Type.Literal('bearer'),
    expires_in: Type.Integer({
      description: 'Seconds until the access token expires.',
      examples: [900],
    }),
    refresh_token: Type.String({
      description: 'For `POST /users/refresh`, once: each refresh gives the next.',
      examples: [EXAMPLE_TOKEN],
    }),
  },
  'An OAuth2 token response (RFC 6749 §5.1).',
);
export type Tokens = Static<typeof Tokens>;

export const Session = Resource('Session', {
  id: Id('The session.'),
  current: Type.Boolean({ description: 'Whether this request belongs to it.', examples: [true] }),
  user_agent: Nullable(Type.String(), {
    description: 'What the device called itself.',
    examples: ['curl/8.5.0'],
  }),
  address: Nullable(Type.String(), {
    description: 'Where it was last used from.',
    examples: ['203.0.113.7'],
  }),
  created_at: Instant('When it began with a log-in.'),
  last_used_at: Instant('When it was last refreshed.'),
  expires_at: Instant('When it ends at the latest.'),
});
export type Session = Static<typeof Session>;

export const SessionPage = Page('SessionPage', Session);
export type SessionPage = Static<typeof SessionPage>;

export const SessionPath = Parameters({ session_id: Id('The session.') });
export const SessionListQuery = Parameters(pageParameters);
