import { Elysia } from 'elysia';
import { requestState } from '../http/request-state.ts';

type Fetch = (request: Request, ...rest: unknown[]) => Response | Promise<Response>;

/** Corrects HEAD of a stream: Elysia takes `Content-Length` from the body of GET, but the length of a stream is unknown. */
export const headRequests = new Elysia({ name: 'head-requests' }).wrap((fetch) => {
  const answer = fetch as unknown as Fetch;
  return ((request: Request, ...rest: unknown[]) =>
    request.method === 'HEAD'
      ? head(request, answer(request, ...rest))
      : answer(request, ...rest)) as unknown as typeof fetch;
});

async function head(request: Request, answer: Response | Promise<Response>): Promise<Response> {
  const response = await answer;
  if (requestState(request).hasUnknownLength) {
    response.headers.delete('content-length');
    // The header that GET has. Without it, Bun states a length of 0.
    response.headers.set('transfer-encoding', 'chunked');
  }
  return response;
}
