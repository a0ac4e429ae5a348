/** Objects, and values that can be null. */
import { Kind, type TSchema, Type } from '@sinclair/typebox';
import type { Annotations } from './kind.ts';

const strict = { additionalProperties: false } as const;

/** An object that refuses unknown fields. `name` is its name in the OpenAPI document. */
export const StrictObject = <T extends Record<string, TSchema>>(
  name: string,
  properties: T,
  description?: string,
) => Type.Object(properties, { ...strict, $id: name, description });

// Decision: docs/decisions/02-responses-checked-by-field.md
/**
 * An object that the server builds from a row. Only the names of its fields are checked before it is sent, so that no other
 * column can leak. Its values are not checked: the columns are constrained, the tests validate each response against the
 * document, and a full check of a page of tasks takes longer than PostgreSQL takes to find it.
 */
export const ResponseObject = <T extends Record<string, TSchema>>(name: string, properties: T) =>
  StrictObject(
    name,
    Object.fromEntries(
      Object.entries(properties).map(([name, schema]) => [name, { ...schema, [Kind]: 'Any' }]),
    ) as T,
  );

/** Path or query parameters; unknown ones are refused. */
export const Parameters = <T extends Record<string, TSchema>>(properties: T) =>
  Type.Object(properties, strict);

/** A value or null. The annotations of the value move to the pair, where readers of the document look for them. */
export const Nullable = <T extends TSchema>(schema: T, annotations: Annotations = {}) => {
  const { description, examples, ...value } = schema;
  return Type.Union([value as T, Type.Null()], { description, examples, ...annotations });
};

/** The body of a response without one (204, 304). */
export const Nothing = Type.Undefined();
