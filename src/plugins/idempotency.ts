/** `Idempotency-Key`: a client that repeats a request gets the stored response, and the write runs once. */
import { Elysia } from 'elysia';
import { type Created, idempotencyKey } from '../db/idempotency.ts';
import { Problem } from '../errors/problem.ts';

/** Visible ASCII characters (VCHAR, RFC 5234 appendix B.1). */
const KEY = /^[\x21-\x7e]{1,255}$/;

/**
 * Adds three properties to the context of a route: `bindKey(…asked)` returns the key of this request, bound to what the request
 * asks for; `rawKey` is the unbound key; `withReplayHeader` sets `Idempotency-Replayed` where the response is a stored one.
 * @throws {Problem} `malformed_request`.
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
      /** For a handler that reads the body itself, and binds the key to it. */
      rawKey: key ?? undefined,
      bindKey: async (...asked: unknown[]) =>
        key === null ? undefined : await idempotencyKey(key, asked),
      withReplayHeader<Row>({ row, replayed }: Created<Row>): Row {
        if (replayed) set.headers['idempotency-replayed'] = 'true';
        return row;
      },
    };
  },
);
