import { type Static, Type } from '@sinclair/typebox';
import { Id, Instant, StrictObject, Text } from './common.ts';

const Username = Text({
  minLength: 3,
  maxLength: 32,
  pattern: '^[A-Za-z0-9_.-]+$',
  expected: 'letters, digits and the signs _ . - alone',
  description: 'Unique without regard to case.',
  examples: ['ada'],
});

/** What browsers accept in <input type=email> (HTML Living Standard, "valid email address"), with a real domain. */
const EMAIL =
  "^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\\.)+[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$";

const Email = Text({
  minLength: 3,
  maxLength: 254,
  pattern: EMAIL,
  expected: 'an email address such as ada@example.org',
  description: 'Unique without regard to case.',
  examples: ['ada@example.org'],
});

const PASSWORD_LENGTH_MAX = 256;

export const Registration = StrictObject('Registration', {
  username: Username,
  email: Email,
  password: Text({
    minLength: 8,
    maxLength: PASSWORD_LENGTH_MAX,
    normalized: true,
    description: 'Any characters. Compared in Unicode normal form NFKC.',
    examples: ['correct horse battery staple'],
  }),
});
export type Registration = Static<typeof Registration>;

export const Login = StrictObject('Login', {
  grant_type: Type.Optional(
    Type.Literal('password', {
      description: 'Sent by OAuth2 clients (RFC 6749 §4.3.2); may be left out.',
    }),
  ),
  username: Text({
    minLength: 1,
    maxLength: 254,
    description: 'The user name or the email.',
    examples: ['ada'],
  }),
  password: Text({
    minLength: 1,
    maxLength: PASSWORD_LENGTH_MAX,
    normalized: true,
    examples: ['correct horse battery staple'],
  }),
  scope: Type.Optional(
    Text({ maxLength: 256, description: 'Ignored: a log-in grants everything.' }),
  ),
  client_id: Type.Optional(Text({ maxLength: 256, description: 'Ignored.' })),
  client_secret: Type.Optional(Text({ maxLength: 256, description: 'Ignored.' })),
});
export type Login = Static<typeof Login>;

export const User = StrictObject('User', {
  id: Id('The user.'),
  username: Type.String({ examples: ['ada'] }),
  email: Type.String({ examples: ['ada@example.org'] }),
  created_at: Instant('When the account was made.'),
  updated_at: Instant('When the profile last changed.'),
});
export type User = Static<typeof User>;

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
  },
  'An OAuth2 token response (RFC 6749 §5.1).',
);
export type Tokens = Static<typeof Tokens>;
