/** The API in workerd, the runtime of Cloudflare Workers, started for tests as `serve` starts it on Bun. */
import { join } from 'node:path';
import { Miniflare } from 'miniflare';
import type { Log } from '../../src/log.ts';
import type { RunningServer } from '../../src/serve.ts';
import type { Settings } from '../../src/settings.ts';
import config from '../../wrangler.jsonc';
import { openPool } from './pool.ts';

export const root = join(import.meta.dir, '../..');

/** Bundles an entry as a deployment would, into an empty folder. */
export async function bundleWorker(entry: string, folder: string): Promise<void> {
  const wrangler = join(root, 'node_modules/.bin/wrangler');
  const options = ['--dry-run', '--outdir', folder, '--metafile', join(folder, 'meta.json')];
  // By Bun, so that no Node has to be there.
  const command = [process.execPath, '--bun', wrangler, 'deploy', entry, ...options];
  const child = Bun.spawn(command, { cwd: root, stdout: 'pipe', stderr: 'pipe' });
  const [said, complaints, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (code !== 0) throw new Error(`wrangler failed: ${said}${complaints}`);
}

/** What every worker here is started with. */
function workerOptions(bundle: string, database_url: string) {
  const files = [...new Bun.Glob('*.{js,wasm}').scanSync(bundle)];
  // The first is the entry.
  files.sort((one) => (one.endsWith('.js') ? -1 : 1));
  return {
    modules: files.map((name) => ({
      type: name.endsWith('.js') ? ('ESModule' as const) : ('CompiledWasm' as const),
      path: join(bundle, name),
    })),
    modulesRoot: bundle,
    compatibilityDate: config.compatibility_date,
    compatibilityFlags: config.compatibility_flags,
    hyperdrives: { HYPERDRIVE: database_url },
    // A socket of workerd's own: nothing of Miniflare's is between the client and the worker.
    unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }],
  };
}

const assets_folder = join(root, config.assets.directory);

/** Starts the bundle of `src/worker.ts` with its assets, as Cloudflare does. */
export async function startWorker(
  bundle: string,
  bindings: Record<string, string>,
  database_url: string,
) {
  const workerd = new Miniflare({
    ...workerOptions(bundle, database_url),
    bindings,
    assets: {
      directory: assets_folder,
      binding: config.assets.binding,
      routerConfig: {
        has_user_worker: true,
        invoke_user_worker_ahead_of_assets: config.assets.run_worker_first,
      },
    },
  });
  const { origin } = await workerd.unsafeGetDirectURL();
  return { url: origin, stop: () => workerd.dispose() };
}

/** Starts the bundle of `test/edge/worker.ts`, which asks this process for the time and tells it what it logs. */
export async function serveAtEdge(
  bundle: string,
  settings: Settings,
  { log, now }: { log: Log; now: () => Date },
): Promise<Omit<RunningServer, 'retire'>> {
  const tests = Bun.serve({
    hostname: '127.0.0.1',
    port: 0,
    async fetch(request) {
      if (request.method === 'GET') return new Response(now().toISOString());
      for (const line of (await request.json()) as Parameters<Log>[]) log(...line);
      return new Response();
    },
  });
  const pool = await openPool(settings.database_url ?? '');
  const workerd = new Miniflare({
    ...workerOptions(bundle, pool.url),
    bindings: { SETTINGS: JSON.parse(JSON.stringify(settings)) },
    serviceBindings: {
      ASSETS: { disk: { path: assets_folder, writable: false } },
      TESTS: { external: { address: `127.0.0.1:${tests.port}`, http: {} } },
    },
  });
  const { origin } = await workerd.unsafeGetDirectURL();
  return {
    url: origin,
    metrics_url: undefined,
    async stop() {
      await workerd.dispose();
      await pool.close();
      await tests.stop(true);
    },
  };
}
