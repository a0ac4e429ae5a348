import { type Static, Type } from '@sinclair/typebox';
import { InvitationToken } from './invitations.ts';
import { Id } from './types/id.ts';
import { Instant } from './types/instant.ts';
import { ResponseObject, StrictObject } from './types/object.ts';
import { OneOf } from './types/one-of.ts';
import { Text } from './types/text.ts';

export const Username = Text({
  minLength: 3,
  maxLength: 32,
  pattern: '^[A-Za-z0-9_.-]+$',
  expected: 'letters, digits and the characters _ . - only',
  description: 'Unique, regardless of case.',
  examples: ['ada'],
});

// Decision: docs/decisions/31-ascii-emails.md
/** What browsers accept in <input type=email> (HTML Living Standard, "valid email address"), with a real domain. */
const EMAIL =
  "^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\\.)+[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$";

const Email = Text({
  minLength: 3,
  maxLength: 254,
  pattern: EMAIL,
  expected: 'an email address such as ada@example.org',
  description: 'Unique, regardless of case.',
  examples: ['ada@example.org'],
});

/** Lengths of the normal form (NFKC), in code points. */
export const newPasswordLength = { lengthMin: 8, lengthMax: 256 };
export const passwordLength = { ...newPasswordLength, lengthMin: 1 };

/** An existing password. It has no minimum length: a short one is wrong, not invalid. */
export const Password = (description: string) =>
  Text({
    minLength: passwordLength.lengthMin,
    maxLength: passwordLength.lengthMax,
    normalized: true,
    description,
    examples: ['correct horse battery staple'],
  });

const NewPassword = Text({
  minLength: newPasswordLength.lengthMin,
  maxLength: newPasswordLength.lengthMax,
  normalized: true,
  description:
    'Any characters, compared in Unicode normal form NFKC. Common passwords are refused.',
  examples: ['correct horse battery staple'],
});

export const Registration = StrictObject('Registration', {
  username: Username,
  email: Email,
  password: NewPassword,
  invitation: Type.Optional(InvitationToken),
});
export type Registration = Static<typeof Registration>;

export const User = ResponseObject('User', {
  id: Id('The user.'),
  username: Type.String({ examples: ['ada'] }),
  email: Type.String({ examples: ['ada@example.org'] }),
  created_at: Instant('When the account was created.'),
  updated_at: Instant('When the profile last changed.'),
});
export type User = Static<typeof User>;

export const UserPatch = StrictObject(
  'UserPatch',
  {
    username: Type.Optional(Username),
    email: Type.Optional(Email),
    password: Type.Optional(Password('Your password. A new email needs it.')),
  },
  'A merge patch (RFC 7396): what is left out stays.',
);
export type UserPatch = Static<typeof UserPatch>;

export const PasswordChange = StrictObject('PasswordChange', {
  current_password: Password('The current password.'),
  new_password: NewPassword,
});
export type PasswordChange = Static<typeof PasswordChange>;

export const AccountDeletion = StrictObject('AccountDeletion', {
  password: Password('Your password. The deletion cannot be undone.'),
  projects: Type.Optional(
    OneOf(['delete'], {
      description:
        '`delete`: also delete the projects that you own and that have other members. Without it such a project is a reason to refuse.',
      examples: ['delete'],
    }),
  ),
});
export type AccountDeletion = Static<typeof AccountDeletion>;
