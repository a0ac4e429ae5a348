/**
 * Changes as they happen, to many at once. While anybody follows, one connection of the process listens; what is new is
 * read once for all of them, with those who may know of it at that moment, and handed to each. Who is behind, because he
 * has just come or reads too slowly, reads for himself until he has caught up.
 */
import { Elysia } from 'elysia';
import { boundedConcurrency } from '../bounded-concurrency.ts';
import type { CurrentUser } from '../db/access.ts';
import {
  type FreshEvent,
  listChanges,
  placesOf,
  readFresh,
  sequenceEvents,
} from '../handlers/events.ts';
import type { Platform } from '../platform.ts';
import { Problem } from '../problem.ts';
import { rateLimited } from '../rate-limit.ts';
import type { Event } from '../schemas/events.ts';

/** As `sequence_events` names it. */
const CHANNEL = 'mantou_changes';
/** Whoever writes tells of it at once, and then no oftener than this. */
const ANNOUNCE_INTERVAL_MS = 50;
/** Even if no notification arrives: the one who wrote may have died before he told. */
const LOOK_INTERVAL_MS = 2000;
const FRESH_ROWS_MAX = 500;
const PAGE_ROWS = 200;
const CATCHING_UP_MAX = 4;
/** What waits for a follower who does not read. Beyond it he has to catch up. */
const QUEUED_EVENTS_MAX = 500;
/** Somebody who takes nothing for so long is cut off. */
const STALL_TIMEOUT_MS = 10_000;
const BEAT_INTERVAL_MS = 15_000;
/** A revocation holds everywhere within five seconds (credentials are remembered for four). */
const CHECK_INTERVAL_MS = 1000;

const FOLLOWERS_MAX = 10_000;
const of_user = { name: 'streams', quota: 20, window_seconds: 60 };

interface Follower {
  readonly user_id: string;
  readonly queue: { position: number; event: Omit<Event, 'cursor'> }[];
  /** Up to here everything is queued or sent. */
  position: number;
  is_behind: boolean;
  wake(): void;
}

export interface ChangeStream {
  /** Says that something was written. */
  announce(): void;
  /**
   * The text of an event stream (WHATWG HTML, "Server-sent events"), piece by piece, until the credential ends or the
   * process stops.
   * @param since a cursor; undefined: from now on.
   * @throws {Problem} before the first piece: `invalid_cursor`, `cursor_expired`, `rate_limited`, `overloaded`.
   */
  follow(
    user: CurrentUser,
    since: string | undefined,
    authenticate: () => Promise<unknown>,
  ): Promise<ReadableStream<Uint8Array>>;
}

