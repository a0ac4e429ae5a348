/** Graceful shutdown: the readiness check fails before the socket closes. */
import { sleep, waitUpTo } from '../lib/sleep.ts';
import type { PeerChannel, Shutdown } from '../platform.ts';

/**
 * If the readiness was checked within this time, a load balancer is watching, and may send requests until it sees the
 * check fail.
 */
const WATCHED_WITHIN_MS = 30_000;
const NOTICE_TIMEOUT_MS = 2000;
/** Requests that the load balancer sent before it saw the check fail arrive within this time. */
const SETTLE_MS = 300;
/** At most how often a worker tells its peers that the readiness is checked. */
const BROADCAST_INTERVAL_MS = 1000;

export interface BeginnableShutdown extends Shutdown {
  /** Fails the readiness check. Resolves once a load balancer has seen that, after 2 s at the latest, at once if none is watching. */
  begin(): Promise<void>;
  /** Ends streams and kept connections. The readiness check stays OK: other workers serve the port. */
  drain(): void;
}

/** @param peers stop together with this process: a load balancer that checks one of them watches all. */
export function createShutdown(peers?: PeerChannel): BeginnableShutdown {
  const controller = new AbortController();
  const noticed = Promise.withResolvers<void>();
  let isStopping = false;
  let checkedAtMs = Number.NEGATIVE_INFINITY;
  let broadcastAtMs = Number.NEGATIVE_INFINITY;
  peers?.on('readiness_failed', () => noticed.resolve());
  peers?.on('readiness_checked', () => {
    checkedAtMs = performance.now();
  });

  return {
    signal: controller.signal,
    noteReadinessCheck() {
      checkedAtMs = performance.now();
      if (isStopping) {
        noticed.resolve();
        peers?.broadcast('readiness_failed');
      } else if (checkedAtMs - broadcastAtMs > BROADCAST_INTERVAL_MS) {
        broadcastAtMs = checkedAtMs;
        peers?.broadcast('readiness_checked');
      }
      return isStopping;
    },
    drain: () => controller.abort(),
    async begin() {
      isStopping = true;
      controller.abort();
      if (performance.now() - checkedAtMs > WATCHED_WITHIN_MS) return;
      await waitUpTo(NOTICE_TIMEOUT_MS, noticed.promise);
      await sleep(SETTLE_MS);
    },
  };
}
