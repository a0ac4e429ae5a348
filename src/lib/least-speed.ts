import type { Problem } from '../errors/problem.ts';
import { timeout } from './timeout.ts';

export interface Pace {
  /** The speed counts after the reader has waited for the sender this long in all. */
  readonly graceMs: number;
  readonly bytesPerSecondMin: number;
  /** The longest time between two chunks. */
  readonly silenceMs: number;
}

/**
 * Yields the chunks as long as their sender keeps the speed. Only the time in which the reader waits counts, not the time in which
 * it works on chunks.
 * @throws {Problem} the result of `tooSlow`.
 */
export async function* withLeastSpeed(
  chunks: AsyncIterable<Uint8Array>,
  { graceMs, bytesPerSecondMin, silenceMs }: Pace,
  tooSlow: () => Problem,
): AsyncGenerator<Uint8Array> {
  const sender = chunks[Symbol.asyncIterator]();
  const withinSilence = timeout(silenceMs);
  let waitedMs = 0;
  let bytes = 0;
  try {
    for (;;) {
      const askedMs = performance.now();
      const { value, done } = await withinSilence(sender.next(), tooSlow);
      if (done) return;
      waitedMs += performance.now() - askedMs;
      bytes += value.byteLength;
      if (waitedMs > graceMs && bytes < (waitedMs / 1000) * bytesPerSecondMin) throw tooSlow();
      yield value;
    }
  } finally {
    // Not awaited: a silent sender resolves this no sooner than its next chunk.
    sender.return?.()?.catch(() => undefined);
  }
}
