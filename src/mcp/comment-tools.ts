/** Comments on tasks: what a tool writes, and what one that reads a task shows of them. */
import { Type } from '@sinclair/typebox';
import { createComments, listComments } from '../handlers/comments.ts';
import { findPeople } from '../handlers/task-people.ts';
import { CommentCreate } from '../schemas/comments.ts';
import { Text } from '../schemas/types/text.ts';
import { callKey } from './call-key.ts';
import type { Caller } from './caller.ts';
import { closed, optional, taskId } from './pieces.ts';
import { ifVisible } from './problem-result.ts';
import { quoteLines } from './quote.ts';
import type { CommentView, WholeTask } from './task-view.ts';
import { defineTool } from './tool.ts';

const COMMENTS_MAX = 100;
/** Of each task, the latest comments are shown. */
const SHOWN_MAX = 5;

const text = Type.String();

export const commentTool = defineTool('comment', {
  description: 'Comment on up to 100 tasks, all or none. Replayed as create_tasks.',
  effect: 'writes',
  input: closed({
    comments: Type.Array(
      closed({ task: taskId, body: { ...CommentCreate.properties.body, description: 'Markdown' } }),
      { minItems: 1, maxItems: COMMENTS_MAX },
    ),
    key: optional(Text({ minLength: 1, maxLength: 100 })),
  }),
  output: closed({ ids: Type.Array(text), replayed: Type.Boolean() }),
  async run({ db, user }, { comments, key }) {
    const drafts = comments.map(({ task, body }) => ({ task_id: task, body }));
    const request = await callKey('comment', drafts, key);
    const location = (index: number) => `body.comments.${index}.task`;
    const { row, replayed } = await createComments(db, user, drafts, request, location);
    const ids = row.map(({ id }) => id);
    const sentence = replayed
      ? `Nothing new: the same call wrote ${ids.length} comments before.`
      : `${ids.length} comments written.`;
    return {
      data: { ids, replayed },
      text: [sentence, ...row.map(({ id, task_id }) => `- id ${id} · task ${task_id}`)].join('\n'),
    };
  },
});

/** Returns the tasks with their latest comments, oldest first. */
export async function withComments(
  { db, user }: Caller,
  tasks: readonly WholeTask[],
): Promise<WholeTask[]> {
  const commented = tasks.filter(({ comment_count }) => comment_count !== undefined);
  const latest = { limit: SHOWN_MAX, sort: '-created_at' } as const;
  const pages = await Promise.all(
    commented.map(({ id }) => ifVisible(() => listComments(db, user, id, latest))),
  );
  const found = pages.flatMap((page) => page?.items ?? []);
  const people = await findPeople(db, new Set(found.flatMap(({ author_id }) => author_id ?? [])));
  const views = found.toReversed().map(({ task_id, author_id, created_at, body }) => {
    const author = author_id === null ? undefined : people.get(author_id)?.username;
    return { task_id, view: { ...(author !== undefined && { author }), at: created_at, body } };
  });
  const ofTasks = Map.groupBy(views, ({ task_id }) => task_id);
  return tasks.map((task) => {
    const comments = ofTasks.get(task.id)?.map(({ view }) => view);
    return { ...task, ...(comments && { comments }) };
  });
}

/** Returns the comments of a task as lines of a text, with how many there are. */
export const commentLines = ({ comments = [], comment_count }: WholeTask): string[] =>
  comments.length === 0
    ? []
    : [`The latest ${comments.length} of ${comment_count} comments:`, ...comments.map(linesOf)];

const linesOf = ({ author, at, body }: CommentView) =>
  `${author === undefined ? 'A deleted account' : `@${author}`}, ${at}:\n${quoteLines(body)}`;
