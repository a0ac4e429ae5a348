/** A proxy before several processes, as operators have one: it sends requests to those that say they are ready. */
import { waitFor } from '../support/process.ts';

const POLL_INTERVAL_MS = 50;

export interface Balancer {
  readonly url: string;
  /** Why requests were answered with 502. */
  readonly failures: string[];
  status(path: '/health/live'): Promise<number>;
  /** Waits until it sends requests there. */
  finds(upstream: string): Promise<void>;
  stop(): Promise<void>;
}

export function openBalancer(upstreams: string[]): Balancer {
  const ready = new Set<string>();
  const latestCheck = new Map<string, string>();
  const failures: string[] = [];
  let next = 0;
  let open = true;

  async function poll(upstream: string) {
    while (open) {
      const check = await fetch(`${upstream}/health/ready`).then(
        async (answer) => (answer.ok ? 'ready' : `${answer.status} ${await answer.text()}`),
        String,
      );
      latestCheck.set(upstream, check);
      if (check === 'ready') ready.add(upstream);
      else ready.delete(upstream);
      await Bun.sleep(POLL_INTERVAL_MS);
    }
  }
  const polls = upstreams.map(poll);

  const server = Bun.serve({
    hostname: '127.0.0.1',
    port: 0,
    async fetch(request) {
      const chosen = [...ready];
      const upstream = chosen[next++ % chosen.length];
      if (upstream === undefined) return fail(`none is ready: ${[...latestCheck.values()]}`);
      const { pathname, search } = new URL(request.url);
      const { method, headers } = request;
      const body = method === 'GET' ? undefined : await request.arrayBuffer();
      const answer = await fetch(upstream + pathname + search, { method, headers, body });
      return new Response(await answer.arrayBuffer(), answer);
    },
    error: (error) => fail(`no answer: ${error}`),
  });

  function fail(reason: string): Response {
    failures.push(reason);
    return new Response(reason, { status: 502 });
  }

  return {
    url: `http://127.0.0.1:${server.port}`,
    failures,
    status: async (path) => (await fetch(`http://127.0.0.1:${server.port}${path}`)).status,
    finds: (upstream) => waitFor('it is found', () => ready.has(upstream)).then(() => undefined),
    async stop() {
      open = false;
      await Promise.all(polls);
      await server.stop(true);
    },
  };
}
