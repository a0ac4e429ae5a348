import { Elysia } from 'elysia';
import {
  createProject,
  deleteProject,
  listProjects,
  patchProject,
  readProject,
} from '../handlers/projects.ts';
import { publicUrl } from '../http/public-url.ts';
import { operation } from '../openapi/operation.ts';
import type { Platform } from '../platform.ts';
import { noContent } from '../plugins/default-headers.ts';
import { etag } from '../plugins/etag.ts';
import { idempotency } from '../plugins/idempotency.ts';
import type { UserRoutes } from '../plugins/route-groups.ts';
import {
  Project,
  ProjectCreate,
  ProjectListQuery,
  ProjectPage,
  ProjectPatch,
  ProjectPath,
} from '../schemas/projects.ts';
import { Nothing } from '../schemas/types/object.ts';

export const projects = (platform: Platform, group: UserRoutes) => {
  const { database: db } = platform;
  return new Elysia({ prefix: '/projects', tags: ['Projects'] })
    .use(group)
    .use(etag)
    .use(idempotency)
    .post(
      '/',
      async ({ user, body, bindKey, withReplayHeader, createdWithETag }) => {
        const key = await bindKey('createProject', body);
        return createdWithETag(
          publicUrl(platform, '/projects'),
          withReplayHeader(await createProject(db, user, body, key)),
        );
      },
      {
        body: ProjectCreate,
        response: { 201: Project },
        detail: operation('createProject', 'Create a project', {
          problems: ['id_taken', 'idempotency_in_flight', 'idempotency_key_reused'],
        }),
      },
    )
    .get('/', ({ user, query }) => listProjects(db, user, query), {
      query: ProjectListQuery,
      response: { 200: ProjectPage },
      detail: operation('listProjects', 'List your projects', {
        problems: ['invalid_cursor'],
      }),
    })
    .get(
      '/:project_id',
      async ({ user, params, withETagOr304 }) =>
        withETagOr304(await readProject(db, user, params.project_id)),
      {
        params: ProjectPath,
        response: { 200: Project, 304: Nothing },
        detail: operation('readProject', 'Get a project', { problems: ['not_found'] }),
      },
    )
    .patch(
      '/:project_id',
      async ({
        user,
        params: { project_id },
        body: { version, ...input },
        expectVersion,
        orPresentVersion,
        withETag,
      }) => {
        const patched = patchProject(db, user, project_id, input, expectVersion(version));
        return withETag(await orPresentVersion(patched, () => readProject(db, user, project_id)));
      },
      {
        params: ProjectPath,
        body: ProjectPatch,
        response: { 200: Project },
        detail: operation('patchProject', 'Update a project', {
          description:
            'Allowed for the owner. An archived project accepts other fields only together with `"archived": false`.',
          problems: ['forbidden', 'not_found', 'conflict', 'precondition_failed'],
        }),
      },
    )
    .delete(
      '/:project_id',
      async ({ user, params: { project_id }, expectVersion, orPresentVersion, set }) => {
        const deleted = deleteProject(db, user, project_id, expectVersion());
        await orPresentVersion(deleted, () => readProject(db, user, project_id));
        return noContent(set);
      },
      {
        params: ProjectPath,
        response: { 204: Nothing },
        detail: operation('deleteProject', 'Delete a project and its tasks', {
          description: 'Allowed for the owner. Moves the project to the trash, with all it has.',
          problems: ['forbidden', 'not_found', 'precondition_failed'],
        }),
      },
    );
};
