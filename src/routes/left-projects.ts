import { Elysia } from 'elysia';
import { forgetLeftProject, listLeftProjects } from '../handlers/left-projects.ts';
import { operation } from '../openapi/operation.ts';
import type { Platform } from '../platform.ts';
import { noContent } from '../plugins/default-headers.ts';
import type { SessionRoutes } from '../plugins/route-groups.ts';
import { LeftProjectListQuery, LeftProjectPage } from '../schemas/left-projects.ts';
import { ProjectPath } from '../schemas/projects.ts';
import { Nothing } from '../schemas/types/object.ts';

export const leftProjects = ({ database: db }: Platform, group: SessionRoutes) =>
  new Elysia({ prefix: '/users/me/left-projects', tags: ['Members'] })
    .use(group)
    .get('/', ({ user, query }) => listLeftProjects(db, user, query), {
      query: LeftProjectListQuery,
      response: { 200: LeftProjectPage },
      detail: operation('listLeftProjects', 'List the projects you have left', {
        description: 'Latest first. The owner of such a project cannot add you again.',
        problems: ['forbidden', 'invalid_cursor'],
      }),
    })
    .delete(
      '/:project_id',
      async ({ user, params, set }) => {
        await forgetLeftProject(db, user, params.project_id);
        return noContent(set);
      },
      {
        params: ProjectPath,
        response: { 204: Nothing },
        detail: operation('forgetLeftProject', 'Allow to be added to a project again', {
          description:
            'The owner of the project can add you again. You are not added by this request.',
          problems: ['forbidden', 'not_found'],
        }),
      },
    );
