/** What the commands share: how they read their arguments, which database they work on, and how they end. */
import { constants } from 'node:os';
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util';
import { CannotStart } from '../cannot-start.ts';
import { openPool } from '../db/client.ts';
import { explainFailure } from '../db/connection.ts';
import type { Database } from '../db/database.ts';
import { joinDatabase } from '../db/embedded.ts';
import { findFailure, problemOfFailure } from '../db/failure.ts';
import { exitWithReason } from '../exit.ts';
import type { Settings } from '../settings.ts';

/** The exit codes: 0 done, 1 not done, 2 not understood; a signal ends a command with 128 and its number. */
const NOT_UNDERSTOOD = 2;
const SIGNALLED = 128;

export interface Command {
  /** What `--help` prints; its first line says how the command is written. */
  usage: string;
  /** Beside `--help`. */
  options?: ParseArgsOptionsConfig;
  /** How many arguments there have to be beside the options. */
  arguments: number;
}

export type Options = Record<string, string | boolean | undefined>;

/**
 * Runs a command with what is on the command line, and ends the process.
 * @param work gets the arguments and the options; it may return an exit code other than 0.
 */
export async function runCommand(
  command: Command,
  line: string[],
  work: (args: string[], options: Options) => Promise<number | undefined>,
): Promise<never> {
  const { positionals, values } = readLine(command, line);
  if (values.help) {
    console.log(command.usage);
    process.exit(0);
  }
  if (positionals.length !== command.arguments)
    exitNotUnderstood(
      command,
      positionals.length < command.arguments ? 'too few arguments' : 'too many arguments',
    );
  try {
    process.exit(await work(positionals, values));
  } catch (error) {
    if (error instanceof Interrupted) process.exit(SIGNALLED + constants.signals[error.signal]);
    exitWithReason(error);
  }
}

export function exitNotUnderstood({ usage }: Pick<Command, 'usage'>, reason: string): never {
  console.error(`mantou: ${reason}\n${usage.split('\n')[0]}\n--help says more`);
  process.exit(NOT_UNDERSTOOD);
}

function readLine(command: Command, args: string[]): { positionals: string[]; values: Options } {
  const options = { ...command.options, help: { type: 'boolean', short: 'h' } } as const;
  try {
    return parseArgs({ args, options, allowPositionals: true }) as ReturnType<typeof readLine>;
  } catch (error) {
    exitNotUnderstood(command, (error as Error).message);
  }
}

class Interrupted extends Error {
  constructor(readonly signal: 'SIGINT' | 'SIGTERM') {
    super(signal);
  }
}

/**
 * Joins the database of the settings, starting the embedded one where nobody has, and leaves it after the work, or when
 * a signal ends that.
 */
export async function usingDatabase<T>(
  settings: Settings,
  work: (url: string) => Promise<T>,
): Promise<T> {
  const interrupted = Promise.withResolvers<never>();
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => interrupted.reject(new Interrupted(signal)));
  const joined = await joinDatabase(settings);
  try {
    return await Promise.race([work(joined.url), interrupted.promise]);
  } finally {
    await joined.leave();
  }
}

/** The same through a pool, for handlers. @throws {CannotStart} where the database fails, {Problem} where it refuses. */
export async function usingTables<T>(
  settings: Settings,
  work: (db: Database) => Promise<T>,
): Promise<T> {
  return usingDatabase(settings, async (url) => {
    const pool = openPool(url, settings);
    try {
      return await work(pool.database);
    } catch (error) {
      const failure = findFailure(error);
      if (!failure) throw error;
      // What a constraint has refused is the caller's to explain.
      const problem = failure.unavailable ? undefined : problemOfFailure(failure);
      throw problem ?? new CannotStart(explainFailure(error, url, 'used'));
    } finally {
      await pool.close();
    }
  });
}

const PROGRESS_INTERVAL_MS = 100;

/** On a terminal, one line that says how far long work has come; elsewhere nothing. */
export function showProgress(verb: string) {
  const terminal = process.stderr;
  let shown_at = 0;
  return {
    update(table: string, bytes: number) {
      if (!terminal.isTTY || performance.now() - shown_at < PROGRESS_INTERVAL_MS) return;
      shown_at = performance.now();
      terminal.write(`\r\x1b[K${verb} ${table}: ${inMegabytes(bytes)}`);
    },
    wipe() {
      if (shown_at > 0) terminal.write('\r\x1b[K');
    },
  };
}

export const inMegabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;

/** `1,234 rows of 9 tables`. */
export function countRows(rows: Record<string, number>): string {
  const counts = Object.values(rows);
  const total = counts.reduce((sum, count) => sum + count, 0);
  return `${total.toLocaleString('en')} rows of ${counts.length} tables`;
}
