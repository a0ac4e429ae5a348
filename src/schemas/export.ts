import { Type } from '@sinclair/typebox';
import { Instant, StrictObject } from './common.ts';
import { WholeProject } from './projects.ts';
import { User } from './users.ts';

export const AccountExport = StrictObject(
  'AccountExport',
  {
    format: Type.Literal('mantou-account'),
    format_version: Type.Literal(1),
    exported_at: Instant('When it was written.'),
    user: User,
    projects: Type.Array(WholeProject),
  },
  'Everything that an account owns.',
);
