/**
 * Schema kinds of our own. TypeBox counts UTF-16 units and accepts 2024-02-30 as a date and `urn:uuid:…` as a UUID. Where
 * the contract is stricter, a schema has its own kind: its keywords describe it to OpenAPI, and its function validates. The
 * function returns the issue that the client reads, so a rule and its message stand together.
 */
// Decision: docs/decisions/08-schema-kinds.md
import { Kind, type TSchema, TypeRegistry } from '@sinclair/typebox';

export interface ValidationIssue {
  code: string;
  message: string;
  /** Of the item at fault, where the value is a list. */
  index?: number;
}

type Validator = (schema: TSchema, value: unknown) => ValidationIssue | undefined;

/** What describes a schema to a reader of the OpenAPI document. */
export interface Annotations {
  description?: string;
  examples?: unknown[];
}

/**
 * Returns the schema with other annotations, and with its type: that of a spread would hold symbols of TypeBox, which a
 * declaration file cannot name.
 */
export const annotated = <T extends TSchema>(
  schema: T,
  annotations: Annotations & { readOnly?: true },
): T => ({ ...schema, ...annotations });

/** Holds the rules that JSON Schema has no keyword for. A symbol keeps them out of the document. */
export const Rules = Symbol('rules');

const validators = new Map<string, Validator>();

/** Registers a kind with the function that validates its values. */
export function defineKind(kind: string, find: Validator) {
  validators.set(kind, find);
  TypeRegistry.Set(kind, (schema: TSchema, value) => find(schema, value) === undefined);
}

/** Returns what is wrong with `value`; undefined for a valid value and for a schema without a kind of ours. */
export function validate(schema: TSchema, value: unknown): ValidationIssue | undefined {
  return validators.get(schema[Kind])?.(schema, value);
}

export const wrongType = (expected: string): ValidationIssue => ({
  code: 'wrong_type',
  message: `must be ${expected}`,
});
