/** Query parameters. They arrive as text, and `plugins/request-body` makes numbers and arrays of them before they are validated. */
import { Kind, type Static, type TSchema, Type } from '@sinclair/typebox';
import { type Annotations, defineKind, validate } from './kind.ts';
import { OneOf } from './one-of.ts';
import { Text } from './text.ts';

defineKind('QueryInteger', (schema, value) => {
  const { minimum, maximum } = schema as unknown as { minimum: number; maximum: number };
  return typeof value === 'number' && value >= minimum && value <= maximum
    ? undefined
    : { code: 'out_of_range', message: `must be a whole number from ${minimum} to ${maximum}` };
});

/** A whole number. */
export const QueryInteger = (
  rules: { minimum: number; maximum: number; default?: number } & Annotations,
) => Type.Unsafe<number>({ [Kind]: 'QueryInteger', type: 'integer', ...rules });

interface ListKeywords {
  items: TSchema;
  maxItems: number;
}

defineKind('QueryList', (schema, value) => {
  const { items: item, maxItems } = schema as unknown as ListKeywords;
  const items = value as unknown[];
  if (items.length > maxItems) return { code: 'too_many', message: `at most ${maxItems} items` };
  if (new Set(items).size < items.length)
    return { code: 'repeated', message: 'must not repeat an item' };
  for (const one of items) {
    const issue = validate(item, one);
    if (issue) return { ...issue, message: `each item ${issue.message}` };
  }
  return undefined;
});

/** Distinct values: `status=todo,done`, or `status=todo&status=done`. */
export const QueryList = <T extends TSchema>(
  item: T,
  annotations: { maxItems: number } & Annotations,
) =>
  Type.Unsafe<Static<T>[]>({
    [Kind]: 'QueryList',
    type: 'array',
    items: item,
    uniqueItems: true,
    ...annotations,
  });

const SEARCH_LENGTH_MAX = 200;

/** The text of a full-text search, in any language. @param where it looks: `the title or the description`. */
export const Search = (where: string) =>
  Text({
    minLength: 1,
    maxLength: SEARCH_LENGTH_MAX,
    visible: true,
    description: `Finds items where ${where} contains every word; the last word matches as a prefix. Case and accents are ignored. In scripts without spaces between words, the text matches anywhere. It must contain a letter, a digit or a symbol; punctuation is ignored.`,
    examples: ['tiles kit'],
  });

/** A field to sort by; a leading `-` sorts in descending order. */
export const SortBy = <const T extends readonly string[]>(fields: T) =>
  OneOf(
    fields.flatMap((field: T[number]): (T[number] | `-${T[number]}`)[] => [field, `-${field}`]),
    {
      default: '-created_at' as `-${T[number]}`,
      description: 'The sort order; a leading `-` means descending. Nulls come last in both.',
      examples: ['-created_at'],
    },
  );

/** Returns the names of the parameters of one kind. */
export const namesOfKind = (kind: 'QueryInteger' | 'QueryList', parameters: TSchema): string[] =>
  Object.entries(parameters.properties as Record<string, TSchema>)
    .filter(([, schema]) => schema[Kind] === kind)
    .map(([name]) => name);
