/** Lists, one page at a time. */
import { type Static, type TSchema, Type } from '@sinclair/typebox';
import { Nullable, type Parameters, StrictObject } from './object.ts';
import { QueryInteger } from './query.ts';
import { Text } from './text.ts';

export const PAGE_LIMIT_MAX = 200;
const PAGE_LIMIT_DEFAULT = 50;
/** A sort key of 200 characters takes up to six bytes a character as JSON, and four thirds of that as base64. */
const CURSOR_LENGTH_MAX = 4096;

export const pageParameters = {
  limit: QueryInteger({
    minimum: 1,
    maximum: PAGE_LIMIT_MAX,
    default: PAGE_LIMIT_DEFAULT,
    description: 'The maximum number of items in a page.',
    examples: [20],
  }),
  cursor: Type.Optional(
    Text({
      minLength: 1,
      maxLength: CURSOR_LENGTH_MAX,
      description:
        'The `next_cursor` of the previous page. Opaque, and valid only for the same list with the same filters and sort.',
    }),
  ),
};

export type PageQuery = Static<ReturnType<typeof Parameters<typeof pageParameters>>>;

/** One page of a list. */
export const Page = <T extends TSchema>(name: string, item: T) =>
  StrictObject(name, {
    items: Type.Array(item, { maxItems: PAGE_LIMIT_MAX }),
    next_cursor: Nullable(
      Type.String({
        description: 'Send it as `cursor` to get the next page; null on the last page.',
        examples: ['WyJwcm9qZWN0cyJd'],
      }),
    ),
  });
