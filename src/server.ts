/** The entry on Bun: settings, serve, and the signals that end it. */
import { exitWithReason } from './exit.ts';
import { serve } from './serve.ts';
import { readSettings } from './settings.ts';

try {
  const starting = serve(readSettings(process.env));
  let stopping = false;
  const stop = async () => {
    // Whoever asks twice does not want to wait.
    if (stopping) process.exit(1);
    stopping = true;
    // A start that is under way is finished first, so that it leaves nothing half done.
    await starting.then((server) => server.stop()).catch(exitWithReason);
    process.exit(0);
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  const { url } = await starting;
  console.log(`mantou listening on ${url}`);
} catch (error) {
  exitWithReason(error);
}
