/** Ids that clients choose for what they create, so that they know them before the server does. */
import { Kind, Type } from '@sinclair/typebox';
import { defineKind, wrongType } from './kind.ts';

/** RFC 9562 §5.7: the version is 7, the variant is 10. */
const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i;
/** A clock may be wrong; an id far ahead would stay the newest for ever. */
const AHEAD_MS_MAX = 24 * 60 * 60_000;

defineKind('ChosenId', (_, value) => {
  if (typeof value !== 'string') return wrongType('a string');
  if (!UUID_V7.test(value)) return { code: 'invalid_id', message: 'must be a UUIDv7' };
  return msOf(value) - Date.now() > AHEAD_MS_MAX
    ? { code: 'in_future', message: 'must not have a time more than a day ahead' }
    : undefined;
});

/** Returns the time in a UUIDv7, in milliseconds since 1970. */
const msOf = (id: string) => Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);

/** An optional UUIDv7. Without an example: an id that is tried out twice is taken. @param thing as in `the task`. */
export const ChosenId = (thing: string) =>
  Type.Optional(
    Type.Unsafe<string>({
      [Kind]: 'ChosenId',
      type: 'string',
      format: 'uuid',
      description: `A UUIDv7 that you choose for ${thing}, not more than a day ahead of the clock. If it exists, the response is \`id_taken\`. If omitted, the server chooses one.`,
    }),
  );
