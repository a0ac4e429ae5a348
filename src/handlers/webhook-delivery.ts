/**
 * Delivers events to webhooks: at least once, and to each in order. A process holds a lease in the database for each webhook that
 * it serves, and follows the feed for it, as a change stream does for a client. It records each delivery before it sends the
 * next event. So a process that is killed loses nothing: the next one sends at most one event again, with the same
 * `webhook-id`.
 */
import { and, eq, exists, inArray, isNull, lt, lte, or, sql } from 'drizzle-orm';
import { v7 as uuidv7 } from 'uuid';
import { batchedWrite } from '../db/batching.ts';
import { type QueryParams, rawQuery } from '../db/prepared.ts';
import { users, webhook_deliveries, webhooks } from '../db/schema.ts';
import { Problem } from '../errors/problem.ts';
import { limitConcurrency } from '../lib/concurrency-limit.ts';
import { limitFairly } from '../lib/fair-concurrency-limit.ts';
import { hmacBase64 } from '../lib/secrets.ts';
import { timeout } from '../lib/timeout.ts';
import type { Platform, WebhookAnswer } from '../platform.ts';
import type { CurrentUser } from '../schemas/current-user.ts';
import type { Event } from '../schemas/events.ts';
import type { WebhookDelivery } from '../schemas/webhooks.ts';
import { type ChangeFeed, createFollower, type Follower } from './change-feed.ts';
import { assignPositions, type FeedCursors, feedCursors, readChanges, readFeed } from './events.ts';
import { DELIVERIES_KEPT, findWebhook, isWanted, secretBytes } from './webhooks.ts';

/** How often a process renews its leases and looks for webhooks without a lease. */
const TICK_MS = 1000;
const LEASE_SECONDS = 15;
/** A process takes up to this many webhooks at a tick, and leaves the others to other processes. */
const TAKEN_PER_TICK_MAX = 50;
const SERVED_MAX = 5000;
const PAGE_ROWS = 200;
/** The webhooks of a process run up to this many statements at once: the rest of the pool is for requests. */
const STATEMENTS_MAX = 3;
const STATEMENTS_WAITING_MAX = 20_000;
/** A process reads events again after this time, because the owner may have lost access meanwhile. */
const READ_FOR_MS = 2000;
const PRUNE_EVERY = 50;

const PAUSE_MS_MIN = 5000;
const PAUSE_MS_MAX = 12 * 3_600_000;
/** The pause grows with the time that the webhook has failed for: after a night, a process tries every hour. */
const PAUSE_SHARE = 1 / 8;
const JITTER = 0.1;
const RETRY_AFTER_MS_MAX = 24 * 3_600_000;
const FAILING_MS_MAX = 5 * 24 * 3_600_000;
const GONE = 410;

const PINGS_MAX = 8;
const PINGS_PER_USER_MAX = 1;
const PINGS_WAITING_MAX = 32;
const PING_WAIT_MAX_MS = 10_000;

type Webhook = Pick<
  typeof webhooks.$inferSelect,
  | 'id'
  | 'user_id'
  | 'url'
  | 'project_id'
  | 'actions'
  | 'secret'
  | 'previous_secret'
  | 'previous_secret_until'
  | 'cursor'
  | 'tries'
  | 'failing_since'
  | 'revision'
>;

const webhookColumns = {
  id: webhooks.id,
  user_id: webhooks.user_id,
  url: webhooks.url,
  project_id: webhooks.project_id,
  actions: webhooks.actions,
  secret: webhooks.secret,
  previous_secret: webhooks.previous_secret,
  previous_secret_until: webhooks.previous_secret_until,
  cursor: webhooks.cursor,
  tries: webhooks.tries,
  failing_since: webhooks.failing_since,
  revision: webhooks.revision,
};

interface Service {
  webhook: Webhook;
  follower: Follower;
  isOpen: boolean;
}

const leaseEnd = sql`now() + make_interval(secs => ${LEASE_SECONDS}::int)`;
/** Does not wait for the disk: a process sends again what a crash of PostgreSQL takes back. The condition is always true. */
const commitsLater = sql`set_config('synchronous_commit', 'off', true) is not null`;

