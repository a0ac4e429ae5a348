/** API tokens, for scripts: `mt_` and 256 random bits, of which only the hash is kept. */
import { and, eq, getTableColumns, gt, isNull, or, sql } from 'drizzle-orm';
import { v7 as uuidv7 } from 'uuid';
import type { CurrentUser, LoggedInUser } from '../db/access.ts';
import type { Database } from '../db/database.ts';
import { api_tokens, users } from '../db/schema.ts';
import { type Asked, statement } from '../db/statement.ts';
import { invalid, Problem } from '../problem.ts';
import type { ApiTokenCreate, ApiTokenCreated, ApiTokenPage } from '../schemas/api-tokens.ts';
import { type PageQuery, parseInstant } from '../schemas/common.ts';
import { digest, newSecret } from '../secrets.ts';
import { after, inOrder, newestFirst, pageOf } from './page.ts';

export const API_TOKEN_PREFIX = 'mt_';

const API_TOKENS_MAX = 100;
/** Use is noted to the minute, so that a busy script does not write with every request. */
const LAST_USED_RESOLUTION_SECONDS = 60;

const { user_id: _, token_hash: __, ...columns } = getTableColumns(api_tokens);

/** Makes an API token. @throws {Problem} `conflict` beyond 100 of them, `validation_failed` for an end in the past. */
export async function createApiToken(
  db: Database,
  user: LoggedInUser,
  input: ApiTokenCreate,
): Promise<ApiTokenCreated> {
  const expires_at = input.expires_at ? (parseInstant(input.expires_at) ?? null) : null;
  const token = API_TOKEN_PREFIX + newSecret();
  const token_hash = await digest(token);
  const [row] = await db.transaction(async (tx) => {
    // The user's row is the turnstile: of two at once, the second counts when the first is done.
    const [owner] = await tx
      .select({ is_past: sql<boolean>`${expires_at}::timestamptz <= now()` })
      .from(users)
      .where(eq(users.id, user.id))
      .for('update');
    if (!owner) throw new Problem('invalid_token');
    if (owner.is_past)
      throw invalid([
        { location: 'body.expires_at', code: 'in_the_past', message: 'must be in the future' },
      ]);
    if ((await tx.$count(api_tokens, eq(api_tokens.user_id, user.id))) >= API_TOKENS_MAX)
      throw new Problem('conflict', { detail: `${API_TOKENS_MAX} API tokens at most` });
    const { name, scopes } = input;
    return tx
      .insert(api_tokens)
      .values({ id: uuidv7(), user_id: user.id, name, token_hash, scopes, expires_at })
      .returning(columns);
  });
  return { ...row, token } as ApiTokenCreated;
}

/** The user's API tokens, newest first, those that have ended too. @throws {Problem} `invalid_cursor`. */
export async function listApiTokens(
  db: Database,
  user: LoggedInUser,
  query: PageQuery,
): Promise<ApiTokenPage> {
  const list = 'api tokens';
  const order = newestFirst(api_tokens);
  const rows = await db
    .select(columns)
    .from(api_tokens)
    .where(and(eq(api_tokens.user_id, user.id), await after(list, query, order)))
    .orderBy(...inOrder(order))
    .limit(query.limit + 1);
  return pageOf(list, query, rows, order);
}

/** @throws {Problem} `not_found`. */
export async function deleteApiToken(db: Database, user: LoggedInUser, token_id: string) {
  const deleted = await db
    .delete(api_tokens)
    .where(and(eq(api_tokens.id, token_id), eq(api_tokens.user_id, user.id)))
    .returning({ id: api_tokens.id });
  if (deleted.length === 0) throw new Problem('not_found');
}

/** The user behind an API token, whose use is noted; undefined for one that is unknown or has ended. */
export async function findApiTokenUser(
  db: Database,
  token: string,
): Promise<CurrentUser | undefined> {
  const [found] = await selectTokenUser(db, { token_hash: await digest(token) });
  return found;
}

const selectTokenUser = statement((db, { token_hash }: Asked<{ token_hash: string }>) => {
  const used = db.$with('used').as(
    db
      .update(api_tokens)
      .set({ last_used_at: sql`now()` })
      .where(
        and(
          eq(api_tokens.token_hash, token_hash),
          or(isNull(api_tokens.expires_at), gt(api_tokens.expires_at, sql`now()`)),
          sql`${api_tokens.last_used_at} is null or ${api_tokens.last_used_at}
            < now() - make_interval(secs => ${LAST_USED_RESOLUTION_SECONDS}::int)`,
        ),
      )
      .returning({ id: api_tokens.id }),
  );
  return db
    .with(used)
    .select({ id: users.id, username: users.username, scopes: api_tokens.scopes })
    .from(api_tokens)
    .innerJoin(users, eq(users.id, api_tokens.user_id))
    .where(
      and(
        eq(api_tokens.token_hash, token_hash),
        or(isNull(api_tokens.expires_at), gt(api_tokens.expires_at, sql`now()`)),
        isNull(users.disabled_at),
      ),
    );
});
