/**
 * The building blocks of every schema: one source for validation, types and OpenAPI.
 *
 * TypeBox counts UTF-16 units, takes 2024-02-30 for a date and `urn:uuid:…` for a UUID. Where the contract is
 * stricter, the schema has a kind of its own: its keywords describe it to OpenAPI, its function decides. The
 * function gives the fault that a client reads, or undefined, so that a rule and its message stand together.
 */
import { Kind, type Static, type TSchema, Type, TypeRegistry } from '@sinclair/typebox';
import { validate as isUuid } from 'uuid';

export interface Fault {
  code: string;
  message: string;
}

const faultFinders = new Map<string, (schema: TSchema, value: unknown) => Fault | undefined>();

/** What is wrong with `value` under a schema of one of the kinds below; undefined for other schemas. */
export function findFault(schema: TSchema, value: unknown): Fault | undefined {
  return faultFinders.get(schema[Kind])?.(schema, value);
}

export function defineKind(
  kind: string,
  find: (schema: TSchema, value: unknown) => Fault | undefined,
) {
  faultFinders.set(kind, find);
  TypeRegistry.Set(kind, (schema: TSchema, value) => find(schema, value) === undefined);
}

const wrongType = (expected: string): Fault => ({
  code: 'wrong_type',
  message: `must be ${expected}`,
});

interface Annotations {
  description?: string;
  examples?: unknown[];
}

// --- Text -----------------------------------------------------------------------------------------------------

interface TextRules {
  /** Demands a letter, a number, a mark of punctuation or a symbol. */
  visible?: boolean;
  /** What the pattern asks for, in words. */
  expected?: string;
  /** Lengths are those of the NFKC form, which is what is hashed (NIST SP 800-63B §3.1.1.2). */
  normalized?: boolean;
}

/** What JSON Schema has a word for, and so OpenAPI shows. */
interface TextKeywords extends Annotations {
  minLength?: number;
  maxLength: number;
  pattern?: string;
}

/** Rules stand under a symbol, where they are not taken for JSON Schema. */
const Rules = Symbol('rules');

/** Letters and symbols that draw nothing: Hangul fillers and the blank Braille pattern. */
const BLANK_LETTERS = /[\u115f\u1160\u2800\u3164\uffa0]/gu;
const VISIBLE = /[\p{L}\p{N}\p{P}\p{S}]/u;

/** How many UTF-16 units one code point of a normal form can have been: a letter and its marks, or a surrogate pair. */
const UNITS_PER_CODE_POINT_MAX = 8;

defineKind('Text', (schema, value) => {
  const { minLength = 0, maxLength, pattern } = schema as unknown as TextKeywords;
  const { visible, expected, normalized } = (schema as unknown as { [Rules]: TextRules })[Rules];
  if (typeof value !== 'string') return wrongType('a string');
  if (value.includes('\0') || !value.isWellFormed())
    return { code: 'invalid_text', message: 'must be Unicode text without NUL' };
  // Before normalizing: that takes time in the square of a run of combining marks, and a megabyte of them took hours.
  if (value.length > maxLength * UNITS_PER_CODE_POINT_MAX)
    return { code: 'too_long', message: `at most ${maxLength} characters` };
  const length = codePoints(normalized ? value.normalize('NFKC') : value);
  if (length < minLength)
    return {
      code: 'too_short',
      message: `at least ${minLength} character${minLength === 1 ? '' : 's'}`,
    };
  if (length > maxLength) return { code: 'too_long', message: `at most ${maxLength} characters` };
  if (visible && !VISIBLE.test(value.replace(BLANK_LETTERS, '')))
    return { code: 'blank', message: 'must contain a visible character' };
  if (pattern && !new RegExp(pattern, 'u').test(value))
    return { code: 'invalid_format', message: `must be ${expected}` };
  return undefined;
});

/** Lengths count code points, so that an emoji counts as what it is in JSON Schema and in PostgreSQL: one. */
function codePoints(text: string): number {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

/** Unicode text, kept exactly; NUL and lone surrogates are refused. Lengths are in code points. */
export const Text = ({ visible, expected, normalized, ...keywords }: TextRules & TextKeywords) =>
  Type.Unsafe<string>({
    [Kind]: 'Text',
    [Rules]: { visible, expected, normalized },
    type: 'string',
    ...keywords,
  });

// --- Instants --------------------------------------------------------------------------------------------------

const INSTANT =
  /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))$/;

