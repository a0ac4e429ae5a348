/** The settings of this process: the environment, with what Bun has read from `.env` files, and the names in it. */
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { StartupError } from './errors/startup-error.ts';
import { nearest } from './lib/nearest.ts';
import { filesOf } from './lib/postgres-url.ts';
import { readSettings, type Settings, settingNames } from './settings.ts';

const project = join(import.meta.dir, '..');
/** Files that hold this project's settings alone. */
const LOCAL_FILES = ['.env.local', '.env.production.local', '.env.development.local'];
/** Names of the runtime, the system, PostgreSQL's programs and compose, which may stand in those files. */
const FOREIGN =
  /^(BUN|NODE|PG|POSTGRES|DO_NOT|NO|FORCE|LC|npm)_|^(TZ|LANG|PATH|PG[A-Z]+|NODE_ENV|HTTPS?_PROXY)$/;
/** A shorter name is near to too many others. */
const NEAR_LENGTH_MIN = 6;

/**
 * Reads the settings of this process. A relative DATA_DIR is below the project, wherever the process is started.
 * @throws {StartupError} naming every wrong value, and every unknown name in `.env.local`.
 */
export function loadSettings(): Settings {
  const faults = LOCAL_FILES.flatMap(unknownNamesIn);
  try {
    const settings = readSettings(process.env);
    faults.push(...missingFiles(settings.databaseUrl));
    if (faults.length === 0)
      return Object.freeze({ ...settings, dataDir: resolve(project, settings.dataDir) });
  } catch (error) {
    if (!(error instanceof StartupError)) throw error;
    faults.push(error.message);
  }
  throw new StartupError(faults.join('; '));
}

/** Returns one sentence for each variable of the environment that is nearly the name of a setting. */
export function findMisspelt(environment: Record<string, string | undefined>): string[] {
  const known = settingNames();
  return Object.keys(environment).flatMap((name) => {
    if (known.includes(name) || name.length < NEAR_LENGTH_MIN) return [];
    const meant = nearest(
      name,
      known.filter((one) => one.length >= NEAR_LENGTH_MIN),
    );
    return meant === undefined || environment[meant] === environment[name]
      ? []
      : [`${name} is no setting: write ${meant}`];
  });
}

function unknownNamesIn(file: string): string[] {
  if (!existsSync(file)) return [];
  const known = settingNames();
  const names = [...readFileSync(file, 'utf8').matchAll(/^\s*(?:export\s+)?([\w.-]+)\s*[=:]/gm)];
  return names.flatMap(([, name = '']) => {
    if (known.includes(name) || FOREIGN.test(name)) return [];
    const meant = nearest(name, known);
    return [`${file} names ${name}, which is no setting${meant ? `: write ${meant}` : ''}`];
  });
}

function missingFiles(databaseUrl: string | undefined): string[] {
  if (databaseUrl === undefined) return [];
  return filesOf(databaseUrl).flatMap(([parameter, path]) => {
    try {
      readFileSync(path);
      return [];
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      return [
        `${parameter} in DATABASE_URL (or PG${parameter.toUpperCase()}) names ${path}, which cannot be read (${code}): correct the path`,
      ];
    }
  });
}
