/** One connection for a piece of work of its own, such as a migration or a backup, and why it failed. */
import type { SQL } from 'bun';
import {
  type DatabaseError,
  parseDatabaseError,
  type Remedy,
  remedyOf,
} from '../lib/database-error.ts';
import { addressOf, hostUrls } from '../lib/postgres-url.ts';
import { openClient } from './client.ts';
import { diagnose } from './diagnose.ts';

/**
 * Opens a connection when it is first used. Nothing is prepared, so that it also works through a pooler.
 * @param purpose what the server's list of connections shows.
 * @throws {StartupError} for a URL that is not valid.
 */
export const openConnection = (url: string, purpose: string): SQL =>
  openClient(url, { purpose, prepare: false });

/** The driver's codes behind which there may be a wrong host name, a closed port, or a server of another kind. */
const UNREACHABLE =
  /^(ERR_POSTGRES_(CONNECTION_(REFUSED|FAILED|CLOSED|TIMEOUT)|TLS_NOT_AVAILABLE|INVALID|UNEXPECTED|EXPECTED)|ECONN|ENOTFOUND|EAI_|ETIMEDOUT|FailedToOpenSocket)/;

/**
 * Returns the cause and the cure, in one line that holds no value of a statement.
 * @param task what the database could not be: `migrated`, for example.
 */
export async function explainFailure(error: unknown, url: string, task: string): Promise<string> {
  const database = nameDatabase(url);
  const failure = parseDatabaseError(error);
  if (failure?.sqlstate === '55P03')
    return `${database} is too busy to be ${task}: wait for long transactions in it, or end them, and try again`;
  const remedy = await findRemedy(failure, url);
  if (remedy) return `${database} ${remedy.cause}: ${remedy.cure}`;
  return `${database} cannot be ${task}: ${reasonOf(error, failure)}`;
}

/** Looks at the address where the driver says only that there is no connection. */
export async function findRemedy(
  failure: DatabaseError | undefined,
  url: string,
): Promise<Remedy | undefined> {
  const isUnreachable = UNREACHABLE.test(failure?.code ?? '');
  return (isUnreachable && (await diagnose(url))) || (failure && remedyOf(failure));
}

/** The server's messages on syntax, names and privileges (class 42) quote our statements; others may quote values. */
function reasonOf(error: unknown, failure: DatabaseError | undefined): string {
  if (failure?.sqlstate?.startsWith('42') && failure.message !== '') return failure.message;
  const { sqlstate, code, constraint } = failure ?? {};
  const name = sqlstate ?? code ?? codeOf(error) ?? 'an unexpected error';
  return constraint === undefined ? name : `${name}, by the constraint ${constraint}`;
}

function codeOf(error: unknown): string | undefined {
  const { code, name } = error as { code?: unknown; name?: unknown };
  return [code, name].find((one): one is string => typeof one === 'string' && /^\w+$/.test(one));
}

/** Returns the database in words, without the password. */
export function nameDatabase(url: string): string {
  const urls = hostUrls(url);
  return `the database${new URL(urls[0] ?? url).pathname} at ${urls.map(nameHost).join(', ')}`;
}

/** Returns the host and port of a URL, or the path of its socket. */
export function nameHost(url: string): string {
  const address = addressOf(url);
  return 'path' in address ? address.path : new URL(url).host;
}
