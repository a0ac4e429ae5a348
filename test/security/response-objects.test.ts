/** No other column than those of the schema leaves the server (docs/decisions/02-responses-checked-by-field.md). */
import { expect, test } from 'bun:test';
import { Type } from '@sinclair/typebox';
import { TypeCompiler } from '@sinclair/typebox/compiler';
import { ResponseObject } from '../../src/schemas/types/object.ts';

const schema = ResponseObject('Row', {
  id: Type.String(),
  name: Type.String(),
  note: Type.Optional(Type.String()),
});
// A copy has the rules of the schema too.
const rows = TypeCompiler.Compile(Type.Array({ ...schema }));

test('a row with all its fields is sent, with an optional one or without', () => {
  expect(rows.Check([{ id: '1', name: 'Ada' }])).toBe(true);
  expect(rows.Check([{ id: '1', name: 'Ada', note: 'x' }])).toBe(true);
});

test.each([
  ['another field', { id: '1', name: 'Ada', password_hash: 'x' }],
  ['another field in place of a missing one', { id: '1', password_hash: 'x' }],
  ['an optional field in place of a missing one', { id: '1', note: 'x' }],
  ['a missing field', { id: '1' }],
  ['null', null],
  ['a list', [['1', 'Ada']]],
] as const)('a row with %s is not sent', (_, row) => {
  expect(rows.Check([row])).toBe(false);
});
