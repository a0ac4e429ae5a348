import { Problem } from '../errors/problem.ts';
import type { ConcurrencyLimit } from './concurrency-limit.ts';
import type { Timeout } from './timeout.ts';

export interface FairConcurrencyLimit extends Omit<ConcurrencyLimit, 'run'> {
  /**
   * Runs work for a client; without one, for the process itself, which only the total bounds.
   * @param isShort whether it may take one of the places that are kept for short works.
   * @throws {Problem} `overloaded`; any error of `work`.
   */
  run<T>(client: string | undefined, work: () => Promise<T>, isShort?: boolean): Promise<T>;
  /** Returns whether the client has as many works of this kind at once as it may have. */
  isHeldBack(client: string | undefined, isShort?: boolean): boolean;
}

export interface FairBounds {
  inFlightMax: number;
  /** One client gets up to this many places for short works and for the others, even where more are free. */
  inFlightPerClientMax: number;
  /** Places that only short works take. */
  keptForShort?: number;
  waitingMax: number;
}

interface Waiter {
  start(): void;
  refuse(): void;
}

/** The works of one kind of a client. */
interface Share {
  readonly isShort: boolean;
  inFlight: number;
  readonly inFlightMax: number;
  readonly queue: Waiter[];
}

/**
 * Returns a limit that runs a bounded number of works at once and lets more wait, each client's in a queue of its own. The queues
 * take turns, so a client with many works delays only its own. When all queues together are full, the latest work of the longest
 * queue is refused.
 * @param name of the limit, for the count of refusals.
 * @param timeout bounds how long a work waits.
 */
export function limitFairly(
  name: string,
  { inFlightMax, inFlightPerClientMax, keptForShort = 0, waitingMax }: FairBounds,
  timeout: Timeout,
): FairConcurrencyLimit {
  const overloaded = () => new Problem('overloaded', { limit: name });
  type Shares = Map<string | undefined, Share>;
  /** The shares of clients that have work here. */
  const longShares: Shares = new Map();
  const shortShares: Shares = new Map();
  const sharesOf = (isShort: boolean) => (isShort ? shortShares : longShares);
  /** The shares of clients that wait, in the order of their turns. */
  const turns = new Set<Share>();
  let inFlight = 0;
  let longInFlight = 0;
  let waiting = 0;

  function shareOf(client: string | undefined, isShort: boolean): Share {
    const shares = sharesOf(isShort);
    let share = shares.get(client);
    if (share === undefined) {
      const max = client === undefined ? inFlightMax : inFlightPerClientMax;
      share = { isShort, inFlight: 0, inFlightMax: max, queue: [] };
      shares.set(client, share);
    }
    return share;
  }

  const hasPlace = ({ isShort, inFlight: ofClient, inFlightMax: ofClientMax }: Share) =>
    ofClient < ofClientMax &&
    inFlight < inFlightMax &&
    (isShort || longInFlight < inFlightMax - keptForShort);

  function count(share: Share, change: 1 | -1) {
    inFlight += change;
    share.inFlight += change;
    if (!share.isShort) longInFlight += change;
  }

  /** Waits for a place. The work that gives up its place has already counted it for this work. */
  function wait(share: Share): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter: Waiter = { start: resolve, refuse: () => reject(overloaded()) };
    share.queue.push(waiter);
    turns.add(share);
    waiting += 1;
    return timeout(promise, () => {
      remove(share, share.queue.indexOf(waiter));
      return overloaded();
    });
  }

  function remove(share: Share, index: number): Waiter | undefined {
    if (index < 0) return undefined;
    const [waiter] = share.queue.splice(index, 1);
    waiting -= 1;
    if (share.queue.length === 0) turns.delete(share);
    return waiter;
  }

  /** Makes room in the queues: the longest loses its latest work. @throws {Problem} `overloaded` if that is the new one. */
  function makeRoom(mine: Share) {
    let longest = mine;
    for (const share of turns) if (share.queue.length > longest.queue.length) longest = share;
    if (longest === mine) throw overloaded();
    remove(longest, longest.queue.length - 1)?.refuse();
  }

  function startNext() {
    for (const share of turns) {
      if (inFlight >= inFlightMax) return;
      if (!hasPlace(share)) continue;
      const waiter = remove(share, 0);
      // Its next turn comes after those of the others.
      if (turns.delete(share)) turns.add(share);
      count(share, 1);
      waiter?.start();
    }
  }

  return {
    async run(client, work, isShort = false) {
      const share = shareOf(client, isShort);
      const forget = () => {
        if (share.inFlight === 0 && share.queue.length === 0) sharesOf(isShort).delete(client);
      };
      if (hasPlace(share)) count(share, 1);
      else {
        try {
          if (waiting >= waitingMax) makeRoom(share);
          await wait(share);
        } catch (error) {
          forget();
          throw error;
        }
      }
      try {
        return await work();
      } finally {
        count(share, -1);
        startNext();
        forget();
      }
    },
    isHeldBack(client, isShort = false) {
      const share = sharesOf(isShort).get(client);
      return share !== undefined && share.inFlight >= share.inFlightMax;
    },
    get inFlight() {
      return inFlight;
    },
    get waiting() {
      return waiting;
    },
  };
}
