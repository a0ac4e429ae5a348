/** Runs one piece of work at a time, in the order of the calls. Returns what the work returns, or throws what it throws. */
export type Mutex = <T>(work: () => Promise<T>) => Promise<T>;

export function createMutex(): Mutex {
  let latest: Promise<unknown> = Promise.resolve();
  return (work) => {
    const result = latest.then(work);
    latest = result.catch(() => undefined);
    return result;
  };
}