export function createChangeStream(platform: Platform): ChangeStream {
  const { database: db, settings, listen, log, metrics, shutdown, siblings, streamed } = platform;
  const retention_seconds = settings.events_retention_seconds;
  const followers = new Set<Follower>();
  const catching_up = boundedConcurrency('catching up', CATCHING_UP_MAX, FOLLOWERS_MAX);
  /** Up to here all followers who are not behind have been told. */
  let position = 0;
  let stopLooking: (() => void) | undefined;
  const announce = coalesced(ANNOUNCE_INTERVAL_MS, () => sequenceEvents(db, retention_seconds));
  const look = coalesced(0, passOn);

  const countOwn = (user_id: string) =>
    [...followers].filter((follower) => follower.user_id === user_id).length;
  siblings?.on('streams_open', (user_id) => countOwn(user_id as string));

  async function refuseTooMany({ id }: CurrentUser) {
    if (followers.size >= FOLLOWERS_MAX) throw new Problem('overloaded', { limit: 'streams' });
    const elsewhere = ((await siblings?.ask('streams_open', id)) ?? []) as number[];
    const open = elsewhere.reduce((sum, count) => sum + count, countOwn(id));
    if (open >= of_user.quota) throw rateLimited(of_user, of_user.window_seconds);
  }

  /** Begins when the first follower comes. */
  function beginLooking(listen: NonNullable<Platform['listen']>) {
    const unlisten = listen(CHANNEL, look);
    const timer = setInterval(look, LOOK_INTERVAL_MS);
    stopLooking = () => {
      clearInterval(timer);
      unlisten();
    };
  }

  async function passOn() {
    await sequenceEvents(db, retention_seconds);
    for (;;) {
      const from = position;
      const { fresh, until } = await readFresh(db, from, FRESH_ROWS_MAX);
      // Somebody moved it meanwhile: a first follower.
      if (position !== from) continue;
      deliver(fresh);
      position = until;
      if (fresh.length < FRESH_ROWS_MAX) return;
    }
  }

  function deliver(fresh: FreshEvent[]) {
    if (fresh.length === 0) return;
    const by_user = Map.groupBy(followers, ({ user_id }) => user_id);
    /** Of a project that somebody has just come to see, he gets nothing from before. */
    const granted = new Map(
      fresh.flatMap(({ position, recipient_id, event }) =>
        event.action === 'access.granted'
          ? [[`${recipient_id} ${event.project_id}`, position] as const]
          : [],
      ),
    );
    for (const { position, recipient_id, audience, event } of fresh)
      for (const user_id of audience) {
        const too_early = position < (granted.get(`${user_id} ${event.project_id}`) ?? 0);
        if (recipient_id === null && too_early) continue;
        for (const follower of by_user.get(user_id) ?? []) queue(follower, position, event);
      }
  }

  function queue(follower: Follower, position: number, event: Omit<Event, 'cursor'>) {
    if (follower.is_behind || position <= follower.position) return;
    if (follower.queue.length === QUEUED_EVENTS_MAX) {
      follower.queue.length = 0;
      follower.is_behind = true;
      return;
    }
    follower.queue.push({ position, event });
    follower.position = position;
    follower.wake();
  }

  return {
    // Where nobody can listen, whoever looks gives the events their places.
    announce: listen ? announce : () => undefined,
    async follow(user, since, authenticate) {
      await refuseTooMany(user);
      // Sequences, judges the cursor, and says where "now" is.
      const first = await listChanges(db, user, { since, limit: PAGE_ROWS }, retention_seconds);
      const places = await placesOf(db, user);
      let bell = Promise.withResolvers<void>();
      let open = true;
      const sent = await places.read(first.next_cursor);
      const follower: Follower = {
        user_id: user.id,
        queue: [],
        position: sent,
        is_behind: true,
        wake: () => bell.resolve(),
      };

      async function* pieces(): AsyncGenerator<string> {
        yield `retry: ${ANNOUNCE_INTERVAL_MS * 20}\n${first.items.map(written).join('')}id: ${first.next_cursor}\n\n`;
        let cursor = first.next_cursor;
        let beaten_at_ms = performance.now();
        let checked_at_ms = beaten_at_ms;
        while (open) {
          const now_ms = performance.now();
          if (now_ms - checked_at_ms >= CHECK_INTERVAL_MS) {
            await authenticate();
            checked_at_ms = now_ms;
          }
          if (follower.is_behind) {
            const page = await catchUp(cursor);
            cursor = page.next_cursor;
            if (page.items.length > 0) {
              beaten_at_ms = now_ms;
              yield page.items.map(written).join('');
            }
            if (follower.is_behind || page.items.length > 0) continue;
          }
          const queued = follower.queue.splice(0);
          if (queued.length > 0) {
            const told = await Promise.all(
              queued.map(async ({ position, event }) => ({
                cursor: await places.write(position),
                ...event,
              })),
            );
            cursor = told.at(-1)?.cursor ?? cursor;
            beaten_at_ms = now_ms;
            yield told.map(written).join('');
            continue;
          }
          // A worker learns that a client has gone when it writes to him.
          if (now_ms - beaten_at_ms >= (listen ? BEAT_INTERVAL_MS : LOOK_INTERVAL_MS)) {
            beaten_at_ms = now_ms;
            // Nothing before here is missing, so whoever comes back can begin here.
            cursor = await places.write(Math.max(position, await places.read(cursor)));
            yield `: beat\nid: ${cursor}\n\n`;
            continue;
          }
          if (listen) await Promise.race([bell.promise, elapsed(CHECK_INTERVAL_MS)]);
          else await elapsed(LOOK_INTERVAL_MS);
          bell = Promise.withResolvers<void>();
          follower.is_behind ||= !listen;
        }
      }

      /** Reads a page; after the last, he is told by others from then on. */
      async function catchUp(since: string) {
        const query = { since, limit: PAGE_ROWS };
        const read = () => listChanges(db, user, query, retention_seconds);
        // A worker must not wait for what belongs to another request.
        const page = await (listen ? catching_up.run(read) : read());
        const until = await places.read(page.next_cursor);
        follower.position = until;
        follower.is_behind = page.items.length === PAGE_ROWS || until < position;
        return page;
      }

      if (listen && followers.size === 0) {
        position = sent;
        beginLooking(listen);
      }
      followers.add(follower);
      metrics?.showStreams(followers.size);
      const stop = () => {
        open = false;
        bell.resolve();
      };
      shutdown?.signal.addEventListener('abort', stop);
      return asStream(streamed(pieces()), () => {
        stop();
        shutdown?.signal.removeEventListener('abort', stop);
        followers.delete(follower);
        metrics?.showStreams(followers.size);
        if (followers.size > 0) return;
        stopLooking?.();
        stopLooking = undefined;
      });
    },
  };

  /** Runs work at once, and again after it if it was asked for meanwhile; what fails is tried at the next occasion. */
  function coalesced(interval_ms: number, work: () => Promise<void>): () => void {
    let is_running = false;
    let is_asked = false;
    return async function ask() {
      is_asked = true;
      if (is_running) return;
      is_running = true;
      while (is_asked) {
        is_asked = false;
        await work().catch((error: Error) =>
          log('debug', 'changes_not_read', { message: error.message }),
        );
        if (interval_ms > 0) await elapsed(interval_ms);
      }
      is_running = false;
    };
  }
}

