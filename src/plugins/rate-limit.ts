/**
 * Limits how many requests a client sends, as a protection against runaway loops. This process counts in memory, together with
 * the worker processes at the same port. `handlers/login-limits` has the limits that all machines share, above all on guesses
 * of passwords.
 */
import { Elysia } from 'elysia';
import { clientIp } from '../http/client-ip.ts';
import { type RateLimit, rateLimited, rateLimitHeaders } from '../http/rate-limit-headers.ts';
import { requestState } from '../http/request-state.ts';
import type { PeerChannel, Platform } from '../platform.ts';

/** 100 requests a second, and up to 1,000 at once. */
const userLimit: RateLimit = { name: 'user', quota: 1000, windowSeconds: 10 };
/** 200 requests a second, and up to 2,000 at once: the users of an office share an address. */
const addressLimit: RateLimit = { name: 'address', quota: 2000, windowSeconds: 10 };

/**
 * A body counts as one more request for each of these units of its length, because to read it takes as long. The largest body
 * counts as 64 requests.
 */
const BODY_BYTES_PER_REQUEST = 16 * 1024;

/** The buckets of one limit in one of its two generations. A bucket takes about 150 bytes. */
const BUCKETS_MAX = 50_000;

/**
 * How long a worker process collects the tokens that clients take before it tells its peers. Meanwhile each process accepts as
 * many requests as its own count allows, and the excess becomes a debt: a client exceeds the quota for a moment, but not on
 * average.
 */
const BROADCAST_INTERVAL_MS = 100;

/** Returns whether a path has no rate limit: health checks have none. */
export const isExemptFromRateLimit = (path: string) => /^\/health\/(live|ready)\/?$/.test(path);

/**
 * Counts every request for its address, and a request that reaches a handler for its user too. A long body counts as several
 * requests. The response fields describe the limit with fewer requests left. Register the plugin before every route.
 */
export function requestRateLimit(platform: Platform) {
  const plugin = new Elysia({ name: 'request-limits' });
  if (!platform.settings.rateLimit) return plugin;
  const users = createBuckets(userLimit, platform.now);
  const addresses = createBuckets(addressLimit, platform.now);
  if (platform.peers) syncAcrossWorkers(platform.peers, [users, addresses]);

  return plugin
    .onRequest((context) => {
      // The type of the context has no path, but Elysia has set it by now.
      const { request, set, path } = context as typeof context & { path: string };
      if (isExemptFromRateLimit(path)) return;
      const address = clientIp(platform, request);
      if (address === undefined) return;
      const bucket = addresses.find(address);
      const state = requestState(request);
      const count = (cost: number) => {
        addresses.consume(bucket, cost);
        state.addressTokens = bucket.tokens;
        Object.assign(set.headers, headersOf(addressLimit, bucket));
      };
      count(1);
      state.countBody = (bytes) => {
        state.bodyCost = Math.floor(bytes / BODY_BYTES_PER_REQUEST);
        if (state.bodyCost > 0) count(state.bodyCost);
      };
    })
    .onBeforeHandle({ as: 'global' }, ({ request, set }) => {
      const {
        user,
        addressTokens = Number.POSITIVE_INFINITY,
        bodyCost = 0,
      } = requestState(request);
      if (!user) return;
      const bucket = users.find(user.id);
      users.consume(bucket, 1 + bodyCost);
      if (bucket.tokens < addressTokens) Object.assign(set.headers, headersOf(userLimit, bucket));
    });
}

/** A token bucket: a request takes a token, and tokens come back evenly, the quota in each window. */
interface Bucket {
  readonly key: string;
  /** Below zero after a long body, or another worker process, has taken more tokens than there were. */
  tokens: number;
  filledAtMs: number;
  /** The tokens that this process has taken since it last told its peers. */
  unsent: number;
}

type Buckets = ReturnType<typeof createBuckets>;

const headersOf = (limit: RateLimit, bucket: Bucket) =>
  rateLimitHeaders(
    limit,
    Math.max(0, Math.floor(bucket.tokens)),
    secondsUntil(limit.quota, limit, bucket),
  );

const secondsUntil = (tokens: number, { quota, windowSeconds }: RateLimit, bucket: Bucket) =>
  Math.ceil(((tokens - bucket.tokens) / quota) * windowSeconds);

/**
 * Returns buckets by key, in two generations. A new generation begins after each window. A bucket that no request has used for a
 * whole window is full, so it can go with the older generation: that needs no timer.
 */
function createBuckets(limit: RateLimit, now: () => Date) {
  const { quota, windowSeconds } = limit;
  const windowMs = windowSeconds * 1000;
  let recent = new Map<string, Bucket>();
  let older = new Map<string, Bucket>();
  let beganAtMs = Number.NEGATIVE_INFINITY;
  let onTake: ((bucket: Bucket, cost: number) => void) | undefined;

  return {
    /** Takes tokens if the bucket holds at least one. @throws {Problem} `rate_limited` when it is empty. */
    consume(bucket: Bucket, cost: number) {
      if (bucket.tokens < 1)
        throw rateLimited(
          limit,
          secondsUntil(1, limit, bucket),
          secondsUntil(quota, limit, bucket),
        );
      bucket.tokens -= cost;
      onTake?.(bucket, cost);
    },
    onTake(heard: (bucket: Bucket, cost: number) => void) {
      onTake = heard;
    },
    /** Returns the bucket, with the tokens that have come back by now. */
    find(key: string): Bucket {
      const nowMs = now().getTime();
      if (nowMs - beganAtMs >= windowMs || recent.size >= BUCKETS_MAX) {
        older = recent;
        recent = new Map();
        beganAtMs = nowMs;
      }
      let bucket = recent.get(key);
      if (!bucket) {
        bucket = older.get(key) ?? { key, tokens: quota, filledAtMs: nowMs, unsent: 0 };
        recent.set(key, bucket);
      }
      // An operator sets the clock back.
      const passedMs = Math.max(0, nowMs - bucket.filledAtMs);
      bucket.tokens = Math.min(quota, bucket.tokens + (passedMs / windowMs) * quota);
      bucket.filledAtMs = nowMs;
      return bucket;
    },
  };
}

/** The tokens that clients have taken since the last message, by limit (in the order of the buckets) and by key. */
type Taken = [key: string, tokens: number][][];

/** Takes the tokens that clients take at the peers from these buckets too, and tells the peers of those taken here. */
function syncAcrossWorkers(peers: PeerChannel, all: Buckets[]) {
  const unsent: Bucket[][] = all.map(() => []);
  let isDue = false;

  function broadcast() {
    isDue = false;
    const taken: Taken = unsent.map((buckets) =>
      buckets.splice(0).map((bucket) => {
        const tokens = bucket.unsent;
        bucket.unsent = 0;
        return [bucket.key, tokens];
      }),
    );
    peers.broadcast('requests_taken', taken);
  }

  all.forEach((buckets, place) => {
    buckets.onTake((bucket, cost) => {
      if (bucket.unsent === 0) unsent[place]?.push(bucket);
      bucket.unsent += cost;
      if (isDue) return;
      isDue = true;
      setTimeout(broadcast, BROADCAST_INTERVAL_MS);
    });
  });
  peers.on('requests_taken', (taken) => {
    for (const [place, entries] of (taken as Taken).entries())
      for (const [key, tokens] of entries) {
        const bucket = all[place]?.find(key);
        if (bucket) bucket.tokens -= tokens;
      }
  });
}
