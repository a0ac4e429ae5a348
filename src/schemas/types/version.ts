import { type IntegerOptions, Type } from '@sinclair/typebox';

/** The largest `integer` of PostgreSQL. */
const VERSION_MAX = 2 ** 31 - 1;

/** The version that a write expects: without it, any will do. */
export const ExpectedVersion = (options: IntegerOptions) =>
  Type.Optional(Type.Integer({ minimum: 1, maximum: VERSION_MAX, ...options }));
