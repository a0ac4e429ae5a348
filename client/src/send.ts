/** Sends a request as often as it takes, and throws for every response that is no success. */
import { ProblemError, problemOf } from './problem.ts';

export interface SendOptions {
  /** How a request is sent: the global `fetch` by default. */
  fetch: (request: Request, options: { signal: AbortSignal }) => Promise<Response>;
  /** How often a request is repeated at most. */
  retries: number;
  /** The longest time that it waits when the server asks it to; where that is longer, the problem is thrown at once. */
  waitSecondsMax: number;
  /** How long it waits for the head of a response. */
  timeoutSeconds: number;
}

const BACKOFF_MS = 250;
const BACKOFF_MS_MAX = 8000;

/** The server has not begun the request, or its twin is under way: it may be repeated, whatever it does. */
const refusals: readonly string[] = ['rate_limited', 'overloaded', 'idempotency_in_flight'];
/** It is unknown whether the server has done the request. */
const outages: readonly number[] = [502, 503, 504];

/**
 * Returns whether a request may be repeated whose outcome is unknown: it reads, it has a key, or it sets values. A write with a
 * condition may not: if it was done, the condition is false at the second time.
 */
function isRepeatable({ method, url, headers }: Request): boolean {
  if (method === 'POST') return headers.has('idempotency-key') || url.endsWith('/users/refresh');
  return !headers.has('if-match');
}

/**
 * @param signal ends the request. A copy of a request needs that of the original, because Node may cut a copy off from it
 * (nodejs/undici#4068).
 * @throws {ProblemError}; and what `fetch` throws, where the network fails.
 */
export async function send(
  request: Request,
  options: SendOptions,
  signal = request.signal,
): Promise<Response> {
  const repeatable = isRepeatable(request);
  let isOutcomeUnknown = false;
  for (let attempt = 0; ; attempt += 1) {
    const isLast = attempt >= options.retries;
    let waitSeconds: number | undefined;
    try {
      const response = await sendOnce(request, options, signal);
      if (response.ok) return response;
      const problem = await problemOf(response);
      const { status, code, retryAfterSeconds = 0 } = problem;
      // The first attempt has deleted it.
      if (isOutcomeUnknown && request.method === 'DELETE' && status === 404)
        return new Response(null, { status: 204 });
      const isRefusal = refusals.includes(code);
      const mayRepeat = isRefusal || (repeatable && outages.includes(status));
      if (isLast || !mayRepeat || retryAfterSeconds > options.waitSecondsMax) throw problem;
      isOutcomeUnknown ||= !isRefusal;
      waitSeconds = problem.retryAfterSeconds;
    } catch (error) {
      if (error instanceof ProblemError || isLast || !repeatable || signal.aborted) throw error;
      isOutcomeUnknown = true;
    }
    await pause(waitSeconds === undefined ? backoffMs(attempt) : waitSeconds * 1000, signal);
    signal.throwIfAborted();
  }
}

async function sendOnce(
  request: Request,
  { fetch, timeoutSeconds }: SendOptions,
  signal: AbortSignal,
) {
  const connection = new AbortController();
  const end = () => connection.abort(signal.reason);
  if (signal.aborted) end();
  signal.addEventListener('abort', end);
  const timer = setTimeout(
    () => connection.abort(new DOMException('No response in time', 'TimeoutError')),
    timeoutSeconds * 1000,
  );
  try {
    return await fetch(request.clone() as Request, { signal: connection.signal });
  } finally {
    clearTimeout(timer);
  }
}

/** Returns how long to wait after an attempt: twice as long after each, and not the same for all clients. */
export const backoffMs = (attempt: number) =>
  Math.min(BACKOFF_MS * 2 ** attempt, BACKOFF_MS_MAX) * (0.5 + Math.random() / 2);

/** Waits, and no longer than until `signal` aborts. */
export const pause = (ms: number, signal?: AbortSignal) =>
  new Promise<void>((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done);
  });
