import { Elysia } from 'elysia';
import {
  acceptInvitation,
  createInvitation,
  listInvitations,
  revokeInvitation,
} from '../handlers/invitations.ts';
import { operation } from '../openapi/operation.ts';
import type { Platform } from '../platform.ts';
import { audit } from '../plugins/audit.ts';
import { noContent } from '../plugins/default-headers.ts';
import type { SessionRoutes, UserRoutes } from '../plugins/route-groups.ts';
import {
  InvitationCreate,
  InvitationCreated,
  InvitationListQuery,
  InvitationPage,
  InvitationPath,
  InvitationTokenPath,
} from '../schemas/invitations.ts';
import { Membership } from '../schemas/members.ts';
import { ProjectPath } from '../schemas/projects.ts';
import { Nothing } from '../schemas/types/object.ts';

export const invitations = (platform: Platform, group: UserRoutes) => {
  const { database: db } = platform;
  return new Elysia({ prefix: '/projects/:project_id/invitations', tags: ['Invitations'] })
    .use(group)
    .use(audit(platform))
    .get('/', ({ user, params, query }) => listInvitations(db, user, params.project_id, query), {
      params: ProjectPath,
      query: InvitationListQuery,
      response: { 200: InvitationPage },
      detail: operation('listInvitations', "List a project's invitations", {
        description:
          'Allowed for the owner. Latest first: the open ones, and the latest 100 that have ended.',
        problems: ['forbidden', 'not_found', 'invalid_cursor'],
      }),
    })
    .post(
      '/',
      async ({ user, params: { project_id }, body, set, audit }) => {
        const invitation = await createInvitation(db, user, project_id, body);
        const invitationId = invitation.id;
        audit('invitation_created', { user_id: user.id, project_id, invitation_id: invitationId });
        set.status = 201;
        return invitation;
      },
      {
        params: ProjectPath,
        body: InvitationCreate,
        response: { 201: InvitationCreated },
        detail: operation('createInvitation', 'Invite to a project', {
          description:
            'Allowed for the owner. Who has the token can join the project, and can register for that where registration is closed. A project may have 100 open invitations.',
          problems: ['forbidden', 'not_found', 'conflict'],
        }),
      },
    )
    .delete(
      '/:invitation_id',
      async ({ user, params: { project_id, invitation_id }, set, audit }) => {
        await revokeInvitation(db, user, project_id, invitation_id);
        audit('invitation_revoked', { user_id: user.id, project_id, invitation_id });
        return noContent(set);
      },
      {
        params: InvitationPath,
        response: { 204: Nothing },
        detail: operation('revokeInvitation', 'Revoke an invitation', {
          description: 'Allowed for the owner. Those who have accepted it stay members.',
          problems: ['forbidden', 'not_found', 'conflict'],
        }),
      },
    );
};

/** What the holder of an invitation does. It needs a log-in: an API token joins no project. */
export const acceptances = (platform: Platform, group: SessionRoutes) => {
  const { database: db, settings } = platform;
  return new Elysia({ prefix: '/invitations', tags: ['Invitations'] }).use(group).post(
    '/:token/accept',
    async ({ user, params: { token }, device: { address }, audit }) => {
      const limits = { address, rateLimit: settings.rateLimit };
      const { membership, invitation_id, joined } = await acceptInvitation(db, user, token, limits);
      const { project_id } = membership;
      if (joined) audit('invitation_accepted', { user_id: user.id, project_id, invitation_id });
      return membership;
    },
    {
      params: InvitationTokenPath,
      response: { 200: Membership },
      detail: operation('acceptInvitation', 'Accept an invitation', {
        description:
          'Makes you a member of the project. A member keeps their role, and takes no use of the invitation, so it is safe to repeat. You can join a project that you have left.',
        problems: ['forbidden', 'not_found', 'conflict', 'invitation_ended', 'rate_limited'],
      }),
    },
  );
};
