/** The worker as the tests start it: its settings, its clock and its log are those of the process that tests. */

import { env } from 'cloudflare:workers';
import { AsyncLocalStorage } from 'node:async_hooks';
import { type Bindings, createWorker, type EdgeWorker } from '../../src/edge/create-worker.ts';
import type { Log } from '../../src/lib/log.ts';
import type { Settings } from '../../src/settings.ts';

interface TestBindings extends Bindings {
  readonly SETTINGS: Settings;
  /** Answered by the process that tests. */
  readonly TESTS: { fetch(url: string, init?: RequestInit): Promise<Response> };
}

const bindings = env as Record<string, unknown> & TestBindings;
const { SETTINGS, TESTS } = bindings;

/** Cloudflare takes a body in before it hands the request on, up to a size; workerd alone cuts the connection. */
const BODY_TAKEN_IN_BYTES_MAX = 1024 ** 2;

type Line = Parameters<Log>;

let now = new Date();
/** Of the request that logs. */
const lines = new AsyncLocalStorage<Line[]>();

const worker = createWorker(SETTINGS, bindings, {
  now: () => now,
  log: (...line) => lines.getStore()?.push(line),
  addressOf: () => '127.0.0.1',
});

async function tell(logged: Line[]) {
  if (logged.length === 0) return;
  const body = JSON.stringify(logged.splice(0));
  await TESTS.fetch('http://tests/', { method: 'POST', body });
}

export default {
  async fetch(request, _, context) {
    now = new Date(await (await TESTS.fetch('http://tests/')).text());
    const logged: Line[] = [];
    const waitUntil = (rest: Promise<unknown>) =>
      context.waitUntil(rest.finally(() => tell(logged)));
    const response = await lines.run(logged, () => worker.fetch(request, env, { waitUntil }));
    const length = Number(request.headers.get('content-length'));
    if (request.body && !request.bodyUsed && length <= BODY_TAKEN_IN_BYTES_MAX)
      await request.arrayBuffer();
    // The test looks at the log once it has the answer.
    await tell(logged);
    return response;
  },
  scheduled: worker.scheduled,
} satisfies EdgeWorker;
