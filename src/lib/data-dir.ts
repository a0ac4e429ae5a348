/** The folder that holds what a single machine keeps: the embedded database and the secrets made for it. */
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { StartupError } from '../errors/startup-error.ts';
import { newSecret } from './secrets.ts';

/** Makes the folder, for its owner alone. @returns its absolute path. @throws {StartupError} if it cannot be written. */
export async function makeDataDir(dataDir: string): Promise<string> {
  const folder = resolve(dataDir);
  const probe = join(folder, `.probe-${crypto.randomUUID()}`);
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await writeFile(probe, '');
    await rm(probe);
    return folder;
  } catch (error) {
    throw cannotWrite(folder, error);
  }
}

/** 256 bits in base64url. */
const SECRET_LENGTH = 43;

/**
 * Returns a secret that is kept in a file of mode 0600 in the data folder: 256 random bits in base64url. The first call makes
 * it. Processes that race get the secret of the first one.
 */
export async function loadOrCreateSecret(dataDir: string, name: string): Promise<string> {
  const file = join(await makeDataDir(dataDir), name);
  const draft = `${file}.${crypto.randomUUID()}`;
  try {
    await writeFile(draft, newSecret(), { mode: 0o600, flush: true });
    // link(2) is atomic, and fails where the file exists.
    await link(draft, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw cannotWrite(file, error);
  } finally {
    await rm(draft, { force: true });
  }
  const secret = (await readFile(file, 'utf8')).trim();
  // Refuse an empty file: its secret would be known to all.
  if (secret.length < SECRET_LENGTH)
    throw new StartupError(
      `${file} holds no secret: restore it from a backup, or delete it to have a new one made`,
    );
  return secret;
}

export function cannotWrite(path: string, error: unknown): StartupError {
  const reason = (error as NodeJS.ErrnoException).code ?? String(error);
  return new StartupError(
    `${path} cannot be written (${reason}): make it writable, or set DATA_DIR to a folder that is`,
  );
}
