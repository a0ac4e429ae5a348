/** Limits how many streams are open at once: in a process, and of one user in all processes at the port. */
import { Problem } from '../errors/problem.ts';
import { rateLimited } from '../http/rate-limit-headers.ts';
import type { Platform } from '../platform.ts';

const STREAMS_MAX = 10_000;
const userLimit = { name: 'streams', quota: 20, windowSeconds: 60 };

export interface StreamLimit {
  /** How many streams are open or opening. */
  readonly open: number;
  /**
   * Takes a place for one stream of a user. Call it before any work for the stream.
   * @returns a function that gives the place back.
   * @throws {Problem} `rate_limited`, `overloaded`.
   */
  reserve(userId: string): Promise<() => void>;
}

/**
 * Returns the limit. Every place has a number, and a stream opens if fewer than a quota of its user's places have a lower
 * number. So of many streams that arrive at several processes at once, exactly a quota opens. The numbers are a Lamport clock:
 * a process that has been asked about a place gives only higher numbers afterwards.
 */
export function createStreamLimit({
  peers,
  metrics,
}: Pick<Platform, 'peers' | 'metrics'>): StreamLimit {
  const places = new Map<string, Set<number>>();
  let open = 0;
  let clock = 0;
  /** Makes the numbers of different processes differ. */
  const fraction = peers ? Math.random() : 0;
  const countBelow = (userId: string, place: number) =>
    [...(places.get(userId) ?? [])].filter((other) => other < place).length;

  // An earlier version asks by this name.
  peers?.on('streams_open', (userId) => countBelow(userId as string, Number.POSITIVE_INFINITY));
  peers?.on('streams_before', (asked) => {
    const { userId, place } = asked as { userId: string; place: number };
    clock = Math.max(clock, Math.ceil(place));
    return countBelow(userId, place);
  });

  return {
    get open() {
      return open;
    },
    async reserve(userId) {
      if (open >= STREAMS_MAX) throw new Problem('overloaded', { limit: 'streams' });
      clock += 1;
      const place = clock + fraction;
      const mine = places.get(userId) ?? new Set();
      places.set(userId, mine.add(place));
      open += 1;
      metrics?.setOpenStreams(open);
      const release = () => {
        if (!mine.delete(place)) return;
        open -= 1;
        metrics?.setOpenStreams(open);
        if (mine.size === 0 && places.get(userId) === mine) places.delete(userId);
      };
      const refuse = () => {
        release();
        return rateLimited(userLimit, userLimit.windowSeconds);
      };
      const here = countBelow(userId, place);
      // Refuse here first: that costs the other processes nothing.
      if (here >= userLimit.quota) throw refuse();
      const elsewhere = (await peers?.request('streams_before', { userId, place })) ?? [];
      const before = elsewhere.reduce<number>((sum, count) => sum + (Number(count) || 0), here);
      if (before >= userLimit.quota) throw refuse();
      return release;
    },
  };
}
