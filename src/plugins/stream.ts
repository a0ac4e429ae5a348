/** Answers that are written piece by piece. */

/**
 * A stream that is written as fast as the client reads. The first piece is awaited, so that a failure is a problem; a
 * later one can only cut the connection.
 */
export async function streamText(
  pieces: AsyncGenerator<string>,
  media_type: string,
  onFailure: () => void,
): Promise<Response> {
  const first = await pieces.next();
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
  return new Response(stream, { headers: { 'content-type': `${media_type}; charset=utf-8` } });
}

export const streamJson = (pieces: AsyncGenerator<string>, onFailure: () => void) =>
  streamText(pieces, 'application/json', onFailure);
