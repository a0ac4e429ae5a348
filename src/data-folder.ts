/** The folder that holds what a single machine keeps: the embedded database and the secrets made for it. */
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { CannotStart } from './cannot-start.ts';
import { newSecret } from './secrets.ts';

/** Makes the folder, for its owner alone. @returns its absolute path. @throws {CannotStart} if it cannot be written. */
export async function makeDataFolder(data_dir: string): Promise<string> {
  const folder = resolve(data_dir);
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
 * Reads a secret that is kept in a file of mode 0600 in the data folder, and makes it on the first call: 256 random
 * bits in base64url. Processes that race agree on the first one's.
 */
export async function keepSecret(data_dir: string, name: string): Promise<string> {
  const file = join(await makeDataFolder(data_dir), name);
  const draft = `${file}.${crypto.randomUUID()}`;
  try {
    await writeFile(draft, newSecret(), { mode: 0o600, flush: true });
    // A link is made whole or not at all, and never over another's.
    await link(draft, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw cannotWrite(file, error);
  } finally {
    await rm(draft, { force: true });
  }
  const secret = (await readFile(file, 'utf8')).trim();
  // An empty file would be the key that everybody knows.
  if (secret.length < SECRET_LENGTH)
    throw new CannotStart(
      `${file} holds no secret: restore it from a backup, or delete it to have a new one made`,
    );
  return secret;
}

export function cannotWrite(path: string, error: unknown): CannotStart {
  const reason = (error as NodeJS.ErrnoException).code ?? String(error);
  return new CannotStart(
    `${path} cannot be written (${reason}): make it writable, or set DATA_DIR to a folder that is`,
  );
}
