/** `Idempotency-Key`: a request that is sent again, because its answer was lost, is answered and not done again. */
import { Elysia } from 'elysia';
import { idempotencyKey, type Made } from '../handlers/idempotency.ts';
import { Problem } from '../problem.ts';

/** Printable ASCII without spaces. */
const KEY = /^[\x21-\x7e]{1,255}$/;

/**
 * Gives routes `keyFor(…asked)`, the key of this request, if it has one, bound to what it asks for; `unboundKey`; and
 * `firstOrReplayed`, which says in a header where the answer is an earlier one.
 */
export const idempotency = new Elysia({ name: 'idempotency' }).derive(
  { as: 'scoped' },
  ({ request, set }) => {
    const key = request.headers.get('idempotency-key');
    if (key !== null && !KEY.test(key))
      throw new Problem('malformed_request', {
        detail: 'Idempotency-Key must be 1 to 255 visible ASCII characters',
      });
    return {
      /** For a body that is not read yet: whoever has read it binds the key to it. */
      unboundKey: key ?? undefined,
      keyFor: async (...asked: unknown[]) =>
        key === null ? undefined : await idempotencyKey(key, asked),
      firstOrReplayed<Row>({ row, replayed }: Made<Row>): Row {
        if (replayed) set.headers['idempotency-replayed'] = 'true';
        return row;
      },
    };
  },
);
