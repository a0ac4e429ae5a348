/** A cache of loaded values, each kept for a fixed time. */
import { BoundedMap } from './bounded-map.ts';

export interface TtlCache<T> {
  /** Returns the cached value or loads it; concurrent calls share one load. */
  find(key: string): Promise<T | undefined>;
  /** Removes every value, also those that are being loaded. */
  clear(): void;
}

interface TtlCacheOptions {
  ttlMs: number;
  entriesMax: number;
  now: () => Date;
}

/** Returns a cache. @param load returns undefined where there is no value; that is never cached. */
export function createTtlCache<T>(
  load: (key: string) => Promise<T | undefined>,
  { ttlMs, entriesMax, now }: TtlCacheOptions,
): TtlCache<T> {
  const entries = new BoundedMap<string, { value: Promise<T | undefined>; expiresAtMs: number }>(
    entriesMax,
  );

  return {
    async find(key) {
      const nowMs = now().getTime();
      const cached = entries.get(key);
      if (cached && cached.expiresAtMs > nowMs) return cached.value;
      const entry = { value: load(key), expiresAtMs: nowMs + ttlMs };
      entries.set(key, entry);
      const evict = () => entries.get(key) === entry && entries.delete(key);
      try {
        const value = await entry.value;
        if (value === undefined) evict();
        return value;
      } catch (error) {
        evict();
        throw error;
      }
    },
    clear: () => entries.clear(),
  };
}
