import { type Static, Type } from '@sinclair/typebox';
import { Project } from './projects.ts';
import { Task } from './tasks.ts';
import { Id } from './types/id.ts';
import { Instant } from './types/instant.ts';
import { Nullable, Parameters, ResponseObject, StrictObject } from './types/object.ts';
import { OneOf } from './types/one-of.ts';
import { Page, pageParameters } from './types/page.ts';

export const trashedTypes = ['task', 'project'] as const;

const type = OneOf(trashedTypes, {
  title: 'TrashedType',
  description: 'What was deleted.',
  examples: ['task'],
});

export const TrashItem = ResponseObject('TrashItem', {
  id: Id('The task or the project.'),
  type,
  name: Type.String({
    description: 'The title of the task, or the name of the project.',
    examples: ['Buy flour'],
  }),
  project_id: Id('The project, or the one that the task is restored into.'),
  project_name: Type.String({ description: 'Its name.', examples: ['Kitchen'] }),
  deleted_at: Instant('When it was deleted.'),
  deleted_by: Nullable(Id('The user who deleted it; null if unknown.')),
  purge_at: Instant('When it is deleted for good.'),
});
export type TrashItem = Static<typeof TrashItem>;

export const TrashPage = Page('TrashPage', TrashItem);
export type TrashPage = Static<typeof TrashPage>;

export const Restored = StrictObject(
  'Restored',
  { type, task: Nullable(Task), project: Nullable(Project) },
  'What was restored: `task` or `project`, by `type`. The other is null.',
);
export type Restored = Static<typeof Restored>;

export const TrashListQuery = Parameters(pageParameters);

export const TrashPath = Parameters({ trash_id: Id('The task or the project in the trash.') });
