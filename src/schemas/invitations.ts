import { type Static, Type } from '@sinclair/typebox';
import { invitationStates, invitedRoles } from '../db/schema.ts';
import { Id } from './types/id.ts';
import { Instant, InstantInput } from './types/instant.ts';
import { Parameters, ResponseObject, StrictObject } from './types/object.ts';
import { OneOf } from './types/one-of.ts';
import { Page, pageParameters } from './types/page.ts';
import { Text } from './types/text.ts';

/** An invitation ends after this time unless it says otherwise, and at the latest after that. */
export const INVITATION_LIFETIME_DAYS = 7;
export const INVITATION_LIFETIME_MAX_DAYS = 90;
export const INVITATION_USES_DEFAULT = 1;
export const INVITATION_USES_MAX = 100;

const role = OneOf(invitedRoles, {
  description: 'The role of those who accept.',
  examples: ['viewer'],
});

const usesMax = {
  minimum: 1,
  maximum: INVITATION_USES_MAX,
  description: 'How many users can accept.',
  examples: [1],
};

export const InvitationCreate = StrictObject('InvitationCreate', {
  role,
  expires_at: Type.Optional(
    InstantInput(
      `When the invitation expires, up to ${INVITATION_LIFETIME_MAX_DAYS} days ahead. Omitted: in ${INVITATION_LIFETIME_DAYS} days.`,
    ),
  ),
  uses_max: Type.Optional(Type.Integer({ ...usesMax, default: INVITATION_USES_DEFAULT })),
});
export type InvitationCreate = Static<typeof InvitationCreate>;

const fields = {
  id: Id('The invitation.'),
  role,
  state: OneOf(invitationStates, {
    title: 'InvitationState',
    description: 'Only an `open` invitation can be accepted.',
    examples: ['open'],
  }),
  uses: Type.Integer({
    minimum: 0,
    maximum: INVITATION_USES_MAX,
    description: 'How many users have accepted.',
    examples: [0],
  }),
  uses_max: Type.Integer(usesMax),
  expires_at: Instant('When the invitation expires.'),
  created_at: Instant('When the invitation was created.'),
};

export const Invitation = ResponseObject('Invitation', fields);
export type Invitation = Static<typeof Invitation>;

const TOKEN = '^mi_[A-Za-z0-9_-]{43}$';
const tokenExamples = ['mi_q3Xv1mJ0b9K7yT5sR2wZ8nL4cF6hG1dE0aU9iO3pVxY'];

export const InvitationCreated = StrictObject('InvitationCreated', {
  ...fields,
  token: Type.String({
    description:
      'Give it to those whom you invite: it is all that they need. Returned only in this response.',
    examples: tokenExamples,
  }),
});
export type InvitationCreated = Static<typeof InvitationCreated>;

export const InvitationPage = Page('InvitationPage', Invitation);
export type InvitationPage = Static<typeof InvitationPage>;

/** The token of an invitation in a body, without an example: most requests have none. One of another form is unknown, as in a path. */
export const InvitationToken = Text({
  minLength: 1,
  maxLength: 100,
  description: 'The token of an invitation, to join its project.',
});

export const InvitationPath = Parameters({
  project_id: Id('The project.'),
  invitation_id: Id('The invitation.'),
});
export const InvitationTokenPath = Parameters({
  token: Type.String({
    pattern: TOKEN,
    description: 'The token of the invitation.',
    examples: tokenExamples,
  }),
});
export const InvitationListQuery = Parameters(pageParameters);
