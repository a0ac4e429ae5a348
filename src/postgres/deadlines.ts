/** How long a connection and a statement may take, whichever driver runs them. */
import type { Settings } from '../settings.ts';

export const CONNECT_TIMEOUT_SECONDS = 5;

/** The network may add this much to a statement that the server itself cancels at its timeout. */
const DEADLINE_MARGIN_SECONDS = 2;

/** Returns how long to wait for a statement. */
export const deadlineMs = ({
  databaseStatementTimeoutSeconds,
}: Pick<Settings, 'databaseStatementTimeoutSeconds'>): number =>
  (databaseStatementTimeoutSeconds + DEADLINE_MARGIN_SECONDS) * 1000;

/** Reads like any other lost connection: `parseDatabaseError` knows the code. */
export class DeadlineMissed extends Error {
  readonly code = 'ETIMEDOUT';

  constructor() {
    super('the database has not answered in time');
  }
}
