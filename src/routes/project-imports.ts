import { Elysia } from 'elysia';
import { boundImports, importProject } from '../handlers/project-imports.ts';
import type { Platform } from '../platform.ts';
import type { CurrentUserPlugin } from '../plugins/current-user.ts';
import { idempotency } from '../plugins/idempotency.ts';
import { operation } from '../plugins/operation.ts';
import { streamedInput } from '../plugins/strict-input.ts';
import { ProjectExport } from '../schemas/project-exports.ts';
import { ProjectImported } from '../schemas/project-imports.ts';

/** Of a document, which is read piece by piece: so not `BODY_LIMIT`, which is for what is held in memory. */
const IMPORT_MIB_MAX = 64;

export const projectImports = ({ database: db }: Platform, current: CurrentUserPlugin) => {
  const bound = boundImports();
  return new Elysia({ prefix: '/projects', tags: ['Projects'] })
    .use(current)
    .use(streamedInput(IMPORT_MIB_MAX * 1024 ** 2))
    .use(idempotency)
    .post(
      '/import',
      async ({ user, chunks, unboundKey, firstOrReplayed, set }) => {
        const made = await bound(user, () => importProject(db, user, chunks, unboundKey));
        const imported = firstOrReplayed(made);
        set.status = 201;
        set.headers.location = `/projects/${imported.project.id}`;
        return imported;
      },
      {
        response: { 201: ProjectImported },
        detail: operation('importProject', 'Make a project out of an exported one', {
          description: `Takes what the export as JSON gives, up to ${IMPORT_MIB_MAX} MiB, all or nothing, and makes you the owner. Of assignees and creators only you yourself stay: others are no members of the new project. A faulty task is named with its line.`,
          streamed_body: ProjectExport,
          problems: [
            'malformed_json',
            'payload_too_large',
            'unsupported_media_type',
            'idempotency_in_flight',
            'idempotency_key_reused',
            'overloaded',
          ],
        }),
      },
    );
};