/** A delivery, and the lease under which it was made. */
interface Delivered {
  webhook_id: string;
  owner_id: string;
  revision: number;
  cursor: string;
  event_id: string;
  action: string;
  tries: number;
  status: number | null;
  duration_ms: number | null;
  response: string | null;
}

/** Records deliveries of several webhooks in one statement, and moves their cursors on. A lost lease records nothing. */
const recordDelivered = batchedWrite(
  (_, one: QueryParams<Delivered>, calls) =>
    rawQuery<{ is_held: boolean; call: number }>(
      sql`with held as (
          update webhooks set cursor = ${one.cursor}::text, tries = 0, failing_since = null,
            last_success_at = now(), lease_until = ${leaseEnd}
          from ${calls.from}
          where webhooks.id = ${one.webhook_id}::uuid and webhooks.lease_owner = ${one.owner_id}::uuid
            and webhooks.revision = ${one.revision}::int and ${commitsLater} and ${calls.limitsLocks}
          returning webhooks.id),
        logged as (
          insert into webhook_deliveries (webhook_id, event_id, action, tries, status, duration_ms, response, at)
          select held.id, ${one.event_id}::uuid, ${one.action}::text, ${one.tries}::int, ${one.status}::int,
            ${one.duration_ms}::int, ${one.response}::text, now()
          from ${calls.from}, held where held.id = ${one.webhook_id}::uuid
          on conflict (webhook_id, event_id) do update set action = excluded.action, tries = excluded.tries,
            status = excluded.status, error = null, duration_ms = excluded.duration_ms,
            response = excluded.response, at = excluded.at)
        select held.id is not null as is_held, ${calls.call} as call
        from ${calls.from} left join held on held.id = ${one.webhook_id}::uuid`,
      ['is_held', 'call'],
    ),
  ({ webhook_id }) => ({ row: webhook_id }),
);

export interface WebhookDeliverer {
  /** Looks for webhooks at once, after one was created or changed. */
  wake(): void;
  /** Sends a test event. @throws {Problem} `not_found`, `not_implemented`, `overloaded`. */
  ping(user: CurrentUser, id: string): Promise<WebhookDelivery>;
}

