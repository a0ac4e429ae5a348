import { type Static, type TSchema, Type } from '@sinclair/typebox';
import { TypeCompiler } from '@sinclair/typebox/compiler';
import type { FieldError } from '../errors/problem.ts';
import { findFieldErrors } from './field-errors.ts';
import { IMPORTED_PROJECTS_MAX, ImportReport } from './import-reports.ts';
import { ExportedComment, ExportedTask, ProjectExport } from './project-exports.ts';
import { Project } from './projects.ts';
import { findSecondDueDate } from './tasks.ts';
import { Id } from './types/id.ts';
import { StrictObject } from './types/object.ts';

/** The most unassigned tasks that a response names. */
export const UNASSIGNED_NAMED_MAX = 100;

export const ProjectImported = StrictObject('ProjectImported', {
  project: Project,
  tasks: Type.Integer({ minimum: 0, description: 'The number of tasks.', examples: [1] }),
  comments: Type.Integer({ minimum: 0, description: 'The number of comments.', examples: [0] }),
  unassigned_total: Type.Integer({
    minimum: 0,
    description:
      'The number of tasks that lost their assignee, because that user is not a member of the new project.',
    examples: [1],
  }),
  unassigned: Type.Array(
    Type.Object(
      {
        line: Type.Integer({ minimum: 1, description: 'The line of the document.', examples: [4] }),
        task_id: Id('The task.'),
        username: Type.String({
          description: 'The assignee in the document.',
          examples: ['grace'],
        }),
      },
      { additionalProperties: false },
    ),
    { maxItems: UNASSIGNED_NAMED_MAX, description: 'The first tasks that lost their assignee.' },
  ),
  projects: Type.Optional(
    Type.Array(Project, {
      maxItems: IMPORTED_PROJECTS_MAX,
      description:
        'All new projects, of which `project` is the first. Only for a document of another program.',
    }),
  ),
  report: Type.Optional(ImportReport),
});
export type ProjectImported = Static<typeof ProjectImported>;

/** The document without its tasks and comments. */
const ImportedHead = Type.Omit(ProjectExport, ['tasks', 'comments'], {
  additionalProperties: false,
});
export type ImportedHead = Static<typeof ImportedHead>;
export const headFields = Object.keys(ImportedHead.properties);

const finder = (schema: TSchema) => {
  const compiled = TypeCompiler.Compile(schema);
  return (value: unknown, where: string): FieldError[] =>
    compiled.Check(value) ? [] : findFieldErrors(compiled.Errors(value), where);
};

/** Returns what is wrong with the document, its tasks and comments aside. */
export const findHeadErrors = finder(ImportedHead);

/** Returns what is wrong with a comment of the document by itself. */
export const findCommentErrors = finder(ExportedComment);

const findShapeErrors = finder(ExportedTask);

/** Returns what is wrong with a task of the document. */
export function findTaskErrors(task: unknown, where: string): FieldError[] {
  const errors = findShapeErrors(task, where);
  if (errors.length > 0) return errors;
  const { status, completed_at } = task as ExportedTask;
  const second = findSecondDueDate(task as ExportedTask);
  if (second) return [{ ...second, location: `${where}.${second.location}` }];
  if ((status === 'done') === (completed_at !== null)) return [];
  return [
    {
      location: `${where}.completed_at`,
      code: 'contradiction',
      message: 'must be given if the status is done, and null otherwise',
    },
  ];
}
