/** The entry on Bun. The handlers of signals come first, so that a stop while the program loads ends with 0, too. */
import { receiveSignals } from './signals.ts';

receiveSignals();
const { run } = await import('./run.ts');
await run();
