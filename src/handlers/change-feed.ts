/**
 * The feed of a process: it reads each new event once for all followers, with the users who may see it at that moment, and
 * queues it for them. While there are followers, it listens on one connection.
 */
// Decision: docs/decisions/17-streams-share-a-connection.md
import { coalesce } from '../lib/coalesce.ts';
import { describeError } from '../lib/describe-error.ts';
import type { Platform } from '../platform.ts';
import type { Event } from '../schemas/events.ts';
import {
  assignPositions,
  latestTimeline,
  type NewEvent,
  readFeed,
  readNewEvents,
} from './events.ts';

/** The channel that `sequence_events` notifies. */
const CHANNEL = 'mantou_changes';
/** Finds writes without a notification: a process can die between the two. */
const POLL_INTERVAL_MS = 2000;
const NEW_EVENTS_MAX = 500;
/** Up to this many events wait for one follower. With more it is behind, and reads pages by itself. */
const QUEUED_EVENTS_MAX = 500;

export interface QueuedEvent {
  readonly position: number;
  readonly event: Omit<Event, 'cursor'>;
}

/** A client of the feed: the events that wait for it, and its position. */
export interface Follower {
  readonly userId: string;
  /** Every event up to this position is queued or sent. */
  position: number;
  /** The feed queues nothing for a follower that is behind: it reads pages until it has caught up. */
  isBehind: boolean;
  /** Removes the queued events and returns them. */
  take(): QueuedEvent[];
  queue(position: number, event: QueuedEvent['event']): void;
  /** Drops the queued events: the follower has to read pages again. */
  fallBehind(): void;
  /** How often it has fallen behind. After a page that was read before the last time, it is still behind. */
  falls: number;
  /** Resolves at the next `wake`, or after the time. */
  wait(ms: number): Promise<void>;
  wake(): void;
}

export function createFollower(userId: string, position: number): Follower {
  let queued: QueuedEvent[] = [];
  let woken = Promise.withResolvers<void>();
  return {
    userId,
    position,
    isBehind: true,
    falls: 0,
    take() {
      const taken = queued;
      queued = [];
      return taken;
    },
    queue(position, event) {
      if (this.isBehind || position <= this.position) return;
      if (queued.length === QUEUED_EVENTS_MAX) return this.fallBehind();
      queued.push({ position, event });
      this.position = position;
      this.wake();
    },
    fallBehind() {
      queued = [];
      this.isBehind = true;
      this.falls += 1;
      this.wake();
    },
    async wait(ms) {
      const { promise, resolve } = woken;
      const timer = setTimeout(resolve, ms);
      await promise;
      clearTimeout(timer);
      woken = Promise.withResolvers<void>();
    },
    wake: () => woken.resolve(),
  };
}

export interface ChangeFeed {
  /** Every follower that is not behind has the events up to this position queued. */
  readonly position: number;
  readonly size: number;
  add(follower: Follower): void;
  remove(follower: Follower): void;
}

/** Returns the feed of a process. Where the runtime cannot listen, followers poll, and the feed dispatches nothing. */
export function createChangeFeed({
  database: db,
  settings: { eventsRetentionSeconds: retentionSeconds },
  subscribe,
  log,
}: Pick<Platform, 'database' | 'settings' | 'subscribe' | 'log'>): ChangeFeed {
  const followers = new Set<Follower>();
  let position = 0;
  let timeline: string | undefined;
  let unsubscribe: (() => void) | undefined;
  const logFailure = (error: Error) => log('debug', 'changes_not_read', describeError(error));
  const read = coalesce(0, publish, logFailure);
  const poll = coalesce(
    0,
    async () => {
      await assignPositions(db, retentionSeconds);
      read();
    },
    logFailure,
  );

  function start(listen: NonNullable<Platform['subscribe']>) {
    // `sequence_events` notifies after it has assigned positions, so there are none to assign.
    const unlisten = listen(CHANNEL, read);
    const timer = setInterval(poll, POLL_INTERVAL_MS);
    poll();
    unsubscribe = () => {
      clearInterval(timer);
      unlisten();
    };
  }

  async function publish() {
    for (;;) {
      const from = position;
      const state = await readFeed(db);
      if (timeline !== latestTimeline(state)) {
        // A server that was promoted or restored may assign a position again, so each follower checks its cursor anew.
        timeline = latestTimeline(state);
        position = state.last;
        for (const follower of followers) follower.fallBehind();
        return;
      }
      const events = await readNewEvents(db, from, state.last, NEW_EVENTS_MAX);
      // Meanwhile a first follower was added, and has set the position.
      if (position !== from) continue;
      dispatch(events);
      const isFull = events.length === NEW_EVENTS_MAX;
      position = isFull ? (events.at(-1)?.position ?? from) : state.last;
      if (!isFull) return;
    }
  }

  function dispatch(events: NewEvent[]) {
    if (events.length === 0) return;
    const byUser = Map.groupBy(followers, ({ userId }) => userId);
    /** After `access.granted` a user gets only the later events of that project. */
    const granted = new Map(
      events.flatMap(({ position, recipient_id, event }) =>
        event.action === 'access.granted'
          ? [[`${recipient_id} ${event.project_id}`, position] as const]
          : [],
      ),
    );
    for (const { position, recipient_id, audience, event } of events)
      for (const userId of audience) {
        const isBeforeGrant = position < (granted.get(`${userId} ${event.project_id}`) ?? 0);
        if (recipient_id === null && isBeforeGrant) continue;
        for (const follower of byUser.get(userId) ?? []) follower.queue(position, event);
      }
  }

  return {
    get position() {
      return position;
    },
    get size() {
      return followers.size;
    },
    add(follower) {
      if (subscribe && followers.size === 0) {
        position = follower.position;
        // The first read finds the timeline, and the follower checks its cursor in it.
        timeline = undefined;
        start(subscribe);
      }
      followers.add(follower);
    },
    remove(follower) {
      followers.delete(follower);
      if (followers.size > 0) return;
      unsubscribe?.();
      unsubscribe = undefined;
    },
  };
}
