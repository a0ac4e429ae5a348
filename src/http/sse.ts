/** Server-sent events (WHATWG HTML §9.2): their text, and a response body that is written as fast as the client reads. */

/** The server cuts off a client that reads nothing for this long. */
const STALL_TIMEOUT_MS = 10_000;

/** Returns the text of an event. JSON has no line breaks of its own, so one `data` line holds it. */
export const formatEvent = (type: string, id: string, data: unknown) =>
  `event: ${type}\nid: ${id}\ndata: ${JSON.stringify(data)}\n\n`;

/** Returns the text that sets how long a client waits before it connects again. */
export const formatRetry = (ms: number) => `retry: ${ms}\n`;

/** Returns the text that sets the client's last event id without an event. */
export const formatId = (id: string) => `id: ${id}\n\n`;

/** Returns a comment, which keeps the connection alive; with an id, the text that sets the client's last event id as well. */
export const formatHeartbeat = (id?: string) =>
  `: heartbeat\n${id === undefined ? '\n' : formatId(id)}`;

/**
 * Returns the body of an event stream. It ends with the pieces, also where they throw: the client connects again and gets the
 * reason.
 * @param onEnd is called once, also for a client that has gone or was cut off.
 */
export function streamEvents(
  pieces: AsyncGenerator<string>,
  onEnd: () => void,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let stallTimer: ReturnType<typeof setTimeout> | undefined;
  let ended = false;
  const end = () => {
    clearTimeout(stallTimer);
    if (ended) return;
    ended = true;
    onEnd();
    // A client that was cut off reads no more pieces, so what they hold (at the edge a connection) is released here.
    pieces.return(undefined).catch(() => undefined);
  };
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      clearTimeout(stallTimer);
      try {
        const { value, done } = await pieces.next();
        if (ended) return;
        if (!done) {
          controller.enqueue(encoder.encode(value));
          stallTimer = setTimeout(() => {
            end();
            controller.error();
          }, STALL_TIMEOUT_MS);
          return;
        }
      } catch {
        if (ended) return;
      }
      end();
      controller.close();
    },
    cancel: end,
  });
}
