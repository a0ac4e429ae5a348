/** Responses that are written piece by piece. */
import { requestState } from './request-state.ts';

/**
 * Returns a response that is written as fast as the client reads. It awaits the first piece, so that a failure there is a
 * problem. A later failure can only cut the connection.
 */
export async function streamText(
  request: Request,
  pieces: AsyncGenerator<string>,
  mediaType: string,
  onFailure: () => void,
  status = 200,
): Promise<Response> {
  const first = await pieces.next();
  const headers = { 'content-type': `${mediaType}; charset=utf-8` };
  if (request.method === 'HEAD') {
    await pieces.return(undefined);
    return headersAlone(request, headers);
  }
  const encoder = new TextEncoder();
  const stream = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(encoder.encode(first.value)),
    async pull(controller) {
      try {
        const { value, done } = await pieces.next();
        if (done) controller.close();
        else controller.enqueue(encoder.encode(value));
      } catch {
        onFailure();
        // Without the error: Bun would print it, statement and parameters included.
        controller.error(undefined);
      }
    },
    cancel: async () => void (await pieces.return(undefined)),
  });
  return new Response(stream, { status, headers });
}

export const streamJson = (
  request: Request,
  pieces: AsyncGenerator<string>,
  onFailure: () => void,
) => streamText(request, pieces, 'application/json', onFailure);

/** Returns the response to HEAD where GET streams: without the length, which is unknown until it is written (RFC 9110 §9.3.2). */
export function headersAlone(request: Request, headers: Record<string, string>): Response {
  requestState(request).hasUnknownLength = true;
  return new Response(null, { headers });
}
