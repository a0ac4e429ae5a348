/** Runs the server as one process, as the supervisor of workers, or as a worker, until a signal stops it. */

import { version } from '../../package.json';
import { findMisspelt, loadSettings } from '../environment.ts';
import { StartupError } from '../errors/startup-error.ts';
import { describeError } from '../lib/describe-error.ts';
import { exitWithReason } from '../lib/exit-with-reason.ts';
import type { Log } from '../lib/log.ts';
import { waitUpTo } from '../lib/sleep.ts';
import { nameDatabase } from '../postgres/connection.ts';
import type { Settings } from '../settings.ts';
import { connectToSupervisor, type SupervisorChannel, type Urls } from './cluster-channel.ts';
import { onSignal, onStopRequest, type StopSignal } from './signals.ts';
import { openStderrLog } from './stderr-log.ts';

/** Process managers send SIGKILL after 10 s. An embedded PostgreSQL that is still stopping then finishes on its own. */
const STOP_TIMEOUT_MS = 9000;

/** How much later this process may handle a signal that the whole group got. */
const GROUP_SIGNAL_TIMEOUT_MS = 1000;

/** Resolves once the server accepts requests. Ends the process when it cannot start, and after a stop. */
export async function run() {
  const supervisor = connectToSupervisor();
  try {
    const settings = loadSettings();
    const log = openStderrLog(settings);
    exitOnUncaughtErrors(log);
    if (!supervisor) logStart(settings, log);
    if (supervisor) await serveUnder(supervisor, settings, log);
    else if (settings.workers > 1) await superviseWorkers(settings, log);
    else await serveAlone(settings, log);
  } catch (error) {
    if (!supervisor || !(error instanceof StartupError)) exitWithReason(error);
    await supervisor.cannotStart(error.message);
    process.exit(1);
  }
}

/**
 * The state is unknown after an uncaught error: exit, and let the process manager restart us. Bun itself would print the
 * error with its message, which may hold a statement and what a client sent.
 */
function exitOnUncaughtErrors(log: Log) {
  const crash = (error: unknown) => {
    log('error', 'crashed', describeError(error));
    process.exit(1);
  };
  process.on('uncaughtException', crash);
  process.on('unhandledRejection', crash);
}

/** The first lines of the log: what starts, and what an operator may not have meant. */
function logStart({ production, databaseUrl, dataDir, workers }: Settings, log: Log) {
  if (production && databaseUrl === undefined)
    log('warn', 'embedded_database_in_production', {
      data_dir: dataDir,
      cure: 'DATABASE_URL is not set, so the embedded PostgreSQL serves: set it, unless that is meant',
    });
  for (const reason of findMisspelt(process.env)) log('warn', 'setting_unknown', { reason });
  log('info', 'starting', {
    version,
    bun: Bun.version,
    database: databaseUrl === undefined ? 'embedded' : nameDatabase(databaseUrl),
    data_dir: dataDir,
    workers,
  });
}

async function serveAlone(settings: Settings, log: Log) {
  const starting = load(settings, log);
  const stopping = Promise.withResolvers<void>();
  const stop = async (signal: StopSignal) => {
    stopping.resolve();
    log('info', 'stopping', { signal });
    setTimeout(() => process.exit(0), STOP_TIMEOUT_MS);
    // A start that is under way finishes first, so that it leaves nothing half done. It may fail, because the signal has
    // ended its programs, too.
    const server = await starting.catch(() => undefined);
    await server?.stop().catch(exitWithReason);
    log('info', 'stopped');
    process.exit(0);
  };
  onStopRequest(stop, () => process.exit(1));

  const server = await starting.catch(async (error: unknown) => {
    // A signal to the group also ends the programs of the embedded database, and this process may see their exit first.
    const graceMs = settings.databaseUrl === undefined ? GROUP_SIGNAL_TIMEOUT_MS : 0;
    if (!(await waitUpTo(graceMs, stopping.promise))) throw error;
  });
  if (server) announce(server, log);
}

async function superviseWorkers(settings: Settings, log: Log) {
  const { Supervisor } = await import('./cluster-supervisor.ts');
  const cluster = new Supervisor(settings, log);
  let isStopping = false;
  const stop = async (signal: StopSignal) => {
    isStopping = true;
    log('info', 'stopping', { signal });
    await cluster.stop();
    log('info', 'stopped');
    process.exit(0);
  };
  const stopNow = () => {
    cluster.kill();
    process.exit(1);
  };
  onStopRequest(stop, stopNow);
  process.on('SIGHUP', () => cluster.replaceWorkers());

  const urls = await cluster.started;
  if (!isStopping) announce(urls, log);
}

/** The supervisor orders a stop, even if the whole group gets the signal; SIGTERM to this process alone replaces it. */
async function serveUnder(supervisor: SupervisorChannel, settings: Settings, log: Log) {
  const starting = load(settings, log, supervisor);
  let ending: 'drain' | 'stop' | undefined;
  const end = async (how: 'drain' | 'stop') => {
    if (ending === 'stop' || ending === how) return;
    ending = how;
    if (how === 'stop') setTimeout(() => process.exit(0), STOP_TIMEOUT_MS);
    await starting.then((server) => server[how]()).catch(() => process.exit(1));
    process.exit(0);
  };
  supervisor.onOrder(end);
  onSignal((signal) => signal === 'SIGTERM' && void end('drain'));
  process.on('SIGHUP', () => undefined);

  supervisor.accepting(await starting);
}

/** Imported lazily: the supervisor never needs it. */
async function load(settings: Settings, log: Log, supervisor?: SupervisorChannel) {
  const { serve } = await import('./serve.ts');
  return serve(settings, { log, peers: supervisor?.peers });
}

function announce({ url, metricsUrl }: Urls, log: Log) {
  if (metricsUrl !== undefined) log('info', 'metrics_listening', { url: metricsUrl });
  console.log(`mantou listening on ${url}`);
}
