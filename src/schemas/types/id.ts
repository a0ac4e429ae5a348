/** UUIDs (RFC 9562) with hyphens. The server writes lower case and accepts either case. */
import { Kind, Type } from '@sinclair/typebox';
import { validate as isUuid } from 'uuid';
import { defineKind, wrongType } from './kind.ts';

defineKind('Id', (_, value) => {
  if (typeof value !== 'string') return wrongType('a string');
  return isUuid(value) ? undefined : { code: 'invalid_id', message: 'must be a UUID' };
});

/** @param description names the thing: `The task.` */
export const Id = (description: string) =>
  Type.Unsafe<string>({
    [Kind]: 'Id',
    type: 'string',
    format: 'uuid',
    description,
    examples: ['019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23'],
  });
