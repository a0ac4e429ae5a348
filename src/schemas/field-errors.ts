/** Turns TypeBox errors into field errors. Messages come from the rules and never contain a submitted value. */
import { type TSchema, Type } from '@sinclair/typebox';
import { type ValueError, ValueErrorType } from '@sinclair/typebox/errors';
import { Value } from '@sinclair/typebox/value';
import { ERRORS_MAX, type FieldError } from '../errors/problem.ts';
import { editDistance } from '../lib/edit-distance.ts';
import { type ValidationIssue, validate } from './types/kind.ts';
import { OneOf } from './types/one-of.ts';

/** Errors may share a location, as unknown fields of a form do. */
const ERRORS_SEEN_MAX = 100;

const PLACE = /^[A-Za-z_][A-Za-z0-9_-]{0,63}(\.(\d{1,6}|[A-Za-z_][A-Za-z0-9_-]{0,63})){0,4}$/;

/** Returns a location such as `body.operations.3.title`. An unknown name is included only if it looks like a field name. */
export function locate(where: string, name: string): string {
  return PLACE.test(name) ? `${where}.${name}` : where;
}

/**
 * Returns up to `ERRORS_MAX` fields that are not valid, with one error each.
 * @param where the fields are: `body`. @param hides_unknown leaves out the names of unknown fields.
 */
export function findFieldErrors(
  errors: Iterable<ValueError>,
  where: string,
  { hides_unknown = false } = {},
): FieldError[] {
  const found = new Map<string, FieldError>();
  let seen = 0;
  for (const error of selectedErrors(errors)) {
    const { index, ...issue } = findCause(error);
    const names = error.path.split('/').slice(1);
    const path = (index === undefined ? names : [...names, index]).join('.');
    const hidden = hides_unknown && issue.code === 'unknown_field';
    const location = path === '' || hidden ? where : locate(where, path);
    if (!found.has(location)) found.set(location, { location, ...issue });
    seen += 1;
    // After the first breach of a bound there may be any number of further errors.
    if (found.size === ERRORS_MAX || seen === ERRORS_SEEN_MAX || issue.code === 'too_many') break;
  }
  return [...found.values()];
}

function* selectedErrors(errors: Iterable<ValueError>): Iterable<ValueError> {
  for (const error of errors)
    if (error.type === ValueErrorType.Union && error.schema.discriminator)
      yield* variantErrors(error);
    else yield error;
}

/** Yields the errors of the variant that the discriminator of a union selects. */
function* variantErrors({ schema, value, path }: ValueError): Iterable<ValueError> {
  const name: string = schema.discriminator.propertyName;
  const variants: TSchema[] = schema.anyOf;
  const given = (value as Record<string, unknown> | null)?.[name];
  const meant = variants.find(({ properties }) => properties[name].const === given);
  const words = OneOf(variants.map(({ properties }) => properties[name].const));
  const asked = meant ?? Type.Object({ [name]: words });
  for (const error of Value.Errors(asked, value)) yield { ...error, path: path + error.path };
}

function findCause({ type, schema, value, path }: ValueError): ValidationIssue {
  const { minimum, maximum, minItems, maxItems, contains, anyOf } = schema;
  switch (type) {
    case ValueErrorType.ObjectRequiredProperty:
      return { code: 'required', message: 'is required' };
    case ValueErrorType.ObjectAdditionalProperties:
      return { code: 'unknown_field', message: unknownField(path, schema) };
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
      // Every other union is "a value or null": the error is that of the value.
      const cause = Value.Errors(anyOf[0], value).First();
      return cause ? findCause(cause) : { code: 'wrong_type', message: 'has the wrong type' };
    }
    default:
      if (value === undefined) return { code: 'required', message: 'is required' };
      return (
        validate(schema, value) ?? {
          code: 'wrong_type',
          message: `must be ${withArticle(schema.type)}`,
        }
      );
  }
}

const withArticle = (type: string) => (/^[aeio]/.test(type) ? `an ${type}` : `a ${type}`);

const NAME_LENGTH_MAX = 64;
const TYPING_ERRORS_MAX = 2;

/** Names the field that was probably meant: the closest one within two letters, whatever its case and separators. */
function unknownField(path: string, { properties = {} }: TSchema): string {
  const given = path.slice(path.lastIndexOf('/') + 1);
  const message = 'is not a field of this request';
  if (given.length > NAME_LENGTH_MAX) return message;
  const letters = (name: string) => name.toLowerCase().replace(/[_-]/g, '');
  const [closest] = Object.keys(properties)
    .map((name) => ({
      name,
      distance: editDistance(letters(given), letters(name), TYPING_ERRORS_MAX),
    }))
    // Of a short name, two letters are most of it.
    .filter(({ name, distance }) => distance <= Math.min(TYPING_ERRORS_MAX, name.length - 2))
    .sort((one, other) => one.distance - other.distance);
  return closest ? `${message}: did you mean ${closest.name}?` : message;
}
