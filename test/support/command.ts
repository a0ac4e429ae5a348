/** A command as an operator runs it: a process with arguments, an environment, and something on standard input. */

import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inherited } from './process.ts';

const root = join(import.meta.dir, '../..');

export interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs `bun run NAME …` to its end with this environment and no other, away from any `.env`. */
export async function runCommand(
  environment: Record<string, string>,
  name: string,
  args: string[],
  { stdin = '', prefix = [] }: { stdin?: string; prefix?: string[] } = {},
): Promise<Outcome> {
  const script = join(root, `src/cli/${name}.ts`);
  const child = Bun.spawn([...prefix, process.execPath, script, ...args], {
    cwd: tmpdir(),
    env: { ...inherited, ...environment },
    stdin: new Blob([stdin]),
    stdout: 'pipe',
    stderr: 'pipe',
  });
  const [stdout, stderr, code] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  return { code, stdout, stderr };
}

/** Returns the command prefix that mounts a disk of this size at a folder, for that command alone. */
export function onSmallDisk(folder: string, size: string): string[] {
  const mount = `mount -t tmpfs -o size=${size},mode=700 tmpfs "${folder}" && exec "$@"`;
  const becomeRoot = process.getuid?.() === 0 ? [] : ['--map-root-user'];
  return ['unshare', ...becomeRoot, '--mount', 'sh', '-c', mount, 'sh'];
}
