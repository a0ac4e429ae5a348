import { Elysia } from 'elysia';
import { importDocument, limitImports } from '../handlers/project-imports.ts';
import { clientIp } from '../http/client-ip.ts';
import { publicUrl } from '../http/public-url.ts';
import { operation } from '../openapi/operation.ts';
import type { Platform } from '../platform.ts';
import type { CurrentUserPlugin } from '../plugins/current-user.ts';
import { idempotency } from '../plugins/idempotency.ts';
import { streamedBody } from '../plugins/request-body.ts';
import { ForeignText, ImportQuery, ImportReport, importTypes } from '../schemas/import-reports.ts';
import { ProjectExport } from '../schemas/project-exports.ts';
import { ProjectImported } from '../schemas/project-imports.ts';

/** The largest import. `BODY_LIMIT` does not apply: the document is read in pieces and never held in memory. */
const IMPORT_MIB_MAX = 64;

export const projectImports = (platform: Platform, user: CurrentUserPlugin) => {
  const { database: db, runUnbounded } = platform;
  const limitImport = limitImports();
  return new Elysia({ prefix: '/projects', tags: ['Projects'] })
    .use(user)
    .use(streamedBody(IMPORT_MIB_MAX * 1024 ** 2, importTypes))
    .use(idempotency)
    .post(
      '/import',
      async ({ user, authenticate, chunks, mediaType, query, rawKey: key, ...context }) => {
        const { withReplayHeader, request, set } = context;
        const address = clientIp(platform, request);
        const document = authenticatedAtEnd(chunks, authenticate);
        const asked = { ...query, mediaType, key };
        const work = () => runUnbounded(() => importDocument(db, user, document, asked));
        const done = await limitImport(user, address, work);
        if ('report' in done) return done.report;
        const imported = withReplayHeader(done.created);
        set.status = 201;
        set.headers.location = publicUrl(platform, `/projects/${imported.project.id}`);
        return imported;
      },
      {
        query: ImportQuery,
        response: { 200: ImportReport, 201: ProjectImported },
        detail: operation('importProject', 'Import a project', {
          description: `Creates a project from a JSON export of up to ${IMPORT_MIB_MAX} MiB, completely or not at all, and makes you its owner. Assignees and creators other than you are dropped, because they are not members of the new project. A problem names the line of the task that is not valid.\n\nIt also takes documents of other programs: iCalendar, CSV, Todoist, Trello, Taskwarrior, todo.txt and GitHub issues, by their media type and shape. What has no place in a task is left out, cut or changed, and \`report\` lists it. With \`dry_run=true\` nothing is written, and the response is the report alone.`,
          streamedBody: ProjectExport,
          alsoStreams: {
            'text/calendar': ForeignText,
            'text/csv': ForeignText,
            'text/plain': ForeignText,
          },
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
