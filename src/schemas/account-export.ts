import { Type } from '@sinclair/typebox';
import { ProjectWithTasks } from './projects.ts';
import { Instant } from './types/instant.ts';
import { StrictObject } from './types/object.ts';
import { User } from './users.ts';

export const AccountExport = StrictObject(
  'AccountExport',
  {
    format: Type.Literal('mantou-account'),
    format_version: Type.Literal(1),
    exported_at: Instant('When the export was made.'),
    user: User,
    projects: Type.Array(ProjectWithTasks),
  },
  'The data that an account owns.',
);
