/** One connection for a piece of work of its own, such as a migration or a backup, and why it failed. */
import { SQL } from 'bun';
import { CannotStart } from '../cannot-start.ts';
import { findFailure } from './failure.ts';

const CONNECT_TIMEOUT_SECONDS = 5;

/** @param purpose what the server's list of connections shows. @throws {CannotStart} for a URL that is none. */
export function openConnection(url: string, purpose: string): SQL {
  try {
    return new SQL({
      url,
      max: 1,
      connectionTimeout: CONNECT_TIMEOUT_SECONDS,
      connection: { application_name: `mantou ${purpose}` },
    });
  } catch (error) {
    throw new CannotStart(`DATABASE_URL cannot be used: ${(error as Error).message}`);
  }
}

/** The cause and the cure, in one line. @param task what the database could not be: `migrated`, for example. */
export function explainFailure(error: unknown, url: string, task: string): string {
  const where = nameDatabase(url);
  const failure = findFailure(error);
  switch (failure?.sqlstate) {
    case '28P01':
    case '28000':
      return `${where} refuses the user name or password in DATABASE_URL: correct them`;
    case '3D000':
      return `${where} does not exist: create it, or correct DATABASE_URL`;
    case '42P01':
      return `${where} lacks the tables of this version: run "bun run migrate"`;
    case '42501':
      return `the user in DATABASE_URL may not create tables in ${where}: grant it CREATE on the database and on its schema public`;
    case '25006':
      return `${where} is read-only: name the primary server in DATABASE_URL`;
    case '55P03':
      return `${where} is too busy to be ${task}: wait for long transactions in it, or end them, and try again`;
    case '53300':
      return `${where} has no connection left: raise its limit, or end other clients`;
  }
  if (failure?.unavailable)
    return `${where} cannot be reached: start PostgreSQL, or correct DATABASE_URL`;
  return `${where} cannot be ${task}: ${failure?.message ?? String(error)}`;
}

/** The database in words, without the password. */
export function nameDatabase(url: string): string {
  const { host, pathname } = new URL(url);
  return `the database${pathname} at ${host}`;
}