/**
 * Reads an RFC 3339 date-time (§5.6) with any offset. Days that the calendar lacks, leap seconds, fractions
 * finer than a millisecond and years outside 1970 to 9999 (in UTC) are no instants here.
 * @returns the same instant in UTC with milliseconds, or undefined.
 */
export function parseInstant(text: string): string | undefined {
  const [
    ,
    year,
    month,
    day,
    hour,
    minute,
    second,
    fraction = '',
    ,
    offsetHour = '0',
    offsetMinute = '0',
  ] = INSTANT.exec(text) ?? [];
  if (year === undefined || Number(hour) > 23 || Number(minute) > 59 || Number(second) > 59)
    return undefined;
  if (Number(offsetHour) > 23 || Number(offsetMinute) > 59 || /[1-9]/.test(fraction.slice(3)))
    return undefined;
  const lastDay = new Date(Date.UTC(Number(year), Number(month), 0)).getUTCDate();
  if (Number(month) < 1 || Number(month) > 12 || Number(day) < 1 || Number(day) > lastDay)
    return undefined;
  const instant = new Date(text.toUpperCase());
  const utcYear = instant.getUTCFullYear();
  return utcYear >= 1970 && utcYear <= 9999 ? instant.toISOString() : undefined;
}

defineKind('Instant', (_, value) => {
  if (typeof value !== 'string') return wrongType('a string');
  return parseInstant(value) === undefined
    ? {
        code: 'invalid_instant',
        message:
          'must be an RFC 3339 instant of the years 1970 to 9999 with at most 3 decimals, such as 2026-11-23T03:14:07.123Z',
      }
    : undefined;
});

/** An RFC 3339 instant as clients may send it, to the millisecond, with any offset. */
export const InstantInput = (description: string) =>
  Type.Unsafe<string>({
    [Kind]: 'Instant',
    type: 'string',
    format: 'date-time',
    description: `${description} With at most three decimals.`,
    examples: ['2026-12-24T18:00:00+01:00'],
  });

/** An instant as the server writes it: UTC with milliseconds. */
export const Instant = (description: string) =>
  Type.Unsafe<string>({
    [Kind]: 'Instant',
    type: 'string',
    format: 'date-time',
    description,
    examples: ['2026-11-23T03:14:07.123Z'],
  });

// --- Ids, numbers in the query, null ---------------------------------------------------------------------------

defineKind('Id', (_, value) => {
  if (typeof value !== 'string') return wrongType('a string');
  return isUuid(value) ? undefined : { code: 'invalid_id', message: 'must be a UUID' };
});

/** A UUID (RFC 9562) with hyphens. The server writes lower case and reads either. */
export const Id = (description: string) =>
  Type.Unsafe<string>({
    [Kind]: 'Id',
    type: 'string',
    format: 'uuid',
    description,
    examples: ['019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23'],
  });

defineKind('QueryInteger', (schema, value) => {
  const { minimum, maximum } = schema as unknown as { minimum: number; maximum: number };
  const written =
    typeof value === 'number' || (typeof value === 'string' && /^\d{1,9}$/.test(value));
  return written && Number(value) >= minimum && Number(value) <= maximum
    ? undefined
    : { code: 'out_of_range', message: `must be a whole number from ${minimum} to ${maximum}` };
});

/** A whole number in the query, where everything arrives as text; the handler gets a number. */
export const QueryInteger = (
  rules: { minimum: number; maximum: number; default?: number } & Annotations,
) =>
  Type.Transform(Type.Unsafe<number>({ [Kind]: 'QueryInteger', type: 'integer', ...rules }))
    .Decode(Number)
    .Encode((number) => number);

defineKind('OneOf', (schema, value) => {
  const { enum: values } = schema as unknown as { enum: readonly string[] };
  return values.some((one) => one === value)
    ? undefined
    : { code: 'not_allowed', message: `must be one of ${values.join(', ')}` };
});

/** One of a few words. */
export const OneOf = <const T extends readonly string[]>(
  values: T,
  annotations: Annotations & { default?: T[number] } = {},
) => Type.Unsafe<T[number]>({ [Kind]: 'OneOf', type: 'string', enum: values, ...annotations });

interface ListRules {
  item: TSchema;
  items_max: number;
}

