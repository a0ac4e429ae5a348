import { type Static, type TSchema, Type } from '@sinclair/typebox';
import { TypeCompiler } from '@sinclair/typebox/compiler';
import type { FieldError } from '../problem.ts';
import { Id, StrictObject } from './common.ts';
import { findFieldErrors } from './faults.ts';
import { ExportedTask, ProjectExport } from './project-exports.ts';
import { Project } from './projects.ts';

/** How many tasks without their assignee an answer names. */
export const UNASSIGNED_NAMED_MAX = 100;

export const ProjectImported = StrictObject('ProjectImported', {
  project: Project,
  tasks: Type.Integer({ minimum: 0, description: 'How many it has.', examples: [1] }),
  unassigned_total: Type.Integer({
    minimum: 0,
    description:
      'How many of them had an assignee who is not in the new project, and have none now.',
    examples: [1],
  }),
  unassigned: Type.Array(
    Type.Object(
      {
        line: Type.Integer({ minimum: 1, description: 'Of the document.', examples: [4] }),
        task_id: Id('The task.'),
        username: Type.String({ description: 'Whom the document names.', examples: ['grace'] }),
      },
      { additionalProperties: false },
    ),
    { maxItems: UNASSIGNED_NAMED_MAX, description: 'The first of them.' },
  ),
});
export type ProjectImported = Static<typeof ProjectImported>;

/** The document without its tasks. */
const ImportedHead = Type.Omit(ProjectExport, ['tasks'], { additionalProperties: false });
export type ImportedHead = Static<typeof ImportedHead>;
export const head_fields = Object.keys(ImportedHead.properties);

const finder = (schema: TSchema) => {
  const compiled = TypeCompiler.Compile(schema);
  return (value: unknown, where: string): FieldError[] =>
    compiled.Check(value) ? [] : findFieldErrors(compiled.Errors(value), where);
};

/** What is wrong with the document but for its tasks. */
export const findHeadErrors = finder(ImportedHead);

const findShapeErrors = finder(ExportedTask);

/** What is wrong with a task of the document. */
export function findTaskErrors(task: unknown, where: string): FieldError[] {
  const errors = findShapeErrors(task, where);
  if (errors.length > 0) return errors;
  const { status, completed_at } = task as ExportedTask;
  if ((status === 'done') === (completed_at !== null)) return [];
  return [
    {
      location: `${where}.completed_at`,
      code: 'contradiction',
      message: 'must be given where the status is done, and null elsewhere',
    },
  ];
}
