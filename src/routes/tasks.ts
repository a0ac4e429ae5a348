import { Elysia } from 'elysia';
import { batchTasks } from '../handlers/task-batch.ts';
import { listAllTasks, listTasks } from '../handlers/task-lists.ts';
import { createTask, deleteTask, patchTask, readTask, replaceTask } from '../handlers/tasks.ts';
import type { Platform } from '../platform.ts';
import { noContent } from '../plugins/conventions.ts';
import type { CurrentUserPlugin } from '../plugins/current-user.ts';
import { etag } from '../plugins/etag.ts';
import { idempotency } from '../plugins/idempotency.ts';
import { operation } from '../plugins/operation.ts';
import { strictInput } from '../plugins/strict-input.ts';
import { Nothing } from '../schemas/common.ts';
import { ProjectPath } from '../schemas/projects.ts';
import {
  BatchResults,
  Task,
  TaskBatch,
  TaskListQuery,
  TaskPage,
  TaskPatch,
  TaskPath,
  TaskWrite,
} from '../schemas/tasks.ts';

export const tasks = ({ database: db, settings }: Platform, current: CurrentUserPlugin) =>
  new Elysia({ prefix: '/tasks', tags: ['Tasks'] })
    .use(current)
    .use(strictInput(settings.body_limit_bytes))
    .use(etag)
    .use(idempotency)
    .post(
      '/projects/:project_id',
      async ({ user, params: { project_id }, body, keyFor, firstOrReplayed, created }) => {
        const key = await keyFor('createTask', project_id.toLowerCase(), body);
        const made = await createTask(db, user, project_id, body, key);
        return created('/tasks', firstOrReplayed(made));
      },
      {
        params: ProjectPath,
        body: TaskWrite,
        response: { 201: Task },
        detail: operation('createTask', 'Make a task in a project', {
          description: 'For owners and editors.',
          problems: [
            'forbidden',
            'not_found',
            'conflict',
            'idempotency_in_flight',
            'idempotency_key_reused',
          ],
        }),
      },
    )
    .get(
      '/projects/:project_id',
      ({ user, params, query }) => listTasks(db, user, params.project_id, query),
      {
        params: ProjectPath,
        query: TaskListQuery,
        response: { 200: TaskPage },
        detail: operation('listTasks', "List a project's tasks", {
          problems: ['not_found', 'invalid_cursor'],
        }),
      },
    )
    .get('/', ({ user, query }) => listAllTasks(db, user, query), {
      query: TaskListQuery,
      response: { 200: TaskPage },
      detail: operation('listAllTasks', 'List the tasks of all your projects', {
        problems: ['invalid_cursor'],
      }),
    })
    .post(
      '/batch',
      async ({ user, body, keyFor, firstOrReplayed }) => {
        const key = await keyFor('batchTasks', body);
        return firstOrReplayed(await batchTasks(db, user, body, key));
      },
      {
        body: TaskBatch,
        response: { 200: BatchResults },
        detail: operation('batchTasks', 'Create, update and delete many tasks, all or none', {
          description:
            'For owners and editors of the projects. The first operation that cannot be done decides the problem, whose `errors` name it.',
          problems: [
            'forbidden',
            'not_found',
            'conflict',
            'precondition_failed',
            'idempotency_in_flight',
            'idempotency_key_reused',
          ],
        }),
      },
    )
    .get(
      '/:task_id',
      async ({ user, params, taggedOrUnmodified }) =>
        taggedOrUnmodified(await readTask(db, user, params.task_id)),
      {
        params: TaskPath,
        response: { 200: Task, 304: Nothing },
        detail: operation('readTask', 'Read a task', { problems: ['not_found'] }),
      },
    )
    .put(
      '/:task_id',
      async ({ user, params, body, expected, tagged }) =>
        tagged(await replaceTask(db, user, params.task_id, body, expected)),
      {
        params: TaskPath,
        body: TaskWrite,
        response: { 200: Task },
        detail: operation('replaceTask', 'Replace every writable field of a task', {
          description: 'For owners and editors. What is left out goes back to its default.',
          problems: ['forbidden', 'not_found', 'conflict', 'precondition_failed'],
        }),
      },
    )
    .patch(
      '/:task_id',
      async ({ user, params, body, expected, tagged }) =>
        tagged(await patchTask(db, user, params.task_id, body, expected)),
      {
        params: TaskPath,
        body: TaskPatch,
        response: { 200: Task },
        detail: operation('patchTask', 'Change the fields given', {
          description: 'For owners and editors. What is left out stays.',
          problems: ['forbidden', 'not_found', 'conflict', 'precondition_failed'],
        }),
      },
    )
    .delete(
      '/:task_id',
      async ({ user, params, expected, set }) => {
        await deleteTask(db, user, params.task_id, expected);
        return noContent(set);
      },
      {
        params: TaskPath,
        response: { 204: Nothing },
        detail: operation('deleteTask', 'Delete a task', {
          description: 'For owners and editors.',
          problems: ['forbidden', 'not_found', 'conflict', 'precondition_failed'],
        }),
      },
    );
