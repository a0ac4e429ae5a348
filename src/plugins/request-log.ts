/**
 * The access log and the request metric: one line and one count for each request, successful or not. Of the request it logs only
 * the method and the ids: paths, queries, headers and bodies may hold secrets.
 */
import { Elysia } from 'elysia';
import { requestState } from '../http/request-state.ts';
import type { Platform } from '../platform.ts';

/** The route of requests that no route matches. With their paths, clients could create any number of metric series. */
const UNMATCHED = 'unmatched';

/** Returns the plugin. Register it first: it does not see requests that an earlier plugin answers. */
export function requestLog({ log, metrics, shutdown }: Platform) {
  const names = new Map<string, string>();
  return new Elysia({ name: 'request-log' })
    .onRequest(({ request, set }) => {
      const state = requestState(request);
      state.startedMs = performance.now();
      state.trace = findTrace(request.headers.get('traceparent'));
      // On a kept connection, the client would send its next request to a process that has ended.
      if (shutdown?.signal.aborted) set.headers.connection = 'close';
    })
    .onAfterResponse({ as: 'global' }, ({ request, set, route, responseValue }) => {
      const { startedMs = 0, trace, problem, user, tool } = requestState(request);
      const milliseconds = performance.now() - startedMs;
      const status = responseValue instanceof Response ? responseValue.status : Number(set.status);
      const name = nameOf(route);
      metrics?.countRequest(request.method, name, status, milliseconds / 1000);
      log(status >= 500 ? 'warn' : 'info', 'request', {
        method: request.method,
        route: name,
        tool,
        status,
        code: problem,
        ms: Math.round(milliseconds * 100) / 100,
        user_id: user?.id,
        request_id: set.headers['x-request-id'],
        ...trace,
      });
    });

  /** Returns the route as the OpenAPI document writes it. */
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

/** W3C Trace Context, §3.2: later versions may append fields; ids of zeros, and version ff, are invalid. */
const TRACEPARENT =
  /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$/;

function findTrace(traceparent: string | null) {
  if (traceparent === null) return undefined;
  const [, version, traceId, parentId, more] = TRACEPARENT.exec(traceparent) ?? [];
  if (traceId === undefined || parentId === undefined) return undefined;
  return version === '00' && more !== undefined
    ? undefined
    : { trace_id: traceId, parent_id: parentId };
}
