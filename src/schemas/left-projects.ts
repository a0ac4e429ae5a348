import { type Static, Type } from '@sinclair/typebox';
import { Id } from './types/id.ts';
import { Instant } from './types/instant.ts';
import { Parameters, ResponseObject } from './types/object.ts';
import { Page, pageParameters } from './types/page.ts';

export const LeftProject = ResponseObject('LeftProject', {
  project_id: Id('The project.'),
  name: Type.String({
    description: 'The name of the project when you left it.',
    examples: ['Kitchen'],
  }),
  left_at: Instant('When you left it.'),
});
export type LeftProject = Static<typeof LeftProject>;

export const LeftProjectPage = Page('LeftProjectPage', LeftProject);
export type LeftProjectPage = Static<typeof LeftProjectPage>;

export const LeftProjectListQuery = Parameters(pageParameters);
