/**
 * `bun run bench:budget`: the processor time that one request costs the process, for each operation of the OpenAPI document:
 * its example, and the most costly request of those that `hostile.ts` makes. Prints a table and asserts nothing.
 * `bun run bench:budget NAME …` measures some operations.
 */
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { attackRequest, attacksOf, documentedOperations } from './hostile.ts';
import { machineFacts, median } from './report.ts';
import { openFixedData, type Person } from './speed/data.ts';
import { startMantou } from './speed/servers.ts';

const RESULTS = join(import.meta.dir, 'results');
const WARM_UP = 3;
const REPEATS = 7;
/** Operations that end their own session, or stay open. */
const LEFT_OUT = ['logOut', 'endOtherSessions', 'deleteAccount', 'streamChanges'];

/** Returns the time that all threads of a process have had so far, in ms: Linux counts it in nanoseconds. */
async function cpuMs(pid: number): Promise<number> {
  const folder = `/proc/${pid}/task`;
  const threads = await readdir(folder);
  const times = await Promise.all(
    threads.map((thread) =>
      Bun.file(`${folder}/${thread}/schedstat`)
        .text()
        .catch(() => '0'),
    ),
  );
  return times.reduce((sum, text) => sum + Number(text.split(' ')[0]), 0) / 1e6;
}

interface Cost {
  name: string;
  ms: number;
  status: number;
}

async function measure(pid: number, send: () => Promise<Response>, name: string): Promise<Cost> {
  let status = 0;
  const costs: number[] = [];
  for (let n = 0; n < WARM_UP + REPEATS; n += 1) {
    const before = await cpuMs(pid);
    const response = await send();
    await response.arrayBuffer();
    if (n >= WARM_UP) costs.push((await cpuMs(pid)) - before);
    status = response.status;
  }
  return { name, ms: median(costs), status };
}

const wanted = process.argv.slice(2);
const operations = documentedOperations.filter(({ name }) =>
  wanted.length > 0 ? wanted.includes(name) : !LEFT_OUT.includes(name),
);
await using fixed = await openFixedData();
const { people } = fixed;
const server = await startMantou(fixed.url, { RATE_LIMIT: 'off' });
const figures: Record<string, { example: Cost; worst: Cost; all: Cost[] }> = {};
try {
  console.log('| operation | example, ms (status) | worst, ms (status) | what |');
  console.log(`|${' --- |'.repeat(4)}`);
  for (const [n, operation] of operations.entries()) {
    // Begin anew, so that one operation does not change the next.
    const person = people[n % people.length] as Person;
    const pid = server.pid ?? 0;
    const example = await measure(pid, attackRequest(operation, server.url, person), 'example');
    const all: Cost[] = [];
    for (const attack of attacksOf(operation))
      all.push(
        await measure(pid, attackRequest(operation, server.url, person, attack), attack.name),
      );
    const [worst = example] = all.toSorted((a, b) => b.ms - a.ms);
    figures[operation.name] = { example, worst, all };
    console.log(
      `| ${operation.name} | ${example.ms.toFixed(1)} (${example.status}) | ${worst.ms.toFixed(1)} (${worst.status}) | ${worst.name} |`,
    );
  }
} finally {
  await server.stop();
}
await mkdir(RESULTS, { recursive: true });
const machine = await machineFacts(fixed.url);
await Bun.write(join(RESULTS, 'budget.json'), JSON.stringify({ machine, figures }, null, 2));
