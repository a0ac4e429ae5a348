import { Elysia } from 'elysia';
import type { ExportLimit } from '../handlers/export-limit.ts';
import { exportProject, exportTaskTable } from '../handlers/project-exports.ts';
import { preferredType } from '../http/content-negotiation.ts';
import { streamText } from '../http/stream-response.ts';
import { operation } from '../openapi/operation.ts';
import type { Platform } from '../platform.ts';
import type { UserRoutes } from '../plugins/route-groups.ts';
import { ExportQuery, ProjectExport, TaskTable } from '../schemas/project-exports.ts';
import { ProjectPath } from '../schemas/projects.ts';

const mediaTypes = { json: 'application/json', csv: 'text/csv' } as const;

export const projectExports = (
  { log, bindStream }: Platform,
  group: UserRoutes,
  limitExport: ExportLimit,
) =>
  new Elysia({ prefix: '/projects', tags: ['Projects'] }).use(group).get(
    '/:project_id/export',
    async ({ user, params: { project_id }, query, request, set }) => {
      const { format, ...filters } = query;
      const mediaType = format
        ? mediaTypes[format]
        : preferredType(request, ['application/json', 'text/csv']);
      const isCsv = mediaType === 'text/csv';
      const write = isCsv ? exportTaskTable : exportProject;
      const limited = bindStream(limitExport(user, (db) => write(db, user, project_id, filters)));
      const answer = await streamText(request, limited, mediaType, () =>
        log('error', 'export_cut', { request_id: set.headers['x-request-id'], user_id: user.id }),
      );
      set.headers['content-disposition'] =
        `attachment; filename="mantou-project-${project_id.toLowerCase()}.${isCsv ? 'csv' : 'json'}"`;
      return answer;
    },
    {
      params: ProjectPath,
      query: ExportQuery,
      response: { 200: ProjectExport },
      detail: operation('exportProject', 'Export a project', {
        description:
          'Allowed for all members. The response is streamed, one task a line. The filters of the lists choose the tasks. JSON can be imported again; CSV holds the tasks, for spreadsheets. Without `format`, the `Accept` header decides.',
        problems: ['not_found', 'overloaded'],
        alsoProduces: { 'text/csv': TaskTable },
      }),
    },
  );
