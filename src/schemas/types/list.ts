/** Lists of distinct values. TypeBox hashes each item to tell a repeated one, before it looks at how many there are. */
import { Kind, type Static, type TSchema, Type } from '@sinclair/typebox';
import { type Annotations, defineKind, validate, wrongType } from './kind.ts';

defineKind('DistinctList', (schema, value) => {
  const { items, maxItems } = schema as unknown as { items: TSchema; maxItems: number };
  if (!Array.isArray(value)) return wrongType('an array');
  if (value.length > maxItems) return { code: 'too_many', message: `at most ${maxItems} items` };
  for (const [index, one] of value.entries()) {
    const issue = validate(items, one);
    if (issue) return { ...issue, index };
  }
  return new Set(value).size < value.length
    ? { code: 'repeated', message: 'must not repeat an item' }
    : undefined;
});

/** An array of distinct texts or other values of our own kinds. */
export const DistinctList = <T extends TSchema>(
  items: T,
  { itemsMax, ...annotations }: { itemsMax: number } & Annotations,
) =>
  Type.Unsafe<Static<T>[]>({
    [Kind]: 'DistinctList',
    type: 'array',
    items,
    maxItems: itemsMax,
    uniqueItems: true,
    ...annotations,
  });
