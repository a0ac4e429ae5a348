/** The API in workerd, the runtime of Cloudflare Workers, started for tests as `serve` starts it on Bun. */
import { join } from 'node:path';
import { Miniflare } from 'miniflare';
import type { Log } from '../../src/lib/log.ts';
import { migrate } from '../../src/postgres/migrate.ts';
import type { RunningServer } from '../../src/server/serve.ts';
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
function workerOptions(bundle: string, databaseUrl: string) {
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
    hyperdrives: { HYPERDRIVE: withPassword(databaseUrl) },
    // A socket of workerd's own: nothing of Miniflare's is between the client and the worker.
    unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }],
  };
}

/** Miniflare takes no URL without one; a server that trusts its clients does not read it. */
function withPassword(databaseUrl: string): string {
  const url = new URL(databaseUrl);
  url.password ||= 'none';
  return url.href;
}

/** Where a bundle puts its assets; every bundle makes the folder anew. */
export const bundledAssets = join(root, config.assets.directory);
/** The copy of a suite, which no other bundle touches. */
const assetsFolder = process.env.WORKER_ASSETS ?? bundledAssets;

/** Returns the URL of a worker. One that does not start leaves no process. */
async function originOf(workerd: Miniflare): Promise<string> {
  try {
    return (await workerd.unsafeGetDirectURL()).origin;
  } catch (error) {
    await workerd.dispose();
    throw error;
  }
}

/** Starts the bundle of `src/edge/worker.ts` with its assets, as Cloudflare does. */
export async function startWorker(
  bundle: string,
  bindings: Record<string, string>,
  databaseUrl: string,
) {
  const workerd = new Miniflare({
    ...workerOptions(bundle, databaseUrl),
    bindings,
    assets: {
      directory: assetsFolder,
      binding: config.assets.binding,
      routerConfig: {
        has_user_worker: true,
        invoke_user_worker_ahead_of_assets: config.assets.run_worker_first,
      },
    },
  });
  const origin = await originOf(workerd);
  return { url: origin, stop: () => workerd.dispose() };
}

/** Starts the bundle of `test/edge/worker.ts`, which asks this process for the time and tells it what it logs. */
export async function serveAtEdge(
  bundle: string,
  settings: Settings,
  { log, now }: { log: Log; now: () => Date },
): Promise<Omit<RunningServer, 'drain'>> {
  const tests = Bun.serve({
    hostname: '127.0.0.1',
    port: 0,
    // Bun would close an idle connection after ten seconds, perhaps just as workerd sends its next request on it.
    idleTimeout: 0,
    async fetch(request) {
      if (request.method === 'GET') return new Response(now().toISOString());
      for (const line of (await request.json()) as Parameters<Log>[]) log(...line);
      return new Response();
    },
  });
  const { databaseUrl = '' } = settings;
  // As before a deployment: a worker never migrates.
  await migrate(databaseUrl);
  const pool = await openPool(databaseUrl);
  const workerd = new Miniflare({
    ...workerOptions(bundle, pool.url),
    bindings: { SETTINGS: JSON.parse(JSON.stringify(settings)) },
    serviceBindings: {
      ASSETS: { disk: { path: assetsFolder, writable: false } },
      TESTS: { external: { address: `127.0.0.1:${tests.port}`, http: {} } },
    },
  });
  const origin = await originOf(workerd);
  return {
    url: origin,
    metricsUrl: undefined,
    async stop() {
      await workerd.dispose();
      await pool.close();
      await tests.stop(true);
    },
  };
}
