/** Resolves after this time; without one, after the event loop has run other timers, sockets and requests. */
export const sleep = (ms = 0): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Returns what a loop over texts awaits after each of them: others run after as much text as takes some milliseconds.
 * @param lengthMax how much that is, in UTF-16 units.
 */
export function pauseEvery(lengthMax: number): (text: string) => Promise<void> {
  let length = 0;
  return async (text) => {
    length += text.length;
    if (length < lengthMax) return;
    length = 0;
    await sleep();
  };
}

/** Resolves when the promise does, or after this time. @returns whether the promise has resolved. */
export async function waitUpTo(ms: number, promise: Promise<unknown>): Promise<boolean> {
  const late = Promise.withResolvers<boolean>();
  const timer = setTimeout(late.resolve, ms, false);
  try {
    return await Promise.race([promise.then(() => true), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
