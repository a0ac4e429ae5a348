/**
 * How many requests a client may send: a fuse against runaway loops, counted in this process alone. What must hold
 * across processes, above all the guessing of passwords, is in `handlers/limits`.
 */
import { Elysia } from 'elysia';
import type { CurrentUser } from '../db/access.ts';
import type { Platform } from '../platform.ts';
import { type RateLimit, rateLimited, rateLimitHeaders } from '../rate-limit.ts';
import { findClientAddress } from './client-address.ts';

/** 100 requests a second, and up to 1,000 at once. */
const of_user: RateLimit = { name: 'user', quota: 1000, window_seconds: 10 };
/** 200 requests a second, and up to 2,000 at once: an address may be an office. */
const of_address: RateLimit = { name: 'address', quota: 2000, window_seconds: 10 };

/** For each limit, in each of the two generations; an entry takes about 150 bytes. */
const BUCKETS_MAX = 50_000;

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

  return plugin
    .onRequest((context) => {
      // Its type leaves out the path, which is known by now.
      const { request, set, path } = context as typeof context & { path: string };
      if (isUnlimited(path)) return;
      const bucket = addresses.find(findClientAddress(platform, request) ?? '');
      (context as Counted).of_address = bucket;
      take(of_address, bucket);
      Object.assign(set.headers, headersOf(of_address, bucket));
    })
    .onBeforeHandle({ as: 'global' }, (context) => {
      const { set, user } = context as typeof context & { user?: CurrentUser };
      if (!user) return;
      const bucket = users.find(user.id);
      take(of_user, bucket);
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
  tokens: number;
  filled_at_ms: number;
}

/** @throws {Problem} `rate_limited` when the bucket is empty. */
function take(limit: RateLimit, bucket: Bucket) {
  if (bucket.tokens < 1)
    throw rateLimited(
      limit,
      secondsUntil(1, limit, bucket),
      secondsUntil(limit.quota, limit, bucket),
    );
  bucket.tokens -= 1;
}

const headersOf = (limit: RateLimit, bucket: Bucket) =>
  rateLimitHeaders(limit, Math.floor(bucket.tokens), secondsUntil(limit.quota, limit, bucket));

const secondsUntil = (tokens: number, { quota, window_seconds }: RateLimit, bucket: Bucket) =>
  Math.ceil(((tokens - bucket.tokens) / quota) * window_seconds);

/**
 * Buckets by key, in two generations. A new one begins after each window; what nobody has asked for during a whole
 * window is full, so it is dropped with the older generation and made anew when needed: no timer, no sweep.
 */
function createBuckets({ quota, window_seconds }: RateLimit, now: () => Date) {
  const window_ms = window_seconds * 1000;
  let recent = new Map<string, Bucket>();
  let older = new Map<string, Bucket>();
  let began_at_ms = Number.NEGATIVE_INFINITY;

  return {
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
        bucket = older.get(key) ?? { tokens: quota, filled_at_ms: now_ms };
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
