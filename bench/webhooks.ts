/**
 * `bun run bench:webhooks`: how long a webhook waits for a change, from the response to the write until the receiver has it,
 * at 10 and at 300 changes a second; then with a hundred webhooks, of which half hang, beside the same with none that
 * hangs: the delay of the others, and the latency of a list. Prints tables and asserts nothing.
 */
import { mkdir } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { machineFacts, quantile } from './report.ts';
import { openFixedData, type Person } from './speed/data.ts';
import { startMantou } from './speed/servers.ts';

const RESULTS = join(import.meta.dir, 'results');
const SECONDS = 15;
const WARM_UP_SECONDS = 3;
const RATES = [10, 300];
const OWNERS = 5;
const HOOKS_PER_OWNER = 20;
const LIST_INTERVAL_MS = 20;
/** Longer than a delivery may take. */
const SETTLE_MS = 3000;

type Arrivals = Map<string, number>;

/** A receiver with a path for each webhook. It notes when each task's event came, by path; a path `/hang…` never answers. */
async function openReceiver() {
  const arrivals = new Map<string, Arrivals>();
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      const path = request.url ?? '';
      if (path.startsWith('/hang')) return;
      const ofPath = arrivals.get(path) ?? new Map<string, number>();
      arrivals.set(path, ofPath);
      ofPath.set(JSON.parse(body).subject_id, performance.now());
      response.writeHead(204).end();
    });
  });
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : 0;
  return {
    url: `http://127.0.0.1:${port}`,
    arrivals,
    close: () => server.closeAllConnections(),
  };
}

type Api = (person: Person, method: string, path: string, body?: object) => Promise<Response>;

const apiAt =
  (url: string): Api =>
  (person, method, path, body) =>
    fetch(url + path, {
      method,
      headers: {
        authorization: `Bearer ${person.access_token}`,
        'x-forwarded-for': person.address,
        'content-type': 'application/json',
      },
      body: body && JSON.stringify(body),
    });

/** Creates tasks at a fixed rate, without waiting for responses. @returns when each response came, by the id of the task. */
async function write(
  api: Api,
  people: readonly Person[],
  projectId: string,
  rate: number,
  seconds: number,
) {
  const written = new Map<string, number>();
  const begun = performance.now();
  const pending: Promise<void>[] = [];
  for (let n = 0; n < rate * seconds; n += 1) {
    await Bun.sleep(Math.max(0, begun + (n * 1000) / rate - performance.now()));
    const person = people[n % people.length] as Person;
    pending.push(
      api(person, 'POST', `/tasks/projects/${projectId}`, { title: `Task ${n}` }).then(
        async (response) => {
          const atMs = performance.now();
          const { id } = (await response.json()) as { id?: string };
          if (id) written.set(id, atMs);
        },
      ),
    );
  }
  await Promise.all(pending);
  return written;
}

/** Reads a list at intervals until it is stopped. @returns the latencies in ms. */
function listMeanwhile(api: Api, person: Person) {
  const latencies: number[] = [];
  let isDone = false;
  const listing = (async () => {
    while (!isDone) {
      const begun = performance.now();
      await (await api(person, 'GET', '/projects/')).arrayBuffer();
      latencies.push(performance.now() - begun);
      await Bun.sleep(LIST_INTERVAL_MS);
    }
  })();
  return async () => {
    isDone = true;
    await listing;
    return latencies;
  };
}

interface Figures {
  what: string;
  sent: number;
  missing: number;
  delay_p50_ms: number;
  delay_p99_ms: number;
  list_p50_ms: number;
  list_p99_ms: number;
}

const shown = (ms: number) => ms.toFixed(1);
function print(one: Figures) {
  console.log(
    `| ${one.what} | ${one.sent} | ${one.missing} | ${shown(one.delay_p50_ms)} | ${shown(one.delay_p99_ms)} | ${shown(one.list_p50_ms)} | ${shown(one.list_p99_ms)} |`,
  );
}

async function measure(
  what: string,
  url: string,
  owners: readonly Person[],
  { rate, hanging, hooks }: { rate: number; hanging: number; hooks: number },
): Promise<Figures> {
  const api = apiAt(url);
  const receiver = await openReceiver();
  const [writer, ...others] = owners as [Person, ...Person[]];
  const project = (await (await api(writer, 'POST', '/projects/', { name: what })).json()) as {
    id: string;
  };
  for (const { username } of others)
    await api(writer, 'POST', `/projects/${project.id}/members`, { username, role: 'editor' });
  const made: [Person, string][] = [];
  for (const owner of owners)
    for (let n = 0; n < hooks; n += 1) {
      const path = n < hanging ? `/hang-${owner.username}-${n}` : `/${owner.username}-${n}`;
      const response = await api(owner, 'POST', '/users/me/webhooks', {
        url: receiver.url + path,
        project_id: project.id,
        actions: ['task.created'],
      });
      made.push([owner, ((await response.json()) as { id: string }).id]);
    }
  await write(api, owners, project.id, Math.min(rate, 10), WARM_UP_SECONDS);
  const stopListing = listMeanwhile(api, writer);
  const written = await write(api, owners, project.id, rate, SECONDS);
  const latencies = await stopListing();
  await Bun.sleep(SETTLE_MS);
  const delays: number[] = [];
  let missing = 0;
  const paths = made.length - hanging * owners.length;
  for (const [id, atMs] of written) {
    let arrived = 0;
    for (const ofPath of receiver.arrivals.values()) {
      const receivedAtMs = ofPath.get(id);
      if (receivedAtMs === undefined) continue;
      arrived += 1;
      delays.push(Math.max(0, receivedAtMs - atMs));
    }
    missing += paths - arrived;
  }
  for (const [owner, id] of made) await api(owner, 'DELETE', `/webhooks/${id}`);
  receiver.close();
  return {
    what,
    sent: written.size,
    missing,
    delay_p50_ms: quantile(delays, 0.5),
    delay_p99_ms: quantile(delays, 0.99),
    list_p50_ms: quantile(latencies, 0.5),
    list_p99_ms: quantile(latencies, 0.99),
  };
}

await using fixed = await openFixedData();
const owners = fixed.people.slice(0, OWNERS);
const server = await startMantou(fixed.url, { WEBHOOK_ALLOW: '127.0.0.1', RATE_LIMIT: 'off' });
const figures: Figures[] = [];
try {
  console.log('| | changes | missing | delay p50, ms | p99 | list p50, ms | p99 |');
  console.log(`|${' --- |'.repeat(7)}`);
  const alone = owners.slice(0, 1);
  const all = { rate: 10, hooks: HOOKS_PER_OWNER };
  for (const one of [
    () => measure('no webhook', server.url, alone, { rate: 10, hanging: 0, hooks: 0 }),
    ...RATES.map(
      (rate) => () =>
        measure(`${rate} changes a second, 1 webhook`, server.url, alone, {
          rate,
          hanging: 0,
          hooks: 1,
        }),
    ),
    () => measure('100 webhooks', server.url, owners, { ...all, hanging: 0 }),
    () =>
      measure('100 webhooks, 50 hang', server.url, owners, {
        ...all,
        hanging: HOOKS_PER_OWNER / 2,
      }),
  ]) {
    figures.push(await one());
    print(figures.at(-1) as Figures);
  }
} finally {
  await server.stop();
}
await mkdir(RESULTS, { recursive: true });
const machine = await machineFacts(fixed.url);
await Bun.write(join(RESULTS, 'webhooks.json'), JSON.stringify({ machine, figures }, null, 2));
