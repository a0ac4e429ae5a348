import { Elysia } from 'elysia';
import { discard, emptyTrash, listTrash, restore } from '../handlers/trash.ts';
import { operation } from '../openapi/operation.ts';
import type { Platform } from '../platform.ts';
import { noContent } from '../plugins/default-headers.ts';
import type { UserRoutes } from '../plugins/route-groups.ts';
import { Restored, TrashListQuery, TrashPage, TrashPath } from '../schemas/trash.ts';
import { Nothing } from '../schemas/types/object.ts';

export const trash = (
  { database: db, settings: { trashRetentionSeconds } }: Platform,
  group: UserRoutes,
) =>
  new Elysia({ prefix: '/trash', tags: ['Trash'] })
    .use(group)
    .get('/', ({ user, query }) => listTrash(db, user, query, trashRetentionSeconds), {
      query: TrashListQuery,
      response: { 200: TrashPage },
      detail: operation('listTrash', 'List what you can restore', {
        description:
          'Deleted tasks of the projects in which you are an owner or an editor, and your deleted projects. Latest first. A project that was deleted has its tasks with it. Tasks of an archived project are listed once it is unarchived.',
        problems: ['invalid_cursor'],
      }),
    })
    .post(
      '/:trash_id/restore',
      ({ user, params }) => restore(db, user, params.trash_id, trashRetentionSeconds),
      {
        params: TrashPath,
        response: { 200: Restored },
        detail: operation('restoreFromTrash', 'Restore a task or a project', {
          description:
            'A task returns to its project, with its next version, and without an assignee who is no member any more. A project returns with its members, tasks and history. 409 where the project of the task is archived or in the trash itself.',
          problems: ['not_found', 'forbidden', 'conflict'],
        }),
      },
    )
    .delete(
      '/:trash_id',
      async ({ user, params, set }) => {
        await discard(db, user, params.trash_id, trashRetentionSeconds);
        return noContent(set);
      },
      {
        params: TrashPath,
        response: { 204: Nothing },
        detail: operation('deleteFromTrash', 'Delete from the trash', {
          description: 'Deletes the task or the project for good.',
          problems: ['not_found', 'forbidden', 'conflict'],
        }),
      },
    )
    .delete(
      '/',
      async ({ user, set }) => {
        await emptyTrash(db, user, trashRetentionSeconds);
        return noContent(set);
      },
      {
        response: { 204: Nothing },
        detail: operation('emptyTrash', 'Empty the trash', {
          description: 'Deletes for good all that the list has.',
        }),
      },
    );
