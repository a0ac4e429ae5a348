/** The beginning of the end: who watches the readiness hears of it before the socket closes. */
import type { Shutdown } from './platform.ts';

/** Whoever has asked for the readiness this recently will ask again, and may send requests until he has heard. */
const ASKED_RECENTLY_MS = 30_000;
const NOTICE_TIMEOUT_MS = 2000;
/** What he had sent on its way before he heard arrives within this. */
const SETTLE_MS = 300;

export interface BeginnableShutdown extends Shutdown {
  /** Resolves once those who watch the readiness have heard, after 2 s at the latest, at once where nobody watches. */
  begin(): Promise<void>;
}

export function createShutdown(): BeginnableShutdown {
  const controller = new AbortController();
  const heard = Promise.withResolvers<void>();
  let asked_at_ms = Number.NEGATIVE_INFINITY;

  return {
    signal: controller.signal,
    tell() {
      asked_at_ms = performance.now();
      if (controller.signal.aborted) heard.resolve();
      return controller.signal.aborted;
    },
    async begin() {
      controller.abort();
      if (performance.now() - asked_at_ms > ASKED_RECENTLY_MS) return;
      const timer = setTimeout(heard.resolve, NOTICE_TIMEOUT_MS);
      await heard.promise;
      clearTimeout(timer);
      await new Promise((settled) => setTimeout(settled, SETTLE_MS));
    },
  };
}
