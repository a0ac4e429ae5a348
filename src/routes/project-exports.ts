import { Elysia } from 'elysia';
import { exportProject, exportTaskTable } from '../handlers/project-exports.ts';
import type { Platform } from '../platform.ts';
import type { CurrentUserPlugin } from '../plugins/current-user.ts';
import { operation } from '../plugins/operation.ts';
import { streamText } from '../plugins/stream.ts';
import { strictInput } from '../plugins/strict-input.ts';
import { ExportQuery, ProjectExport, TaskTable } from '../schemas/project-exports.ts';
import { ProjectPath } from '../schemas/projects.ts';

export const projectExports = (
  { database: db, settings, log, streamed }: Platform,
  current: CurrentUserPlugin,
) =>
  new Elysia({ prefix: '/projects', tags: ['Projects'] })
    .use(current)
    .use(strictInput(settings.body_limit_bytes))
    .get(
      '/:project_id/export',
      async ({ user, params: { project_id }, query: { format }, set }) => {
        const [pieces, media_type] =
          format === 'csv'
            ? [exportTaskTable(db, user, project_id), 'text/csv']
            : [exportProject(db, user, project_id), 'application/json'];
        const answer = await streamText(streamed(pieces), media_type, () =>
          log('error', 'export_cut', { request_id: set.headers['x-request-id'], user_id: user.id }),
        );
        set.headers['content-disposition'] =
          `attachment; filename="mantou-project-${project_id.toLowerCase()}.${format}"`;
        return answer;
      },
      {
        params: ProjectPath,
        query: ExportQuery,
        response: { 200: ProjectExport },
        detail: operation('exportProject', 'Take a project along, as JSON or CSV', {
          description:
            'For all its members. Streamed, each task on a line of its own. The JSON can be imported; the CSV has the tasks, for spreadsheets.',
          problems: ['not_found'],
          also_answers: { 'text/csv': TaskTable },
        }),
      },
    );
