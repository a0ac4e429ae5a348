/** Puts the parts together on Cloudflare Workers: bindings, database, app. Done once an isolate, as it starts. */
import argon2 from '@phi-ag/argon2/argon2.wasm';
import { CloudflareAdapter } from 'elysia/adapter/cloudflare-worker';
import { createApp } from './app.ts';
import { CannotStart } from './cannot-start.ts';
import { edgeDatabase, type Hyperdrive } from './db/edge.ts';
import { createLog, type Log } from './log.ts';
import { wasmPasswords } from './passwords/wasm.ts';
import type { Platform } from './platform.ts';
import type { Settings } from './settings.ts';

/** What `wrangler.jsonc` binds, beside the settings. */
export interface Bindings {
  readonly HYPERDRIVE: Hyperdrive;
  /** The files that `cli/edge-assets` gathers. */
  readonly ASSETS: { fetch(url: string): Promise<Response> };
}

export interface Worker {
  fetch(
    request: Request,
    bindings: unknown,
    context: { waitUntil(rest: Promise<unknown>): void },
  ): Promise<Response>;
}

/** What a test may replace. */
interface Surroundings {
  log?: Log;
  now?: () => Date;
  address_of?: Platform['address_of'];
}

/**
 * Makes the worker. It has to be made while the isolate starts: Elysia compiles routes from text, which Workers allow
 * at no other time.
 * @throws {CannotStart} with the cause and the cure.
 */
export function createWorker(
  settings: Settings,
  bindings: Bindings,
  surroundings: Surroundings = {},
): Worker {
  const { jwt_secret } = settings;
  if (jwt_secret === undefined)
    throw new CannotStart('JWT_SECRET must be set: run "bun --bun wrangler secret put JWT_SECRET"');
  const { database, answer, streamed } = edgeDatabase(bindings.HYPERDRIVE, settings);
  const app = createApp({
    adapter: CloudflareAdapter,
    settings,
    jwt_secret,
    database,
    passwords: wasmPasswords(argon2, commonPasswords(bindings)),
    log: surroundings.log ?? openLog(settings),
    now: surroundings.now ?? (() => new Date()),
    streamed,
    address_of: surroundings.address_of ?? connectingAddress,
    openapi_document: async () => (await readAsset(bindings, 'openapi.json')).json(),
    swagger_ui_file: async (name) => (await readAsset(bindings, name)).blob(),
  }).compile();
  return {
    async fetch(request, _, context) {
      const response = await answer(
        async () => app.fetch(request),
        (rest) => context.waitUntil(rest.then(lineWritten)),
      );
      return request.method === 'HEAD' ? headOf(response) : response;
    },
  };
}

/** Workers Logs reads JSON, a line an event. */
const openLog = ({ log_level, log_format }: Settings): Log =>
  createLog(log_level, log_format ?? 'json', (line) => console.log(line));

/** Elysia has the line of a request written in a task of its own, once it has answered. */
const lineWritten = () => new Promise<void>((resolve) => setTimeout(resolve));

/** RFC 9110 §8.6: the length that GET would answer with. Workers drop it with the body. */
async function headOf(response: Response): Promise<Response> {
  if (!response.body) return response;
  const { byteLength } = await response.arrayBuffer();
  const { status, headers } = response;
  const head = new Response(null, { status, headers });
  head.headers.set('content-length', String(byteLength));
  return head;
}

/** Cloudflare sets it, whatever the client has sent. */
function connectingAddress(request: Request): string | undefined {
  return request.headers.get('cf-connecting-ip') ?? undefined;
}

/** Kept as a value: a promise belongs to the request that made it, and ends with it. */
function commonPasswords(bindings: Bindings): () => Promise<ReadonlySet<string>> {
  let common: ReadonlySet<string> | undefined;
  return async () => {
    if (common) return common;
    const list = await readAsset(bindings, 'common-passwords.json');
    common = new Set((await list.json()) as string[]);
    return common;
  };
}

async function readAsset({ ASSETS }: Bindings, name: string): Promise<Response> {
  const response = await ASSETS.fetch(`http://assets/${name}`);
  if (!response.ok) throw new Error(`the asset ${name} answers ${response.status}`);
  return response;
}
