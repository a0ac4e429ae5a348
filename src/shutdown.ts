/** The beginning of the end: who watches the readiness hears of it before the socket closes. */
import type { Shutdown, Siblings } from './platform.ts';

/** Whoever has asked for the readiness this recently will ask again, and may send requests until he has heard. */
const ASKED_RECENTLY_MS = 30_000;
const NOTICE_TIMEOUT_MS = 2000;
/** What he had sent on its way before he heard arrives within this. */
const SETTLE_MS = 300;
/** Siblings hear no oftener than this that somebody watches. */
const WATCHED_INTERVAL_MS = 1000;

export interface BeginnableShutdown extends Shutdown {
  /** Resolves once those who watch the readiness have heard, after 2 s at the latest, at once where nobody watches. */
  begin(): Promise<void>;
  /** Ends streams and kept connections, and leaves the readiness: the port is served by others. */
  retire(): void;
}

/** @param siblings end together with this process where it begins a shutdown: whoever watches one watches all. */
export function createShutdown(siblings?: Siblings): BeginnableShutdown {
  const controller = new AbortController();
  const heard = Promise.withResolvers<void>();
  let refusing = false;
  let asked_at_ms = Number.NEGATIVE_INFINITY;
  let siblings_told_at_ms = Number.NEGATIVE_INFINITY;
  siblings?.on('readiness_refused', () => heard.resolve());
  siblings?.on('readiness_asked', () => {
    asked_at_ms = performance.now();
  });

  return {
    signal: controller.signal,
    tell() {
      asked_at_ms = performance.now();
      if (refusing) {
        heard.resolve();
        siblings?.tell('readiness_refused');
      } else if (asked_at_ms - siblings_told_at_ms > WATCHED_INTERVAL_MS) {
        siblings_told_at_ms = asked_at_ms;
        siblings?.tell('readiness_asked');
      }
      return refusing;
    },
    retire: () => controller.abort(),
    async begin() {
      refusing = true;
      controller.abort();
      if (performance.now() - asked_at_ms > ASKED_RECENTLY_MS) return;
      const timer = setTimeout(heard.resolve, NOTICE_TIMEOUT_MS);
      await heard.promise;
      clearTimeout(timer);
      await new Promise((settled) => setTimeout(settled, SETTLE_MS));
    },
  };
}
