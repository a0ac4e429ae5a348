import { StartupError } from '../errors/startup-error.ts';
import { describeError } from './describe-error.ts';

/**
 * Ends the process with 1. It prints the message of a StartupError as one line, and of any other error the fields that the log
 * may have. Bun itself would print its message and fields, which may hold a statement and what a user sent.
 */
export function exitWithReason(error: unknown): never {
  if (error instanceof StartupError) console.error(`mantou: ${error.message}`);
  else console.error(`mantou: unexpected error ${JSON.stringify(describeError(error))}`);
  process.exit(1);
}
