import { type Static, Type } from '@sinclair/typebox';
import { Id, Instant, Resource, StrictObject, Text } from './common.ts';

export const Username = Text({
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

const PASSWORD_LENGTH_MIN = 8;
const PASSWORD_LENGTH_MAX = 256;

/** A password that somebody claims to have: too short a one is wrong, not invalid. */
export const Password = (description: string) =>
  Text({
    minLength: 1,
    maxLength: PASSWORD_LENGTH_MAX,
    normalized: true,
    description,
    examples: ['correct horse battery staple'],
  });

const NewPassword = Text({
  minLength: PASSWORD_LENGTH_MIN,
  maxLength: PASSWORD_LENGTH_MAX,
  normalized: true,
  description: 'Any characters, compared in Unicode normal form NFKC. Common ones are refused.',
  examples: ['correct horse battery staple'],
});

export const Registration = StrictObject('Registration', {
  username: Username,
  email: Email,
  password: NewPassword,
});
export type Registration = Static<typeof Registration>;

export const User = Resource('User', {
  id: Id('The user.'),
  username: Type.String({ examples: ['ada'] }),
  email: Type.String({ examples: ['ada@example.org'] }),
  created_at: Instant('When the account was made.'),
  updated_at: Instant('When the profile last changed.'),
});
export type User = Static<typeof User>;

export const UserPatch = StrictObject(
  'UserPatch',
  { username: Type.Optional(Username), email: Type.Optional(Email) },
  'A merge patch (RFC 7396): what is left out stays.',
);
export type UserPatch = Static<typeof UserPatch>;

export const PasswordChange = StrictObject('PasswordChange', {
  current_password: Password('The password until now.'),
  new_password: NewPassword,
});
export type PasswordChange = Static<typeof PasswordChange>;

export const AccountDeletion = StrictObject('AccountDeletion', {
  password: Password('Your password: deletion cannot be undone.'),
});
export type AccountDeletion = Static<typeof AccountDeletion>;
