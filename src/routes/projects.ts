import { Elysia } from 'elysia';
import {
  createProject,
  deleteProject,
  listProjects,
  patchProject,
  readProject,
} from '../handlers/projects.ts';
import type { Platform } from '../platform.ts';
import { noContent } from '../plugins/conventions.ts';
import type { CurrentUserPlugin } from '../plugins/current-user.ts';
import { etag } from '../plugins/etag.ts';
import { idempotency } from '../plugins/idempotency.ts';
import { operation } from '../plugins/operation.ts';
import { strictInput } from '../plugins/strict-input.ts';
import { Nothing } from '../schemas/common.ts';
import {
  Project,
  ProjectCreate,
  ProjectListQuery,
  ProjectPage,
  ProjectPatch,
  ProjectPath,
} from '../schemas/projects.ts';

export const projects = ({ database: db, settings }: Platform, current: CurrentUserPlugin) =>
  new Elysia({ prefix: '/projects', tags: ['Projects'] })
    .use(current)
    .use(strictInput(settings.body_limit_bytes))
    .use(etag)
    .use(idempotency)
    .post(
      '/',
      async ({ user, body, keyFor, firstOrReplayed, created }) => {
        const key = await keyFor('createProject', body);
        return created('/projects', firstOrReplayed(await createProject(db, user, body, key)));
      },
      {
        body: ProjectCreate,
        response: { 201: Project },
        detail: operation('createProject', 'Make a project, and own it', {
          problems: ['idempotency_in_flight', 'idempotency_key_reused'],
        }),
      },
    )
    .get('/', ({ user, query }) => listProjects(db, user, query), {
      query: ProjectListQuery,
      response: { 200: ProjectPage },
      detail: operation('listProjects', 'List your projects, own and shared', {
        problems: ['invalid_cursor'],
      }),
    })
    .get(
      '/:project_id',
      async ({ user, params, taggedOrUnmodified }) =>
        taggedOrUnmodified(await readProject(db, user, params.project_id)),
      {
        params: ProjectPath,
        response: { 200: Project, 304: Nothing },
        detail: operation('readProject', 'Read a project', { problems: ['not_found'] }),
      },
    )
    .patch(
      '/:project_id',
      async ({ user, params, body, expected, tagged }) =>
        tagged(await patchProject(db, user, params.project_id, body, expected)),
      {
        params: ProjectPath,
        body: ProjectPatch,
        response: { 200: Project },
        detail: operation('patchProject', 'Change or archive a project', {
          description:
            'For its owner. An archived project takes `archived` alone, or together with others when it is `false`.',
          problems: ['forbidden', 'not_found', 'conflict', 'precondition_failed'],
        }),
      },
    )
    .delete(
      '/:project_id',
      async ({ user, params, expected, set }) => {
        await deleteProject(db, user, params.project_id, expected);
        return noContent(set);
      },
      {
        params: ProjectPath,
        response: { 204: Nothing },
        detail: operation('deleteProject', 'Delete a project with its tasks', {
          description: 'For its owner.',
          problems: ['forbidden', 'not_found', 'precondition_failed'],
        }),
      },
    );
