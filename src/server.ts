/** The entry on Bun: settings, serve, and what ends it. */
import { CannotStart } from './cannot-start.ts';
import { describeError } from './describe-error.ts';
import { exitWithReason } from './exit.ts';
import type { Log } from './log.ts';
import { readSettings, type Settings } from './settings.ts';
import { findSupervisor, type Supervisor, type Urls } from './siblings.ts';
import { openLog } from './standard-error.ts';

/** Whoever runs us kills after ten seconds. PostgreSQL, if it is not through by then, finishes without us. */
const STOP_TIMEOUT_MS = 9000;

const supervisor = findSupervisor();
try {
  const settings = readSettings(process.env);
  const log = openLog(settings);

  // Nobody knows what state it has left: end, and let whoever runs us start afresh. Bun itself would print the error
  // with its message, which may hold a statement and what was sent.
  const crash = (error: unknown) => {
    log('error', 'crashed', describeError(error));
    process.exit(1);
  };
  process.on('uncaughtException', crash);
  process.on('unhandledRejection', crash);

  if (supervisor) await serveUnder(supervisor, settings, log);
  else if (settings.workers > 1) await superviseWorkers(settings, log);
  else await serveAlone(settings, log);
} catch (error) {
  if (!supervisor || !(error instanceof CannotStart)) exitWithReason(error);
  await supervisor.cannotStart(error.message);
  process.exit(1);
}

async function serveAlone(settings: Settings, log: Log) {
  const starting = load(settings, log);
  let stopping = false;
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

  announce(await starting, log);
}

async function superviseWorkers(settings: Settings, log: Log) {
  const { supervise } = await import('./supervisor.ts');
  const service = supervise(settings, log);
  let stopping = false;
  const stop = async () => {
    if (stopping) service.kill();
    if (stopping) process.exit(1);
    stopping = true;
    await service.stop();
    process.exit(0);
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  process.on('SIGHUP', service.replace);

  const urls = await service.started;
  if (!stopping) announce(urls, log);
}

/** Signals go to the supervisor, even if the whole group gets them; SIGTERM to this process alone replaces it. */
async function serveUnder(supervisor: Supervisor, settings: Settings, log: Log) {
  const starting = load(settings, log, supervisor);
  let ending: 'retire' | 'stop' | undefined;
  const end = async (how: 'retire' | 'stop') => {
    if (ending === 'stop' || ending === how) return;
    ending = how;
    if (how === 'stop') setTimeout(() => process.exit(0), STOP_TIMEOUT_MS);
    await starting.then((server) => server[how]()).catch(() => process.exit(1));
    process.exit(0);
  };
  supervisor.onOrder(end);
  process.on('SIGTERM', () => end('retire'));
  for (const signal of ['SIGINT', 'SIGHUP']) process.on(signal, () => undefined);

  supervisor.accepting(await starting);
}

/** The supervisor does without it. */
async function load(settings: Settings, log: Log, supervisor?: Supervisor) {
  const { serve } = await import('./serve.ts');
  return serve(settings, { log, siblings: supervisor?.siblings });
}

function announce({ url, metrics_url }: Urls, log: Log) {
  if (metrics_url !== undefined) log('info', 'metrics_listening', { url: metrics_url });
  console.log(`mantou listening on ${url}`);
}
