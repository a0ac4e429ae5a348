import { Elysia } from 'elysia';
import { addMember, listMembers, patchMember, removeMember } from '../handlers/members.ts';
import { clientIp } from '../http/client-ip.ts';
import { operation } from '../openapi/operation.ts';
import type { Platform } from '../platform.ts';
import { noContent } from '../plugins/default-headers.ts';
import type { UserRoutes } from '../plugins/route-groups.ts';
import {
  Member,
  MemberCreate,
  MemberListQuery,
  MemberPage,
  MemberPatch,
  MemberPath,
} from '../schemas/members.ts';
import { ProjectPath } from '../schemas/projects.ts';
import { Nothing } from '../schemas/types/object.ts';

export const members = (platform: Platform, group: UserRoutes) => {
  const { database: db, settings } = platform;
  return new Elysia({ prefix: '/projects/:project_id/members', tags: ['Members'] })
    .use(group)
    .get('/', ({ user, params, query }) => listMembers(db, user, params.project_id, query), {
      params: ProjectPath,
      query: MemberListQuery,
      response: { 200: MemberPage },
      detail: operation('listMembers', "List a project's members", {
        description: 'For all members.',
        problems: ['not_found', 'invalid_cursor'],
      }),
    })
    .post(
      '/',
      async ({ user, params, body, request, set }) => {
        const { rateLimit } = settings;
        const limits = { address: clientIp(platform, request), rateLimit };
        const member = await addMember(db, user, params.project_id, body, limits);
        set.status = 201;
        return member;
      },
      {
        params: ProjectPath,
        body: MemberCreate,
        response: { 201: Member },
        detail: operation('addMember', 'Add a member', {
          description:
            'Allowed for the owner. A user who has left the project gets 409 until they allow to be added again.',
          problems: ['forbidden', 'not_found', 'conflict'],
        }),
      },
    )
    .patch(
      '/:user_id',
      ({ user, params: { project_id, user_id }, body }) =>
        patchMember(db, user, project_id, user_id, body),
      {
        params: MemberPath,
        body: MemberPatch,
        response: { 200: Member },
        detail: operation('patchMember', 'Change the role of a member', {
          description: 'Allowed for the owner.',
          problems: ['forbidden', 'not_found', 'conflict'],
        }),
      },
    )
    .delete(
      '/:user_id',
      async ({ user, params: { project_id, user_id }, set }) => {
        await removeMember(db, user, project_id, user_id);
        return noContent(set);
      },
      {
        params: MemberPath,
        response: { 204: Nothing },
        detail: operation('removeMember', 'Remove a member or leave the project', {
          description:
            'The owner removes any other member; all members may remove themselves, also from an archived project. Their tasks stay, without an assignee. The owner cannot add a member who has left again, until that user allows it with `DELETE /users/me/left-projects/{project_id}`.',
          problems: ['forbidden', 'not_found', 'conflict'],
        }),
      },
    );
};
