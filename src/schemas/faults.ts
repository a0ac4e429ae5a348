/** What is wrong with a value under a schema, in words made from the rules alone: a submitted value is in none of them. */
import { type TSchema, Type } from '@sinclair/typebox';
import { type ValueError, ValueErrorType } from '@sinclair/typebox/errors';
import { Value } from '@sinclair/typebox/value';
import { ERRORS_MAX, type FieldError } from '../problem.ts';
import { type Fault, findFault, OneOf } from './common.ts';

const PLACE = /^[A-Za-z_][A-Za-z0-9_-]{0,63}(\.(\d{1,6}|[A-Za-z_][A-Za-z0-9_-]{0,63})){0,4}$/;

/** `body.title`, `body.operations.3.title`. A name that is none of ours is shown only if it looks like one. */
export function locate(where: string, name: string): string {
  return PLACE.test(name) ? `${where}.${name}` : where;
}

/**
 * The fields that need attention, one fault for each, so many as an answer names.
 * @param where they are: `body`. @param hides_unknown whether unknown fields are told without their names.
 */
export function findFieldErrors(
  errors: Iterable<ValueError>,
  where: string,
  { hides_unknown = false } = {},
): FieldError[] {
  const found = new Map<string, FieldError>();
  for (const error of meantErrors(errors)) {
    const fault = findCause(error);
    const path = error.path.split('/').slice(1).join('.');
    const hidden = hides_unknown && fault.code === 'unknown_field';
    const location = path === '' || hidden ? where : locate(where, path);
    if (!found.has(location)) found.set(location, { location, ...fault });
    if (found.size === ERRORS_MAX) break;
  }
  return [...found.values()];
}

function* meantErrors(errors: Iterable<ValueError>): Iterable<ValueError> {
  for (const error of errors)
    if (error.type === ValueErrorType.Union && error.schema.discriminator)
      yield* variantErrors(error);
    else yield error;
}

/** Of a union whose variants are told apart by a field, the errors of the one that is meant. */
function* variantErrors({ schema, value, path }: ValueError): Iterable<ValueError> {
  const name: string = schema.discriminator.propertyName;
  const variants: TSchema[] = schema.anyOf;
  const given = (value as Record<string, unknown> | null)?.[name];
  const meant = variants.find(({ properties }) => properties[name].const === given);
  const words = OneOf(variants.map(({ properties }) => properties[name].const));
  const asked = meant ?? Type.Object({ [name]: words });
  for (const error of Value.Errors(asked, value)) yield { ...error, path: path + error.path };
}

function findCause({ type, schema, value }: ValueError): Fault {
  const { minimum, maximum, minItems, maxItems, contains, anyOf } = schema;
  switch (type) {
    case ValueErrorType.ObjectRequiredProperty:
      return { code: 'required', message: 'is required' };
    case ValueErrorType.ObjectAdditionalProperties:
      return { code: 'unknown_field', message: 'is not a field of this request' };
    case ValueErrorType.IntegerMinimum:
    case ValueErrorType.IntegerMaximum:
      return {
        code: 'out_of_range',
        message: `must be a whole number from ${minimum} to ${maximum}`,
      };
    case ValueErrorType.ArrayMinItems:
      return { code: 'too_few', message: `at least ${minItems}` };
    case ValueErrorType.ArrayContains:
      return { code: 'incomplete', message: `must contain ${JSON.stringify(contains.const)}` };
    case ValueErrorType.ArrayMaxItems:
      return { code: 'too_many', message: `at most ${maxItems} items` };
    case ValueErrorType.ArrayUniqueItems:
      return { code: 'repeated', message: 'must not repeat an item' };
    case ValueErrorType.Literal:
      return { code: 'not_allowed', message: `must be ${JSON.stringify(schema.const)}` };
    case ValueErrorType.Union: {
      // Every union here is "something or null": the fault lies in the something.
      const cause = Value.Errors(anyOf[0], value).First();
      return cause ? findCause(cause) : { code: 'wrong_type', message: 'has the wrong type' };
    }
    default:
      if (value === undefined) return { code: 'required', message: 'is required' };
      return (
        findFault(schema, value) ?? {
          code: 'wrong_type',
          message: `must be ${withArticle(schema.type)}`,
        }
      );
  }
}

const withArticle = (type: string) => (/^[aeio]/.test(type) ? `an ${type}` : `a ${type}`);
