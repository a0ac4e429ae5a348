/** A user's webhooks. `webhook-delivery` sends their events. */
import { and, desc, eq, getTableColumns, sql } from 'drizzle-orm';
import { v7 as uuidv7 } from 'uuid';
import type { Database } from '../db/database.ts';
import { afterCursor, newestFirst, orderBy, parsePage, toPage } from '../db/pagination.ts';
import { users, webhook_deliveries, webhooks } from '../db/schema.ts';
import { Problem, validationProblem } from '../errors/problem.ts';
import { decodeBase64 } from '../lib/base64.ts';
import type { CurrentUser } from '../schemas/current-user.ts';
import type { PageQuery } from '../schemas/types/page.ts';
import type {
  Webhook,
  WebhookCreate,
  WebhookCreated,
  WebhookDelivery,
  WebhookDeliveryPage,
  WebhookPage,
  WebhookPatch,
  WebhookReplay,
  WebhookRotation,
  WebhookSecret,
} from '../schemas/webhooks.ts';
import { assignPositions, feedCursors, readChanges, readFeed } from './events.ts';

const WEBHOOKS_MAX = 20;
/** A count of waiting events stops here. */
const PENDING_MAX = 200;
export const DELIVERIES_KEPT = 200;

const SECRET_PREFIX = 'whsec_';
const SECRET_BYTES = 32;
/** Standard Webhooks 1.0: 24 to 64 bytes. */
const SECRET_BYTES_MIN = 24;
const SECRET_BYTES_MAX = 64;
const PREVIOUS_SECRET_HOURS = 24;

const { webhook_id: _, ...deliveryColumns } = getTableColumns(webhook_deliveries);

type WebhookRow = typeof webhooks.$inferSelect;
type Rules = { production: boolean; retentionSeconds: number };

/** Makes a webhook. @throws {Problem} `conflict` beyond 20 of them, `validation_failed` for its URL or secret. */
export async function createWebhook(
  db: Database,
  user: CurrentUser,
  input: WebhookCreate,
  rules: Rules,
): Promise<WebhookCreated> {
  assertUrl(input.url, rules);
  const secret = input.secret === undefined ? newSecret() : assertSecret(input.secret);
  const { next_cursor: cursor } = await readChanges(db, user, { limit: 1 }, rules.retentionSeconds);
  const row = await db.transaction(async (tx) => {
    // Lock the user's row, so that concurrent requests count one after another.
    const [owner] = await tx
      .select({ id: users.id })
      .from(users)
      .where(eq(users.id, user.id))
      .for('update');
    if (!owner) throw new Problem('invalid_token');
    if ((await tx.$count(webhooks, eq(webhooks.user_id, user.id))) >= WEBHOOKS_MAX)
      throw new Problem('conflict', { detail: `${WEBHOOKS_MAX} webhooks at most` });
    const { url, name = null, project_id = null, actions = null } = input;
    const [made] = await tx
      .insert(webhooks)
      .values({ id: uuidv7(), user_id: user.id, url, name, project_id, actions, secret, cursor })
      .returning();
    return made as WebhookRow;
  });
  return { ...(await toWebhook(db, row, rules)), secret };
}

/** Returns the user's webhooks, newest first. @throws {Problem} `invalid_cursor`. */
export async function listWebhooks(
  db: Database,
  user: CurrentUser,
  query: PageQuery,
  rules: Rules,
): Promise<WebhookPage> {
  const page = await parsePage<WebhookRow>('webhooks', query, newestFirst(webhooks));
  const rows = await db
    .select()
    .from(webhooks)
    .where(and(eq(webhooks.user_id, user.id), afterCursor(page.position, page.order)))
    .orderBy(...orderBy(page.order))
    .limit(page.count);
  const found = await toPage(page, rows);
  const items: Webhook[] = [];
  for (const row of found.items) items.push(await toWebhook(db, row, rules));
  return { items, next_cursor: found.next_cursor };
}

/** @throws {Problem} `not_found`. */
export const readWebhook = async (db: Database, user: CurrentUser, id: string, rules: Rules) =>
  toWebhook(db, await findWebhook(db, user, id), rules);

