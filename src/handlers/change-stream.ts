/**
 * The change stream: a user's feed as server-sent events. A client is behind when it has just connected or reads too slowly.
 * Then the stream reads pages from the database until it has caught up. After that, the feed of the process queues its
 * events.
 */

import { Problem } from '../errors/problem.ts';
import { formatEvent, formatHeartbeat, formatId, formatRetry, streamEvents } from '../http/sse.ts';
import { coalesce } from '../lib/coalesce.ts';
import { limitConcurrency } from '../lib/concurrency-limit.ts';
import { parseDatabaseError } from '../lib/database-error.ts';
import type { Platform } from '../platform.ts';
import type { CurrentUser } from '../schemas/current-user.ts';
import type { Event } from '../schemas/events.ts';
import { type ChangeFeed, createFollower, type Follower } from './change-feed.ts';
import { assignPositions, type ChangesRead, readChanges } from './events.ts';
import type { StreamLimit } from './stream-limit.ts';

/** A process announces a write at once, and further writes once in this time. */
const ANNOUNCE_INTERVAL_MS = 50;
const RECONNECT_MS = 1000;
const PAGE_ROWS = 200;
const CATCHING_UP_MAX = 4;
const CATCHING_UP_WAITING_MAX = 10_000;
const HEARTBEAT_INTERVAL_MS = 15_000;
/** Shorter than usual, because the next attempt to reach the database can take long as well. */
const OUTAGE_HEARTBEAT_INTERVAL_MS = 5000;
/** Where the runtime cannot listen, each stream and long poll reads its pages this often. */
export const POLL_INTERVAL_MS = 2000;
/** A revocation holds everywhere within five seconds (credentials are cached for four). */
export const AUTHENTICATE_INTERVAL_MS = 1000;
/** For this long a stream stays open without events while the database cannot say whether its credential is valid. */
const OUTAGE_MINUTES_MAX = 10;

export interface ChangeStream {
  /** Announces a write. */
  notify(): void;
  /**
   * Returns the body of an event stream, which ends with the credential or the process. It opens in an outage of the database
   * as well, because a standard client gives up at any status but 200.
   * @param since a cursor; undefined: from now on.
   * @throws {Problem} before the first event: `invalid_cursor`, `cursor_expired`, `rate_limited`, `overloaded`; and what
   * `authenticate` throws.
   */
  follow(
    user: CurrentUser,
    since: string | undefined,
    authenticate: () => Promise<unknown>,
  ): Promise<ReadableStream<Uint8Array>>;
}

interface Client {
  readonly user: CurrentUser;
  readonly since: string | undefined;
  readonly follower: Follower;
  isOpen: boolean;
  /** Returns false in an outage, when the database cannot say. @throws {Problem} once the credential has ended. */
  isAlive(): Promise<boolean>;
}

