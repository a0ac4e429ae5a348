/** Remembers for a moment who is behind a credential, so that most requests cost no query for it. */

/** A revocation in another process is seen here after this long at the latest; the contract allows 5 s. */
const TTL_MS = 4000;
const ENTRIES_MAX = 10_000;

export interface CredentialCache<T> {
  /** Loads what is not remembered; those who ask for the same at once share one query. */
  find(key: string): Promise<T | undefined>;
  /** Forgets everything: a revocation in this process holds from here on, for loads under way too. */
  clear(): void;
}

/** @param load gives undefined for a credential that opens nothing; that is never remembered. */
export function createCredentialCache<T>(
  load: (key: string) => Promise<T | undefined>,
  now: () => Date,
): CredentialCache<T> {
  const entries = new Map<string, { found: Promise<T | undefined>; expires_at_ms: number }>();

  return {
    async find(key) {
      const now_ms = now().getTime();
      const known = entries.get(key);
      if (known && known.expires_at_ms > now_ms) return known.found;
      // A Map keeps the order of insertion, so the first is the oldest.
      const oldest = entries.size >= ENTRIES_MAX ? entries.keys().next().value : undefined;
      if (oldest !== undefined) entries.delete(oldest);
      entries.delete(key);
      const entry = { found: load(key), expires_at_ms: now_ms + TTL_MS };
      entries.set(key, entry);
      const forget = () => entries.get(key) === entry && entries.delete(key);
      try {
        const found = await entry.found;
        if (found === undefined) forget();
        return found;
      } catch (error) {
        forget();
        throw error;
      }
    },
    clear: () => entries.clear(),
  };
}
