import { Elysia } from 'elysia';
import { batchTasks } from '../handlers/task-batch.ts';
import { expandTasks } from '../handlers/task-expansions.ts';
import { countTasks, listAllTasks, listSubtasks, listTasks } from '../handlers/task-lists.ts';
import { createTask, deleteTask, patchTask, readTask, replaceTask } from '../handlers/tasks.ts';
import { publicUrl } from '../http/public-url.ts';
import { operation } from '../openapi/operation.ts';
import type { Platform } from '../platform.ts';
import { noContent } from '../plugins/default-headers.ts';
import { etag } from '../plugins/etag.ts';
import { idempotency } from '../plugins/idempotency.ts';
import type { UserRoutes } from '../plugins/route-groups.ts';
import { ProjectPath } from '../schemas/projects.ts';
import {
  AllTasksQuery,
  BatchResults,
  SubtaskListQuery,
  Task,
  TaskBatch,
  TaskCount,
  TaskCountQuery,
  TaskListQuery,
  TaskPage,
  TaskPatch,
  TaskPath,
  TaskQuery,
  TaskReplace,
  TaskWrite,
} from '../schemas/tasks.ts';
import { Nothing } from '../schemas/types/object.ts';

export const tasks = (platform: Platform, group: UserRoutes) => {
  const { database: db } = platform;
  return new Elysia({ prefix: '/tasks', tags: ['Tasks'] })
    .use(group)
    .use(etag)
    .use(idempotency)
    .post(
      '/projects/:project_id',
      async ({
        user,
        params: { project_id },
        body,
        bindKey,
        withReplayHeader,
        createdWithETag,
      }) => {
        const key = await bindKey('createTask', project_id.toLowerCase(), body);
        const made = await createTask(db, user, project_id, body, key);
        return createdWithETag(publicUrl(platform, '/tasks'), withReplayHeader(made));
      },
      {
        params: ProjectPath,
        body: TaskWrite,
        response: { 201: Task },
        detail: operation('createTask', 'Create a task', {
          description: 'Allowed for owners and editors.',
          problems: [
            'forbidden',
            'not_found',
            'conflict',
            'id_taken',
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
    .get('/count', ({ user, query }) => countTasks(db, user, query), {
      query: TaskCountQuery,
      response: { 200: TaskCount },
      detail: operation('countTasks', 'Count tasks', {
        description: 'Counts the tasks of all your projects, with the filters of their list.',
        problems: ['not_found'],
      }),
    })
    .get('/', ({ user, query }) => listAllTasks(db, user, query), {
      query: AllTasksQuery,
      response: { 200: TaskPage },
      detail: operation('listAllTasks', 'List tasks of all your projects', {
        problems: ['not_found', 'invalid_cursor'],
      }),
    })
    .post(
      '/batch',
      async ({ user, body, bindKey, withReplayHeader }) => {
        const key = await bindKey('batchTasks', body);
        return withReplayHeader(await batchTasks(db, user, body, key));
      },
      {
        body: TaskBatch,
        response: { 200: BatchResults },
        detail: operation('batchTasks', 'Create, update and delete tasks in one batch', {
          description:
            'Allowed for owners and editors of the projects; a viewer can set the `status` of tasks that are assigned to them. Applies all operations or none. If one is refused, `errors` of the problem names the first.',
          problems: [
            'forbidden',
            'not_found',
            'conflict',
            'id_taken',
            'precondition_failed',
            'idempotency_in_flight',
            'idempotency_key_reused',
          ],
        }),
      },
    )
    .get(
      '/:task_id',
      async ({ user, params, query, withETag, withETagOr304 }) => {
        const task = await readTask(db, user, params.task_id);
        if (query.expand === undefined) return withETagOr304(task);
        const [expanded = task] = await expandTasks(db, query.expand, [task]);
        return withETag(expanded);
      },
      {
        params: TaskPath,
        query: TaskQuery,
        response: { 200: Task, 304: Nothing },
        detail: operation('readTask', 'Get a task', { problems: ['not_found'] }),
      },
    )
    .get(
      '/:task_id/subtasks',
      ({ user, params, query }) => listSubtasks(db, user, params.task_id, query),
      {
        params: TaskPath,
        query: SubtaskListQuery,
        response: { 200: TaskPage },
        detail: operation('listSubtasks', "List a task's subtasks", {
          description: 'Those right below the task, with any status.',
          problems: ['not_found', 'invalid_cursor'],
        }),
      },
    )
    .put(
      '/:task_id',
      async ({ user, params: { task_id }, body, expectVersion, orPresentVersion, withETag }) => {
        const replaced = replaceTask(db, user, task_id, body, expectVersion(body.version));
        return withETag(await orPresentVersion(replaced, () => readTask(db, user, task_id)));
      },
      {
        params: TaskPath,
        body: TaskReplace,
        response: { 200: Task },
        detail: operation('replaceTask', 'Replace a task', {
          description:
            'Allowed for owners and editors. An omitted field is reset to its default. Read-only fields may be sent back as they were read; `project_id` is among them, and PATCH moves a task.',
          problems: ['forbidden', 'not_found', 'conflict', 'precondition_failed'],
        }),
      },
    )
    .patch(
      '/:task_id',
      async ({
        user,
        params: { task_id },
        body: { version, ...input },
        expectVersion,
        orPresentVersion,
        withETag,
      }) => {
        const patched = patchTask(db, user, task_id, input, expectVersion(version));
        return withETag(await orPresentVersion(patched, () => readTask(db, user, task_id)));
      },
      {
        params: TaskPath,
        body: TaskPatch,
        response: { 200: Task },
        detail: operation('patchTask', 'Update a task', {
          description:
            'Allowed for owners and editors; a viewer can set the `status` alone of a task that is assigned to them. An omitted field keeps its value. With `project_id`, the task moves to another project, where you have to be an owner or editor too.',
          problems: ['forbidden', 'not_found', 'conflict', 'precondition_failed'],
        }),
      },
    )
    .delete(
      '/:task_id',
      async ({ user, params: { task_id }, expectVersion, orPresentVersion, set }) => {
        const deleted = deleteTask(db, user, task_id, expectVersion());
        await orPresentVersion(deleted, () => readTask(db, user, task_id));
        return noContent(set);
      },
      {
        params: TaskPath,
        response: { 204: Nothing },
        detail: operation('deleteTask', 'Delete a task', {
          description:
            'Allowed for owners and editors. Moves the task to the trash, with its subtasks.',
          problems: ['forbidden', 'not_found', 'conflict', 'precondition_failed'],
        }),
      },
    );
};
