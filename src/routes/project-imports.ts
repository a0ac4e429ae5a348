import { Elysia } from 'elysia';
import { importProject, limitImports } from '../handlers/project-imports.ts';
import { clientIp } from '../http/client-ip.ts';
import { publicUrl } from '../http/public-url.ts';
import { operation } from '../openapi/operation.ts';
import type { Platform } from '../platform.ts';
import type { CurrentUserPlugin } from '../plugins/current-user.ts';
import { idempotency } from '../plugins/idempotency.ts';
import { streamedBody } from '../plugins/request-body.ts';
import { ProjectExport } from '../schemas/project-exports.ts';
import { ProjectImported } from '../schemas/project-imports.ts';

/** The largest import. `BODY_LIMIT` does not apply: the document is read in pieces and never held in memory. */
const IMPORT_MIB_MAX = 64;

export const projectImports = (platform: Platform, user: CurrentUserPlugin) => {
  const { database: db, runUnbounded } = platform;
  const limitImport = limitImports();
  return new Elysia({ prefix: '/projects', tags: ['Projects'] })
    .use(user)
    .use(streamedBody(IMPORT_MIB_MAX * 1024 ** 2))
    .use(idempotency)
    .post(
      '/import',
      async ({ user, authenticate, chunks, rawKey, withReplayHeader, request, set }) => {
        const address = clientIp(platform, request);
        const document = authenticatedAtEnd(chunks, authenticate);
        const work = () => runUnbounded(() => importProject(db, user, document, rawKey));
        const made = await limitImport(user, address, work);
        const imported = withReplayHeader(made);
        set.status = 201;
        set.headers.location = publicUrl(platform, `/projects/${imported.project.id}`);
        return imported;
      },
      {
        response: { 201: ProjectImported },
        detail: operation('importProject', 'Import a project', {
          description: `Creates a project from a JSON export of up to ${IMPORT_MIB_MAX} MiB, completely or not at all, and makes you its owner. Assignees and creators other than you are dropped, because they are not members of the new project. A problem names the line of the task that is not valid.`,
          streamedBody: ProjectExport,
          problems: [
            'malformed_json',
            'payload_too_large',
            'unsupported_media_type',
            'id_taken',
            'idempotency_in_flight',
            'idempotency_key_reused',
            'overloaded',
          ],
        }),
      },
    );
};

/** Looks at the credential again behind the last chunk, before the project is published. */
async function* authenticatedAtEnd(
  chunks: AsyncIterable<Uint8Array>,
  authenticate: () => Promise<unknown>,
): AsyncGenerator<Uint8Array> {
  yield* chunks;
  await authenticate();
}
