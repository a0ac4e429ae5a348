/**
 * Follows the change stream in a browser, with `fetch`: `EventSource` cannot send `Authorization`. The page's site has to be
 * among `CORS_ORIGINS` where the API is on another one.
 *
 *   import { followChanges, openSession } from './browser-stream.js';
 *   const session = openSession('https://api.example.org', tokens); // as POST /users/login returned them
 *   for await (const event of followChanges(session, { since, signal })) show(event);
 *
 * The server ends a stream when its access token expires. The next connection then gets 401, the session refreshes its tokens
 * once, and the stream continues behind the last id. So it does after a lost connection and a restart of the server: each
 * event comes once and in order. Keep `event.cursor` to continue after a reload of the page.
 */

const RETRY_MS = 1000;
const RETRY_MAX_MS = 30_000;
/** The server sends something every 15 seconds; after twice that time the connection counts as dead. */
const SILENCE_MS = 30_000;

/**
 * A log-in that sends requests with its access token, and refreshes it when it has expired. A refresh token works once: tabs
 * that share tokens have to share a lock too (`navigator.locks`).
 * @param {string} url of the API, without a slash at the end.
 * @param {{access_token: string, refresh_token: string}} tokens
 * @param {(tokens: object) => void} onTokens gets each new pair, to keep it.
 */
export function openSession(url, tokens, onTokens = () => {}) {
  let current = tokens;
  let refreshing;

  const send = (path, { headers, ...options }) =>
    fetch(url + path, {
      ...options,
      headers: { ...headers, authorization: `Bearer ${current.access_token}` },
    });

  async function refresh() {
    const response = await fetch(`${url}/users/refresh`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ refresh_token: current.refresh_token }),
    });
    if (!response.ok) throw await readProblem(response);
    current = await response.json();
    onTokens(current);
  }

  return {
    /** As the global `fetch`, with a path of the API. @throws what `readProblem` returns, where the session has ended. */
    async fetch(path, options = {}) {
      const { access_token } = current;
      const response = await send(path, options);
      if (response.status !== 401) return response;
      // Requests that meet the end of a token together refresh it once.
      if (access_token === current.access_token) {
        refreshing ??= refresh().finally(() => {
          refreshing = undefined;
        });
        await refreshing;
      }
      return send(path, options);
    },
  };
}

/**
 * Yields each change (`Event` in the OpenAPI document) until `signal` aborts.
 * @param {{fetch: (path: string, options: object) => Promise<Response>}} session
 * @param {{since?: string, signal?: AbortSignal}} options `since` is a cursor; without it, changes from now on.
 * @throws an `Error` with the `code` and `status` of a problem that time does not cure: the session has ended (401), or the
 * cursor is too old (`cursor_expired`), so that everything has to be read again.
 */
export async function* followChanges(session, { since, signal } = {}) {
  const position = { lastEventId: since, retryMs: RETRY_MS };
  for (let failures = 0; !signal?.aborted; ) {
    let waitMs = position.retryMs;
    const connection = new AbortController();
    const end = () => connection.abort();
    signal?.addEventListener('abort', end);
    try {
      const { lastEventId } = position;
      const headers = lastEventId ? { 'last-event-id': lastEventId } : {};
      const response = await session.fetch('/changes/stream', {
        headers,
        signal: connection.signal,
      });
      if (!response.ok) throw await readProblem(response);
      failures = 0;
      yield* readEvents(response.body, position, end);
    } catch (error) {
      if (signal?.aborted) return;
      const { status, retryAfterSeconds } = error;
      // Without a status the connection is lost; it may come back.
      if (status !== undefined && status < 500 && status !== 429) throw error;
      waitMs = retryAfterSeconds
        ? retryAfterSeconds * 1000
        : Math.min(waitMs * 2 ** failures, RETRY_MAX_MS);
      failures += 1;
    } finally {
      signal?.removeEventListener('abort', end);
      // Also when the caller leaves its loop.
      end();
    }
    await pause(waitMs, signal);
  }
}

/** Yields the events of one connection (WHATWG HTML §9.2.6, with the line ends that the server writes). */
async function* readEvents(body, position, end) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ''; ; ) {
    const silence = setTimeout(end, SILENCE_MS);
    const { value, done } = await reader.read().finally(() => clearTimeout(silence));
    // A message without its empty line is incomplete: it comes again.
    if (done) return;
    const messages = (text + value).split('\n\n');
    text = messages.pop();
    for (const message of messages) {
      const { id, data, retry } = Object.fromEntries(
        message.split('\n').map((line) => line.split(/: ?(.*)/s, 2)),
      );
      if (id) position.lastEventId = id;
      if (retry) position.retryMs = Number(retry);
      if (data) yield JSON.parse(data);
    }
  }
}

/** Returns the problem of a response (RFC 9457) as an error. */
async function readProblem(response) {
  const { title, code } = await response.json().catch(() => ({ title: response.statusText }));
  const { status, headers } = response;
  const retryAfterSeconds = Number(headers.get('retry-after')) || undefined;
  return Object.assign(new Error(title), { status, code, retryAfterSeconds });
}

/** Waits, and no longer than until `signal` aborts. */
const pause = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });
