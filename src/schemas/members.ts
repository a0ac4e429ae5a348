import { type Static, Type } from '@sinclair/typebox';
import { roles } from '../db/schema.ts';
import {
  Id,
  Instant,
  OneOf,
  Page,
  Parameters,
  pageParameters,
  Resource,
  StrictObject,
  Text,
} from './common.ts';

const meanings =
  'An `owner` may do all, an `editor` writes tasks and sees members, a `viewer` reads.';

export const Member = Resource('Member', {
  user_id: Id('The user.'),
  username: Type.String({ examples: ['bob'] }),
  role: OneOf(roles, { description: meanings, examples: ['editor'] }),
  created_at: Instant('Since when.'),
});
export type Member = Static<typeof Member>;

export const MemberPage = Page('MemberPage', Member);
export type MemberPage = Static<typeof MemberPage>;

export const MemberCreate = StrictObject('MemberCreate', {
  username: Text({
    minLength: 1,
    maxLength: 32,
    description: 'The user name, in any case.',
    examples: ['bob'],
  }),
  role: OneOf(['editor', 'viewer'], {
    description: 'A project has one owner; to hand it over, change the role of a member.',
    examples: ['editor'],
  }),
});
export type MemberCreate = Static<typeof MemberCreate>;

export const MemberPatch = StrictObject(
  'MemberPatch',
  {
    role: Type.Optional(
      OneOf(roles, {
        description: `${meanings} To make somebody \`owner\` hands the project over: you become an editor.`,
        examples: ['viewer'],
      }),
    ),
  },
  'A merge patch (RFC 7396): what is left out stays.',
);
export type MemberPatch = Static<typeof MemberPatch>;

export const MemberPath = Parameters({
  project_id: Id('The project.'),
  user_id: Id('The member.'),
});
export const MemberListQuery = Parameters(pageParameters);
