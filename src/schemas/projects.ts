import { type Static, Type } from '@sinclair/typebox';
import { roles } from '../db/schema.ts';
import {
  Id,
  Instant,
  Nullable,
  OneOf,
  Page,
  Parameters,
  pageParameters,
  Resource,
  Search,
  SortBy,
  StrictObject,
  Text,
} from './common.ts';
import { Member } from './members.ts';
import { Task } from './tasks.ts';

const name = Text({ minLength: 1, maxLength: 120, visible: true, examples: ['Kitchen'] });
const description = Nullable(Text({ maxLength: 20_000, examples: ['New tiles, new light'] }));

/** Those of a project, as they are everywhere. */
export const project_fields = {
  id: Id('The project.'),
  name,
  description,
  archived_at: Nullable(Instant('Since when the project is read-only; null while it is not.'), {
    examples: [null],
  }),
  created_at: Instant('When the project was made.'),
  updated_at: Instant('When it last changed.'),
  version: Type.Integer({
    minimum: 1,
    description: 'Grows by one with each change.',
    examples: [1],
  }),
};

export const Project = Resource('Project', {
  ...project_fields,
  role: OneOf(roles, { description: "The reader's own role.", examples: ['owner'] }),
});
export type Project = Static<typeof Project>;

/** A project with all that is in it. */
export const WholeProject = StrictObject('WholeProject', {
  ...project_fields,
  members: Type.Array(Member),
  tasks: Type.Array(Task),
});

export const ProjectPage = Page('ProjectPage', Project);
export type ProjectPage = Static<typeof ProjectPage>;

export const ProjectCreate = StrictObject('ProjectCreate', {
  name,
  description: Type.Optional(description),
});
export type ProjectCreate = Static<typeof ProjectCreate>;

export const ProjectPatch = StrictObject(
  'ProjectPatch',
  {
    name: Type.Optional(name),
    description: Type.Optional(description),
    archived: Type.Optional(
      Type.Boolean({
        description: 'An archived project is read-only until it is unarchived.',
        examples: [false],
      }),
    ),
  },
  'A merge patch (RFC 7396): what is left out stays, null clears.',
);
export type ProjectPatch = Static<typeof ProjectPatch>;

export const ProjectPath = Parameters({ project_id: Id('The project.') });

export const project_sorts = ['created_at', 'updated_at', 'name'] as const;

export const ProjectListQuery = Parameters({
  ...pageParameters,
  sort: SortBy(project_sorts),
  archived: OneOf(['false', 'true', 'any'], {
    default: 'false',
    description:
      'Whether archived projects are listed: `false` leaves them out, `true` lists no others.',
    examples: ['any'],
  }),
  q: Type.Optional(Search('the name or the description')),
});
export type ProjectListQuery = Static<typeof ProjectListQuery>;
