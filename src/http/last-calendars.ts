/**
 * The last calendar that each program was sent, for a poll that meets a request limit or a busy database: Thunderbird disables a
 * calendar that answers 429 or 503. Each process keeps its own, in bounded memory.
 */
import { catalogue, Problem, type ProblemCode } from '../errors/problem.ts';

/** What all of them take together. */
export const LAST_CALENDARS_BYTES_MAX = 32 * 1024 ** 2;
/** About 3,000 tasks. A longer calendar is not kept. */
const CALENDAR_BYTES_MAX = 2 * 1024 ** 2;
/** JavaScript takes up to two bytes for a code unit. */
const BYTES_PER_UNIT = 2;
const AGE_MAX_MS = 24 * 3_600_000;
/** Beyond a request limit, a program gets its calendar once in this time: programs poll, only runaway loops ask more often. */
const LIMITED_INTERVAL_MS = 1000;

const PATH = /^\/(?:tasks\/calendar\.ics|projects\/[^/]+\/calendar\.ics|calendars\/[^/]+)\/?$/;

const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD']);
const ENDING: ReadonlySet<number> = new Set([401, 403, 404]);

/** The limits on requests. A limit on guesses has names of its own. */
const requestLimits: ReadonlySet<string | undefined> = new Set(['user', 'address']);
const whileBusy: ReadonlySet<ProblemCode> = new Set(['database_unavailable', 'overloaded']);

export interface LastCalendar {
  readonly userId: string;
  readonly tag: string;
  readonly text: string;
  readonly sentAtMs: number;
  readonly bytes: number;
  limitedAtMs: number;
}

export type LastCalendars = ReturnType<typeof createLastCalendars>;

/** @param now the clock. */
export function createLastCalendars(now: () => Date, bytesMax = LAST_CALENDARS_BYTES_MAX) {
  // In the order in which they were sent.
  const calendars = new Map<string, LastCalendar>();
  /** Of those that are kept, and of those that are being written. */
  let bytesTaken = 0;

  function remove(key: string) {
    const calendar = calendars.get(key);
    if (!calendar) return;
    calendars.delete(key);
    bytesTaken -= calendar.bytes;
  }

  /** Takes room, from the oldest if need be. @returns false where there is none. */
  function take(bytes: number): boolean {
    for (const key of calendars.keys()) {
      if (bytesTaken + bytes <= bytesMax) break;
      remove(key);
    }
    if (bytesTaken + bytes > bytesMax) return false;
    bytesTaken += bytes;
    return true;
  }

  return {
    /** The bytes in use. */
    get bytesTaken() {
      return bytesTaken;
    },

    /** Yields the pieces, and keeps them together once the last has been sent. */
    async *keep(
      request: Request,
      { userId, tag }: { userId: string; tag: string },
      pieces: AsyncGenerator<string>,
    ): AsyncGenerator<string> {
      const key = keyOf(request);
      let kept: string[] | undefined = [];
      let bytes = 0;
      const giveUp = () => {
        bytesTaken -= bytes;
        kept = undefined;
        bytes = 0;
      };
      try {
        for await (const piece of pieces) {
          const more = piece.length * BYTES_PER_UNIT;
          if (kept && bytes + more <= CALENDAR_BYTES_MAX && take(more)) {
            kept.push(piece);
            bytes += more;
          } else giveUp();
          yield piece;
        }
        // What is kept is of before, if this one was too long.
        remove(key);
        if (!kept) return;
        const sentAtMs = now().getTime();
        const text = kept.join('');
        calendars.set(key, { userId, tag, text, sentAtMs, bytes, limitedAtMs: 0 });
        bytes = 0;
      } finally {
        giveUp();
      }
    },

    /** Forgets the calendars of a user whose credential has ended; all, where the user is unknown. */
    forget(userId: string | undefined) {
      for (const [key, calendar] of calendars)
        if (userId === undefined || calendar.userId === userId) remove(key);
    },

    /**
     * Returns what answers a request in place of the problem: the last calendar that the same request was answered with, or a 503
     * for a limit on requests. Once the credential or the project is refused, nothing is kept.
     */
    answer(request: Request, path: string, problem: Problem): LastCalendar | Problem {
      if (!METHODS.has(request.method) || !PATH.test(path)) return problem;
      const { limit, headers } = problem.particulars;
      const isLimited = problem.code === 'rate_limited' && requestLimits.has(limit);
      const key = keyOf(request);
      if (!isLimited && !whileBusy.has(problem.code)) {
        if (ENDING.has(catalogue[problem.code].status)) remove(key);
        return problem;
      }
      const nowMs = now().getTime();
      const calendar = calendars.get(key);
      const isFresh = calendar && nowMs - calendar.sentAtMs < AGE_MAX_MS;
      if (isFresh && (!isLimited || nowMs - calendar.limitedAtMs >= LIMITED_INTERVAL_MS)) {
        if (isLimited) calendar.limitedAtMs = nowMs;
        return calendar;
      }
      return isLimited
        ? new Problem('overloaded', { limit, headers, detail: problem.message })
        : problem;
    },
  };
}

/** The credential is a part of it: a calendar goes to none but the sender of the request that it answered. */
function keyOf(request: Request): string {
  const { url } = request;
  const target = url.slice(url.indexOf('/', url.indexOf('://') + 3));
  return `${request.headers.get('authorization') ?? ''} ${target}`;
}
