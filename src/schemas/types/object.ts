/** Objects, and values that can be null. */
import { Kind, type TObject, type TSchema, Type } from '@sinclair/typebox';
import { type Annotations, defineKind, Rules, wrongType } from './kind.ts';

const strict = { additionalProperties: false } as const;

/** An object that refuses unknown fields. `name` is its name in the OpenAPI document. */
export const StrictObject = <T extends Record<string, TSchema>>(
  name: string,
  properties: T,
  description?: string,
) => Type.Object(properties, { ...strict, $id: name, description });

/** The fields of an object that the server builds. */
interface ResponseRules {
  /** Whether an answer has to have the field. */
  fields: ReadonlyMap<string, boolean>;
  requiredCount: number;
  /** The names of the latest valid object: most objects have the same, in the same order. */
  latest: readonly string[];
}

// TypeBox looks each field up in a list that it makes anew for each object, once one of the fields is optional.
defineKind('ResponseObject', (schema, value) => {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return wrongType('an object');
  const rules = (schema as unknown as { [Rules]: ResponseRules })[Rules];
  const names = Object.keys(value);
  if (isSame(names, rules.latest)) return undefined;
  let found = 0;
  for (const name of names) {
    const isRequired = rules.fields.get(name);
    if (isRequired === undefined)
      return { code: 'unknown_field', message: `must not have ${name}` };
    if (isRequired) found += 1;
  }
  if (found < rules.requiredCount) return { code: 'missing', message: 'must have all fields' };
  rules.latest = names;
  return undefined;
});

function isSame(some: readonly string[], others: readonly string[]): boolean {
  if (some.length !== others.length) return false;
  for (let n = 0; n < some.length; n += 1) if (some[n] !== others[n]) return false;
  return true;
}

// Decision: docs/decisions/02-responses-checked-by-field.md
/**
 * An object that the server builds from a row. Only the names of its fields are checked before it is sent, so that no other
 * column can leak. Its values are not checked: the columns are constrained, the tests validate each response against the
 * document, and a full check of a page of tasks takes longer than PostgreSQL takes to find it.
 */
export const ResponseObject = <T extends Record<string, TSchema>>(
  name: string,
  properties: T,
): TObject<T> => {
  const object = StrictObject(name, properties);
  const { required = [] } = object as TObject;
  const fields = new Map(Object.keys(properties).map((field) => [field, required.includes(field)]));
  const rules: ResponseRules = { fields, requiredCount: required.length, latest: [] };
  // To TypeBox's types it is an object like any other.
  return { ...object, [Kind]: 'ResponseObject' as string, [Rules]: rules } as TObject<T>;
};

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
