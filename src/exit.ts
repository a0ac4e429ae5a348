import { CannotStart } from './cannot-start.ts';

/** Ends an entry or a command: one line without a stack and exit code 1; anything unexpected is thrown on. */
export function exitWithReason(error: unknown): never {
  if (!(error instanceof CannotStart)) throw error;
  console.error(`mantou: ${error.message}`);
  process.exit(1);
}
