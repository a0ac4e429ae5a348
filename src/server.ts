/** The entry on Bun: settings, serve, and what ends it. */
import { describeError } from './describe-error.ts';
import { exitWithReason } from './exit.ts';
import { serve } from './serve.ts';
import { readSettings } from './settings.ts';
import { openLog } from './standard-error.ts';

/** Whoever runs us kills after ten seconds. PostgreSQL, if it is not through by then, finishes without us. */
const STOP_TIMEOUT_MS = 9000;

try {
  const settings = readSettings(process.env);
  const log = openLog(settings);
  const starting = serve(settings, { log });
  let stopping = false;

  // Nobody knows what state it has left: end, and let whoever runs us start afresh. Bun itself would print the error
  // with its message, which may hold a statement and what was sent.
  const crash = (error: unknown) => {
    log('error', 'crashed', describeError(error));
    process.exit(1);
  };
  process.on('uncaughtException', crash);
  process.on('unhandledRejection', crash);

  const stop = async () => {
    // Whoever asks twice does not want to wait.
    if (stopping) process.exit(1);
    stopping = true;
    setTimeout(() => process.exit(0), STOP_TIMEOUT_MS);
    // A start that is under way is finished first, so that it leaves nothing half done.
    await starting.then((server) => server.stop()).catch(exitWithReason);
    process.exit(0);
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);

  const { url, metrics_url } = await starting;
  if (metrics_url !== undefined) log('info', 'metrics_listening', { url: metrics_url });
  console.log(`mantou listening on ${url}`);
} catch (error) {
  exitWithReason(error);
}