/** @throws {Problem} `not_found`. */
export async function findWebhook(
  db: Database,
  user: CurrentUser,
  id: string,
): Promise<WebhookRow> {
  const [row] = await db.select().from(webhooks).where(isOwn(user, id));
  if (!row) throw new Problem('not_found');
  return row;
}

const isOwn = (user: CurrentUser, id: string) =>
  and(eq(webhooks.id, id), eq(webhooks.user_id, user.id));

/** Every change by the owner sets these: the process that serves the webhook reads it again and tries at once. */
const revised = {
  revision: sql`${webhooks.revision} + 1`,
  tries: 0,
  failing_since: null,
  next_try_at: sql`now()`,
};

/**
 * Changes the fields given. A webhook that becomes active continues where it stopped, or with the oldest event that is
 * kept. @throws {Problem} `not_found`, `validation_failed` for its URL.
 */
export async function patchWebhook(
  db: Database,
  user: CurrentUser,
  id: string,
  input: WebhookPatch,
  rules: Rules,
): Promise<Webhook> {
  if (input.url !== undefined) assertUrl(input.url, rules);
  if (Object.keys(input).length === 0) return readWebhook(db, user, id, rules);
  const cursor =
    input.state === 'active' ? await keptCursor(db, user, id, rules.retentionSeconds) : undefined;
  const [row] = await db
    .update(webhooks)
    .set({
      ...input,
      ...revised,
      ...(input.state && { disabled_reason: null }),
      ...(cursor && { cursor }),
      updated_at: sql`now()`,
    })
    .where(isOwn(user, id))
    .returning();
  if (!row) throw new Problem('not_found');
  return toWebhook(db, row, rules);
}

/** Returns the cursor of a webhook. Where it has expired, returns that of the oldest change that is kept. */
async function keptCursor(db: Database, user: CurrentUser, id: string, retentionSeconds: number) {
  const { cursor } = await findWebhook(db, user, id);
  await assignPositions(db, retentionSeconds);
  const feed = await readFeed(db);
  const cursors = await feedCursors(feed, user);
  return cursors.encode(Math.max(cursors.resume(cursor) ?? feed.pruned, feed.pruned));
}

/** @throws {Problem} `not_found`. */
export async function deleteWebhook(db: Database, user: CurrentUser, id: string) {
  const deleted = await db.delete(webhooks).where(isOwn(user, id)).returning({ id: webhooks.id });
  if (deleted.length === 0) throw new Problem('not_found');
}

/** Gives a webhook another secret. The present one signs, too, for 24 hours. @throws {Problem} `not_found`. */
export async function rotateWebhookSecret(
  db: Database,
  user: CurrentUser,
  id: string,
  input: WebhookRotation,
): Promise<WebhookSecret> {
  const secret = input.secret === undefined ? newSecret() : assertSecret(input.secret);
  const [row] = await db
    .update(webhooks)
    .set({
      secret,
      previous_secret: sql`${webhooks.secret}`,
      previous_secret_until: sql`now() + make_interval(hours => ${PREVIOUS_SECRET_HOURS}::int)`,
      revision: sql`${webhooks.revision} + 1`,
      updated_at: sql`now()`,
    })
    .where(isOwn(user, id))
    .returning({ until: webhooks.previous_secret_until });
  if (!row) throw new Problem('not_found');
  return { secret, previous_secret_until: row.until as string };
}

/** Delivers everything after a cursor again. @throws {Problem} `not_found`, `invalid_cursor`, `cursor_expired`. */
export async function replayWebhook(
  db: Database,
  user: CurrentUser,
  id: string,
  { since }: WebhookReplay,
  rules: Rules,
): Promise<Webhook> {
  await findWebhook(db, user, id);
  await readChanges(db, user, { since, limit: 1 }, rules.retentionSeconds);
  const [row] = await db
    .update(webhooks)
    .set({ cursor: since, ...revised })
    .where(isOwn(user, id))
    .returning();
  if (!row) throw new Problem('not_found');
  return toWebhook(db, row, rules);
}

