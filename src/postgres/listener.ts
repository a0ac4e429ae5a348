/** LISTEN on a connection of its own, which moves with the server; where it does not work, a poll. */
import type { SQL } from 'bun';
import type { Log } from '../lib/log.ts';
import { sleep } from '../lib/sleep.ts';
import { openClient } from './client.ts';

const LISTEN_RETRY_MS = 1000;
/** How late a change may be where notifications do not arrive. */
const POLL_INTERVAL_MS = 2000;
/** A notification to itself arrives within this time, or never. */
const ECHO_TIMEOUT_MS = 2000;

export interface Listener {
  /** Listens on the server at this URL from now on. */
  move(url: string): void;
  close(): void;
}

/**
 * Listens until it is closed. Bun's client would listen again by itself after a break, but not on a server at another
 * address, and it writes a line of its own to standard error for each failure. So each connection has a client of its own.
 * @param onNotify is called for each notification, and after each break, in which some may have been missed.
 * @param onLost is called where there is no connection, or no longer one.
 */
export function openListener(
  url: string,
  channel: string,
  onNotify: () => void,
  { log, onLost }: { log: Log; onLost(): void },
): Listener {
  let currentUrl = url;
  let client: SQL | undefined;
  let isClosed = false;
  let isPolling = false;

  async function listen() {
    while (!isClosed) {
      const lost = Promise.withResolvers<void>();
      const opened = openClient(currentUrl, {
        purpose: 'listen',
        prepare: false,
        onclose: () => lost.resolve(),
      });
      client = opened;
      try {
        await opened.listen(channel, onNotify);
        onNotify();
        if (await hearsItself(opened)) {
          setPolling(false);
          await lost.promise;
        } else {
          setPolling(true);
          await pollUntil(lost.promise);
        }
      } catch {
        // The statements that fail say why.
      }
      opened.close({ timeout: 0 }).catch(() => undefined);
      if (isClosed) return;
      onLost();
      await sleep(LISTEN_RETRY_MS);
    }
  }

  function setPolling(on: boolean) {
    if (on === isPolling) return;
    isPolling = on;
    if (on)
      log('warn', 'changes_polled', {
        cause: 'notifications do not arrive, as behind a pooler in transaction mode',
        cure: 'set DATABASE_SESSION_URL to the server itself',
        interval_ms: POLL_INTERVAL_MS,
      });
    else log('info', 'changes_listened');
  }

  async function pollUntil(lost: Promise<void>) {
    const ended = lost.then(() => true);
    while (!(await Promise.race([ended, sleep(POLL_INTERVAL_MS).then(() => false)]))) onNotify();
  }

  void listen();
  return {
    move(found) {
      currentUrl = found;
      client?.close({ timeout: 0 }).catch(() => undefined);
    },
    close() {
      isClosed = true;
      client?.close({ timeout: 0 }).catch(() => undefined);
    },
  };
}

/** A pooler in transaction mode takes LISTEN, and gives the notifications to whichever client comes next. */
async function hearsItself(client: SQL): Promise<boolean> {
  const echo = `mantou_${crypto.randomUUID().replaceAll('-', '')}`;
  const heard = Promise.withResolvers<boolean>();
  const subscription = await client.listen(echo, () => heard.resolve(true));
  const timer = setTimeout(() => heard.resolve(false), ECHO_TIMEOUT_MS);
  try {
    await client.unsafe(`notify ${echo}`);
    return await heard.promise;
  } finally {
    clearTimeout(timer);
    await subscription.unlisten().catch(() => undefined);
  }
}
