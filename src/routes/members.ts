import { Elysia } from 'elysia';
import { addMember, listMembers, patchMember, removeMember } from '../handlers/members.ts';
import type { Platform } from '../platform.ts';
import { noContent } from '../plugins/conventions.ts';
import type { CurrentUserPlugin } from '../plugins/current-user.ts';
import { operation } from '../plugins/operation.ts';
import { strictInput } from '../plugins/strict-input.ts';
import { Nothing } from '../schemas/common.ts';
import {
  Member,
  MemberCreate,
  MemberListQuery,
  MemberPage,
  MemberPatch,
  MemberPath,
} from '../schemas/members.ts';
import { ProjectPath } from '../schemas/projects.ts';

export const members = ({ database: db, settings }: Platform, current: CurrentUserPlugin) =>
  new Elysia({ prefix: '/projects/:project_id/members', tags: ['Members'] })
    .use(current)
    .use(strictInput(settings.body_limit_bytes))
    .get('/', ({ user, params, query }) => listMembers(db, user, params.project_id, query), {
      params: ProjectPath,
      query: MemberListQuery,
      response: { 200: MemberPage },
      detail: operation('listMembers', "List a project's members, newest first", {
        description: 'For owners and editors.',
        problems: ['forbidden', 'not_found', 'invalid_cursor'],
      }),
    })
    .post(
      '/',
      async ({ user, params, body, set }) => {
        const member = await addMember(db, user, params.project_id, body);
        set.status = 201;
        return member;
      },
      {
        params: ProjectPath,
        body: MemberCreate,
        response: { 201: Member },
        detail: operation('addMember', 'Make somebody a member', {
          description: 'For the owner.',
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
        detail: operation('patchMember', "Change a member's role, or hand the project over", {
          description: 'For the owner.',
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
        detail: operation('removeMember', 'Remove a member, or leave', {
          description:
            'The owner removes anybody else; everybody else may remove himself. His tasks stay, without an assignee.',
          problems: ['forbidden', 'not_found', 'conflict'],
        }),
      },
    );