/** Returns the latest 200 deliveries, newest first. @throws {Problem} `not_found`, `invalid_cursor`. */
export async function listWebhookDeliveries(
  db: Database,
  user: CurrentUser,
  id: string,
  query: PageQuery,
): Promise<WebhookDeliveryPage> {
  await findWebhook(db, user, id);
  const page = await parsePage<WebhookDelivery>(`deliveries of ${id.toLowerCase()}`, query, {
    by: webhook_deliveries.at,
    type: 'timestamptz',
    id: webhook_deliveries.event_id,
    descending: true,
    keyOf: ({ at }) => at,
    idOf: ({ event_id }) => event_id,
  });
  const latest = db
    .select({ event_id: webhook_deliveries.event_id })
    .from(webhook_deliveries)
    .where(eq(webhook_deliveries.webhook_id, id))
    .orderBy(desc(webhook_deliveries.at), desc(webhook_deliveries.event_id))
    .limit(DELIVERIES_KEPT);
  const rows = await db
    .select(deliveryColumns)
    .from(webhook_deliveries)
    .where(
      and(
        eq(webhook_deliveries.webhook_id, id),
        sql`${webhook_deliveries.event_id} in ${latest}`,
        afterCursor(page.position, page.order),
      ),
    )
    .orderBy(...orderBy(page.order))
    .limit(page.count);
  return toPage(page, rows);
}

async function toWebhook(db: Database, row: WebhookRow, rules: Rules): Promise<Webhook> {
  const { id, url, name, project_id, actions, state, disabled_reason, cursor } = row;
  const page = await readChanges(
    db,
    { id: row.user_id },
    { since: cursor, limit: PENDING_MAX },
    rules.retentionSeconds,
  ).catch((error: unknown) => {
    if (error instanceof Problem && error.code === 'cursor_expired') return undefined;
    throw error;
  });
  return {
    ...{ id, url, name, project_id, actions, state, disabled_reason, cursor },
    pending: page?.items.filter((event) => isWanted(row, event)).length ?? PENDING_MAX,
    missed: page === undefined,
    last_success_at: row.last_success_at,
    last_failure:
      row.last_failure_at && row.last_failure_error
        ? {
            at: row.last_failure_at,
            status: row.last_failure_status,
            error: row.last_failure_error,
          }
        : null,
    created_at: row.created_at,
    updated_at: row.updated_at,
  };
}

/** Returns whether a webhook wants an event. */
export const isWanted = (
  { project_id, actions }: Pick<WebhookRow, 'project_id' | 'actions'>,
  event: { project_id: string; action: string },
) =>
  (project_id === null || project_id === event.project_id) &&
  (actions === null || actions.some((one) => one === event.action));

// --- What is given ---------------------------------------------------------------------------------------------

/** @throws {Problem} `validation_failed`. */
function assertUrl(text: string, { production }: Rules) {
  const url = URL.parse(text);
  const schemes = production ? ['https:'] : ['https:', 'http:'];
  const isFit =
    url !== null && schemes.includes(url.protocol) && url.username === '' && url.password === '';
  if (isFit) return;
  const message = production
    ? 'must be an https URL without a user'
    : 'must be a URL without a user';
  throw validationProblem([{ location: 'body.url', code: 'invalid_format', message }]);
}

/** @throws {Problem} `validation_failed`. */
function assertSecret(secret: string): string {
  const length = secretBytes(secret)?.length ?? 0;
  if (length >= SECRET_BYTES_MIN && length <= SECRET_BYTES_MAX) return secret;
  const message = `must be ${SECRET_PREFIX} and ${SECRET_BYTES_MIN} to ${SECRET_BYTES_MAX} bytes in base64`;
  throw validationProblem([{ location: 'body.secret', code: 'invalid_format', message }]);
}

const newSecret = () =>
  SECRET_PREFIX + crypto.getRandomValues(new Uint8Array(SECRET_BYTES)).toBase64();

/** Returns the key in a secret; undefined where the text is no secret. */
export function secretBytes(secret: string): Uint8Array | undefined {
  try {
    return decodeBase64(secret.slice(SECRET_PREFIX.length));
  } catch {
    return undefined;
  }
}
