/** API tokens, for scripts: `mt_` and 256 random bits, of which only the hash is kept. */
import { and, eq, getTableColumns, gt, isNull, or, sql } from 'drizzle-orm';
import { v7 as uuidv7 } from 'uuid';
import { hasLiveSession } from '../db/authorization.ts';
import type { Database } from '../db/database.ts';
import { afterCursor, newestFirst, orderBy, parsePage, toPage } from '../db/pagination.ts';
import { prepared, type QueryParams } from '../db/prepared.ts';
import { api_tokens, users } from '../db/schema.ts';
import { Problem, validationProblem } from '../errors/problem.ts';
import { parseInstant } from '../lib/instant.ts';
import { digest, newSecret } from '../lib/secrets.ts';
import type {
  ApiToken,
  ApiTokenCreate,
  ApiTokenCreated,
  ApiTokenPage,
} from '../schemas/api-tokens.ts';
import type { CurrentUser, LoggedInUser } from '../schemas/current-user.ts';
import type { PageQuery } from '../schemas/types/page.ts';

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
  const expiresAt = input.expires_at ? (parseInstant(input.expires_at) ?? null) : null;
  const token = API_TOKEN_PREFIX + newSecret();
  const tokenHash = await digest(token);
  const [row] = await db.transaction(async (tx) => {
    // The user's row is the turnstile: of two at once, the second counts when the first is done.
    const [owner] = await tx
      .select({ is_past: sql<boolean>`${expiresAt}::timestamptz <= now()` })
      .from(users)
      .where(and(eq(users.id, user.id), hasLiveSession(user)))
      .for('update');
    if (!owner) throw new Problem('invalid_token');
    if (owner.is_past)
      throw validationProblem([
        { location: 'body.expires_at', code: 'in_the_past', message: 'must be in the future' },
      ]);
    if ((await tx.$count(api_tokens, eq(api_tokens.user_id, user.id))) >= API_TOKENS_MAX)
      throw new Problem('conflict', { detail: `${API_TOKENS_MAX} API tokens at most` });
    const { name, scopes } = input;
    return tx
      .insert(api_tokens)
      .values({
        id: uuidv7(),
        user_id: user.id,
        name,
        token_hash: tokenHash,
        scopes,
        expires_at: expiresAt,
      })
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
  const page = await parsePage<ApiToken>('api tokens', query, newestFirst(api_tokens));
  const rows = await db
    .select(columns)
    .from(api_tokens)
    .where(and(eq(api_tokens.user_id, user.id), afterCursor(page.position, page.order)))
    .orderBy(...orderBy(page.order))
    .limit(page.count);
  return toPage(page, rows);
}

/** @throws {Problem} `not_found`. */
export async function deleteApiToken(db: Database, user: LoggedInUser, tokenId: string) {
  const deleted = await db
    .delete(api_tokens)
    .where(and(eq(api_tokens.id, tokenId), eq(api_tokens.user_id, user.id)))
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

const selectTokenUser = prepared((db, { token_hash }: QueryParams<{ token_hash: string }>) => {
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
    .select({
      id: users.id,
      username: users.username,
      scopes: api_tokens.scopes,
      apiTokenId: api_tokens.id,
      apiTokenName: api_tokens.name,
    })
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
