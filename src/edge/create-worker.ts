/** Builds the app on Cloudflare Workers from the bindings and the database. Each isolate does so once, as it starts. */
// Decision: docs/decisions/29-edge-app-at-isolate-start.md
import argon2 from '@phi-ag/argon2/argon2.wasm';
import { CloudflareAdapter } from 'elysia/adapter/cloudflare-worker';
import { createApp } from '../app.ts';
import { StartupError } from '../errors/startup-error.ts';
import { createLog, type Log } from '../lib/log.ts';
import { sleep } from '../lib/sleep.ts';
import { wasmPasswords } from '../passwords/wasm.ts';
import type { OpenApiDocument, Platform } from '../platform.ts';
import { createEdgeDatabase, type Hyperdrive } from '../postgres/hyperdrive.ts';
import { purgeTrash } from '../postgres/purge-trash.ts';
import type { Settings } from '../settings.ts';

/** The bindings of `wrangler.jsonc` beside the settings. */
export interface Bindings {
  readonly HYPERDRIVE: Hyperdrive;
  /** Serves the files that `cli/edge-assets` gathers. */
  readonly ASSETS: { fetch(url: string): Promise<Response> };
}

export interface EdgeWorker {
  fetch(request: Request, bindings: unknown, context: ExecutionContext): Promise<Response>;
  /** Runs at the times of `triggers` in `wrangler.jsonc`. */
  scheduled(controller: unknown, bindings: unknown, context: ExecutionContext): Promise<void>;
}

interface ExecutionContext {
  waitUntil(rest: Promise<unknown>): void;
}

/** A test replaces these. */
interface EdgeWorkerOptions {
  log?: Log;
  now?: () => Date;
  addressOf?: Platform['remoteAddress'];
}

/**
 * Returns the worker. Call it while the isolate starts: Elysia compiles routes from text, and Workers allow that at no other
 * time.
 * @throws {StartupError} when `JWT_SECRET` is missing, with the cause and the cure.
 */
export function createWorker(
  settings: Settings,
  bindings: Bindings,
  surroundings: EdgeWorkerOptions = {},
): EdgeWorker {
  const { jwtSecret } = settings;
  if (jwtSecret === undefined)
    throw new StartupError(
      'JWT_SECRET must be set: run "bun --bun wrangler secret put JWT_SECRET"',
    );
  const {
    database,
    runInRequest: answer,
    bindStream: streamed,
  } = createEdgeDatabase(bindings.HYPERDRIVE, settings);
  const app = createApp({
    adapter: CloudflareAdapter,
    settings,
    jwtSecret,
    database,
    passwords: wasmPasswords(argon2, commonPasswords(bindings)),
    log: surroundings.log ?? openLog(settings),
    now: surroundings.now ?? (() => new Date()),
    bindStream: streamed,
    runUnbounded: (work) => work(),
    remoteAddress: surroundings.addressOf ?? connectingAddress,
    openapiDocument: async () =>
      (await (await readAsset(bindings, 'openapi.json')).json()) as OpenApiDocument,
    // The assets are one folder without subfolders.
    docsFile: async (source) => (await readAsset(bindings, source.replace(/^.*\//, ''))).blob(),
  }).compile();
  return {
    async fetch(request, _, context) {
      const response = await answer(
        async () => app.fetch(request),
        // Elysia writes the log line of a request in a later task, after the response.
        (rest) => context.waitUntil(rest.then(() => sleep())),
      );
      return request.method === 'HEAD' ? headOf(response) : response;
    },
    scheduled: (_, __, context) =>
      answer(
        () => purgeTrash(database, settings.trashRetentionSeconds),
        (rest) => context.waitUntil(rest),
      ),
  };
}

/** Returns the log. Workers Logs reads one JSON object per line. */
const openLog = ({ logLevel, logFormat }: Settings): Log =>
  createLog(logLevel, logFormat ?? 'json', (line) => console.log(line));

/** Returns the response to HEAD, with the `Content-Length` that GET would have (RFC 9110 §8.6). Workers drop it with the body. */
async function headOf(response: Response): Promise<Response> {
  if (!response.body) return response;
  const { byteLength } = await response.arrayBuffer();
  const { status, headers } = response;
  const head = new Response(null, { status, headers });
  head.headers.set('content-length', String(byteLength));
  return head;
}

/** Returns the address of the client. Cloudflare overwrites the field that a client sends. */
function connectingAddress(request: Request): string | undefined {
  return request.headers.get('cf-connecting-ip') ?? undefined;
}

/** Returns a function that loads the list once. It keeps the list and not a promise, which ends with the request that made it. */
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
