/** What Drizzle asks of a driver's client, over a function that guards each statement and transaction. */

/** A statement of a driver: awaited, it gives rows as objects; `values()` gives rows as arrays. */
interface DriverQuery extends PromiseLike<unknown> {
  values(): PromiseLike<unknown>;
}

export interface Guard<Transaction> {
  /** Runs a statement. @param shape gives its rows as objects or as arrays. */
  query(
    text: string,
    parameters: unknown[],
    shape: (query: DriverQuery) => PromiseLike<unknown>,
  ): Promise<unknown>;
  begin(work: (transaction: Transaction) => Promise<unknown>): Promise<unknown>;
}

export const clientAdapter = <Transaction>({ query, begin }: Guard<Transaction>) => ({
  unsafe: (text: string, parameters: unknown[]) => ({
    // biome-ignore lint/suspicious/noThenProperty: Drizzle awaits it, as it can await a driver's own query.
    then: (...handlers: Parameters<Promise<unknown>['then']>) =>
      query(text, parameters, (one) => one).then(...handlers),
    values: () => query(text, parameters, (one) => one.values()),
  }),
  begin,
});
