import { type Static, Type } from '@sinclair/typebox';
import { invitedRoles, roles } from '../db/schema.ts';
import { Id } from './types/id.ts';
import { Instant } from './types/instant.ts';
import { Parameters, ResponseObject, StrictObject } from './types/object.ts';
import { OneOf } from './types/one-of.ts';
import { Page, pageParameters } from './types/page.ts';
import { Text } from './types/text.ts';

const meanings =
  'An `owner` can do everything, an `editor` can write tasks, a `viewer` can read and set the status of tasks that are assigned to them. All see the members.';

const fields = {
  user_id: Id('The user.'),
  username: Type.String({ examples: ['bob'] }),
  role: OneOf(roles, { title: 'Role', description: meanings, examples: ['editor'] }),
  created_at: Instant('When the user became a member.'),
};

export const Member = ResponseObject('Member', fields);
export type Member = Static<typeof Member>;

export const Membership = ResponseObject('Membership', {
  project_id: Id('The project.'),
  ...fields,
});
export type Membership = Static<typeof Membership>;

export const MemberPage = Page('MemberPage', Member);
export type MemberPage = Static<typeof MemberPage>;

export const MemberCreate = StrictObject('MemberCreate', {
  username: Text({
    minLength: 1,
    maxLength: 32,
    description: 'The user name, in upper or lower case.',
    examples: ['bob'],
  }),
  role: OneOf(invitedRoles, {
    description: 'The role. A project has one owner; to transfer it, change the role of a member.',
    examples: ['editor'],
  }),
});
export type MemberCreate = Static<typeof MemberCreate>;

export const MemberPatch = StrictObject(
  'MemberPatch',
  {
    role: Type.Optional(
      OneOf(roles, {
        title: 'Role',
        description: `${meanings} Setting \`owner\` transfers the project: you become an editor.`,
        examples: ['viewer'],
      }),
    ),
  },
  'A merge patch (RFC 7396): an omitted field keeps its value.',
);
export type MemberPatch = Static<typeof MemberPatch>;

export const MemberPath = Parameters({
  project_id: Id('The project.'),
  user_id: Id('The member.'),
});
export const MemberListQuery = Parameters(pageParameters);
