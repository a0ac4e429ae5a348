/**
 * Imports a project from the document that an export writes. The tasks are written as they arrive, in small statements,
 * into a project that is not visible; one last statement publishes it and stores the response. So memory stays flat, no
 * transaction waits for a client, and a failure before that statement leaves nothing visible.
 */
// Decision: docs/decisions/10-hidden-imports.md
import type { Database } from '../db/database.ts';
import { type Created, hasStoredResponse, idempotencyKey } from '../db/idempotency.ts';
import { type ConcurrencyLimit, limitConcurrency } from '../lib/concurrency-limit.ts';
import { limitFairly } from '../lib/fair-concurrency-limit.ts';
import { timeout } from '../lib/timeout.ts';
import type { CurrentUser } from '../schemas/current-user.ts';
import type { ProjectImported } from '../schemas/project-imports.ts';
import { createDraft, readImported } from './import-draft.ts';
import { readDocument } from './import-reader.ts';

/** Imports at once in a process. Each holds up to two batches, and a connection at times. */
const IMPORTS_MAX = 16;
const IMPORTS_PER_USER_MAX = 2;
const IMPORTS_PER_ADDRESS_MAX = 4;
/** Imports that wait. Their documents are not read yet. */
const WAITING_MAX = 64;
const WAITING_PER_USER_MAX = 8;
const WAIT_MAX_MS = 10_000;

/** Limits concurrent imports in total and per user, so that slow uploads do not block others. */
export function limitImports() {
  const ofAll = limitFairly(
    'imports',
    {
      inFlightMax: IMPORTS_MAX,
      inFlightPerClientMax: IMPORTS_PER_ADDRESS_MAX,
      waitingMax: WAITING_MAX,
    },
    timeout(WAIT_MAX_MS),
  );
  const byUser = new Map<string, ConcurrencyLimit>();

  return async <T>(
    { id }: CurrentUser,
    address: string | undefined,
    work: () => Promise<T>,
  ): Promise<T> => {
    const mine =
      byUser.get(id) ??
      limitConcurrency(
        'imports-user',
        IMPORTS_PER_USER_MAX,
        WAITING_PER_USER_MAX,
        timeout(WAIT_MAX_MS),
      );
    byUser.set(id, mine);
    try {
      return await mine.run(() => ofAll.run(address, work));
    } finally {
      if (mine.inFlight + mine.waiting === 0) byUser.delete(id);
    }
  };
}

/**
 * Creates a project with this user as its owner. It leaves out assignees and creators other than the user, because the project
 * has no other member, and a document must not attribute its work to others.
 * @param key of `Idempotency-Key`. It is bound to the content of the document, not to its format.
 * @throws {Problem} `malformed_json`, `validation_failed` with the line; `payload_too_large`; `malformed_request` for a
 * client that is too slow; `idempotency_key_reused`, `idempotency_in_flight`; what `chunks` throws.
 */
export async function importProject(
  db: Database,
  user: CurrentUser,
  chunks: AsyncIterable<Uint8Array>,
  key: string | undefined,
): Promise<Created<ProjectImported>> {
  // With a stored response, the document is read only to compare it with the first one.
  const isReplay = key !== undefined && (await hasStoredResponse(db, user, key));
  const draft = createDraft(db, user);
  try {
    const { head, fingerprint } = await readDocument(chunks, isReplay ? noop : draft.add);
    const request = key === undefined ? undefined : await idempotencyKey(key, fingerprint);
    if (request && isReplay) return { row: await readImported(db, user, request), replayed: true };
    const created = await draft.publish(head, request);
    if (created.replayed) await draft.rollBack();
    return created;
  } catch (error) {
    await draft.rollBack();
    throw error;
  }
}

const noop = async () => undefined;
