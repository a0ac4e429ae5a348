import { type Static, Type } from '@sinclair/typebox';
import { roles } from '../db/schema.ts';
import { Comment } from './comments.ts';
import { Member } from './members.ts';
import { Task } from './tasks.ts';
import { ChosenId } from './types/chosen-id.ts';
import { Id } from './types/id.ts';
import { Instant } from './types/instant.ts';
import { Nullable, Parameters, ResponseObject, StrictObject } from './types/object.ts';
import { OneOf } from './types/one-of.ts';
import { Page, pageParameters } from './types/page.ts';
import { Search, SortBy } from './types/query.ts';
import { Text } from './types/text.ts';
import { ExpectedVersion } from './types/version.ts';

export const NAME_LENGTH_MAX = 120;
export const PROJECT_DESCRIPTION_LENGTH_MAX = 20_000;

export const projectName = Text({
  minLength: 1,
  maxLength: NAME_LENGTH_MAX,
  visible: true,
  examples: ['Kitchen'],
});
const description = Nullable(
  Text({ maxLength: PROJECT_DESCRIPTION_LENGTH_MAX, examples: ['New tiles, new light'] }),
);

const viewersMayComment = Type.Boolean({
  description: 'Whether viewers may write comments. False in a new project.',
  examples: [false],
});

/** The fields that a project has in every response. */
export const projectFields = {
  id: Id('The project.'),
  name: projectName,
  description,
  archived_at: Nullable(
    Instant('Since when the project is archived and read-only; null if it is not.'),
    {
      examples: [null],
    },
  ),
  viewers_may_comment: viewersMayComment,
  created_at: Instant('When the project was created.'),
  updated_at: Instant('When the project last changed.'),
  version: Type.Integer({
    minimum: 1,
    description: 'Increases by one with each change.',
    examples: [1],
  }),
};

export const Project = ResponseObject('Project', {
  ...projectFields,
  role: OneOf(roles, {
    title: 'Role',
    description: 'Your role in the project.',
    examples: ['owner'],
  }),
});
export type Project = Static<typeof Project>;

/** A project with its members, tasks and comments. */
export const ProjectWithTasks = StrictObject('ProjectWithTasks', {
  ...projectFields,
  members: Type.Array(Member),
  tasks: Type.Array(Task),
  comments: Type.Array(Comment),
});

export const ProjectPage = Page('ProjectPage', Project);
export type ProjectPage = Static<typeof ProjectPage>;

export const ProjectCreate = StrictObject('ProjectCreate', {
  id: ChosenId('the project'),
  name: projectName,
  description: Type.Optional(description),
});
export type ProjectCreate = Static<typeof ProjectCreate>;

export const ProjectPatch = StrictObject(
  'ProjectPatch',
  {
    name: Type.Optional(projectName),
    description: Type.Optional(description),
    archived: Type.Optional(
      Type.Boolean({
        description: 'An archived project is read-only until it is unarchived.',
        examples: [false],
      }),
    ),
    viewers_may_comment: Type.Optional(viewersMayComment),
    version: ExpectedVersion({
      description: 'Write only on this version, as `If-Match` does.',
    }),
  },
  'A merge patch (RFC 7396): an omitted field keeps its value, null clears it.',
);
export type ProjectPatch = Static<typeof ProjectPatch>;

export const ProjectPath = Parameters({ project_id: Id('The project.') });

export const projectSorts = ['created_at', 'updated_at', 'name'] as const;

export const ProjectListQuery = Parameters({
  ...pageParameters,
  sort: SortBy(projectSorts),
  archived: OneOf(['false', 'true', 'any'], {
    default: 'false',
    description:
      'Which projects to list: `false` those that are not archived, `true` the archived ones, `any` both.',
    examples: ['any'],
  }),
  q: Type.Optional(Search('the name or the description')),
});
export type ProjectListQuery = Static<typeof ProjectListQuery>;
