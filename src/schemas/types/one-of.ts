/** One of a fixed set of strings. With a title, the set is a schema of its own in the OpenAPI document. */
import { Kind, Type } from '@sinclair/typebox';
import { type Annotations, defineKind } from './kind.ts';

defineKind('OneOf', (schema, value) => {
  const { enum: values } = schema as unknown as { enum: readonly string[] };
  return values.some((one) => one === value)
    ? undefined
    : { code: 'not_allowed', message: `must be one of ${values.join(', ')}` };
});

export const OneOf = <const T extends readonly string[]>(
  values: T,
  annotations: Annotations & { title?: string; default?: T[number] } = {},
) => Type.Unsafe<T[number]>({ [Kind]: 'OneOf', type: 'string', enum: values, ...annotations });
