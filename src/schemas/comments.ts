import { type Static, Type } from '@sinclair/typebox';
import { ChosenId } from './types/chosen-id.ts';
import { Id } from './types/id.ts';
import { Instant } from './types/instant.ts';
import { Nullable, Parameters, ResponseObject, StrictObject } from './types/object.ts';
import { Page, pageParameters } from './types/page.ts';
import { SortBy } from './types/query.ts';
import { Text } from './types/text.ts';
import { ExpectedVersion } from './types/version.ts';

const body = Text({
  minLength: 1,
  maxLength: 20_000,
  visible: true,
  description: 'Markdown, kept and returned as text.',
  examples: ['Slate, please: it hides **everything**.'],
});

/** The fields that a comment has in every response. */
export const commentFields = {
  id: Id('The comment.'),
  task_id: Id('The task it belongs to.'),
  author_id: Nullable(Id('The author; null after the account was deleted.')),
  body,
  created_at: Instant('When the comment was written.'),
  edited_at: Nullable(Instant('When the comment was last edited; null if it never was.'), {
    examples: [null],
  }),
  version: Type.Integer({
    minimum: 1,
    description: 'Increases by one with each edit.',
    examples: [1],
  }),
};

export const Comment = ResponseObject('Comment', commentFields);
export type Comment = Static<typeof Comment>;

export const CommentPage = Page('CommentPage', Comment);
export type CommentPage = Static<typeof CommentPage>;

export const CommentCreate = StrictObject('CommentCreate', { id: ChosenId('the comment'), body });
export type CommentCreate = Static<typeof CommentCreate>;

export const CommentPatch = StrictObject(
  'CommentPatch',
  {
    body: Type.Optional(body),
    version: ExpectedVersion({ description: 'Write only on this version, as `If-Match` does.' }),
  },
  'A merge patch (RFC 7396): an omitted field keeps its value.',
);
export type CommentPatch = Static<typeof CommentPatch>;

export const CommentPath = Parameters({ comment_id: Id('The comment.') });

export const commentSorts = ['created_at'] as const;

export const CommentListQuery = Parameters({ ...pageParameters, sort: SortBy(commentSorts) });
export type CommentListQuery = Static<typeof CommentListQuery>;
