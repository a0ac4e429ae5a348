import { AsyncLocalStorage } from 'node:async_hooks';

/**
 * Returns the same pieces, made in the context of the caller: the reader of a stream asks for its pieces outside of the
 * request that they belong to.
 * @param onEnd is called once they have ended.
 */
export function inContext<T>(
  pieces: AsyncGenerator<T>,
  onEnd: () => void = () => undefined,
): AsyncGenerator<T> {
  return resumed(AsyncLocalStorage.snapshot(), pieces, onEnd);
}

async function* resumed<T>(
  resume: <R>(work: () => R) => R,
  pieces: AsyncGenerator<T>,
  onEnd: () => void,
): AsyncGenerator<T> {
  try {
    for (;;) {
      const { value, done } = await resume(() => pieces.next());
      if (done) return;
      yield value;
    }
  } finally {
    await resume(() => pieces.return(undefined));
    onEnd();
  }
}
