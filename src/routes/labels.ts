import { Elysia } from 'elysia';
import { listLabels, removeLabel, renameLabel } from '../handlers/labels.ts';
import { operation } from '../openapi/operation.ts';
import type { Platform } from '../platform.ts';
import type { UserRoutes } from '../plugins/route-groups.ts';
import {
  LabelChange,
  LabelListQuery,
  LabelPage,
  LabelPath,
  LabelRename,
  RELABELLED_TASKS_MAX,
} from '../schemas/labels.ts';

const steps = `One request changes up to ${RELABELLED_TASKS_MAX} tasks, each of which gets a new version and an event: while \`more\` is true, send it again. A repetition changes nothing more.`;

export const labels = ({ database: db }: Platform, group: UserRoutes) =>
  new Elysia({ tags: ['Labels'] })
    .use(group)
    .get('/labels', ({ user, query }) => listLabels(db, user, query), {
      query: LabelListQuery,
      response: { 200: LabelPage },
      detail: operation('listLabels', 'List labels', {
        description:
          'The labels of the tasks in all your projects, by name, with the number of tasks that have them.',
        problems: ['not_found', 'invalid_cursor'],
      }),
    })
    .patch(
      '/projects/:project_id/labels/:label',
      ({ user, params: { project_id, label }, body: { name } }) =>
        renameLabel(db, user, project_id, label, name),
      {
        params: LabelPath,
        body: LabelRename,
        response: { 200: LabelChange },
        detail: operation('renameLabel', 'Rename a label', {
          description: `Allowed for owners and editors. Renames the label in every task of the project; a task that has the new label too has it once. ${steps}`,
          problems: ['forbidden', 'not_found', 'conflict'],
        }),
      },
    )
    .delete(
      '/projects/:project_id/labels/:label',
      ({ user, params: { project_id, label } }) => removeLabel(db, user, project_id, label),
      {
        params: LabelPath,
        response: { 200: LabelChange },
        detail: operation('removeLabel', 'Remove a label', {
          description: `Allowed for owners and editors. Removes the label from every task of the project. ${steps}`,
          problems: ['forbidden', 'not_found', 'conflict'],
        }),
      },
    );