/** Tells of every write once it is answered, but for those that make no event: a log-in, for example. */
export const announcing = (changes: ChangeStream) =>
  new Elysia({ name: 'announcing' }).onAfterResponse(
    { as: 'global' },
    ({ request: { method }, route = '', set }) => {
      if (method === 'GET' || method === 'HEAD' || method === 'OPTIONS') return;
      const is_event = /^\/(projects|tasks)\b/.test(route) || route === '/users/me';
      if (is_event && Number(set.status ?? 200) < 300) changes.announce();
    },
  );

const elapsed = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** JSON has no line breaks of its own, so one line of data holds it. */
const written = (event: Event) =>
  `event: change\nid: ${event.cursor}\ndata: ${JSON.stringify(event)}\n\n`;

/** As fast as the client reads. Whatever ends the pieces ends the stream: the client comes back and hears why. */
function asStream(pieces: AsyncGenerator<string>, onEnd: () => void): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let stalled: ReturnType<typeof setTimeout> | undefined;
  let ended = false;
  const end = () => {
    clearTimeout(stalled);
    if (ended) return;
    ended = true;
    onEnd();
    // Whoever was cut off asks for no more: what the pieces hold, at the edge a connection, has to go all the same.
    pieces.return(undefined).catch(() => undefined);
  };
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      clearTimeout(stalled);
      try {
        const { value, done } = await pieces.next();
        if (ended) return;
        if (!done) {
          controller.enqueue(encoder.encode(value));
          stalled = setTimeout(() => {
            end();
            controller.error();
          }, STALL_TIMEOUT_MS);
          return;
        }
      } catch {
        if (ended) return;
      }
      end();
      controller.close();
    },
    cancel: end,
  });
}
