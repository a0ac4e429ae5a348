import { Elysia } from 'elysia';
import {
  createComment,
  deleteComment,
  listComments,
  patchComment,
  readComment,
} from '../handlers/comments.ts';
import { publicUrl } from '../http/public-url.ts';
import { operation } from '../openapi/operation.ts';
import type { Platform } from '../platform.ts';
import { noContent } from '../plugins/default-headers.ts';
import { etag } from '../plugins/etag.ts';
import { idempotency } from '../plugins/idempotency.ts';
import type { UserRoutes } from '../plugins/route-groups.ts';
import {
  Comment,
  CommentCreate,
  CommentListQuery,
  CommentPage,
  CommentPatch,
  CommentPath,
} from '../schemas/comments.ts';
import { COMMENTS_PER_TASK_MAX, TaskPath } from '../schemas/tasks.ts';
import { Nothing } from '../schemas/types/object.ts';

export const comments = (platform: Platform, group: UserRoutes) => {
  const { database: db } = platform;
  return new Elysia({ tags: ['Comments'] })
    .use(group)
    .use(etag)
    .use(idempotency)
    .get(
      '/tasks/:task_id/comments',
      ({ user, params, query }) => listComments(db, user, params.task_id, query),
      {
        params: TaskPath,
        query: CommentListQuery,
        response: { 200: CommentPage },
        detail: operation('listComments', 'List the comments of a task', {
          problems: ['not_found', 'invalid_cursor'],
        }),
      },
    )
    .post(
      '/tasks/:task_id/comments',
      async ({ user, params: { task_id }, body, bindKey, withReplayHeader, createdWithETag }) => {
        const key = await bindKey('createComment', task_id.toLowerCase(), body);
        const made = await createComment(db, user, task_id, body, key);
        return createdWithETag(publicUrl(platform, '/comments'), withReplayHeader(made));
      },
      {
        params: TaskPath,
        body: CommentCreate,
        response: { 201: Comment },
        detail: operation('createComment', 'Comment on a task', {
          description: `Allowed for owners and editors, and for viewers where the project has \`viewers_may_comment\`. A task has up to ${COMMENTS_PER_TASK_MAX} comments.`,
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
      '/comments/:comment_id',
      async ({ user, params, withETagOr304 }) =>
        withETagOr304(await readComment(db, user, params.comment_id)),
      {
        params: CommentPath,
        response: { 200: Comment, 304: Nothing },
        detail: operation('readComment', 'Get a comment', { problems: ['not_found'] }),
      },
    )
    .patch(
      '/comments/:comment_id',
      async ({
        user,
        params: { comment_id },
        body: { version, ...input },
        expectVersion,
        orPresentVersion,
        withETag,
      }) => {
        const patched = patchComment(db, user, comment_id, input, expectVersion(version));
        return withETag(await orPresentVersion(patched, () => readComment(db, user, comment_id)));
      },
      {
        params: CommentPath,
        body: CommentPatch,
        response: { 200: Comment },
        detail: operation('patchComment', 'Edit a comment', {
          description: 'Allowed for its author, who has to be allowed to comment still.',
          problems: ['forbidden', 'not_found', 'conflict', 'precondition_failed'],
        }),
      },
    )
    .delete(
      '/comments/:comment_id',
      async ({ user, params: { comment_id }, expectVersion, orPresentVersion, set }) => {
        const deleted = deleteComment(db, user, comment_id, expectVersion());
        await orPresentVersion(deleted, () => readComment(db, user, comment_id));
        return noContent(set);
      },
      {
        params: CommentPath,
        response: { 204: Nothing },
        detail: operation('deleteComment', 'Delete a comment', {
          description:
            'Allowed for the owner of the project, and for its author, who has to be allowed to comment still.',
          problems: ['forbidden', 'not_found', 'conflict', 'precondition_failed'],
        }),
      },
    );
};
