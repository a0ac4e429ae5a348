/** What plugins know about a request before a route has matched it. Elysia has no typed place for it then. */
import type { ProblemCode } from '../errors/problem.ts';

export interface RequestState {
  /** When the request arrived, by the monotonic clock. */
  startedMs?: number;
  /** W3C Trace Context of the caller. */
  trace?: { trace_id: string; parent_id: string };
  /** The code of the problem that the response has. */
  problem?: ProblemCode;
  /** The address of the client, once it was read; undefined where it is unknown. */
  clientIp?: string | undefined;
  /** Whether the response has a body whose length is known only at its end. */
  hasUnknownLength?: boolean;
  /** The user who sends it; without a session where the credential is an API token. */
  user?: { id: string; sessionId?: string };
  /** How many requests the rate limit of the client's address has left. */
  addressTokens?: number;
  /** Counts a body that has arrived. @throws {Problem} `rate_limited`. */
  countBody?: (bytes: number) => void;
  /** The tool of the Model Context Protocol that it calls. */
  tool?: string;
  /** Whether it has changed something of a project, where its route does not say so. */
  hasWritten?: boolean;
  /** How many further requests the body counts as. */
  bodyCost?: number;
}

const states = new WeakMap<Request, RequestState>();

/** Returns the state of a request, which lives as long as the request does. */
export function requestState(request: Request): RequestState {
  let state = states.get(request);
  if (!state) {
    state = {};
    states.set(request, state);
  }
  return state;
}

/** Returns the user of the request, or the address where there is no user yet. */
export function clientOf(request: Request): string {
  const { user, clientIp } = requestState(request);
  return user?.id ?? clientIp ?? 'unknown address';
}