defineKind('CommaList', (schema, value) => {
  const { item, items_max } = (schema as unknown as { [Rules]: ListRules })[Rules];
  const items = Array.isArray(value) ? value : String(value).split(',');
  if (items.length > items_max) return { code: 'too_many', message: `at most ${items_max} items` };
  if (new Set(items).size < items.length)
    return { code: 'repeated', message: 'must not repeat an item' };
  for (const one of items) {
    const fault = findFault(item, one);
    if (fault) return { ...fault, message: `each item ${fault.message}` };
  }
  return undefined;
});

/** Distinct values in the query with commas between them; the handler gets an array. */
export const CommaList = <T extends TSchema>(
  item: T,
  { items_max, ...annotations }: { items_max: number } & Annotations,
) =>
  Type.Transform(
    Type.Unsafe<Static<T>[]>({
      [Kind]: 'CommaList',
      type: 'string',
      [Rules]: { item, items_max },
      ...annotations,
    }),
  )
    .Decode((text) => String(text).split(',') as Static<T>[])
    .Encode((items) => items);

/** A value or null. What describes the value describes the pair, where readers of the document look. */
export const Nullable = <T extends TSchema>(schema: T, annotations: Annotations = {}) => {
  const { description, examples, ...value } = schema;
  return Type.Union([value as T, Type.Null()], { description, examples, ...annotations });
};

// --- Objects ---------------------------------------------------------------------------------------------------

const strict = { additionalProperties: false } as const;

/** An object that refuses unknown fields. `name` is its name in the OpenAPI document. */
export const StrictObject = <T extends Record<string, TSchema>>(
  name: string,
  properties: T,
  description?: string,
) => Type.Object(properties, { ...strict, $id: name, description });

/**
 * What the server writes out of a row. Columns hold nothing but what they may, and the tests hold each answer against the
 * document, so in an answer only the names of its fields are checked, which is how one that nobody should see would show:
 * to check a page of tasks by every rule takes longer than PostgreSQL to find it.
 */
export const Resource = <T extends Record<string, TSchema>>(name: string, properties: T) =>
  StrictObject(
    name,
    Object.fromEntries(
      Object.entries(properties).map(([name, schema]) => [name, { ...schema, [Kind]: 'Any' }]),
    ) as T,
  );

/** Path or query parameters; unknown ones are refused. */
export const Parameters = <T extends Record<string, TSchema>>(properties: T) =>
  Type.Object(properties, strict);

/** The body of an answer without one (204, 304). */
export const Nothing = Type.Undefined();

// --- Pages -----------------------------------------------------------------------------------------------------

export const PAGE_LIMIT_MAX = 200;
export const PAGE_LIMIT_DEFAULT = 50;
/** A key of 200 characters may take six bytes each as JSON, and four thirds of that in base64. */
const CURSOR_LENGTH_MAX = 4096;

const SEARCH_LENGTH_MAX = 200;

/** What people look for, in any language. */
export const Search = (where: string) =>
  Text({
    minLength: 1,
    maxLength: SEARCH_LENGTH_MAX,
    visible: true,
    description: `Every word of it must occur in ${where}, the last one as a beginning; without regard to case and accents. In scripts without spaces between words, what is given is found anywhere. It needs a letter, a digit or a symbol; punctuation is not looked for.`,
    examples: ['tiles kit'],
  });

/** A field to sort by, or with `-` in front of it for the greatest first. */
export const SortBy = <const T extends readonly string[]>(fields: T) =>
  OneOf(
    fields.flatMap((field: T[number]): (T[number] | `-${T[number]}`)[] => [field, `-${field}`]),
    {
      default: '-created_at' as `-${T[number]}`,
      description: 'What to sort by; `-` for the greatest first. Nulls come last either way.',
      examples: ['-created_at'],
    },
  );

export const pageParameters = {
  limit: QueryInteger({
    minimum: 1,
    maximum: PAGE_LIMIT_MAX,
    default: PAGE_LIMIT_DEFAULT,
    description: 'How many items a page holds at most.',
    examples: [20],
  }),
  cursor: Type.Optional(
    Text({
      minLength: 1,
      maxLength: CURSOR_LENGTH_MAX,
      description:
        'The `next_cursor` of the page before; opaque, and tied to the list it came from.',
    }),
  ),
};

/** One page of a list. */
export const Page = <T extends TSchema>(name: string, item: T) =>
  StrictObject(name, {
    items: Type.Array(item),
    next_cursor: Nullable(
      Type.String({
        description: 'Where the next page starts; null on the last.',
        examples: ['WyJwcm9qZWN0cyJd'],
      }),
    ),
  });

export type PageQuery = Static<ReturnType<typeof Parameters<typeof pageParameters>>>;