export function createChangeStream(
  platform: Platform,
  feed: ChangeFeed,
  limit: StreamLimit,
): ChangeStream {
  const { database: db, settings, subscribe, log, shutdown, bindStream } = platform;
  const retentionSeconds = settings.eventsRetentionSeconds;
  const catchingUp = limitConcurrency('catching up', CATCHING_UP_MAX, CATCHING_UP_WAITING_MAX);
  const announce = coalesce(
    ANNOUNCE_INTERVAL_MS,
    () => assignPositions(db, retentionSeconds),
    ({ message }) => log('debug', 'changes_not_announced', { message }),
  );

  /** Yields the text of the stream, piece by piece. */
  async function* write(client: Client, first: ChangesRead | undefined): AsyncGenerator<string> {
    const { user, follower } = client;
    let cursors = first?.cursors;
    let cursor = first?.next_cursor ?? client.since;
    let sentAtMs = performance.now();
    let authenticatedAtMs = first ? sentAtMs : Number.NEGATIVE_INFINITY;
    yield formatRetry(RECONNECT_MS) +
      (first ? formatPage(first) + formatId(first.next_cursor) : formatHeartbeat());
    while (client.isOpen) {
      const nowMs = performance.now();
      if (nowMs - authenticatedAtMs >= AUTHENTICATE_INTERVAL_MS) {
        if (await client.isAlive()) authenticatedAtMs = nowMs;
        else {
          if (nowMs - sentAtMs >= OUTAGE_HEARTBEAT_INTERVAL_MS) {
            sentAtMs = nowMs;
            yield formatHeartbeat();
          }
          await follower.wait(AUTHENTICATE_INTERVAL_MS);
          continue;
        }
      }
      if (follower.isBehind) {
        const page = await catchUp(client, cursor);
        if (page === undefined) {
          await follower.wait(AUTHENTICATE_INTERVAL_MS);
          continue;
        }
        cursors = page.cursors;
        const isFirst = cursor === undefined;
        cursor = page.next_cursor;
        if (page.items.length > 0 || isFirst) {
          sentAtMs = nowMs;
          yield formatPage(page) + (isFirst ? formatId(cursor) : '');
        } else if (follower.isBehind) await follower.wait(ANNOUNCE_INTERVAL_MS);
        continue;
      }
      const queued = follower.take();
      if (queued.length > 0 && cursors) {
        const { encode } = cursors;
        const items = queued.map(({ position, event }) => ({ cursor: encode(position), ...event }));
        cursor = items.at(-1)?.cursor ?? cursor;
        sentAtMs = nowMs;
        yield formatPage({ items });
        continue;
      }
      // Workers notice that a client has gone only when they write to it.
      if (nowMs - sentAtMs >= (subscribe ? HEARTBEAT_INTERVAL_MS : POLL_INTERVAL_MS)) {
        sentAtMs = nowMs;
        // The client has every event up to this position, so it can continue there when it connects again.
        const position = Math.max(feed.position, follower.position);
        cursor = cursors?.encode(position) ?? cursor;
        yield formatHeartbeat(cursor);
        continue;
      }
      await follower.wait(subscribe ? AUTHENTICATE_INTERVAL_MS : POLL_INTERVAL_MS);
      follower.isBehind ||= !subscribe;
    }

    /** Reads a page; after the last one the feed queues the events. Returns undefined in an outage. */
    async function catchUp(
      { follower }: Client,
      since: string | undefined,
    ): Promise<ChangesRead | undefined> {
      const { falls } = follower;
      const read = () => readChanges(db, user, { since, limit: PAGE_ROWS }, retentionSeconds);
      try {
        // On Workers a request must not wait for a promise of another request.
        const page = await (subscribe ? catchingUp.run(read) : read());
        follower.position = page.position;
        follower.isBehind =
          page.items.length === PAGE_ROWS ||
          page.position < feed.position ||
          follower.falls !== falls;
        return page;
      } catch (error) {
        if (!isOutage(error)) throw error;
        return undefined;
      }
    }
  }

  /** Wraps the check of a credential: it returns false in an outage of the database, for up to `OUTAGE_MINUTES_MAX`. */
  function whileKnown(authenticate: () => Promise<unknown>): () => Promise<boolean> {
    let outageSince: number | undefined;
    return async () => {
      try {
        await authenticate();
        outageSince = undefined;
        return true;
      } catch (error) {
        const nowMs = platform.now().getTime();
        outageSince ??= nowMs;
        if (!isOutage(error) || nowMs - outageSince >= OUTAGE_MINUTES_MAX * 60_000) throw error;
        return false;
      }
    };
  }

  return {
    // Where the runtime cannot listen, the reader assigns the positions.
    notify: subscribe ? announce : () => undefined,
    async follow(user, since, authenticate) {
      const release = await limit.reserve(user.id);
      try {
        const isAlive = whileKnown(authenticate);
        const query = { since, limit: PAGE_ROWS };
        // This assigns positions and checks the cursor; without a cursor, it returns the present one.
        const first = (await isAlive())
          ? await readChanges(db, user, query, retentionSeconds).catch(undefinedInOutage)
          : undefined;
        const follower = createFollower(user.id, first?.position ?? 0);
        const client: Client = { user, since, follower, isOpen: true, isAlive };
        const stop = () => {
          client.isOpen = false;
          follower.wake();
        };
        feed.add(follower);
        shutdown?.signal.addEventListener('abort', stop);
        return streamEvents(bindStream(write(client, first)), () => {
          stop();
          shutdown?.signal.removeEventListener('abort', stop);
          feed.remove(follower);
          release();
        });
      } catch (error) {
        release();
        throw error;
      }
    },
  };
}

/** Returns whether the database is away or overloaded, so that a later attempt may succeed. */
const isOutage = (error: unknown) =>
  error instanceof Problem
    ? error.code === 'overloaded' || error.code === 'database_unavailable'
    : (parseDatabaseError(error)?.unavailable ?? false);

function undefinedInOutage(error: unknown): undefined {
  if (!isOutage(error)) throw error;
}

const formatPage = ({ items }: { items: readonly Event[] }) =>
  items.map((event) => formatEvent('change', event.cursor, event)).join('');
