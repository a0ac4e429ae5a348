/**
 * Idempotency keys made from calls. A client that lost the answer to a call repeats it unchanged, and a model cannot be
 * trusted to invent a key and to keep it; so what a call does is its key. The space in it keeps it apart from the keys that
 * clients of the API send, which have none.
 */
// Decision: docs/decisions/40-mcp.md
import { type IdempotencyKey, idempotencyKey } from '../db/idempotency.ts';

/**
 * Returns the key of a call.
 * @param work what the call does, with ids in place of names.
 * @param key chosen by the caller, to do the same work once more within a day.
 */
export async function callKey(
  tool: string,
  work: unknown,
  key: string | undefined,
): Promise<IdempotencyKey> {
  const { fingerprint } = await idempotencyKey('', [tool, work]);
  return { key: key === undefined ? `mcp ${fingerprint}` : `mcp key ${key}`, fingerprint };
}
