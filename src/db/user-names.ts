/** How a user is found by name. */
import { eq, type SQLWrapper } from 'drizzle-orm';
import { foldedName } from './index-expressions.ts';
import type { users } from './schema.ts';

/** The condition that a user has this name, or this email, in any case. */
export const matchesName = (
  column: typeof users.username | typeof users.email,
  name: SQLWrapper | string,
) => eq(foldedName(column), foldedName(name));

/** Returns which of the two a text is: a user name never holds an @. */
export const nameColumn = (name: string) => (name.includes('@') ? 'email' : 'username');
