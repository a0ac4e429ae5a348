/**
 * One line in the log and one count for each request, whatever has become of it. Of what was sent only the method and
 * the ids are told: paths, queries, headers and bodies may hold what nobody should read later.
 */
import { Elysia } from 'elysia';
import type { CurrentUser } from '../db/access.ts';
import type { Platform } from '../platform.ts';
import type { ProblemCode } from '../problem.ts';

/** What no route has. A path of the client's would make a new series of metrics each time. */
const UNMATCHED = 'unmatched';

/** What is noted in the context of a request, to be told in the end. */
export interface Observed {
  /** Of the monotonic clock. */
  begun_ms?: number;
  trace?: Trace;
  problem?: ProblemCode;
  user?: CurrentUser;
}

/** It has to be registered first: whatever comes before it is not seen. */
export function observe({ log, metrics, shutdown }: Platform) {
  const names = new Map<string, string>();
  return new Elysia({ name: 'observe' })
    .onRequest((context) => {
      const { request, set } = context;
      const observed = context as Observed;
      observed.begun_ms = performance.now();
      observed.trace = findTrace(request.headers.get('traceparent'));
      // Who keeps the connection would send the next request to a process that is gone by then.
      if (shutdown?.signal.aborted) set.headers.connection = 'close';
    })
    .onAfterResponse({ as: 'global' }, (context) => {
      const { request, set, route, responseValue } = context;
      const { begun_ms = 0, trace, problem, user } = context as Observed;
      const milliseconds = performance.now() - begun_ms;
      const status = responseValue instanceof Response ? responseValue.status : Number(set.status);
      const name = nameOf(route);
      metrics?.countRequest(request.method, name, status, milliseconds / 1000);
      log(status >= 500 ? 'warn' : 'info', 'request', {
        method: request.method,
        route: name,
        status,
        code: problem,
        ms: Math.round(milliseconds * 100) / 100,
        user_id: user?.id,
        request_id: set.headers['x-request-id'],
        ...trace,
      });
    });

  /** As the OpenAPI document writes it. */
  function nameOf(route: string | undefined): string {
    if (route === undefined) return UNMATCHED;
    let name = names.get(route);
    if (name === undefined) {
      name = route.replace(/:(\w+)/g, '{$1}').replace(/(.)\/$/, '$1');
      names.set(route, name);
    }
    return name;
  }
}

interface Trace {
  trace_id: string;
  /** The span of whoever calls. */
  parent_id: string;
}

/** W3C Trace Context, §3.2: later versions may append fields; ids of zeros, and version ff, are invalid. */
const TRACEPARENT =
  /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$/;

function findTrace(traceparent: string | null): Trace | undefined {
  if (traceparent === null) return undefined;
  const [, version, trace_id, parent_id, more] = TRACEPARENT.exec(traceparent) ?? [];
  if (trace_id === undefined || parent_id === undefined) return undefined;
  return version === '00' && more !== undefined ? undefined : { trace_id, parent_id };
}
