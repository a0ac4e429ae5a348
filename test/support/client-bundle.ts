/** Bundles of the client and of its cases, for runtimes that read no TypeScript. */
import { join } from 'node:path';

const root = join(import.meta.dir, '../..');
const CLIENT = join(root, 'client/src/index.ts');

/** Returns the text of a module that exports what `entry` exports, with all that it imports. */
async function bundle(entry: string, options: Partial<Bun.BuildConfig> = {}): Promise<string> {
  const { outputs, logs } = await Bun.build({
    entrypoints: [entry],
    target: 'browser',
    format: 'esm',
    ...options,
  });
  const [output] = outputs;
  if (!output) throw new Error(logs.join('\n'));
  return output.text();
}

export const bundleClient = () => bundle(CLIENT, { minify: true });

/**
 * The module exports `runClientCases` and `createClient`.
 * @param installed imports the client from this package in place of bundling it.
 */
export const bundleClientCases = (installed?: string) =>
  bundle(join(import.meta.dir, 'client-suite.ts'), {
    plugins: [
      {
        name: 'installed client',
        setup: (build) =>
          void (
            installed !== undefined &&
            build.onResolve({ filter: /client\/src\/index\.ts$/ }, () => ({
              path: installed,
              external: true,
            }))
          ),
      },
    ],
  });