export function createWebhookDeliverer(platform: Platform, feed: ChangeFeed): WebhookDeliverer {
  const { database: db, sendWebhook: send, settings, log, metrics, now, shutdown } = platform;
  const retentionSeconds = settings.eventsRetentionSeconds;
  /** Names this process in its leases. Workers allow no random values before the first request, and serve no webhooks. */
  let owner: string | undefined;
  const ownerId = () => {
    owner ??= uuidv7();
    return owner;
  };
  const services = new Map<string, Service>();
  const statements = limitConcurrency('webhooks', STATEMENTS_MAX, STATEMENTS_WAITING_MAX);
  const pings = limitFairly(
    'webhook-pings',
    {
      inFlightMax: PINGS_MAX,
      inFlightPerClientMax: PINGS_PER_USER_MAX,
      waitingMax: PINGS_WAITING_MAX,
    },
    timeout(PING_WAIT_MAX_MS),
  );
  let woken = Promise.withResolvers<void>();

  async function tick() {
    await renew();
    if (services.size >= SERVED_MAX) return;
    for (const webhook of await take()) serve(webhook);
    metrics?.setWebhooksServed(services.size);
  }

  /** Renews the leases. Closes the services of webhooks that their owners have changed, and of owners who are disabled. */
  async function renew() {
    if (services.size === 0) return;
    const kept = await statements.run(() =>
      db
        .update(webhooks)
        .set({ lease_until: leaseEnd })
        .where(
          and(
            inArray(webhooks.id, [...services.keys()]),
            isMine(),
            eq(webhooks.state, 'active'),
            exists(db.select().from(users).where(isEnabledOwner)),
          ),
        )
        .returning({ id: webhooks.id, revision: webhooks.revision }),
    );
    const revisions = new Map(kept.map(({ id, revision }) => [id, revision]));
    for (const service of services.values())
      if (revisions.get(service.webhook.id) !== service.webhook.revision) close(service);
  }

  const isEnabledOwner = and(eq(users.id, webhooks.user_id), isNull(users.disabled_at));
  const isMine = () => eq(webhooks.lease_owner, ownerId());

  /** Takes the leases of webhooks that are due and that no process serves. */
  function take(): Promise<Webhook[]> {
    const due = db
      .select({ id: webhooks.id })
      .from(webhooks)
      .innerJoin(users, isEnabledOwner)
      .where(
        and(
          eq(webhooks.state, 'active'),
          lte(webhooks.next_try_at, sql`now()`),
          or(isNull(webhooks.lease_until), lt(webhooks.lease_until, sql`now()`)),
        ),
      )
      .orderBy(webhooks.next_try_at)
      .limit(TAKEN_PER_TICK_MAX)
      .for('update', { of: webhooks, skipLocked: true });
    return statements.run(() =>
      db
        .update(webhooks)
        .set({ lease_owner: ownerId(), lease_until: leaseEnd })
        .where(inArray(webhooks.id, due))
        .returning(webhookColumns),
    );
  }

  function close(service: Service) {
    service.isOpen = false;
    service.follower.wake();
  }

  function serve(webhook: Webhook) {
    // A service that is closing releases its lease first.
    if (services.has(webhook.id)) return;
    const service: Service = {
      webhook,
      follower: createFollower(webhook.user_id, 0),
      isOpen: true,
    };
    services.set(webhook.id, service);
    feed.add(service.follower);
    const served = follow(service)
      .catch(async (error: Error) => {
        log('warn', 'webhook_interrupted', { webhook_id: webhook.id, error: error.name });
      })
      .finally(async () => {
        feed.remove(service.follower);
        await release(webhook).catch(() => undefined);
        services.delete(webhook.id);
        woken.resolve();
      });
    platform.waitFor?.(served);
  }

  const release = (webhook: Webhook) =>
    statements.run(() =>
      db
        .update(webhooks)
        .set({ lease_owner: null, lease_until: null })
        .where(and(eq(webhooks.id, webhook.id), isMine())),
    );

  /** Delivers events until a try fails, the lease is lost, or the owner changes the webhook. */
  async function follow(service: Service) {
    const { webhook, follower } = service;
    let encode: FeedCursors['encode'] | undefined;
    /** The follower has read its queue after this. */
    let takenAtMs = performance.now();
    while (service.isOpen) {
      if (follower.isBehind) {
        const { falls } = follower;
        const page = await readPage(webhook);
        if (page === undefined) return;
        encode = page.cursors.encode;
        takenAtMs = page.readAtMs;
        const isDone = await deliverAll(service, page.items, page.readAtMs);
        if (isDone === undefined) return;
        if (!isDone) continue;
        webhook.cursor = page.next_cursor;
        follower.position = page.position;
        follower.isBehind =
          page.items.length === PAGE_ROWS ||
          page.position < feed.position ||
          follower.falls !== falls;
        if (follower.isBehind && page.items.length === 0) await follower.wait(50);
        continue;
      }
      const readAtMs = takenAtMs;
      takenAtMs = performance.now();
      const queued = follower.take();
      if (queued.length === 0 || encode === undefined) {
        await follower.wait(TICK_MS);
        continue;
      }
      const cursorOf = encode;
      const items = queued.map(({ position, event }) => ({ cursor: cursorOf(position), ...event }));
      const isDone = await deliverAll(service, items, readAtMs);
      if (isDone === undefined) return;
      // These events were read too long ago: read them again, from the cursor.
      if (!isDone) follower.fallBehind();
    }
  }

  /** Returns the next events. Where they are pruned, disables the webhook and returns undefined. */
  async function readPage(webhook: Webhook) {
    const user = { id: webhook.user_id };
    const read = (since: string) =>
      statements.run(() => readChanges(db, user, { since, limit: PAGE_ROWS }, retentionSeconds));
    try {
      const page = await read(webhook.cursor);
      return { ...page, readAtMs: performance.now() };
    } catch (error) {
      if (!(error instanceof Problem) || error.code !== 'cursor_expired') throw error;
      await assignPositions(db, retentionSeconds);
      const feed = await readFeed(db);
      const cursors = await feedCursors(feed, user);
      // A failover has lost events that the webhook has received: continue where the timeline ended.
      const resumed = cursors.resume(webhook.cursor);
      if (resumed === undefined || resumed < feed.pruned) {
        await disable(webhook, 'cursor_expired');
        return undefined;
      }
      return { ...(await read(cursors.encode(resumed))), readAtMs: performance.now() };
    }
  }

  /**
   * Delivers events in order. @returns true when all are delivered; false when the rest has to be read again; undefined when
   * the service of this webhook ends.
   */
  async function deliverAll(
    service: Service,
    events: readonly Event[],
    readAtMs: number,
  ): Promise<boolean | undefined> {
    const { webhook } = service;
    let isSkipped = false;
    for (const event of events) {
      if (!service.isOpen) return undefined;
      if (!isWanted(webhook, event)) {
        webhook.cursor = event.cursor;
        isSkipped = true;
        continue;
      }
      if (performance.now() - readAtMs > READ_FOR_MS) return false;
      const answer = await attempt(webhook, event.id, event);
      if (answer.error !== null) {
        await recordFailure(webhook, event, answer);
        return undefined;
      }
      if (!(await recordSuccess(webhook, event, answer))) return undefined;
      isSkipped = false;
    }
    if (isSkipped) await saveCursor(webhook);
    return true;
  }

  async function attempt(webhook: Webhook, id: string, event: object): Promise<WebhookAnswer> {
    const body = JSON.stringify(event);
    const timestamp = Math.floor(now().getTime() / 1000);
    const begunMs = performance.now();
    const answer = await (send as NonNullable<typeof send>)(
      webhook.url,
      {
        'content-type': 'application/json',
        'webhook-id': id,
        'webhook-timestamp': String(timestamp),
        'webhook-signature': await signaturesOf(webhook, `${id}.${timestamp}.${body}`),
      },
      body,
    );
    const seconds = (performance.now() - begunMs) / 1000;
    metrics?.countWebhookTry(answer.error === null ? 'delivered' : 'failed', seconds);
    return answer;
  }

  /** Returns a signature for each secret that is valid now (Standard Webhooks 1.0). */
  async function signaturesOf(webhook: Webhook, content: string): Promise<string> {
    const { secret, previous_secret, previous_secret_until } = webhook;
    const isValid =
      previous_secret !== null &&
      previous_secret_until !== null &&
      Date.parse(previous_secret_until) > now().getTime();
    const secrets = isValid ? [secret, previous_secret] : [secret];
    const signatures = await Promise.all(
      secrets.map((one) => hmacBase64(secretBytes(one) ?? new Uint8Array(), content)),
    );
    return signatures.map((signature) => `v1,${signature}`).join(' ');
  }

  /**
   * Records a delivery. @returns false when another process has the lease by now, or the owner has changed the webhook.
   */
  async function recordSuccess(webhook: Webhook, event: Event, answer: WebhookAnswer) {
    const [row] = await recordDelivered(db, {
      webhook_id: webhook.id,
      owner_id: ownerId(),
      revision: webhook.revision,
      cursor: event.cursor,
      event_id: event.id,
      action: event.action,
      tries: webhook.tries + 1,
      status: answer.status,
      duration_ms: answer.durationMs,
      response: answer.response,
    });
    webhook.cursor = event.cursor;
    webhook.tries = 0;
    webhook.failing_since = null;
    recorded += 1;
    if (recorded % PRUNE_EVERY === 0) await pruneDeliveries(webhook);
    return row?.is_held ?? false;
  }

  let recorded = 0;

  const isHeld = (webhook: Webhook) =>
    and(
      eq(webhooks.id, webhook.id),
      isMine(),
      eq(webhooks.revision, webhook.revision),
      commitsLater,
    );

  async function recordFailure(webhook: Webhook, event: Event, answer: WebhookAnswer) {
    const nowMs = now().getTime();
    const failingSince = webhook.failing_since ?? new Date(nowMs).toISOString();
    const failingMs = Math.max(0, nowMs - Date.parse(failingSince));
    const isGone = answer.status === GONE;
    const isOver = failingMs >= FAILING_MS_MAX;
    await statements.run(() =>
      db
        .with(logged(webhook, event, answer))
        .update(webhooks)
        .set({
          cursor: webhook.cursor,
          tries: webhook.tries + 1,
          failing_since: failingSince,
          next_try_at: sql`now() + make_interval(secs => ${pauseMs(failingMs, answer) / 1000}::float8)`,
          last_failure_at: sql`now()`,
          last_failure_status: answer.status,
          last_failure_error: answer.error,
          ...((isGone || isOver) && {
            state: 'disabled' as const,
            disabled_reason: isGone ? ('gone' as const) : ('failing' as const),
          }),
        })
        .where(isHeld(webhook)),
    );
    await pruneDeliveries(webhook);
    if (isGone || isOver) log('warn', 'webhook_disabled', { webhook_id: webhook.id });
  }

  async function disable(webhook: Webhook, reason: 'cursor_expired') {
    await statements.run(() =>
      db
        .update(webhooks)
        .set({ state: 'disabled', disabled_reason: reason })
        .where(isHeld(webhook)),
    );
    log('warn', 'webhook_disabled', { webhook_id: webhook.id, reason });
  }

  /** Moves the cursor past events that the webhook does not want. */
  const saveCursor = (webhook: Webhook) =>
    statements.run(() =>
      db.update(webhooks).set({ cursor: webhook.cursor }).where(isHeld(webhook)),
    );

  const logged = (
    { id, tries }: Pick<Webhook, 'id' | 'tries'>,
    event: Pick<Event, 'id'> & { action: string },
    { status, error, durationMs, response }: WebhookAnswer,
  ) => {
    const row = {
      action: event.action,
      tries: tries + 1,
      status,
      error,
      duration_ms: durationMs,
      response,
      at: sql`now()`,
    };
    return db.$with('logged').as(
      db
        .insert(webhook_deliveries)
        .values({ webhook_id: id, event_id: event.id, ...row })
        .onConflictDoUpdate({
          target: [webhook_deliveries.webhook_id, webhook_deliveries.event_id],
          set: row,
        })
        .returning({ event_id: webhook_deliveries.event_id }),
    );
  };

  const pruneDeliveries = ({ id }: Pick<Webhook, 'id'>) =>
    statements.run(() =>
      db.execute(sql`delete from ${webhook_deliveries} where webhook_id = ${id} and event_id in (
        select event_id from ${webhook_deliveries} where webhook_id = ${id}
        order by at desc, event_id desc offset ${DELIVERIES_KEPT}::int)`),
    );

  async function run() {
    while (!shutdown?.signal.aborted) {
      await tick().catch((error: Error) =>
        log('debug', 'webhooks_not_taken', { error: error.name }),
      );
      const timer = setTimeout(woken.resolve, TICK_MS);
      await woken.promise;
      clearTimeout(timer);
      woken = Promise.withResolvers<void>();
    }
  }

  if (send && platform.subscribe) {
    shutdown?.signal.addEventListener('abort', () => {
      woken.resolve();
      for (const service of services.values()) close(service);
    });
    void run();
  }

  return {
    wake: () => woken.resolve(),
    async ping(user, id) {
      if (!send) throw new Problem('not_implemented', { detail: NOT_SENT });
      const webhook = await findWebhook(db, user, id);
      const event = {
        id: uuidv7(),
        at: now().toISOString(),
        actor_id: user.id,
        action: 'webhook.ping',
      };
      const answer = await pings.run(user.id, () => attempt(webhook, event.id, event));
      const { status, error, durationMs, response } = answer;
      // The receiver answers: try the events that wait at once.
      await db
        .with(logged({ id, tries: 0 }, event, answer))
        .update(webhooks)
        .set({ next_try_at: error === null ? sql`now()` : sql`${webhooks.next_try_at}` })
        .where(eq(webhooks.id, id));
      if (error === null) woken.resolve();
      return {
        ...{ event_id: event.id, action: event.action, tries: 1, status, error, response },
        duration_ms: durationMs,
        at: now().toISOString(),
      };
    },
  };
}

export const NOT_SENT =
  'Webhooks are not delivered on this runtime: Cloudflare Workers has no process that goes on between requests. Poll GET /changes, or open GET /changes/stream';

/** Returns how many milliseconds to wait before the next try. */
export function pauseMs(
  failingMs: number,
  { retryAfterMs = 0 }: Pick<WebhookAnswer, 'retryAfterMs'>,
) {
  const pause = Math.min(Math.max(failingMs * PAUSE_SHARE, PAUSE_MS_MIN), PAUSE_MS_MAX);
  const jittered = pause * (1 + JITTER * (2 * Math.random() - 1));
  return Math.max(jittered, Math.min(retryAfterMs, RETRY_AFTER_MS_MAX));
}
