/** Reads of changes: a page, a page of a snapshot, or a long poll, which waits for a change as a change stream does. */
import type { Platform } from '../platform.ts';
import type { CurrentUser } from '../schemas/current-user.ts';
import type { ChangePage, ChangesQuery } from '../schemas/events.ts';
import { type ChangeFeed, createFollower, type Follower } from './change-feed.ts';
import { isSnapshotCursor, readSnapshot } from './change-snapshot.ts';
import { AUTHENTICATE_INTERVAL_MS, POLL_INTERVAL_MS } from './change-stream.ts';
import { readChanges } from './events.ts';
import type { StreamLimit } from './stream-limit.ts';

/** How soon a long poll reads again while the feed of the process is ahead of it. */
const BEHIND_INTERVAL_MS = 50;

/** The client of a request that may wait. */
export interface WaitingClient {
  /** @throws {Problem} once the credential has ended. */
  authenticate(): Promise<unknown>;
  /** Aborts when the client has gone. */
  readonly signal: AbortSignal;
}

export interface ChangePoll {
  /**
   * Returns the changes since a cursor, as `readChanges` does, or a page of a snapshot. With `wait` and a cursor after which
   * there are none, it waits for one: until the time is up, the process stops, or the client has gone.
   * @throws {Problem} `invalid_cursor`, `cursor_expired`; and for a wait `rate_limited`, `overloaded`, and what `authenticate`
   * throws.
   */
  read(user: CurrentUser, query: ChangesQuery, client: WaitingClient): Promise<ChangePage>;
}

export function createChangePoll(
  platform: Pick<Platform, 'database' | 'settings' | 'subscribe' | 'shutdown'>,
  feed: ChangeFeed,
  limit: StreamLimit,
): ChangePoll {
  const { database: db, settings, subscribe, shutdown } = platform;
  const retentionSeconds = settings.eventsRetentionSeconds;

  async function wait(
    user: CurrentUser,
    query: ChangesQuery,
    waitMs: number,
    { authenticate, signal }: WaitingClient,
    follower: Follower,
  ): Promise<ChangePage> {
    const untilMs = performance.now() + waitMs;
    const projects = query.project_id && new Set(query.project_id.map((id) => id.toLowerCase()));
    const isWanted = (projectId: string) => !projects || projects.has(projectId);
    let { since } = query;
    for (;;) {
      const { falls } = follower;
      const isBehind = follower.isBehind || !subscribe;
      const queued = follower.take();
      if (isBehind || queued.some(({ event }) => isWanted(event.project_id))) {
        const { items, next_cursor, position } = await readChanges(
          db,
          user,
          { ...query, since },
          retentionSeconds,
        );
        if (items.length > 0) return { items, next_cursor };
        since = next_cursor;
        if (isBehind) {
          follower.position = position;
          follower.isBehind = position < feed.position || follower.falls !== falls;
        }
      }
      const leftMs = untilMs - performance.now();
      if (leftMs <= 0 || signal.aborted || shutdown?.signal.aborted)
        return { items: [], next_cursor: since ?? '' };
      const interval = subscribe ? AUTHENTICATE_INTERVAL_MS : POLL_INTERVAL_MS;
      await follower.wait(
        Math.min(leftMs, follower.isBehind && subscribe ? BEHIND_INTERVAL_MS : interval),
      );
      await authenticate();
    }
  }

  return {
    async read(user, query, client) {
      if (query.snapshot === 'true' || (await isSnapshotCursor(user, query)))
        return readSnapshot(db, user, query, retentionSeconds);
      const { items, next_cursor, position } = await readChanges(db, user, query, retentionSeconds);
      const waitMs = (query.wait ?? 0) * 1000;
      const page = { items, next_cursor };
      if (items.length > 0 || waitMs === 0 || query.since === undefined) return page;
      const release = await limit.reserve(user.id);
      const follower = createFollower(user.id, position);
      const wake = () => follower.wake();
      feed.add(follower);
      const signals = [client.signal, shutdown?.signal];
      for (const signal of signals) signal?.addEventListener('abort', wake);
      try {
        return await wait(user, { ...query, since: next_cursor }, waitMs, client, follower);
      } finally {
        for (const signal of signals) signal?.removeEventListener('abort', wake);
        feed.remove(follower);
        release();
      }
    },
  };
}
