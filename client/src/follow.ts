/** The change stream (server-sent events, WHATWG HTML §9.2) as an async iterable that survives its connections. */
import type { components } from './api.ts';
import { ProblemError } from './problem.ts';
import { backoffMs, pause } from './send.ts';

type Event = components['schemas']['Event'];

export interface FollowOptions {
  /** The cursor after which to begin; without it, changes from now on. */
  since?: string;
  /** Ends the loop. */
  signal?: AbortSignal;
  /** Gets each cursor that the stream reaches, also without an event: keep it to continue there later. */
  onCursor?: (cursor: string) => void;
}

const RECONNECT_MS = 1000;
/** The server sends something every 15 seconds; after twice that time the connection counts as dead. */
const SILENCE_MS = 30_000;

interface Message {
  id?: string;
  data?: string;
  retry?: string;
}

/**
 * Yields each change once and in order, over lost connections, ended tokens and restarts of the server, until `signal` aborts.
 * @param open opens the stream behind a cursor.
 * @throws {ProblemError} that time does not cure; `StartAfreshError` for a cursor that is too old.
 */
export async function* follow(
  open: (cursor: string | undefined, signal: AbortSignal) => Promise<Response>,
  { since, signal, onCursor }: FollowOptions,
): AsyncGenerator<Event, void, void> {
  let cursor = since;
  let reconnectMs = RECONNECT_MS;
  for (let failures = 0; !signal?.aborted; ) {
    let waitMs = reconnectMs;
    const connection = new AbortController();
    const end = () => connection.abort();
    signal?.addEventListener('abort', end);
    try {
      const response = await open(cursor, connection.signal);
      failures = 0;
      for await (const { id, data, retry } of messagesOf(response, connection)) {
        if (retry) reconnectMs = waitMs = Number(retry) || reconnectMs;
        if (id) cursor = id;
        // A message without data moves the cursor alone.
        if (data) yield JSON.parse(data);
        if (id) onCursor?.(id);
      }
    } catch (error) {
      if (signal?.aborted) return;
      if (error instanceof ProblemError && !isTemporary(error)) throw error;
      waitMs = Math.max(waitMs, backoffMs(failures));
      failures += 1;
    } finally {
      signal?.removeEventListener('abort', end);
      // Also where the caller leaves its loop.
      end();
    }
    await pause(waitMs, signal);
  }
}

const isTemporary = ({ status }: ProblemError) => status >= 500 || status === 429;

/** Yields the messages of one connection until it is aborted, with the line ends that the server writes. */
async function* messagesOf(
  response: Response,
  connection: AbortController,
): AsyncGenerator<Message> {
  const reader = response.body?.getReader();
  const decoder = new TextDecoder();
  // The signal of a request may not reach the body of its response: Node forgets what is between them (nodejs/undici#4068).
  const cancel = () => void reader?.cancel().catch(() => undefined);
  connection.signal.addEventListener('abort', cancel);
  if (connection.signal.aborted) cancel();
  for (let text = ''; reader; ) {
    const silence = setTimeout(() => connection.abort(), SILENCE_MS);
    const { value, done } = await reader.read().finally(() => clearTimeout(silence));
    // A message without its empty line is incomplete: it comes again.
    if (done) return;
    const messages = (text + decoder.decode(value, { stream: true })).split('\n\n');
    text = messages.pop() ?? '';
    for (const message of messages)
      yield Object.fromEntries(message.split('\n').map((line) => line.split(/: ?(.*)/s, 2)));
  }
}
