/**
 * Who is asking. A module that uses this plugin serves nobody else: its handlers get a `user`, never "maybe a user".
 * Derived before the body is read and anything is validated, so a stranger learns nothing but 401.
 */
import { Elysia } from 'elysia';
import { Problem } from '../problem.ts';
import type { AccessTokensPlugin } from './access-tokens.ts';

export const currentUser = (tokens: AccessTokensPlugin) =>
  new Elysia({ name: 'current-user' })
    .use(tokens)
    .derive({ as: 'scoped' }, async ({ request, tokens }) => ({
      user: await tokens.verify(bearerToken(request)),
    }));

/** RFC 6750 §2.1: the header alone. A token in the query or the body would end up in logs. */
function bearerToken(request: Request): string {
  const [, scheme, token] =
    /^([^ ]+) *(.*)$/.exec(request.headers.get('authorization') ?? '') ?? [];
  if (scheme?.toLowerCase() !== 'bearer') throw new Problem('unauthenticated');
  return token ?? '';
}
