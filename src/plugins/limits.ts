/**
 * How many requests a client may send: a fuse against runaway loops, counted in memory, by this process and those that
 * serve the same port. What must hold everywhere, above all the guessing of passwords, is in `handlers/limits`.
 */
import { Elysia } from 'elysia';
import type { CurrentUser } from '../db/access.ts';
import type { Platform, Siblings } from '../platform.ts';
import { type RateLimit, rateLimited, rateLimitHeaders } from '../rate-limit.ts';
import { findClientAddress } from './client-address.ts';

/** 100 requests a second, and up to 1,000 at once. */
const of_user: RateLimit = { name: 'user', quota: 1000, window_seconds: 10 };
/** 200 requests a second, and up to 2,000 at once: an address may be an office. */
const of_address: RateLimit = { name: 'address', quota: 2000, window_seconds: 10 };

/** For each limit, in each of the two generations; an entry takes about 150 bytes. */
const BUCKETS_MAX = 50_000;

/**
 * Siblings hear no oftener than this what clients have taken. Meanwhile each may let through all that it knows of, which
 * becomes a debt: for a moment a client may have more than the quota, in the long run never.
 */
const TELL_INTERVAL_MS = 100;

/** Whoever watches over the service must not be turned away when it has most to do. */
export const isUnlimited = (path: string) => /^\/health\/(live|ready)\/?$/.test(path);

/**
 * Every request counts for its address, and one that has come to a handler for its user too. The answer tells what is
 * left of the tighter limit. It has to be registered before every route.
 */
export function requestLimits(platform: Platform) {
  const plugin = new Elysia({ name: 'request-limits' });
  if (!platform.settings.rate_limit) return plugin;
  const users = createBuckets(of_user, platform.now);
  const addresses = createBuckets(of_address, platform.now);
  if (platform.siblings) share(platform.siblings, [users, addresses]);

  return plugin
    .onRequest((context) => {
      // Its type leaves out the path, which is known by now.
      const { request, set, path } = context as typeof context & { path: string };
      if (isUnlimited(path)) return;
      const bucket = addresses.find(findClientAddress(platform, request) ?? '');
      (context as Counted).of_address = bucket;
      addresses.take(bucket);
      Object.assign(set.headers, headersOf(of_address, bucket));
    })
    .onBeforeHandle({ as: 'global' }, (context) => {
      const { set, user } = context as typeof context & { user?: CurrentUser };
      if (!user) return;
      const bucket = users.find(user.id);
      users.take(bucket);
      const { of_address: wider } = context as Counted;
      if (wider === undefined || bucket.tokens < wider.tokens)
        Object.assign(set.headers, headersOf(of_user, bucket));
    });
}

/** What is noted in the context of a request. */
interface Counted {
  of_address?: Bucket;
}

/** Holds a token for each request that may be sent at once; tokens come back evenly, the quota in a window. */
interface Bucket {
  readonly key: string;
  /** Below zero where a sibling has given more than there was. */
  tokens: number;
  filled_at_ms: number;
  /** Taken here, and not told to the siblings yet. */
  untold: number;
}

type Buckets = ReturnType<typeof createBuckets>;

const headersOf = (limit: RateLimit, bucket: Bucket) =>
  rateLimitHeaders(limit, Math.floor(bucket.tokens), secondsUntil(limit.quota, limit, bucket));

const secondsUntil = (tokens: number, { quota, window_seconds }: RateLimit, bucket: Bucket) =>
  Math.ceil(((tokens - bucket.tokens) / quota) * window_seconds);

/**
 * Buckets by key, in two generations. A new one begins after each window; what nobody has asked for during a whole
 * window is full, so it is dropped with the older generation and made anew when needed: no timer, no sweep.
 */
function createBuckets(limit: RateLimit, now: () => Date) {
  const { quota, window_seconds } = limit;
  const window_ms = window_seconds * 1000;
  let recent = new Map<string, Bucket>();
  let older = new Map<string, Bucket>();
  let began_at_ms = Number.NEGATIVE_INFINITY;
  let onTake: ((bucket: Bucket) => void) | undefined;

  return {
    /** @throws {Problem} `rate_limited` when the bucket is empty. */
    take(bucket: Bucket) {
      if (bucket.tokens < 1)
        throw rateLimited(
          limit,
          secondsUntil(1, limit, bucket),
          secondsUntil(quota, limit, bucket),
        );
      bucket.tokens -= 1;
      onTake?.(bucket);
    },
    onTake(heard: (bucket: Bucket) => void) {
      onTake = heard;
    },
    /** @returns the bucket with as many tokens as it has by now. */
    find(key: string): Bucket {
      const now_ms = now().getTime();
      if (now_ms - began_at_ms >= window_ms || recent.size >= BUCKETS_MAX) {
        older = recent;
        recent = new Map();
        began_at_ms = now_ms;
      }
      let bucket = recent.get(key);
      if (!bucket) {
        bucket = older.get(key) ?? { key, tokens: quota, filled_at_ms: now_ms, untold: 0 };
        recent.set(key, bucket);
      }
      // A clock may be set back.
      const passed_ms = Math.max(0, now_ms - bucket.filled_at_ms);
      bucket.tokens = Math.min(quota, bucket.tokens + (passed_ms / window_ms) * quota);
      bucket.filled_at_ms = now_ms;
      return bucket;
    },
  };
}

/** What clients have taken since the last time: by limit, as in the list of buckets, and by key. */
type Taken = [key: string, tokens: number][][];

/** Takes from these buckets what clients take from the siblings', and the other way round. */
function share(siblings: Siblings, all: Buckets[]) {
  const untold: Bucket[][] = all.map(() => []);
  let is_due = false;

  function tell() {
    is_due = false;
    const taken: Taken = untold.map((buckets) =>
      buckets.splice(0).map((bucket) => {
        const tokens = bucket.untold;
        bucket.untold = 0;
        return [bucket.key, tokens];
      }),
    );
    siblings.tell('requests_taken', taken);
  }

  all.forEach((buckets, place) => {
    buckets.onTake((bucket) => {
      bucket.untold += 1;
      if (bucket.untold === 1) untold[place]?.push(bucket);
      if (is_due) return;
      is_due = true;
      setTimeout(tell, TELL_INTERVAL_MS);
    });
  });
  siblings.on('requests_taken', (taken) => {
    for (const [place, entries] of (taken as Taken).entries())
      for (const [key, tokens] of entries) {
        const bucket = all[place]?.find(key);
        if (bucket) bucket.tokens -= tokens;
      }
  });
}
