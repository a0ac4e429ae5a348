/** The arguments, the database and the exit codes of every command. */
import { constants } from 'node:os';
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util';
import type { Database } from '../db/database.ts';
import { toProblem } from '../db/errors.ts';
import { StartupError } from '../errors/startup-error.ts';
import { parseDatabaseError } from '../lib/database-error.ts';
import { exitWithReason } from '../lib/exit-with-reason.ts';
import { explainFailure } from '../postgres/connection.ts';
import { connectDatabase } from '../postgres/embedded.ts';
import { createPool } from '../postgres/pool.ts';
import type { Settings } from '../settings.ts';

/** Exit codes: 0 done, 1 failed, 2 usage error, 128 and the number of the signal that ended the command. */
const USAGE_ERROR = 2;
const SIGNAL_BASE = 128;

export interface Command {
  /** What `--help` prints. Its first line is the synopsis. */
  usage: string;
  /** The options beside `--help`. */
  options?: ParseArgsOptionsConfig;
  /** The number of arguments beside the options. */
  arguments: number;
  /** Whether there may be more of them. */
  more?: boolean;
}

export type Options = Record<string, string | boolean | undefined>;

/**
 * Parses the command line, runs the command, and ends the process.
 * @param work gets the arguments and the options; it may return an exit code other than 0.
 */
export async function runCommand(
  command: Command,
  line: string[],
  work: (args: string[], options: Options) => Promise<number | undefined>,
): Promise<never> {
  const { positionals, values } = parseCommandLine(command, line);
  if (values.help) {
    console.log(command.usage);
    process.exit(0);
  }
  if (positionals.length < command.arguments) exitWithUsage(command, 'too few arguments');
  if (positionals.length > command.arguments && !command.more)
    exitWithUsage(command, 'too many arguments');
  process.on('uncaughtException', exitWithReason);
  process.on('unhandledRejection', exitWithReason);
  try {
    process.exit(await work(positionals, values));
  } catch (error) {
    if (error instanceof Interrupted) process.exit(SIGNAL_BASE + constants.signals[error.signal]);
    exitWithReason(error);
  }
}

export function exitWithUsage({ usage }: Pick<Command, 'usage'>, reason: string): never {
  console.error(`mantou: ${reason}\n${usage.split('\n')[0]}\n--help says more`);
  process.exit(USAGE_ERROR);
}

function parseCommandLine(
  command: Command,
  args: string[],
): { positionals: string[]; values: Options } {
  const options = { ...command.options, help: { type: 'boolean', short: 'h' } } as const;
  try {
    return parseArgs({ args, options, allowPositionals: true }) as ReturnType<
      typeof parseCommandLine
    >;
  } catch (error) {
    exitWithUsage(command, (error as Error).message);
  }
}

class Interrupted extends Error {
  constructor(readonly signal: 'SIGINT' | 'SIGTERM') {
    super(signal);
  }
}

/**
 * Runs the work on the database of the settings; starts the embedded one if it does not run. Disconnects after the work,
 * or when a signal ends it.
 * @param work gets the URL of the server itself, and the one that the API uses, which may lead to a pooler.
 */
export async function withConnection<T>(
  settings: Settings,
  work: (url: string, pooledUrl: string) => Promise<T>,
): Promise<T> {
  const interrupted = Promise.withResolvers<never>();
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => interrupted.reject(new Interrupted(signal)));
  const joined = await connectDatabase(settings);
  try {
    return await Promise.race([
      work(joined.sessionUrl ?? joined.url, joined.url),
      interrupted.promise,
    ]);
  } finally {
    await joined.leave();
  }
}

/**
 * Runs handlers on the database of the settings.
 * @throws {StartupError} when the database fails, {Problem} when a constraint refuses.
 */
export async function withDatabase<T>(
  settings: Settings,
  work: (db: Database) => Promise<T>,
): Promise<T> {
  return withConnection(settings, async (url) => {
    const pool = createPool(url, settings);
    try {
      return await work(pool.database);
    } catch (error) {
      const failure = parseDatabaseError(error);
      if (!failure) throw error;
      // The caller explains a violated constraint.
      const problem = failure.unavailable ? undefined : toProblem(failure);
      throw problem ?? new StartupError(await explainFailure(error, url, 'used'));
    } finally {
      await pool.close();
    }
  });
}

const PROGRESS_INTERVAL_MS = 100;

/** Shows the progress of long work in one line on a terminal, and nothing elsewhere. */
export function showProgress(verb: string) {
  const terminal = process.stderr;
  let shownAt = 0;
  return {
    update(table: string, bytes: number) {
      if (!terminal.isTTY || performance.now() - shownAt < PROGRESS_INTERVAL_MS) return;
      shownAt = performance.now();
      terminal.write(`\r\x1b[K${verb} ${table}: ${formatBytes(bytes)}`);
    },
    wipe() {
      if (shownAt > 0) terminal.write('\r\x1b[K');
    },
  };
}

const SIZE_UNITS = ['bytes', 'kB', 'MB', 'GB', 'TB'];

/** `812 bytes`, `1.5 kB`, `12.0 MB`. */
export function formatBytes(bytes: number): string {
  const power = Math.min(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), SIZE_UNITS.length - 1);
  const number = bytes / 1000 ** power;
  return `${power === 0 ? number : number.toFixed(1)} ${SIZE_UNITS[power]}`;
}

/** `1,234 rows of 9 tables`. */
export function formatRowCounts(rows: Record<string, number>): string {
  const counts = Object.values(rows);
  const total = counts.reduce((sum, count) => sum + count, 0);
  return `${total.toLocaleString('en')} rows of ${counts.length} tables`;
}
